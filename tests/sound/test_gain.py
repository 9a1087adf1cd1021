"""A quiet voice is made louder, and nothing else."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.audio.formats import FRAME_SAMPLES, RATE_HZ
from assistant.audio.gain import FRAMES_PER_S, MOST_DB, AutoGain, GainControl

Int16 = npt.NDArray[np.int16]
FULL_SCALE = 32_768


def talk(speech_dbfs: float, noise_dbfs: float, seconds: float) -> list[float]:
    """The levels of frames: half a second of speech, half a second of noise, and so on."""
    frames = range(int(seconds * FRAMES_PER_S))
    return [speech_dbfs if frame % FRAMES_PER_S >= FRAMES_PER_S // 2 else noise_dbfs for frame in frames]


@pytest.mark.parametrize(
    ("speech_dbfs", "noise_dbfs", "gain_db"),
    [
        (-20.0, -60.0, 0.0),
        (-26.0, -60.0, 0.0),
        (-40.0, -75.0, 14.0),
        (-55.0, -90.0, MOST_DB),
        (-40.0, -58.0, 8.0),  # its noise comes up to -50 dBFS
        (-40.0, -48.0, 0.0),  # hardly above the noise
        (-62.0, -90.0, 0.0),  # not said to the assistant
    ],
)
def test_how_much(speech_dbfs: float, noise_dbfs: float, gain_db: float) -> None:
    control = GainControl()
    for level in talk(speech_dbfs, noise_dbfs, 40):
        control.feed(level)
    assert control.gain_db == pytest.approx(gain_db, abs=0.7)


def test_it_rises_slowly_and_only_while_somebody_speaks() -> None:
    control = GainControl()
    gains = [control.feed(level) for level in talk(-45.0, -80.0, 4)]
    assert max(np.diff(gains)) <= 3 / FRAMES_PER_S + 1e-9
    assert gains[FRAMES_PER_S // 2 - 1] == 0.0
    before_pause, after_pause = gains[2 * FRAMES_PER_S - 1], gains[2 * FRAMES_PER_S + 24]
    assert before_pause == after_pause > 1.0


def test_a_silent_room_is_never_turned_up() -> None:
    control = GainControl()
    assert {control.feed(level) for level in [-80.0, -78.0, -79.0] * 5_000} == {0.0}


def test_the_noise_behind_digital_silence_is_not_taken_for_speech() -> None:
    control = GainControl()
    assert {control.feed(level) for level in [-100.0] * 100 + [-50.0, -51.0] * 1_000} == {0.0}


@given(st.lists(st.floats(-100, 0), max_size=600))
def test_whatever_is_heard_it_stays_within_limits(levels: list[float]) -> None:
    control = GainControl()
    gains = [0.0, *(control.feed(level) for level in levels)]
    assert all(0.0 <= gain <= MOST_DB for gain in gains)
    steps = np.diff(gains)
    assert (steps <= 3 / FRAMES_PER_S + 1e-9).all()
    assert (steps >= -60 / FRAMES_PER_S - 1e-9).all()


def tone(rms_dbfs: float, seconds: float) -> Int16:
    at_s = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    wave = FULL_SCALE * 10 ** (rms_dbfs / 20) * math.sqrt(2) * np.sin(2 * np.pi * 300 * at_s)
    return np.clip(np.rint(wave), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)


def amplified(gain: AutoGain, sound: Int16) -> Int16:
    frames = np.split(sound, len(sound) // FRAME_SAMPLES)
    return np.frombuffer(b"".join(gain.feed(frame.tobytes()) for frame in frames), np.int16)


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
