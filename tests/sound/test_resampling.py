from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from assistant.audio.resampling import Resampler, ToMono16k
from assistant.errors import AudioError

Int16 = npt.NDArray[np.int16]


def tone(rate_hz: int, seconds: float, hz: float = 440.0) -> npt.NDArray[np.float32]:
    wave = 0.5 * np.sin(2 * np.pi * hz * np.arange(round(rate_hz * seconds)) / rate_hz)
    return wave.astype(np.float32)


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("channels", [1, 2, 8])
def test_a_tone_keeps_its_level_pitch_and_length(rate_hz: int, channels: int) -> None:
    converter = ToMono16k(rate_hz, channels)
    sound = np.repeat(tone(rate_hz, 0.5)[:, None], channels, axis=1)

    heard = np.concatenate([converter.feed(sound), converter.end()])

    expected = tone(16_000, 0.5) * 32_768
    assert abs(len(heard) - len(expected)) <= 1
    # the edges ring; what lies between is the same wave at the same place
    middle = slice(800, 7_000)
    assert np.abs(heard[middle] - expected[middle]).max() < 40


@settings(max_examples=60, deadline=None)
@given(
    rates=st.sampled_from(
        [(48_000, 16_000), (44_100, 16_000), (8_000, 16_000), (22_050, 48_000), (96_000, 16_000)]
    ),
    cuts=st.lists(st.integers(0, 6_000), max_size=12),
    seed=st.integers(0, 2**32 - 1),
)
def test_how_sound_is_split_does_not_matter(rates: tuple[int, int], cuts: list[int], seed: int) -> None:
    pcm = np.random.default_rng(seed).integers(-30_000, 30_000, 6_000).astype(np.int16)
    resampler = Resampler(*rates)

    edges = [0, *sorted(cuts), len(pcm)]
    parts = [resampler.feed(pcm[a:b]) for a, b in itertools.pairwise(edges)]
    streamed = np.concatenate([*parts, resampler.end()])

    whole = soxr.resample(pcm.astype(np.float32) / 32_768, *rates, quality="HQ")
    expected = np.clip(np.rint(whole * 32_768), -32_768, 32_767).astype(np.int16)
    assert np.array_equal(streamed, expected)


@given(st.lists(st.integers(-32_768, 32_767), max_size=200))
def test_16_khz_mono_comes_through_bit_for_bit(values: list[int]) -> None:
    pcm = np.array(values, np.int16)
    for converter in (ToMono16k(16_000, 1), Resampler(16_000, 16_000), Resampler(22_050, 22_050)):
        assert np.array_equal(np.concatenate([converter.feed(pcm), converter.end()]), pcm)
    floats = (pcm / 32_768).astype(np.float32)
    assert np.array_equal(ToMono16k(16_000, 1).feed(floats), pcm)
    assert np.array_equal(ToMono16k(16_000, 2).feed(np.stack([pcm, pcm], axis=1)), pcm)


def test_a_converter_takes_another_stream_after_the_end() -> None:
    converter = ToMono16k(48_000, 1)
    first = np.concatenate([converter.feed(tone(48_000, 0.1)), converter.end()])
    again = np.concatenate([converter.feed(tone(48_000, 0.1)), converter.end()])
    assert np.array_equal(first, again)
    assert len(first) == 1_600


def test_what_is_no_number_or_too_loud_harms_nothing_behind_it() -> None:
    broken = tone(48_000, 0.2)
    broken[100] = np.nan
    broken[200] = np.inf
    broken[300] = 40.0
    converter = ToMono16k(48_000, 1)
    heard = np.concatenate([converter.feed(broken), converter.end()])
    clean = tone(16_000, 0.2) * 32_768
    assert np.abs(heard[1_000:3_000] - clean[1_000:3_000]).max() < 40


@pytest.mark.parametrize("rate_hz", [0, 1, 999, 4_000_000_000])
def test_impossible_rates_are_refused(rate_hz: int) -> None:
    with pytest.raises(AudioError, match=f"{rate_hz} Hz"):
        ToMono16k(rate_hz, 1)
