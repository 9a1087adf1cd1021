"""A quiet voice is made louder, and nothing else."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import soxr
from hypothesis import given
from hypothesis import strategies as st

from assistant.audio.formats import FRAME_SAMPLES, RATE_HZ
from assistant.audio.gain import FRAMES_PER_S, MOST_DB, AutoGain, GainControl
from assistant.config import Vad
from assistant.engines.voice import VoiceDetector

NONSPEECH = Path(__file__).parents[1] / "audio" / "nonspeech"

Int16 = npt.NDArray[np.int16]
FULL_SCALE = 32_768


QUIET_ROOM_DBFS = -70.0


def talk(speech_dbfs: float, noise_dbfs: float, seconds: float) -> list[tuple[float, bool]]:
    """The levels of frames, and which are voiced: half a second of noise, half one of speech, and so on."""
    frames = range(int(seconds * FRAMES_PER_S))
    voiced = [frame % FRAMES_PER_S >= FRAMES_PER_S // 2 for frame in frames]
    return [(speech_dbfs if is_voiced else noise_dbfs, is_voiced) for is_voiced in voiced]


def gains(control: GainControl, frames: list[tuple[float, bool]], noise_dbfs: float) -> list[float]:
    found = []
    for level_dbfs, voiced in frames:
        found.append(control.duck(level_dbfs))
        control.learn(level_dbfs, voiced, noise_dbfs)
    return found


@pytest.mark.parametrize(
    ("speech_dbfs", "noise_dbfs", "gain_db"),
    [
        (-20.0, -60.0, 0.0),
        (-26.0, -60.0, 0.0),
        (-40.0, -75.0, 14.0),
        (-55.0, -90.0, MOST_DB),
        (-40.0, -54.0, 8.0),  # its noise comes up to -46 dBFS
        (-40.0, -44.0, 0.0),  # hardly above the noise
    ],
)
def test_how_much(speech_dbfs: float, noise_dbfs: float, gain_db: float) -> None:
    frames = talk(speech_dbfs, noise_dbfs, 40)
    assert gains(GainControl(), frames, noise_dbfs)[-1] == pytest.approx(gain_db, abs=0.7)


def test_it_rises_slowly_and_only_while_somebody_speaks() -> None:
    found = gains(GainControl(), talk(-45.0, -80.0, 4), QUIET_ROOM_DBFS)
    assert max(np.diff(found)) <= 3 / FRAMES_PER_S + 1e-9
    assert found[FRAMES_PER_S // 2 - 1] == 0.0
    before_pause, after_pause = found[2 * FRAMES_PER_S], found[2 * FRAMES_PER_S + 24]
    assert before_pause == after_pause > 1.0


@given(st.lists(st.floats(-100, 0), max_size=300), st.lists(st.floats(-100, 0), max_size=300))
def test_what_is_no_voice_turns_nothing_up(before: list[float], behind: list[float]) -> None:
    """Neither a silent room nor keys that come far above it, before somebody has spoken and behind it."""
    control = GainControl()
    assert not any(gains(control, [(level, False) for level in before], QUIET_ROOM_DBFS))
    spoken_db = max(gains(control, talk(-45.0, -80.0, 4), QUIET_ROOM_DBFS))
    heard = gains(control, [(level, False) for level in behind], QUIET_ROOM_DBFS)
    assert max(heard, default=0.0) <= spoken_db + 3 / FRAMES_PER_S


@pytest.mark.parametrize("taken_for_a_voice", [False, True])
def test_a_door_that_slams_ducks_it_for_a_moment(taken_for_a_voice: bool) -> None:
    control = GainControl()
    before = gains(control, talk(-50.0, -80.0, 40), QUIET_ROOM_DBFS)[-1]
    slam = gains(control, [(-8.0, taken_for_a_voice)] * 20, QUIET_ROOM_DBFS)
    assert slam[-1] == pytest.approx(0.0, abs=0.1)
    behind = gains(control, talk(-50.0, -80.0, 2), QUIET_ROOM_DBFS)
    assert before > 23
    assert behind[3 * FRAMES_PER_S // 2] > before - (12 if taken_for_a_voice else 1)


def test_a_loud_voice_that_goes_on_keeps_it_low() -> None:
    control = GainControl()
    gains(control, talk(-50.0, -80.0, 40), QUIET_ROOM_DBFS)
    gains(control, talk(-15.0, -80.0, 10), QUIET_ROOM_DBFS)
    assert set(gains(control, [(-80.0, False)] * 100, QUIET_ROOM_DBFS)) == {0.0}


@given(st.lists(st.tuples(st.floats(-100, 0), st.booleans()), max_size=600), st.floats(-70, 0))
def test_whatever_is_heard_it_stays_within_limits(
    frames: list[tuple[float, bool]], noise_dbfs: float
) -> None:
    found = [0.0, *gains(GainControl(), frames, noise_dbfs)]
    assert all(0.0 <= gain <= MOST_DB for gain in found)
    steps = np.diff(found)
    assert (steps <= 23 / FRAMES_PER_S + 1e-9).all()
    assert (steps >= -66 / FRAMES_PER_S - 1e-9).all()


def tone(rms_dbfs: float, seconds: float) -> Int16:
    at_s = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    wave = FULL_SCALE * 10 ** (rms_dbfs / 20) * math.sqrt(2) * np.sin(2 * np.pi * 300 * at_s)
    return np.clip(np.rint(wave), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)


def amplified(gain: AutoGain, sound: Int16) -> Int16:
    """All that is not silent is a voice."""
    heard = []
    for frame in np.split(sound, len(sound) // FRAME_SAMPLES):
        heard.append(gain.feed(frame.tobytes()))
        gain.learn(bool(frame.any()), QUIET_ROOM_DBFS)
    return np.frombuffer(b"".join(heard), np.int16)


def quiet_talk(seconds: int) -> Int16:
    return np.concatenate([np.zeros(RATE_HZ // 2, np.int16), tone(-45.0, 0.5)] * seconds)


def test_a_quiet_voice_becomes_a_usual_one() -> None:
    heard = amplified(AutoGain(), quiet_talk(20))
    last = heard[-RATE_HZ // 4 :].astype(float)
    assert 20 * math.log10(math.sqrt(np.mean(last**2)) / FULL_SCALE) == pytest.approx(-26.0, abs=0.5)


def test_a_loud_voice_comes_through_bit_for_bit() -> None:
    sound = np.concatenate([np.zeros(RATE_HZ, np.int16), tone(-20.0, 2.0)])
    assert np.array_equal(amplified(AutoGain(), sound), sound)


def test_a_voice_that_is_suddenly_loud_is_bent_not_cut() -> None:
    gain = AutoGain()
    amplified(gain, quiet_talk(20))
    assert gain.gain_db > 15
    sound = tone(-9.0, 0.4)
    heard = amplified(gain, sound)
    assert np.abs(heard.astype(int)).max() < FULL_SCALE - 1, "nothing is at the limit"
    assert (np.sign(heard) == np.sign(sound)).all()
    assert gain.gain_db == 0.0


@pytest.mark.parametrize("name", ["clicks", "music"])
def test_what_the_detector_knows_for_no_voice_turns_nothing_up(name: str) -> None:
    gain, detector = AutoGain(), VoiceDetector(Vad())
    samples, rate_hz = soundfile.read(NONSPEECH / f"{name}.wav", always_2d=True)
    noise = np.tile(soxr.resample(samples.mean(axis=1), rate_hz, RATE_HZ), 5)
    noise *= 10 ** (-46 / 20) / math.sqrt(np.mean(noise**2))
    pcm = np.rint(noise * FULL_SCALE).astype(np.int16)
    for frame in pcm[: len(pcm) // FRAME_SAMPLES * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES):
        louder = gain.feed(frame.tobytes())
        gain.learn(detector.hear(louder, gain.gain_db).voiced, detector.noise_dbfs)
    assert gain.gain_db < 1.0
