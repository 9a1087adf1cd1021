"""The tts stage on a real socket, with Piper and the tiny voice, on a virtual sound card."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from stage_hub import PATIENCE_S, SocketDaemon, posted, until
from tts_studio import BERLIN, MONTHS, STORY, VOICE_HZ, Open, begun, said, spoken

from assistant.audio.formats import RATE_HZ
from assistant.audio.resampling import Resampler
from assistant.engines.piper import PiperEngine
from assistant.messages import (
    AnyMessage,
    Cancel,
    EarconStarted,
    Failure,
    PlaybackStarted,
    PlayEarcon,
    Played,
    Sentence,
    Speech,
    Spoken,
    StageState,
)
from assistant.stages.tts import TtsStage


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


# ---------------------------------------------------------------- barge-in


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
