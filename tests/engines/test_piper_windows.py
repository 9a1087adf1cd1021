"""Windows of a decoder: whatever their sizes, nothing is lost, doubled or made from too little."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from assistant.engines.piper_cut import Reach
from assistant.engines.piper_windows import Decoder, Floats, Stage, windows


def local(before: int, after: int, rate: int) -> Stage:
    """A stage that spreads each step to `rate`, and adds up those around, with zeros beyond the ends."""
    kernel = np.arange(1, before + after + 2, dtype=np.float32)

    def run(steps: Floats) -> Floats:
        padded = np.pad(steps[0, 0], (before, after))
        summed = np.array([kernel @ padded[at : at + len(kernel)] for at in range(steps.shape[2])])
        spread = (summed[:, None] + np.arange(rate)).astype(np.float32)
        return spread.reshape(1, 1, -1)

    return Stage(run, Reach(rate, Fraction(before), Fraction(after)))


REACHES = st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(1, 4))


@given(
    reaches=st.lists(REACHES, min_size=1, max_size=3),
    steps=st.lists(st.integers(-50, 50), min_size=1, max_size=60),
    first=st.integers(1, 100),
    most=st.integers(1, 300),
)
def test_windows_give_what_one_run_gives(
    reaches: list[tuple[int, int, int]], steps: list[int], first: int, most: int
) -> None:
    stages = [local(*reach) for reach in reaches]
    latent: npt.NDArray[np.float32] = np.array(steps, np.float32).reshape(1, 1, -1)
    whole = latent
    for before, after, rate in reaches:
        ((whole, _),) = local(before, after, rate).flow([(whole, True)])
    chunks = list(Decoder(stages).sound(latent, first, most))
    np.testing.assert_allclose(np.concatenate(chunks, axis=2), whole, rtol=1e-6)
    assert all(chunk.size for chunk in chunks)


@given(st.integers(1, 500), st.integers(1, 60), st.integers(1, 60), st.integers(0, 30))
def test_windows_divide_all_steps(steps: int, first: int, most: int, ahead: int) -> None:
    cut = list(windows(steps, first, most, ahead))
    assert [0, *(end for _, end in cut)] == [*(begin for begin, _ in cut), steps]
    sizes = [end - begin for begin, end in cut]
    assert sizes[0] < 1.5 * first + ahead + 1
    assert all(size < max(1.5 * first, 1.5 * most) + 1 for size in sizes[1:])
    assert min(sizes) >= min(steps, first // 2, most // 2)


def test_without_stages_the_steps_are_the_sound() -> None:
    sound = np.ones((1, 1, 1, 9), np.float32)
    assert [chunk.shape for chunk in Decoder([]).sound(sound, 2, 4)] == [(1, 1, 1, 9)]


def test_who_stops_asking_stops_the_work() -> None:
    runs = []

    def run(steps: Floats) -> Floats:
        runs.append(steps.shape[2])
        return steps

    stage = Stage(run, Reach(1, Fraction(1), Fraction(1)))
    chunks = Decoder([stage]).sound(np.zeros((1, 1, 1000), np.float32), 10, 10)
    next(chunks)
    next(chunks)
    assert runs == [11, 12]
