"""Sound that grows, and the silence before it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.audio.clip import AUDIBLE, LEAD_MS, Int16, Sound, first_audible, whole, without_silent_start

RATE_HZ = 16_000
LEAD = RATE_HZ * LEAD_MS // 1000


def test_a_sound_grows_and_ends() -> None:
    sound = Sound()
    assert sound.take(0) is not None
    pieces = [np.arange(3, dtype=np.int16), np.arange(5, dtype=np.int16)]
    for piece in pieces:
        sound.add(piece)
    sound.end()
    assert sound.take(0) is pieces[0]
    assert sound.take(0) is pieces[1]
    assert sound.take(0) is None


@given(st.integers(0, 50), st.integers(0, 20), st.lists(st.integers(0, 30)))
def test_what_there_is_of_a_growing_sound_is_never_all(expected: int, heard: int, pieces: list[int]) -> None:
    sound = Sound(expected, heard)
    samples = heard
    for count in pieces:
        sound.add(np.zeros(count, np.int16))
        samples += count
        assert sound.total > samples
        assert sound.total >= expected
    sound.end()
    assert sound.total == samples


def test_a_whole_sound() -> None:
    pcm = np.arange(100, dtype=np.int16)
    sound = whole(pcm)
    assert (sound.heard, sound.total) == (0, 100)
    assert sound.take(0) is pcm
    assert sound.take(0) is None


@pytest.mark.parametrize(
    ("samples", "first"),
    [([], None), ([0, 199, -199], None), ([0, 200], 1), ([-200], 0), ([0, -32_768, 32_767], 1)],
)
def test_from_where_sound_is_audible(samples: list[int], first: int | None) -> None:
    assert first_audible(np.array(samples, np.int16)) == first


def trimmed(pieces: list[Int16]) -> Int16:
    return np.concatenate(list(without_silent_start(iter(pieces), RATE_HZ)))


@given(
    st.integers(0, 3 * LEAD),
    st.integers(0, 3 * LEAD),
    st.lists(st.integers(0, 6 * LEAD), max_size=5),
)
def test_silence_goes_and_sound_stays(quiet: int, loud: int, cuts: list[int]) -> None:
    """However the sound comes in pieces."""
    pcm = np.r_[np.full(quiet, AUDIBLE - 1), np.full(loud, 3_000), np.full(LEAD, 5)].astype(np.int16)
    left = trimmed(np.split(pcm, sorted(min(cut, len(pcm)) for cut in cuts)))
    if not loud:
        assert np.array_equal(left, pcm), "all of it is soft, and somebody wants it so"
        return
    lead = min(quiet, LEAD)
    assert np.array_equal(left[lead:], pcm[quiet:])
    assert (np.abs(np.diff(left[:lead])) <= AUDIBLE / max(lead - 1, 1) + 1).all(), "no click"
    assert not lead or left[0] == 0


def test_no_sound_at_all() -> None:
    assert not len(trimmed([]))
