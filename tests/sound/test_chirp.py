"""The chirp is found in any room, and its figures are those of the room that was made."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistant.audio.chirp import (
    CHIRP_S,
    HIGHEST_HZ,
    LEAD_S,
    LONGEST_DELAY_S,
    LOWEST_HZ,
    PEAK_DBFS,
    TAIL_S,
    Figures,
    chirp,
    measure,
)
from assistant.audio.formats import RATE_HZ
from assistant.audio.level import FULL_SCALE, dbfs

Floats = npt.NDArray[np.float64]

CHIRP_AT = int(LEAD_S * RATE_HZ)
SAMPLES = CHIRP_AT + int((CHIRP_S + LONGEST_DELAY_S + TAIL_S) * RATE_HZ)
SILENCE = np.zeros(SAMPLES)


def rms(sound: Floats) -> float:
    return float(np.sqrt(np.mean(sound**2)))


CHIRP_DBFS = dbfs(rms(chirp().astype(float)))


def echo(delay_ms: float, loss_db: float, sign: int = 1) -> Floats:
    sound = SILENCE.copy()
    start = CHIRP_AT + round(delay_ms * RATE_HZ / 1000)
    sound[start : start + len(chirp())] = sign * chirp() * 10 ** (-loss_db / 20)
    return sound


def noise(level_dbfs: float, seed: int = 1) -> Floats:
    """White noise, whose level counts in the chirp's band."""
    share = (HIGHEST_HZ - LOWEST_HZ) / (RATE_HZ / 2)
    deviation = FULL_SCALE * 10 ** (level_dbfs / 20) / math.sqrt(share)
    return np.random.default_rng(seed).normal(0, deviation, SAMPLES)


def measured(sound: Floats) -> Figures:
    return measure(np.clip(np.rint(sound), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16), CHIRP_AT)


def test_the_chirp_is_moderate_and_without_clicks() -> None:
    sound = chirp().astype(float)
    assert dbfs(np.abs(sound).max()) == pytest.approx(PEAK_DBFS, abs=0.1)
    assert len(sound) == CHIRP_S * RATE_HZ
    assert (sound[0], sound[-1]) == (0, 0)
    assert abs(sound.mean()) < 10
    spectrum = np.abs(np.fft.rfft(sound)) ** 2  # a bin a hertz
    assert spectrum[LOWEST_HZ:HIGHEST_HZ].sum() > 0.98 * spectrum.sum()


@settings(deadline=None, max_examples=40)
@given(
    delay_ms=st.floats(0, 500),
    loss_db=st.floats(0, 40),
    snr_db=st.floats(10, 60),
    sign=st.sampled_from([1, -1]),
    seed=st.integers(0, 1000),
)
def test_delay_loss_and_noise_are_measured(
    delay_ms: float, loss_db: float, snr_db: float, sign: int, seed: int
) -> None:
    level_dbfs = CHIRP_DBFS - loss_db
    noise_dbfs = max(level_dbfs - snr_db, -85)  # 16 bits hold no less
    found = measured(echo(delay_ms, loss_db, sign) + noise(noise_dbfs, seed)).echo
    assert found is not None
    assert found.delay_ms == pytest.approx(delay_ms, abs=0.1)
    assert found.loss_db == pytest.approx(loss_db, abs=0.5)
    assert found.level_dbfs == pytest.approx(level_dbfs, abs=0.5)
    assert found.snr_db == pytest.approx(level_dbfs - noise_dbfs, abs=1)


@pytest.mark.parametrize("delay_ms", [-80, 0, 120, 990])
def test_a_chirp_far_below_the_noise_is_heard(delay_ms: float) -> None:
    found = measured(echo(delay_ms, 30) + noise(CHIRP_DBFS - 15)).echo
    assert found is not None
    assert found.delay_ms == pytest.approx(delay_ms, abs=0.2)
    assert found.loss_db == pytest.approx(30, abs=3)
    assert found.snr_db == pytest.approx(-15, abs=3)


def test_a_room_that_reverberates_gives_back_more_than_the_direct_sound() -> None:
    """Ten echoes of the direct sound, 3 dB softer in all, and later than it."""
    late = sum(echo(40 + 17 * number, 20 + 3 + 10) for number in range(10))
    found = measured(echo(40, 20) + late + noise(-70)).echo
    assert found is not None
    assert found.delay_ms == pytest.approx(40, abs=0.2)
    assert 16 < found.loss_db < 20


def test_a_clock_that_runs_a_little_faster_hears_it_too() -> None:
    """Speaker and microphone have a clock each; 100 ppm between them is much."""
    sound = echo(100, 20)
    skewed = np.interp(np.arange(SAMPLES) * (1 + 100e-6), np.arange(SAMPLES), sound)
    found = measured(skewed + noise(-70)).echo
    assert found is not None
    assert found.delay_ms == pytest.approx(100, abs=2)
    assert found.loss_db == pytest.approx(20, abs=1)


def mains(hz: int, level_dbfs: float) -> Floats:
    at_s = np.arange(SAMPLES) / RATE_HZ
    tone = np.sin(2 * np.pi * hz * at_s) + 0.5 * np.sin(2 * np.pi * 3 * hz * at_s)
    return np.asarray(tone * FULL_SCALE * 10 ** (level_dbfs / 20) / rms(tone))


def speech() -> Floats:
    """Syllables, roughly: harmonics of a voice that glides, four bursts a second."""
    at_s = np.arange(SAMPLES) / RATE_HZ
    phase = 2 * np.pi * np.cumsum(120 + 30 * np.sin(2 * np.pi * 0.7 * at_s)) / RATE_HZ
    voice = sum(np.sin(number * phase) / number for number in range(1, 30))
    return np.asarray(3_000 * voice * np.maximum(np.sin(2 * np.pi * 4 * at_s), 0))


@pytest.mark.parametrize(
    "sound",
    [
        SILENCE,
        *(noise(-30, seed) for seed in range(20)),
        mains(50, -20),
        mains(60, -6),
        mains(60, -6) + noise(-80),
        speech(),
        SILENCE + 99,
    ],
)
def test_what_is_no_chirp_is_not_taken_for_one(sound: Floats) -> None:
    assert measured(sound).echo is None


def test_what_else_a_recording_shows() -> None:
    plain = measured(echo(50, 20) + noise(-60))
    assert plain.noise_dbfs == pytest.approx(-60 + 1.4, abs=0.3)  # all of the noise, not the band's alone
    assert plain.hum_share < 0.05
    assert plain.clipped_share == 0
    assert abs(plain.dc_share) < 0.001
    assert plain.peak_dbfs == pytest.approx(PEAK_DBFS - 20, abs=1.5)
    for hz in (50, 60):
        humming = measured(echo(50, 20) + noise(-70) + mains(hz, -40))
        assert humming.hum_share > 0.9
        assert humming.noise_dbfs == pytest.approx(-40, abs=0.3)
        assert humming.echo is not None  # measured in the chirp's band
        assert humming.echo.loss_db == pytest.approx(20, abs=0.5)
    shifted = measured(echo(50, 20) + noise(-60) + 0.06 * FULL_SCALE)
    assert shifted.dc_share == pytest.approx(0.06, abs=0.001)
    assert shifted.noise_dbfs == pytest.approx(plain.noise_dbfs, abs=0.1)
    clipping = measured(echo(50, -20))
    assert 0.1 < clipping.clipped_share < 0.5
    assert clipping.peak_dbfs == pytest.approx(0, abs=0.01)
    assert (measured(SILENCE).peak_dbfs, measured(SILENCE).noise_dbfs) == (-100, -100)
