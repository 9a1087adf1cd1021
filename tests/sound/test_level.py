"""How loud a microphone is, against numpy and against what a sine is by definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.audio.formats import FRAME_SAMPLES, RATE_HZ
from assistant.audio.level import FRAMES, FULL_SCALE, SILENCE_DBFS, LevelMeter, dbfs
from assistant.messages import MicrophoneLevel


def levels(samples: list[int], seconds: int = 1, first: int = 0) -> list[MicrophoneLevel]:
    """Those of a sound that repeats `samples`; it begins `first` samples into the stream."""
    sound = np.resize(np.array(samples, np.int16), seconds * RATE_HZ)
    meter = LevelMeter()
    found = []
    for frame in np.split(sound, seconds * FRAMES):
        first += FRAME_SAMPLES
        if (level := meter.feed(frame.tobytes(), first, first / RATE_HZ)) is not None:
            found.append(level)
    return found


SINE = [round(16_384 * math.sin(2 * math.pi * n / 160)) for n in range(160)]


@pytest.mark.parametrize(
    ("samples", "rms_dbfs", "peak_dbfs"),
    [
        ([0], SILENCE_DBFS, SILENCE_DBFS),
        ([-32_768], 0.0, 0.0),
        ([32_767, -32_767], 0.0, 0.0),
        ([1], -90.3, -90.3),
        (SINE, -9.03, -6.02),
        ([3_277] + [0] * 15_999, -62.04, -20.0),
    ],
)
def test_a_second(samples: list[int], rms_dbfs: float, peak_dbfs: float) -> None:
    (level,) = levels(samples)
    assert level.rms_dbfs == pytest.approx(rms_dbfs, abs=0.01)
    assert level.peak_dbfs == pytest.approx(peak_dbfs, abs=0.01)
    assert (level.frames, level.lost_frames, level.at_s) == (FRAMES, 0, 1.0)


@given(st.lists(st.integers(-32_768, 32_767), min_size=1, max_size=700))
def test_any_sound(samples: list[int]) -> None:
    (level,) = levels(samples)
    sound = np.resize(np.array(samples, float), RATE_HZ)
    assert level.rms_dbfs == pytest.approx(dbfs(math.sqrt(np.mean(sound**2))), abs=1e-6)
    assert level.peak_dbfs == pytest.approx(dbfs(np.abs(sound).max()), abs=1e-6)
    assert SILENCE_DBFS <= level.rms_dbfs <= level.peak_dbfs + 1e-6


def test_each_second_counts_anew() -> None:
    loud_then_silent = [8_192] * RATE_HZ + [0] * 2 * RATE_HZ
    found = levels(loud_then_silent, seconds=3, first=5 * RATE_HZ)
    assert [level.peak_dbfs for level in found] == [pytest.approx(-12.04, abs=0.01), *[SILENCE_DBFS] * 2]
    assert [level.at_s for level in found] == [6.0, 7.0, 8.0]
    assert [level.lost_frames for level in found] == [0, 0, 0]


def test_what_is_missing_between_two_frames_is_counted_once() -> None:
    meter = LevelMeter()
    position = 0
    found = []
    for number in range(2 * FRAMES):
        position += FRAME_SAMPLES * (8 if number == 10 else 1)
        if (level := meter.feed(bytes(2 * FRAME_SAMPLES), position, 0.0)) is not None:
            found.append((level.frames, level.lost_frames))
    assert found == [(FRAMES, 7), (FRAMES, 0)]


def test_full_scale() -> None:
    assert [dbfs(FULL_SCALE), dbfs(0.0), dbfs(1e-9)] == [0.0, SILENCE_DBFS, SILENCE_DBFS]
