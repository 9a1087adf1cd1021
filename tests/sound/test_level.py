"""How loud a microphone is, against numpy and against what a sine is by definition."""

from __future__ import annotations

import math
import typing

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.audio.formats import FRAME_SAMPLES, RATE_HZ
from assistant.audio.level import FRAMES, FULL_SCALE, SILENCE_DBFS, TROUBLES, LevelMeter, dbfs, measure
from assistant.messages import InputTrouble, MicrophoneLevel


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


Float64 = npt.NDArray[np.float64]
AT_S = np.arange(RATE_HZ) / RATE_HZ
RNG = np.random.default_rng(5)


def noise(rms_dbfs: float) -> Float64:
    return RNG.normal(0, FULL_SCALE * 10 ** (rms_dbfs / 20), RATE_HZ)


def tone(hz: float, rms_dbfs: float) -> Float64:
    return FULL_SCALE * 10 ** (rms_dbfs / 20) * math.sqrt(2) * np.sin(2 * np.pi * hz * AT_S)


def speech(rms_dbfs: float) -> Float64:
    """A second with something in it that comes and goes, over a floor 40 dB below."""
    return noise(rms_dbfs) * (np.sin(2 * np.pi * 2 * AT_S) > 0) + noise(rms_dbfs - 40)


def troubles(seconds: list[Float64], gain_db: float = 0.0, listens: bool = True) -> list[InputTrouble | None]:
    """What is told of each second of the sound."""
    meter = LevelMeter()
    sound = np.clip(np.concatenate(seconds), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)
    found = []
    for number, frame in enumerate(np.split(sound, len(seconds) * FRAMES), 1):
        at_s = number / FRAMES
        if level := meter.feed(frame.tobytes(), number * FRAME_SAMPLES, at_s, gain_db, listens):
            found.append(level.trouble)
    return found


@pytest.mark.parametrize("hz", [50, 60, 100, 120, 150, 180])
def test_hum_is_measured_as_loud_as_it_is(hz: int) -> None:
    hum = tone(hz, -40.0)
    # taking samples together makes 180 Hz 0.7 dB fainter
    assert measure(hum.astype(int).tolist()).hum_dbfs == pytest.approx(-40.0, abs=0.8)


def test_a_mean_is_not_taken_for_sound() -> None:
    second = measure((tone(440, -40.0) + 3_277).astype(int).tolist())
    assert second.mean_dbfs == pytest.approx(-20.0, abs=0.01)
    assert second.swing_dbfs == pytest.approx(-40.0, abs=0.02)
    assert second.loudest_dbfs == pytest.approx(-40.0, abs=0.05)
    assert second.rms_dbfs == pytest.approx(-19.96, abs=0.02)


QUIET_ROOM = noise(-70)
OFF_CENTRE = noise(-60) + 1_500
HUM = tone(50, -52) + tone(150, -58) + noise(-65)
LOUD = 5 * speech(-12)


@pytest.mark.parametrize(
    ("seconds", "gain_db", "found", "after_s"),
    [
        ([QUIET_ROOM] * 70, 0, None, 0),
        ([QUIET_ROOM] * 50 + [speech(-30)] * 20, 0, None, 0),
        # muted for a moment, or for longer
        ([QUIET_ROOM] * 5 + [0 * AT_S] * 9 + [QUIET_ROOM], 0, None, 0),
        ([QUIET_ROOM] * 5 + [0 * AT_S] * 10, 0, "silent", 15),
        ([0 * AT_S + 7] * 10, 0, "silent", 10),
        ([OFF_CENTRE] * 9 + [QUIET_ROOM], 0, None, 0),
        ([OFF_CENTRE] * 10, 0, "offset", 10),
        ([QUIET_ROOM, LOUD] * 2 + [QUIET_ROOM] * 60, 0, None, 0),
        ([QUIET_ROOM, LOUD] * 3, 0, "clipping", 6),
        # hum between sentences; a low note that is held; one voice's pitch
        ([HUM, HUM, speech(-30) + HUM] * 7, 0, "hum", 14),
        ([tone(60, -50) + noise(-70)] * 10, 0, "hum", 10),
        ([tone(55, -30) + noise(-70)] * 60, 0, None, 0),
        ([tone(50, -66) + noise(-75)] * 60, 0, None, 0),
        ([QUIET_ROOM] * 55 + [speech(-50)] * 5, 0, "quiet", 60),
        ([QUIET_ROOM] * 55 + [speech(-50)] * 5, 12, None, 0),
        ([QUIET_ROOM] * 56 + [speech(-50)] * 4, 0, None, 0),
        ([QUIET_ROOM] * 54 + [speech(-50)] * 5 + [speech(-30)], 0, None, 0),
        ([noise(-90)] * 60, 0, "quiet", 60),
    ],
)
def test_what_is_wrong_is_told_when_it_has_lasted(
    seconds: list[Float64], gain_db: float, found: InputTrouble | None, after_s: int
) -> None:
    told = troubles(seconds, gain_db)
    assert set(told) == {None, found}
    if found:
        assert told.index(found) + 1 == after_s


def test_what_is_mended_is_forgotten() -> None:
    told = troubles([LOUD] * 3 + [QUIET_ROOM] * 60)
    assert told[2:60] == ["clipping"] * 58
    assert told[-1] is None


def test_its_own_voice_says_nothing_of_the_microphone() -> None:
    assert set(troubles([LOUD] * 10, listens=False)) == {None}


def test_each_trouble_has_a_sentence() -> None:
    assert list(TROUBLES) == list(typing.get_args(InputTrouble))
