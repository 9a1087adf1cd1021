"""The taper, and changing the volume without a click."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from assistant.audio.volume import FULL_FADE_S, Fader, gain

RATE_HZ = 16_000
FADE = round(FULL_FADE_S * RATE_HZ)
VOLUMES = st.floats(0, 1)
GAINS = st.floats(0, 1)
SOUND = arrays(np.int16, st.integers(0, 1000), elements=st.integers(-32_768, 32_767))


@pytest.mark.parametrize(
    ("volume", "decibels"), [(1.0, 0.0), (0.9, -1.5), (0.5, -10.0), (0.25, -20.0), (0.1, -33.2)]
)
def test_half_the_volume_is_ten_decibels_less(volume: float, decibels: float) -> None:
    assert 20 * math.log10(gain(volume)) == pytest.approx(decibels, abs=0.05)


def test_the_ends_are_silent_and_full() -> None:
    assert (gain(0.0), gain(1.0)) == (0.0, 1.0)


@given(VOLUMES, VOLUMES)
def test_more_volume_is_never_less_loud(one: float, other: float) -> None:
    assert 0 <= gain(one) <= 1
    assert (gain(one) <= gain(other)) == (one <= other) or gain(one) == gain(other)


@given(SOUND)
def test_at_full_volume_every_sample_is_as_it_was(pcm: np.ndarray) -> None:
    assert np.array_equal(Fader(1.0).fade(pcm, 1.0, RATE_HZ), pcm)


@given(SOUND, GAINS, GAINS, st.lists(st.integers(0, 1000), max_size=5))
def test_how_the_sound_is_cut_into_blocks_changes_nothing(
    pcm: np.ndarray, old: float, new: float, cuts: list[int]
) -> None:
    whole = Fader(old).fade(pcm, new, RATE_HZ)
    fader = Fader(old)
    parts = [fader.fade(part, new, RATE_HZ) for part in np.split(pcm, sorted(cuts))]
    assert np.abs(np.concatenate(parts).astype(int) - whole).max(initial=0) <= 1


@given(st.lists(st.tuples(GAINS, st.integers(1, 400)), min_size=1, max_size=8), GAINS)
def test_no_change_is_a_jump(changes: list[tuple[float, int]], first: float) -> None:
    """Of the loudest sound there is, however often and wherever the volume changes."""
    fader = Fader(first)
    loudest = np.full(400, 32_767, np.int16)
    start = np.array([round(32_767 * first)])
    heard = [fader.fade(loudest[:count], gain, RATE_HZ) for gain, count in changes]
    assert np.abs(np.diff(np.concatenate([start, *heard]).astype(int))).max() <= 32_767 / FADE + 1


@given(GAINS, GAINS)
def test_the_new_gain_is_reached_exactly(old: float, new: float) -> None:
    heard = Fader(old).fade(np.full(FADE + 2, 10_000, np.int16), new, RATE_HZ)
    assert heard[-1] == np.rint(10_000 * new)
    assert 10_000 * min(old, new) - 1 <= heard.min() <= heard.max() <= 10_000 * max(old, new) + 1
