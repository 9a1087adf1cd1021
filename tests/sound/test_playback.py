"""The player on a real sound card made of sockets and files."""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from assistant.audio import playback
from assistant.audio.card import SoundCard
from assistant.audio.card_link import CARD_PREFIX, Door
from assistant.audio.card_speaker import CardSpeakerSide
from assistant.audio.clip import Sound, Verdict
from assistant.audio.playback import BLOCK_S, Player
from assistant.audio.playback_clock import AHEAD_S
from assistant.audio.speaker import Speaker, open_speaker
from assistant.audio.volume import FULL_FADE_S, gain
from assistant.errors import AudioError, DeviceBusy

RATE_HZ = 16_000


class Heard:
    """A clip that remembers what the player says of it; without `pcm`, its sound is yet to be added."""

    def __init__(
        self,
        pcm: npt.NDArray[np.int16] | None = None,
        *,
        heard: int = 0,
        expected: int = 0,
        waits: bool = True,
        answer: tuple[int, int] | None = (1, 0),
    ) -> None:
        self.sound = Sound(expected, heard)
        if pcm is not None:
            self.sound.add(pcm)
            self.sound.end()
        self.waits = waits
        self.answer = answer
        self.may = Verdict.PLAY
        self.asked = 0
        self.loud = 1.0
        self.started_at_s: list[float] = []
        self.fractions: list[float] = []
        self.gaps_ms: list[int] = []
        self.reasons: list[str] = []
        self.over = threading.Event()

    def verdict(self) -> Verdict:
        self.asked += 1
        return self.may

    def volume(self) -> float:
        return self.loud

    def started(self, at_s: float) -> None:
        self.started_at_s.append(at_s)

    def progress(self, fraction: float) -> None:
        self.fractions.append(fraction)
        if fraction >= 1.0:
            self.over.set()

    def gap(self, duration_ms: int, at_s: float) -> None:
        assert at_s <= time.monotonic()
        self.gaps_ms.append(duration_ms)

    def dropped(self, reason: str) -> None:
        self.reasons.append(reason)
        self.over.set()


class Studio:
    """A player, its card, and the file that the card writes."""

    def __init__(self, folder: Path, card_hz: int = RATE_HZ) -> None:
        soundfile.write(folder / "silence.wav", np.zeros(RATE_HZ, np.int16), RATE_HZ)
        self._file = folder / "out.wav"
        self.card = SoundCard(str(folder / "silence.wav"), str(self._file), card_hz, folder=folder / "card")
        self.card.start()
        self.player = Player(self.card.speaker_name, RATE_HZ)

    def recorded(self) -> npt.NDArray[np.int16]:
        """What was heard, without the silence around it."""
        self.card.close()
        samples: npt.NDArray[np.int16] = soundfile.read(self._file, dtype="int16")[0]
        loud = np.flatnonzero(samples)
        return samples[loud[0] : loud[-1] + 1] if len(loud) else samples[:0]


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    studio = Studio(tmp_path)
    yield studio
    studio.card.close()


def tone(seconds: float, value: int = 5000) -> npt.NDArray[np.int16]:
    return np.full(int(seconds * RATE_HZ), value, np.int16)


def until(reached: Callable[[], bool]) -> None:
    """Ask again and again; the player brings it about."""
    pause = threading.Event()
    deadline_s = time.monotonic() + 5
    while not reached():
        assert time.monotonic() < deadline_s, "it never came to that"
        pause.wait(0.002)


def test_clips_follow_each_other_without_a_gap(studio: Studio) -> None:
    sounds = [tone(0.2, 3000), tone(0.1, 4000), tone(0.2, 5000)]
    clips = [Heard(sound) for sound in sounds]
    for clip in clips:
        studio.player.play(clip)
    assert all(clip.over.wait(5) for clip in clips)
    assert (studio.recorded() == np.concatenate(sounds)).all()
    assert all(clip.fractions[-1] == 1.0 and not clip.reasons and not clip.gaps_ms for clip in clips)


@pytest.mark.parametrize("rate_hz", [RATE_HZ, 8_000])
def test_a_clip_is_heard_while_it_grows(tmp_path: Path, rate_hz: int) -> None:
    """Whoever gives pieces in time hears no seams between them, whatever the speaker's rate."""
    studio = Studio(tmp_path, rate_hz)
    clip = Heard(expected=RATE_HZ)  # it takes 1.1 seconds, not one
    clip.sound.add(tone(0.5))
    studio.player.play(clip)
    until(lambda: bool(clip.started_at_s))
    for _ in range(6):
        clip.sound.add(tone(0.1))
    until(lambda: len(clip.fractions) >= 4)
    assert clip.fractions == sorted(set(clip.fractions))
    assert 0 < clip.fractions[0] < clip.fractions[-1] < 1
    clip.sound.end()
    assert clip.over.wait(5)
    assert clip.fractions == sorted(set(clip.fractions))
    assert clip.fractions[-1] == 1.0
    assert not clip.gaps_ms
    heard = studio.recorded()
    assert len(heard) == pytest.approx(1.1 * rate_hz, rel=0.01)
    assert abs(np.median(heard) - 5_000) <= 1
    assert heard[100:-100].min() > 4_500


def test_silence_in_the_middle_of_an_answer_is_told(studio: Studio) -> None:
    first, second, other = Heard(), Heard(tone(0.1)), Heard(tone(0.1), answer=(2, 0))
    studio.player.play(first)
    first.sound.add(tone(0.1))
    until(lambda: bool(first.started_at_s) and time.monotonic() > first.started_at_s[0] + 0.2)
    assert not first.over.is_set(), "more may come"
    assert max(first.fractions, default=0.5) < 1
    first.sound.add(tone(0.1))
    first.sound.end()
    assert first.over.wait(5)
    over_s = time.monotonic()
    until(lambda: time.monotonic() > over_s + 0.1)
    studio.player.play(second)
    assert second.over.wait(5)
    studio.player.play(other)
    assert other.over.wait(5)
    assert not other.gaps_ms, "it is another answer"
    (inside_ms,), (before_ms,) = first.gaps_ms, second.gaps_ms
    edges = np.flatnonzero(np.diff(studio.recorded() != 0)) * 1000 / RATE_HZ
    silences_ms = np.diff(edges)[::2]
    assert [inside_ms, before_ms] == pytest.approx(silences_ms[:2], abs=1)
    assert inside_ms >= 90
    assert before_ms >= 100


def test_a_growing_clip_can_be_cancelled(studio: Studio) -> None:
    """While there is sound of it, while none has come, and while none is there any more."""
    for pcm in (tone(1), tone(0), tone(0.05)):
        clip = Heard()
        clip.sound.add(pcm)
        studio.player.play(clip)
        until(lambda clip=clip, pcm=pcm: len(clip.started_at_s) == bool(len(pcm)))  # type: ignore[misc] # mypy does not infer a lambda's defaults
        clip.may = Verdict.DROP
        assert clip.over.wait(5)
        assert clip.reasons == [""]
        assert 1.0 not in clip.fractions
    last = Heard(tone(0.1))
    studio.player.play(last)
    assert last.over.wait(5)
    assert last.fractions[-1] == 1.0
    assert not last.reasons


def test_the_first_audible_sample_has_its_time(studio: Studio) -> None:
    clip = Heard(np.concatenate([np.zeros(RATE_HZ // 5, np.int16), tone(0.1)]))
    before_s = time.monotonic()
    studio.player.play(clip)
    assert clip.over.wait(5)
    assert len(clip.started_at_s) == 1
    assert before_s + 0.2 <= clip.started_at_s[0] <= time.monotonic() - 0.1


def test_what_was_heard_of_a_clip_is_not_heard_again(studio: Studio) -> None:
    clip = Heard(tone(0.3, 4000), heard=len(tone(0.3)))
    studio.player.play(clip)
    assert clip.over.wait(5)
    assert (studio.recorded() == tone(0.3, 4000)).all()
    assert len(clip.started_at_s) == 1
    assert all(fraction > 0.5 for fraction in clip.fractions)


def test_a_cancelled_clip_is_silent_within_a_tenth_of_a_second(studio: Studio) -> None:
    clip, waiting = Heard(tone(3)), Heard(tone(3))
    studio.player.play(clip)
    studio.player.play(waiting)
    deadline_s = time.monotonic() + 5
    while not clip.started_at_s and time.monotonic() < deadline_s:
        pass
    cancelled_at_s = time.monotonic()
    clip.may = waiting.may = Verdict.DROP
    assert clip.over.wait(5)
    assert waiting.over.wait(5)
    heard_s = len(studio.recorded()) / RATE_HZ
    assert heard_s <= cancelled_at_s - clip.started_at_s[0] + 0.1
    assert clip.reasons == waiting.reasons == [""]


def test_a_clip_waits_until_it_may_be_heard(studio: Studio) -> None:
    clip = Heard(tone(0.1))
    clip.may = Verdict.WAIT
    studio.player.play(clip)
    assert not clip.over.wait(0.2)
    clip.may = Verdict.PLAY
    assert clip.over.wait(5)
    assert len(studio.recorded()) == len(tone(0.1))


def test_a_clip_that_may_be_heard_now_is_not_looked_for(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever releases it says so: to look now and then would cost half the time in between."""
    monkeypatch.setattr(playback, "LOOK_S", 60.0)
    clip = Heard(tone(0.1))
    clip.may = Verdict.WAIT
    studio.player.play(clip)
    until(lambda: clip.asked >= 2)  # the player waits now
    monkeypatch.undo()
    clip.may = Verdict.PLAY
    studio.player.look()
    assert clip.over.wait(5)


def test_a_clip_that_does_not_wait_is_heard_at_once_or_not_at_all(studio: Studio) -> None:
    alone, behind, before, last = (Heard(tone(0.1, value), waits=False) for value in (3000, 4000, 5000, 6000))
    answer, patient = Heard(tone(0.3, 7000)), Heard(tone(0.1, 8000))
    studio.player.play(alone)
    assert alone.over.wait(5)
    assert alone.fractions[-1] == 1.0
    answer.may = Verdict.WAIT
    studio.player.play(answer)
    studio.player.play(behind)
    answer.may = Verdict.PLAY
    assert behind.over.wait(5)
    assert behind.reasons == [""], "one is in the air"
    studio.player.play(patient)
    assert patient.over.wait(5)
    answer.may = Verdict.WAIT
    for clip in (answer, before, last):
        studio.player.play(clip)
    answer.may = Verdict.DROP
    assert last.over.wait(5)
    assert before.reasons == [""], "one is behind it already"
    sound = np.concatenate([tone(0.1, 3000), tone(0.3, 7000), tone(0.1, 8000), tone(0.1, 6000)])
    heard = studio.recorded()
    assert (heard[heard != 0] == sound).all()


class Doorman:
    """A card's speaker that knows when it is opened and closed."""

    def __init__(self, folder: Path) -> None:
        self.events: list[str] = []
        self._side = CardSpeakerSide("", RATE_HZ, 1.0)
        self._side.start(time.monotonic())
        self._door = Door(folder / "speaker.sock", self._serve)
        self.name = f"{CARD_PREFIX}{folder / 'speaker.sock'}"

    def _serve(self, link: socket.socket) -> None:
        self.events.append("opened")
        self._side.serve(link)
        self.events.append("closed")

    def close(self) -> None:
        self._door.close()
        self._side.close()


@pytest.fixture
def doorman(tmp_path: Path) -> Iterator[Doorman]:
    doorman = Doorman(tmp_path)
    yield doorman
    doorman.close()


def test_the_speaker_is_open_before_it_is_needed(doorman: Doorman) -> None:
    """It is waited for while nobody waits: a clip is there, and may not be heard yet."""
    player = Player(doorman.name, RATE_HZ)
    assert doorman.events == []
    clip = Heard()
    clip.may = Verdict.WAIT
    player.play(clip)
    until(lambda: doorman.events == ["opened"])
    clip.may = Verdict.DROP
    assert clip.over.wait(5)


def test_the_speaker_is_closed_when_there_is_nothing_to_say(doorman: Doorman) -> None:
    player = Player(doorman.name, RATE_HZ, idle_s=0.03)
    silent = Heard()
    player.play(silent)
    until(lambda: doorman.events == ["opened"])
    silent.sound.add(tone(0.1))
    assert not silent.over.wait(0.3), "it is waited for, however long it takes"
    assert doorman.events == ["opened"]
    silent.sound.end()
    until(lambda: doorman.events == ["opened", "closed"])
    again = Heard(tone(0.1))
    player.play(again)
    until(lambda: doorman.events == ["opened", "closed"] * 2)
    for clip in (silent, again):
        assert clip.fractions[-1] == 1.0
        assert not clip.reasons


def test_an_empty_clip_is_heard_at_once(studio: Studio) -> None:
    clip = Heard(np.zeros(0, np.int16))
    studio.player.play(clip)
    assert clip.over.wait(5)
    assert clip.fractions == [1.0]


def test_the_volume_changes_in_mid_clip(studio: Studio) -> None:
    """Within what the speaker has ahead, to the very gain, and without a jump between two samples."""
    clip = Heard(tone(1.0, 20_000))
    studio.player.play(clip)
    until(lambda: bool(clip.started_at_s))
    clip.loud = 0.5
    changed_s = time.monotonic()
    assert clip.over.wait(5)
    heard = studio.recorded().astype(np.int32)
    assert len(heard) == RATE_HZ
    assert (heard[0], heard[-1]) == (20_000, round(20_000 * gain(0.5)))
    assert np.abs(np.diff(heard)).max() <= 20_000 / (FULL_FADE_S * RATE_HZ) + 1
    reached_s = clip.started_at_s[0] + np.flatnonzero(heard == heard[-1])[0] / RATE_HZ
    assert reached_s - changed_s < AHEAD_S + BLOCK_S + FULL_FADE_S + 0.03


def test_what_is_silent_is_played_all_the_same(studio: Studio) -> None:
    """Its times are told as ever: they belong to the answer, not to how loud it is."""
    clip = Heard(tone(0.2))
    clip.loud = 0.0
    studio.player.play(clip)
    assert clip.over.wait(5)
    assert len(clip.started_at_s) == 1
    assert clip.fractions[-1] == 1.0
    assert not len(studio.recorded())


def test_a_new_clip_begins_at_its_own_volume(studio: Studio) -> None:
    """Nothing is in the air that it would have to join on to."""
    for loud in (1.0, 0.5):
        clip = Heard(tone(0.1, 20_000))
        clip.loud = loud
        studio.player.play(clip)
        assert clip.over.wait(5)
    studio.card.close()
    heard = studio.recorded()
    soft = round(20_000 * gain(0.5))
    assert set(heard[heard != 0].tolist()) == {20_000, soft}


def test_a_missing_speaker_is_said_and_looked_for_again(tmp_path: Path) -> None:
    player = Player(f"card:{tmp_path / 'nowhere.sock'}", RATE_HZ)
    clips = [Heard(tone(0.1)), Heard(tone(0.1))]
    for clip in clips:
        player.play(clip)
        assert clip.over.wait(5)
        assert "card" in clip.reasons[0]


def test_why_there_is_no_speaker_is_told_and_when_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(playback, "BACK_WITHIN_S", 0.1)
    soundfile.write(tmp_path / "silence.wav", np.zeros(RATE_HZ, np.int16), RATE_HZ)
    name = f"card:{tmp_path / 'card' / 'speaker.sock'}"
    told: queue.SimpleQueue[str] = queue.SimpleQueue()
    player = Player(name, RATE_HZ, tell=told.put)
    player.find()  # of a card nothing is known before it is opened
    player.play(Heard(tone(0.1)))
    assert "card" in told.get(timeout=5)
    (tmp_path / "card").mkdir()
    card = SoundCard(str(tmp_path / "silence.wav"), "", RATE_HZ, folder=tmp_path / "card")
    assert card.speaker_name == name
    card.start()
    clip = Heard(tone(0.1))
    player.play(clip)
    assert told.get(timeout=5) == ""
    assert clip.over.wait(5)
    card.close()
    for waits in (False, True):  # a sound that does not wait says nothing: the speaker may be back at once
        assert told.empty()
        clip = Heard(tone(0.1), waits=waits)
        player.play(clip)
        assert clip.over.wait(5)
    assert "card" in told.get(timeout=5)


class Watched(Heard):
    """A clip that knows when all of it has been written: the player then asks again and again."""

    def __init__(self, pcm: npt.NDArray[np.int16]) -> None:
        super().__init__(pcm)
        self.asked = 0
        self.written = threading.Event()

    def verdict(self) -> Verdict:
        self.asked += 1
        if self.asked > 2:
            self.written.set()
        return self.may


def test_a_speaker_that_goes_away_after_the_last_write_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(playback, "BACK_WITHIN_S", 0.1)
    soundfile.write(tmp_path / "silence.wav", np.zeros(RATE_HZ, np.int16), RATE_HZ)
    # never started: what is written is not heard
    card = SoundCard(str(tmp_path / "silence.wav"), "", RATE_HZ, folder=tmp_path / "card")
    clip = Watched(tone(0.02))
    Player(card.speaker_name, RATE_HZ).play(clip)
    assert clip.written.wait(5)
    card.close()
    assert clip.over.wait(5)
    assert "card" in clip.reasons[0]


class Absent:
    """Counts how often a speaker is looked for that there never is, and has something happen meanwhile."""

    def __init__(self, error: AudioError) -> None:
        self.looks = 0
        self.then: Callable[[], None] = lambda: None
        self._error = error

    def open(self, *_: object) -> Speaker:
        self.looks += 1
        self.then()
        raise self._error


@pytest.fixture
def absent(monkeypatch: pytest.MonkeyPatch) -> Absent:
    absent = Absent(DeviceBusy("The speaker is busy."))
    monkeypatch.setattr(playback, "LOOK_EVERY_S", 0.001)
    monkeypatch.setattr(playback, "open_speaker", absent.open)
    return absent


def test_what_is_cancelled_waits_for_no_speaker(absent: Absent) -> None:
    clip = Heard(tone(0.1))

    def cancel() -> None:
        clip.may = Verdict.DROP

    absent.then = cancel
    Player("auto", RATE_HZ).play(clip)
    assert clip.over.wait(5), "it would be looked for ten seconds"
    assert clip.reasons == [""]
    assert absent.looks == 1


def test_a_speaker_is_waited_for_in_vain_once(absent: Absent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(playback, "BUSY_WITHIN_S", 0.05)
    player = Player("auto", RATE_HZ)
    looks = []
    for _ in range(3):
        clip = Heard(tone(0.1))
        player.play(clip)
        assert clip.over.wait(5)
        assert clip.reasons == ["The speaker is busy."]
        looks.append(absent.looks)
    assert looks[0] > 1
    assert [later - earlier for earlier, later in pairwise(looks)] == [1, 1]


def test_a_speaker_that_was_waited_for_in_vain_is_there_again_without_a_sound(
    doorman: Doorman, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: queue.SimpleQueue[str] = queue.SimpleQueue()
    player = Player(doorman.name, RATE_HZ, idle_s=0.03, tell=told.put)
    player.play(Heard(tone(0.1)))
    assert told.get(timeout=5) == ""
    until(lambda: doorman.events == ["opened", "closed"])
    for setting, seconds in (("BACK_WITHIN_S", 0.001), ("LOOK_EVERY_S", 0.01), ("SEEK_EVERY_S", 0.01)):
        monkeypatch.setattr(playback, setting, seconds)
    gone = Listed(doorman.name)
    monkeypatch.setattr(playback, "open_speaker", gone.open)
    player.play(Heard(tone(0.1)))
    assert told.get(timeout=5) == "The sound server has no speaker."
    while why := told.get(timeout=5):
        assert why == "The sound server has no speaker."
    until(lambda: doorman.events == ["opened", "closed"] * 2)


def test_a_speaker_that_was_busy_at_the_start_is_found_without_a_sound(
    absent: Absent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not opened for that."""
    looked_again: list[bool] = []

    def find(_name: str, look_again: bool) -> None:
        looked_again.append(look_again)
        if len(looked_again) <= 3:
            raise DeviceBusy("The speaker is busy.")

    monkeypatch.setattr(playback, "find_speaker", find)
    monkeypatch.setattr(playback, "SEEK_EVERY_S", 0.001)
    told: queue.SimpleQueue[str] = queue.SimpleQueue()
    Player("auto", RATE_HZ, tell=told.put).find()
    assert [told.get(timeout=5) for _ in range(4)] == ["The speaker is busy."] * 3 + [""]
    assert looked_again == [False, True, True, True]
    assert absent.looks == 0


class Listed:
    """A speaker that is always listed, and opens from the third time on, as `card`."""

    def __init__(self, card: str) -> None:
        self.opened = 0
        self._card = card

    def find(self, _name: str, _look_again: bool) -> None:
        pass

    def open(self, _name: str, rate_hz: int, _look_again: bool) -> Speaker:
        self.opened += 1
        if self.opened < 3:
            raise AudioError("The sound server has no speaker.")
        return open_speaker(self._card, rate_hz)


@pytest.mark.parametrize("is_sought", [True, False])
def test_a_speaker_that_is_listed_and_did_not_open_is_there_once_it_opens(
    doorman: Doorman, monkeypatch: pytest.MonkeyPatch, is_sought: bool
) -> None:
    """Without another sound; and it is closed again."""
    listed = Listed(doorman.name)
    monkeypatch.setattr(playback, "find_speaker", listed.find)
    monkeypatch.setattr(playback, "open_speaker", listed.open)
    monkeypatch.setattr(playback, "SEEK_EVERY_S", 0.001)
    told: queue.SimpleQueue[str] = queue.SimpleQueue()
    player = Player("auto", RATE_HZ, idle_s=0.03, tell=told.put)
    if is_sought:
        player.find()
    player.play(Heard(tone(0.1)))
    assert [told.get(timeout=5) for _ in range(3)] == ["The sound server has no speaker."] * 2 + [""]
    until(lambda: doorman.events == ["opened", "closed"])
    assert told.empty()
    assert listed.opened == 3
