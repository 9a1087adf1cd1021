"""The player on a real sound card made of sockets and files."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from assistant.audio.card import SoundCard
from assistant.audio.playback import Player, Verdict

RATE_HZ = 16_000


class Sound:
    """A clip that remembers what the player says of it."""

    def __init__(
        self, pcm: npt.NDArray[np.int16], heard_fraction: float = 0.0, *, waits: bool = True
    ) -> None:
        self.pcm = pcm
        self.heard_fraction = heard_fraction
        self.waits = waits
        self.may = Verdict.PLAY
        self.started_at_s: list[float] = []
        self.fractions: list[float] = []
        self.reasons: list[str] = []
        self.over = threading.Event()

    def verdict(self) -> Verdict:
        return self.may

    def started(self, at_s: float) -> None:
        self.started_at_s.append(at_s)

    def progress(self, fraction: float) -> None:
        self.fractions.append(fraction)
        if fraction >= 1.0:
            self.over.set()

    def dropped(self, reason: str) -> None:
        self.reasons.append(reason)
        self.over.set()


class Studio:
    """A player, its card, and the file that the card writes."""

    def __init__(self, folder: Path) -> None:
        soundfile.write(folder / "silence.wav", np.zeros(RATE_HZ, np.int16), RATE_HZ)
        self._file = folder / "out.wav"
        self.card = SoundCard(str(folder / "silence.wav"), str(self._file), RATE_HZ, folder=folder / "card")
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


def test_clips_follow_each_other_without_a_gap(studio: Studio) -> None:
    clips = [Sound(tone(0.2, 3000)), Sound(tone(0.1, 4000)), Sound(tone(0.2, 5000))]
    for clip in clips:
        studio.player.play(clip)
    assert all(clip.over.wait(5) for clip in clips)
    assert (studio.recorded() == np.concatenate([clip.pcm for clip in clips])).all()
    assert all(clip.fractions[-1] == 1.0 and not clip.reasons for clip in clips)


def test_the_first_audible_sample_has_its_time(studio: Studio) -> None:
    clip = Sound(np.concatenate([np.zeros(RATE_HZ // 5, np.int16), tone(0.1)]))
    before_s = time.monotonic()
    studio.player.play(clip)
    assert clip.over.wait(5)
    assert len(clip.started_at_s) == 1
    assert before_s + 0.2 <= clip.started_at_s[0] <= time.monotonic() - 0.1


def test_what_was_heard_of_a_clip_is_not_heard_again(studio: Studio) -> None:
    clip = Sound(np.concatenate([tone(0.3, 3000), tone(0.3, 4000)]), heard_fraction=0.5)
    studio.player.play(clip)
    assert clip.over.wait(5)
    assert (studio.recorded() == tone(0.3, 4000)).all()
    assert len(clip.started_at_s) == 1
    assert all(fraction > 0.5 for fraction in clip.fractions)


def test_a_cancelled_clip_is_silent_within_a_tenth_of_a_second(studio: Studio) -> None:
    clip, waiting = Sound(tone(3)), Sound(tone(3))
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
    clip = Sound(tone(0.1))
    clip.may = Verdict.WAIT
    studio.player.play(clip)
    assert not clip.over.wait(0.2)
    clip.may = Verdict.PLAY
    assert clip.over.wait(5)
    assert len(studio.recorded()) == len(clip.pcm)


def test_a_clip_that_does_not_wait_is_heard_at_once_or_not_at_all(studio: Studio) -> None:
    alone, behind, before, last = (Sound(tone(0.1, value), waits=False) for value in (3000, 4000, 5000, 6000))
    answer, patient = Sound(tone(0.3, 7000)), Sound(tone(0.1, 8000))
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
    sound = np.concatenate([clip.pcm for clip in (alone, answer, patient, last)])
    heard = studio.recorded()
    assert (heard[heard != 0] == sound).all()


def test_an_empty_clip_is_heard_at_once(studio: Studio) -> None:
    clip = Sound(np.zeros(0, np.int16))
    studio.player.play(clip)
    assert clip.over.wait(5)
    assert clip.fractions == [1.0]


def test_a_missing_speaker_is_said_and_looked_for_again(tmp_path: Path) -> None:
    player = Player(f"card:{tmp_path / 'nowhere.sock'}", RATE_HZ)
    clips = [Sound(tone(0.1)), Sound(tone(0.1))]
    for clip in clips:
        player.play(clip)
        assert clip.over.wait(5)
        assert "card" in clip.reasons[0]


class Watched(Sound):
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


def test_a_speaker_that_goes_away_after_the_last_write_is_said(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silence.wav", np.zeros(RATE_HZ, np.int16), RATE_HZ)
    # never started: what is written is not heard
    card = SoundCard(str(tmp_path / "silence.wav"), "", RATE_HZ, folder=tmp_path / "card")
    clip = Watched(tone(0.02))
    Player(card.speaker_name, RATE_HZ).play(clip)
    assert clip.written.wait(5)
    card.close()
    assert clip.over.wait(5)
    assert clip.reasons == ["The sound card went away; was its command ended?"]
