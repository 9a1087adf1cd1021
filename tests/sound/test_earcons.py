"""Earcons as sound: level, length, no clicks, and which is which."""

from __future__ import annotations

import itertools
from typing import get_args

import numpy as np
import numpy.typing as npt
import pytest

from assistant.audio.earcons import NOTES, PEAK_DBFS, duration_ms, earcon
from assistant.messages import Earcon

RATES_HZ = (16_000, 22_050, 44_100, 48_000)
NAMES: tuple[Earcon, ...] = get_args(Earcon)
Int16 = npt.NDArray[np.int16]
Floats = npt.NDArray[np.float64]


def power(sound: Int16, rate_hz: int) -> tuple[Floats, Floats]:
    """Frequencies in Hz, and the power at each."""
    frequencies: Floats = np.fft.rfftfreq(len(sound), 1 / rate_hz).astype(np.float64)
    powers: Floats = np.abs(np.fft.rfft(sound.astype(np.float64))) ** 2
    return frequencies, powers


def pitch_hz(sound: Int16, rate_hz: int) -> float:
    frequencies, powers = power(sound, rate_hz)
    return float(frequencies[np.argmax(powers)])


def test_each_state_has_one() -> None:
    assert set(NOTES) == set(NAMES)


@pytest.mark.parametrize("rate_hz", RATES_HZ)
@pytest.mark.parametrize("name", NAMES)
def test_level_and_length(name: Earcon, rate_hz: int) -> None:
    sound = earcon(name, rate_hz)
    assert sound.dtype == np.int16
    assert 80 <= duration_ms(name) <= 350
    assert len(sound) == duration_ms(name) * rate_hz // 1000
    assert 20 * np.log10(np.abs(sound).max() / 32_767) == pytest.approx(PEAK_DBFS, abs=0.1)


@pytest.mark.parametrize("rate_hz", RATES_HZ)
@pytest.mark.parametrize("name", NAMES)
def test_nothing_clicks(name: Earcon, rate_hz: int) -> None:
    """A click is a jump, which sounds at all frequencies; the notes end below 2.5 kHz."""
    sound = earcon(name, rate_hz)
    frequencies, powers = power(np.pad(sound, rate_hz // 100), rate_hz)
    assert powers[frequencies > 5_000].sum() < 1e-6 * powers.sum()


def test_ready_and_listening_rise_and_error_falls() -> None:
    for name in NAMES:
        sound = earcon(name, 16_000)
        third = len(sound) // 3
        steps = pitch_hz(sound[-third:], 16_000) / pitch_hz(sound[:third], 16_000)
        if name == "thinking":
            assert steps == pytest.approx(1, abs=0.1)
        else:
            assert (steps < 0.8) if name == "error" else (steps > 1.2), name


@pytest.mark.parametrize(("one", "other"), [*itertools.combinations(NAMES, 2)])
def test_no_two_are_alike(one: Earcon, other: Earcon) -> None:
    """However they are shifted."""
    first, second = (earcon(name, 16_000).astype(float) for name in (one, other))
    likeness = np.abs(np.correlate(first, second, "full")).max()
    assert likeness < 0.5 * np.linalg.norm(first) * np.linalg.norm(second)
