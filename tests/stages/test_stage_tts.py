"""The tts stage on a real socket, with Piper and the tiny voice, on a virtual sound card."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import pytest
import soundfile
from stage_hub import CONFIG, PATIENCE_S, Int16, SocketDaemon, posted, silence, until

from assistant.audio.card import SoundCard
from assistant.audio.clip import AUDIBLE, Sound, Verdict, without_silent_start
from assistant.audio.earcons import duration_ms, earcon
from assistant.audio.formats import RATE_HZ
from assistant.audio.resampling import Resampler
from assistant.audio.volume import gain
from assistant.config import Audio, Sounds
from assistant.engines.piper import PiperEngine
from assistant.errors import ModelError
from assistant.messages import (
    AnyMessage,
    Cancel,
    Earcon,
    EarconStarted,
    Failure,
    Gap,
    PlaybackStarted,
    PlayEarcon,
    Played,
    Sentence,
    SoundReady,
    Speech,
    SpeechStarted,
    Spoken,
    StageState,
    TurnEnded,
    Volume,
    Worked,
)
from assistant.stages.tts import PlayedEarcon, TtsStage

VOICE = Path(CONFIG.tts.model)
VOICE_HZ = 22_050
BERLIN = "The capital of Germany is Berlin."
MONTHS = "There are twelve months in a year."
STORY = "Once there was a little robot, and it lived in a small house by the sea, and it counted the birds"


class Studio:
    """The stage, its sound card, and the daemon that gives it sentences."""

    def __init__(
        self,
        folder: Path,
        speaker: str = "",
        speed: float = 1.0,
        earcons: bool = True,
        volume: float = 1.0,
        barge_in: Literal["off", "word", "voice"] = "off",
    ) -> None:
        soundfile.write(folder / "silence.wav", silence(0.1), RATE_HZ)
        self.file = folder / "out.wav"
        self._clock_hz = VOICE_HZ * speed
        self.card = SoundCard(
            str(folder / "silence.wav"), str(self.file), VOICE_HZ, speed, folder=folder / "card"
        )
        self.card.start()
        audio = Audio(speaker=speaker or self.card.speaker_name, barge_in=barge_in)
        config = msgspec.structs.replace(CONFIG, audio=audio, sounds=Sounds(earcons=earcons))
        tts = msgspec.structs.replace(CONFIG.tts, volume=volume)
        config = msgspec.structs.replace(config, tts=tts)
        self.daemon = SocketDaemon(folder / "daemon.sock", config)
        self.daemon.__enter__()
        self.link = self.daemon.connect("tts")
        self.stage = TtsStage(self.link)
        self.stage.begin()

    def close(self) -> None:
        self.daemon.__exit__()
        self.card.close()

    def give(self, *sentences: Sentence) -> None:
        """Have the stage take sentences; it may not have played them when this returns."""
        for sentence in sentences:
            self.go_on(self.begin(sentence))

    def begin(self, sentence: Sentence) -> Iterator[AnyMessage]:
        """Have the stage take a sentence, of which it makes something when it is asked for a message."""
        self.daemon.offer("tts", sentence)
        delivery = self.link.receive(PATIENCE_S)
        assert delivery is not None
        assert delivery.message == sentence
        return self.stage.handle(delivery)

    def go_on(self, work: Iterator[AnyMessage]) -> None:
        """Have the stage finish what it makes of a sentence."""
        for message in work:
            self.link.post(message)

    def end_turn(self, turn: int, revision: int = 0) -> None:
        """What the stage made of the turn may be heard."""
        self.daemon.notify("tts", TurnEnded(turn, revision, 0.0, 0.0))

    def beep(self, *names: Earcon) -> None:
        """Ask for earcons; the stage knows of them when this returns."""
        for name in names:
            self.daemon.notify("tts", PlayEarcon(name))
        # the notices are before what this asks for, and the answer comes back on the same link
        self.give(Sentence(99, 0, 0, "***", last=True, to_client=True))

    def until_all_is_done(self) -> None:
        until(lambda: not self.daemon.unfinished("tts"))

    def recorded(self) -> tuple[Int16, list[float]]:
        """What was heard, without the silence around and within it, and when its audible samples were."""
        self.card.close()
        samples: Int16 = soundfile.read(self.file, dtype="int16")[0]
        audible = np.flatnonzero(np.abs(samples.astype(np.int32)) >= AUDIBLE)
        times = self.card.started_at_s + audible / self._clock_hz
        return samples[samples != 0], times.tolist()


Open = Callable[..., Studio]


@pytest.fixture
def open_studio(tmp_path: Path) -> Iterator[Open]:
    studios: list[Studio] = []

    def make(
        speaker: str = "",
        speed: float = 1.0,
        earcons: bool = True,
        volume: float = 1.0,
        barge_in: Literal["off", "word", "voice"] = "off",
    ) -> Studio:
        studios.append(Studio(tmp_path, speaker, speed, earcons, volume, barge_in))
        return studios[-1]

    yield make
    for studio in studios:
        studio.close()


@pytest.fixture(scope="module")
def voice() -> PiperEngine:
    return PiperEngine(VOICE, CONFIG.tts)


def said(voice: PiperEngine, text: str) -> Int16:
    return np.concatenate(list(voice.speak(text)))


def begun(voice: PiperEngine, text: str) -> Int16:
    """`text` as the beginning of an answer."""
    return np.concatenate(list(without_silent_start(voice.speak(text), VOICE_HZ)))


def spoken(studio: Studio, index: int) -> list[float]:
    return [s.fraction for s in posted(studio.daemon, Spoken) if s.index == index]


def test_an_answer_is_heard_and_told(open_studio: Open, voice: PiperEngine) -> None:
    """Fractions rise; a sentence is acknowledged behind the last one, not before."""
    studio = open_studio()
    kept: list[bool] = []

    def look(message: AnyMessage) -> None:
        if isinstance(message, Spoken):
            waiting = [item.payload for item in studio.daemon.broker.queues["tts"]]
            kept.append(any(isinstance(w, Sentence) and w.index == message.index for w in waiting))

    studio.daemon.owner.when_posted = look
    before_s = time.monotonic()
    studio.end_turn(4, 2)
    studio.give(Sentence(4, 2, 0, BERLIN, last=False), Sentence(4, 2, 1, MONTHS, last=True))
    studio.until_all_is_done()
    after_s = time.monotonic()
    for index in (0, 1):
        fractions = spoken(studio, index)
        assert len(fractions) >= 3, "several times a second"
        assert fractions == sorted(set(fractions))
        assert fractions[0] > 0
        assert fractions[-1] == 1.0
    assert all(kept)
    assert {(s.turn, s.revision) for s in posted(studio.daemon, Spoken)} == {(4, 2)}
    assert not posted(studio.daemon, Failure)
    sound, times = studio.recorded()
    whole = np.concatenate([begun(voice, BERLIN), said(voice, MONTHS)])
    assert np.array_equal(sound, whole[whole != 0])
    assert before_s < times[0] < times[-1] < after_s


def test_the_start_of_the_sound_has_its_time(open_studio: Open) -> None:
    studio = open_studio(speed=2.0)
    studio.end_turn(1)
    studio.give(Sentence(1, 0, 0, BERLIN, last=True))
    studio.until_all_is_done()
    (started,) = posted(studio.daemon, PlaybackStarted)
    _, times = studio.recorded()
    assert started.turn == 1
    assert started.at_s == pytest.approx(times[0], abs=0.01)


def test_a_sentence_waits_for_the_end_of_its_turn_and_revision(
    open_studio: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    studio = open_studio(speed=4.0)
    looks: Counter[int] = Counter()
    cancelled = studio.link.is_stale

    def look(turn: int, revision: int) -> bool:
        looks[revision] += 1
        return cancelled(turn, revision)

    monkeypatch.setattr(studio.link, "is_stale", look)
    studio.end_turn(1, 9)
    studio.end_turn(3, 9)
    studio.give(Sentence(2, 0, 0, BERLIN, last=True), Sentence(2, 2, 0, BERLIN, last=True))
    until(lambda: looks[0] > 5)
    assert not posted(studio.daemon, Spoken)
    studio.end_turn(2, 1)  # the first sentence may be heard, the second is of a later revision
    until(lambda: looks[2] > 5 and studio.daemon.unfinished("tts") == 1)
    assert {(s.turn, s.revision) for s in posted(studio.daemon, Spoken)} == {(2, 0)}
    released_s = time.monotonic()
    studio.end_turn(2, 2)
    studio.until_all_is_done()
    starts = posted(studio.daemon, PlaybackStarted)
    assert len(starts) == 2
    assert starts[0].at_s < released_s < starts[1].at_s


def test_cancelled_sentences_fall_silent_and_are_acknowledged(open_studio: Open) -> None:
    studio = open_studio()
    studio.end_turn(1, 3)
    studio.give(*[Sentence(1, 3, index, f"{STORY}.", last=index == 2) for index in range(3)])
    until(lambda: bool(posted(studio.daemon, PlaybackStarted)))
    # the bare word, which takes nothing out of the queue: only the stage can
    studio.daemon.notify("tts", Cancel(1, 3))
    studio.until_all_is_done()
    silent_s = time.monotonic()
    assert {s.index for s in posted(studio.daemon, Spoken)} <= {0}
    assert 1.0 not in spoken(studio, 0)
    assert not posted(studio.daemon, Failure), "it is what was wanted"
    studio.end_turn(2)
    studio.give(Sentence(2, 0, 5, BERLIN, last=True))
    studio.until_all_is_done()
    assert spoken(studio, 5)[-1] == 1.0, "a later turn is heard as ever"
    starts = posted(studio.daemon, PlaybackStarted)
    assert [start.turn for start in starts] == [1, 2]
    _, times = studio.recorded()
    assert not [at_s for at_s in times if silent_s < at_s < starts[1].at_s - 0.001]
    assert times[0] < silent_s < times[-1]


def test_a_cancelled_sentence_that_waits_is_acknowledged(open_studio: Open) -> None:
    studio = open_studio()
    studio.give(Sentence(1, 0, 0, BERLIN, last=True))
    assert studio.daemon.unfinished("tts") == 1
    studio.daemon.notify("tts", Cancel(1, 0))
    studio.until_all_is_done()
    sound, _ = studio.recorded()
    assert not len(sound)
    assert not posted(studio.daemon, Spoken)


@pytest.mark.parametrize("heard", [0.25, 0.5, 0.97])
def test_a_sentence_goes_on_where_it_was_cut_off(open_studio: Open, voice: PiperEngine, heard: float) -> None:
    studio = open_studio(speed=2.0)
    studio.end_turn(1)
    studio.give(Sentence(1, 0, 2, BERLIN, last=True, heard_fraction=heard))
    studio.until_all_is_done()
    fractions = spoken(studio, 2)
    assert all(fraction > heard for fraction in fractions)
    assert fractions == sorted(set(fractions))
    assert fractions[-1] == 1.0
    whole = said(voice, BERLIN)
    rest = whole[int(len(whole) * heard) :]
    sound, _ = studio.recorded()
    assert np.array_equal(sound, rest[rest != 0])


def test_what_a_client_wants_is_not_played(open_studio: Open, voice: PiperEngine) -> None:
    studio = open_studio()
    studio.give(Sentence(6, 0, 3, BERLIN, last=True, to_client=True))
    studio.until_all_is_done()
    (speech,) = posted(studio.daemon, Speech)
    assert speech == Speech(6, 3, said(voice, BERLIN).tobytes(), VOICE_HZ, last=True)
    assert not posted(studio.daemon, Spoken)
    assert not posted(studio.daemon, PlaybackStarted)
    sound, _ = studio.recorded()
    assert not len(sound)


def test_text_without_words_is_over_at_once(open_studio: Open) -> None:
    studio = open_studio()
    studio.end_turn(1)
    studio.give(Sentence(1, 0, 0, "\N{SLIGHTLY SMILING FACE}", last=True))
    studio.until_all_is_done()
    assert spoken(studio, 0) == [1.0]
    assert not posted(studio.daemon, PlaybackStarted)
    studio.give(Sentence(1, 0, 1, "***", last=True, to_client=True))
    studio.until_all_is_done()
    assert posted(studio.daemon, Speech) == [Speech(1, 1, b"", VOICE_HZ, last=True)]


def test_marks_are_not_read_aloud(open_studio: Open, voice: PiperEngine) -> None:
    studio = open_studio()
    studio.give(Sentence(6, 0, 0, f"**{BERLIN}**", last=True, to_client=True))
    studio.until_all_is_done()
    (speech,) = posted(studio.daemon, Speech)
    assert speech.pcm == said(voice, BERLIN).tobytes()


def test_a_missing_speaker_is_told_each_time(open_studio: Open, tmp_path: Path) -> None:
    studio = open_studio(speaker=f"card:{tmp_path / 'nowhere.sock'}")
    for turn in (1, 2):
        studio.end_turn(turn, 1)
        studio.give(Sentence(turn, 1, 0, BERLIN, last=True))
        studio.until_all_is_done()
        failure = posted(studio.daemon, Failure)[-1]
        assert (failure.stage, failure.turn, failure.revision) == ("tts", turn, 1)
        assert "nowhere.sock" in failure.reason
        assert failure.reason.endswith(("?", "."))
    assert len(posted(studio.daemon, Failure)) == 2
    assert not posted(studio.daemon, Spoken)
    studio.give(Sentence(3, 0, 0, BERLIN, last=True, to_client=True))
    studio.until_all_is_done()
    assert len(posted(studio.daemon, Speech)) == 1, "a client needs no speaker"


def test_a_speaker_that_goes_away_is_told(open_studio: Open) -> None:
    studio = open_studio()
    studio.end_turn(1)
    studio.give(Sentence(1, 0, 0, f"{STORY}.", last=False), Sentence(1, 0, 1, BERLIN, last=True))
    until(lambda: bool(posted(studio.daemon, PlaybackStarted)))
    studio.card.close()
    studio.until_all_is_done()
    failures = posted(studio.daemon, Failure)
    assert len(failures) == 2, "of the sentence in the air, and of the one behind it"
    assert 1.0 not in spoken(studio, 0)


# ---------------------------------------------------------------- sound as it is made


PARTS = f"{BERLIN} {MONTHS}"
"""Made in two pieces at least."""


def test_a_sentence_is_heard_while_it_is_made(open_studio: Open, voice: PiperEngine) -> None:
    studio = open_studio()
    work = studio.begin(Sentence(1, 0, 0, PARTS, last=True))
    assert next(work) == SoundReady(1, 0), "though nothing may be heard yet"
    studio.end_turn(1)
    until(lambda: len(spoken(studio, 0)) >= 2)
    assert len(posted(studio.daemon, PlaybackStarted)) == 1
    made_s = time.monotonic()
    studio.go_on(work)
    studio.until_all_is_done()  # and the daemon knows what was said before that
    (worked,) = posted(studio.daemon, Worked)
    assert (worked.stage, worked.turn, worked.revision) == ("tts", 1, 0)
    assert worked.began_s < worked.first_s < made_s < worked.ended_s
    fractions = spoken(studio, 0)
    assert fractions == sorted(set(fractions))
    assert fractions[-1] == 1.0
    sound, _ = studio.recorded()
    whole = begun(voice, PARTS)
    assert np.array_equal(sound, whole[whole != 0])


def until_dry(studio: Studio, voice: PiperEngine, text: str) -> float:
    """Wait until the first piece of `text` has been heard for a while; the fraction that it is of all."""
    first = next(without_silent_start(voice.speak(text), VOICE_HZ))
    until(lambda: bool(posted(studio.daemon, PlaybackStarted)))
    over_s = posted(studio.daemon, PlaybackStarted)[0].at_s + len(first) / VOICE_HZ
    until(lambda: time.monotonic() > over_s + 0.1)
    return len(first) / len(begun(voice, text))


def test_what_is_heard_of_half_a_sentence_is_guessed_well(open_studio: Open, voice: PiperEngine) -> None:
    """Else the history of an answer that is interrupted then would hold words that nobody heard."""
    studio = open_studio()
    studio.end_turn(1)
    work = studio.begin(Sentence(1, 0, 0, PARTS, last=True))
    next(work)
    fraction = until_dry(studio, voice, PARTS)
    assert spoken(studio, 0)[-1] == pytest.approx(fraction, rel=0.5)
    studio.go_on(work)
    studio.until_all_is_done()


def test_only_the_beginning_of_an_answer_is_told(open_studio: Open) -> None:
    studio = open_studio(speed=4.0)
    studio.give(Sentence(1, 0, 0, BERLIN, last=False), Sentence(1, 0, 1, MONTHS, last=False))
    studio.give(Sentence(1, 0, 2, "***", last=True))
    studio.end_turn(1)
    studio.until_all_is_done()
    assert posted(studio.daemon, SoundReady) == [SoundReady(1, 0)]
    assert len(posted(studio.daemon, Worked)) == 3


def test_a_sentence_that_cannot_be_made_to_its_end_falls_silent(open_studio: Open) -> None:
    studio = open_studio()
    studio.end_turn(1)
    work = studio.begin(Sentence(1, 0, 0, PARTS, last=True))
    next(work)
    until(lambda: bool(posted(studio.daemon, PlaybackStarted)))
    with pytest.raises(ModelError, match="damaged"):
        work.throw(ModelError("The voice is damaged."))  # type: ignore[attr-defined]  # it is a generator
    studio.until_all_is_done()
    assert not posted(studio.daemon, Failure), "that is for whoever runs the stage"
    studio.end_turn(2)
    studio.give(Sentence(2, 0, 5, BERLIN, last=True))
    studio.until_all_is_done()
    assert 1.0 not in spoken(studio, 0)
    assert spoken(studio, 5)[-1] == 1.0
    assert [worked.turn for worked in posted(studio.daemon, Worked)] == [2]


@pytest.mark.parametrize(("work_share", "pieces"), [(0.1, 3), (0.9, 1)])
def test_a_slow_voice_makes_a_sentence_whole_before_it_is_heard(
    open_studio: Open, monkeypatch: pytest.MonkeyPatch, work_share: float, pieces: int
) -> None:
    studio = open_studio()
    added: list[int] = []
    add = Sound.add

    def noted(sound: Sound, pcm: Int16) -> None:
        added.append(len(pcm))
        add(sound, pcm)

    monkeypatch.setattr(Sound, "add", noted)
    monkeypatch.setattr(studio.stage._engine, "speak", lambda _text: iter([np.ones(4000, np.int16)] * 3))
    studio.stage._work_share = work_share
    studio.go_on(studio.begin(Sentence(1, 0, 1, "Some words.", last=True)))
    studio.daemon.notify("tts", Cancel(1, 0))
    studio.until_all_is_done()
    assert added == [12_000 // pieces] * pieces


def test_a_sentence_cancelled_in_the_middle_is_not_made_to_its_end(
    open_studio: Open, voice: PiperEngine
) -> None:
    studio = open_studio()
    studio.end_turn(1)
    work = studio.begin(Sentence(1, 0, 0, PARTS, last=True))
    next(work)
    studio.daemon.notify("tts", Cancel(1, 0))
    studio.until_all_is_done()
    studio.go_on(work)
    until(lambda: bool(posted(studio.daemon, Worked)))
    (worked,) = posted(studio.daemon, Worked)
    assert worked.ended_s > worked.first_s
    assert not posted(studio.daemon, Failure)
    assert 1.0 not in spoken(studio, 0)
    sound, _ = studio.recorded()
    assert len(sound) < len(next(voice.speak(PARTS)))


def test_silence_in_the_middle_of_an_answer_is_told(open_studio: Open, voice: PiperEngine) -> None:
    studio = open_studio()
    studio.end_turn(1)
    work = studio.begin(Sentence(1, 0, 0, PARTS, last=False))
    next(work)
    until_dry(studio, voice, PARTS)
    studio.go_on(work)
    until(lambda: spoken(studio, 0)[-1:] == [1.0])
    over_s = time.monotonic()
    until(lambda: time.monotonic() > over_s + 0.1)
    studio.give(Sentence(1, 0, 1, BERLIN, last=True), Sentence(1, 0, 2, MONTHS, last=True))
    studio.until_all_is_done()
    inside, before = posted(studio.daemon, Gap)
    assert (inside.turn, inside.revision) == (before.turn, before.revision) == (1, 0)
    assert inside.duration_ms >= 100
    assert before.duration_ms >= 100


# ---------------------------------------------------------------- earcons


def test_an_earcon_is_heard_at_once_and_told(open_studio: Open) -> None:
    studio = open_studio()
    before_s = time.monotonic()
    studio.beep("listening")
    until(lambda: bool(posted(studio.daemon, EarconStarted)))
    (started,) = posted(studio.daemon, EarconStarted)
    assert started.duration_ms == duration_ms("listening")
    until(lambda: time.monotonic() > started.at_s + 0.2)
    sound, times = studio.recorded()
    whole = earcon("listening", VOICE_HZ)
    assert np.array_equal(sound, whole[whole != 0])
    assert times[0] == pytest.approx(started.at_s, abs=0.01)
    assert before_s < times[0]
    assert not posted(studio.daemon, PlaybackStarted), "it is no answer"


def test_a_beep_never_comes_into_an_answer(open_studio: Open, voice: PiperEngine) -> None:
    """What is still true after the answer waits for its end; the rest is not heard."""
    studio = open_studio()
    studio.give(Sentence(1, 0, 0, BERLIN, last=False))
    studio.beep("thinking", "error")  # the answer waits to be released
    studio.end_turn(1)
    until(lambda: bool(posted(studio.daemon, PlaybackStarted)))
    studio.beep("listening")
    until(lambda: spoken(studio, 0)[-1:] == [1.0])
    until(lambda: bool(posted(studio.daemon, EarconStarted)))
    (started,) = posted(studio.daemon, EarconStarted)
    assert started.duration_ms == duration_ms("error")
    until(lambda: time.monotonic() > started.at_s + 0.5)
    sound, _ = studio.recorded()
    whole = np.concatenate([begun(voice, BERLIN), earcon("error", VOICE_HZ)])
    assert np.array_equal(sound, whole[whole != 0])


def test_an_answer_is_whole_behind_a_beep(open_studio: Open, voice: PiperEngine) -> None:
    studio = open_studio()
    studio.end_turn(1)
    studio.beep("ready")
    studio.give(Sentence(1, 0, 0, BERLIN, last=True))
    studio.until_all_is_done()
    sound, _ = studio.recorded()
    whole = np.concatenate([earcon("ready", VOICE_HZ), begun(voice, BERLIN)])
    assert np.array_equal(sound, whole[whole != 0])


def test_earcons_can_be_turned_off(open_studio: Open, voice: PiperEngine) -> None:
    studio = open_studio(earcons=False)
    studio.end_turn(1)
    studio.beep("ready", "error")
    studio.give(Sentence(1, 0, 0, BERLIN, last=True))
    studio.until_all_is_done()
    sound, _ = studio.recorded()
    whole = begun(voice, BERLIN)
    assert np.array_equal(sound, whole[whole != 0])
    assert not posted(studio.daemon, EarconStarted)


def test_a_beep_without_a_speaker_harms_nothing(
    open_studio: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    studio = open_studio(speaker=f"card:{tmp_path / 'nowhere.sock'}")
    studio.beep("ready")
    until(lambda: "the earcon ready was not heard" in caplog.text)
    assert not posted(studio.daemon, Failure)


def test_why_there_is_no_speaker_is_told_once_the_stage_is_ready(tmp_path: Path) -> None:
    """Its readiness, which is told before it begins, would wipe that out."""
    with SocketDaemon(tmp_path / "daemon.sock") as daemon:  # whose speaker is nowhere
        link = daemon.connect("tts")
        daemon.notify("tts", PlayEarcon("ready"))
        daemon.offer("tts", Sentence(1, 0, 0, BERLIN, last=True, to_client=True))
        stage = TtsStage(link)
        delivery = link.receive(PATIENCE_S)
        assert delivery is not None
        list(stage.handle(delivery))  # which gives time to be too early

        def lacks() -> list[str]:
            return [state.detail for state in posted(daemon, StageState) if state.detail]

        assert not lacks()
        stage.begin()
        until(lambda: len(lacks()) == 1)
        assert "nowhere" in lacks()[0]


# ---------------------------------------------------------------- volume


def test_the_volume_changes_in_mid_answer(open_studio: Open, voice: PiperEngine) -> None:
    studio = open_studio()
    studio.end_turn(1)
    studio.give(Sentence(1, 0, 0, f"{STORY}.", last=True))
    until(lambda: len(posted(studio.daemon, Spoken)) >= 3)
    studio.daemon.notify("tts", Volume(0.5, 1.0))
    studio.until_all_is_done()
    studio.card.close()
    whole = begun(voice, f"{STORY}.").astype(np.float64)
    heard = soundfile.read(studio.file, dtype="int16")[0]
    start = int(np.flatnonzero(heard)[0]) - int(np.flatnonzero(whole)[0])
    heard = heard[start : start + len(whole)]
    early, late = VOICE_HZ // 4, len(whole) // 2
    assert np.array_equal(heard[:early], whole[:early])
    assert np.abs(heard[late:] - gain(0.5) * whole[late:]).max() <= 1


@pytest.mark.parametrize(("volume", "answer", "beep"), [(Volume(0.5, 1.0), 0.5, 1), (Volume(1, 0.5), 1, 0.5)])
def test_answers_and_earcons_have_a_volume_each(
    open_studio: Open, voice: PiperEngine, volume: Volume, answer: float, beep: float
) -> None:
    studio = open_studio(speed=2.0)
    studio.daemon.notify("tts", volume)
    studio.beep("ready")
    until(lambda: bool(posted(studio.daemon, EarconStarted)))
    studio.end_turn(1)
    studio.give(Sentence(1, 0, 0, BERLIN, last=True))
    studio.until_all_is_done()
    sound, _ = studio.recorded()
    loud = [int(np.abs(part.astype(int)).max()) for part in (earcon("ready", VOICE_HZ), begun(voice, BERLIN))]
    start = duration_ms("ready") * VOICE_HZ // 1000
    assert np.abs(sound[: start // 2].astype(int)).max() == pytest.approx(loud[0] * gain(beep), abs=1)
    assert np.abs(sound[start:].astype(int)).max() == pytest.approx(loud[1] * gain(answer), abs=1)


def test_until_it_is_told_it_is_as_loud_as_the_settings_say(open_studio: Open, voice: PiperEngine) -> None:
    studio = open_studio(speed=2.0, volume=0.25)
    studio.end_turn(1)
    studio.give(Sentence(1, 0, 0, BERLIN, last=True))
    studio.give(Sentence(2, 0, 0, BERLIN, last=True, to_client=True))
    studio.until_all_is_done()
    (whole,) = [np.frombuffer(speech.pcm, np.int16) for speech in posted(studio.daemon, Speech)]
    assert np.array_equal(whole, said(voice, BERLIN)), "what a client gets is not played here"
    sound, _ = studio.recorded()
    assert np.abs(sound).max() == pytest.approx(gain(0.25) * np.abs(whole).max(), abs=1)


# ---------------------------------------------------------------- barge-in


def test_what_is_heard_is_told_to_whoever_cancels_its_echo(open_studio: Open) -> None:
    """Earcons and answers, as loud as they are, at the time at which they are heard."""
    studio = open_studio(barge_in="word", volume=0.7)
    studio.beep("ready")
    until(lambda: bool(posted(studio.daemon, EarconStarted)))
    studio.give(Sentence(1, 0, 0, BERLIN, last=True))
    studio.end_turn(1)
    studio.until_all_is_done()
    studio.card.close()
    heard = Resampler(VOICE_HZ, RATE_HZ).feed(soundfile.read(studio.file, dtype="int16")[0])
    told = np.zeros(len(heard) + RATE_HZ, np.int16)
    for played in posted(studio.daemon, Played):
        at = round((played.at_s - studio.card.started_at_s) * RATE_HZ)
        told[at : at + len(played.pcm) // 2] = np.frombuffer(played.pcm, np.int16)
    likeness = [
        np.corrcoef(heard[RATE_HZ // 10 :], told[RATE_HZ // 10 + late :][: len(heard) - RATE_HZ // 10])[0, 1]
        for late in range(-RATE_HZ // 50, RATE_HZ // 50)
    ]
    assert max(likeness) > 0.9  # the two may be some milliseconds early or late, each its own


def test_nobody_is_told_where_nobody_wants_to_know(open_studio: Open) -> None:
    studio = open_studio()
    studio.give(Sentence(1, 0, 0, BERLIN, last=True))
    studio.end_turn(1)
    studio.until_all_is_done()
    assert not posted(studio.daemon, Played)


# ---------------------------------------------------------------- signs


def test_a_sign_that_comes_too_late_is_not_heard(open_studio: Open) -> None:
    studio = open_studio()
    studio.daemon.notify("tts", PlayEarcon("listening", time.monotonic() - 0.01))
    studio.beep("ready")
    until(lambda: bool(posted(studio.daemon, EarconStarted)))
    (started,) = posted(studio.daemon, EarconStarted)
    assert started.duration_ms == duration_ms("ready")


def test_a_sign_is_late_once_the_speaker_is_open_not_when_it_has_begun() -> None:
    now_s = [10.0]
    sign = PlayedEarcon(
        None,  # type: ignore[arg-type] # nobody is told
        PlayEarcon("listening", 10.3),
        np.ones(100, np.int16),
        lambda: 1.0,
        clock=lambda: now_s[0],
    )
    assert sign.verdict() is Verdict.PLAY
    now_s[0] = 10.4
    assert sign.verdict() is Verdict.DROP
    now_s[0] = 10.2
    sign.sound.take(0.0)
    now_s[0] = 10.4
    assert sign.verdict() is Verdict.PLAY, "it is not cut off"


def test_a_sign_falls_silent_when_somebody_speaks(open_studio: Open) -> None:
    studio = open_studio()
    studio.daemon.notify("tts", PlayEarcon("listening"))
    studio.daemon.notify("tts", SpeechStarted(2, 0.0))
    studio.beep("ready")
    until(lambda: any(m.duration_ms == duration_ms("ready") for m in posted(studio.daemon, EarconStarted)))
    until_s = time.monotonic() + 0.3
    until(lambda: time.monotonic() > until_s)
    sound, _ = studio.recorded()
    both = sum(np.count_nonzero(earcon(name, VOICE_HZ)) for name in ("listening", "ready"))
    assert np.count_nonzero(sound) < both - 0.05 * VOICE_HZ
