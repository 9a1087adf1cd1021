"""The noise floor: what it follows and what it does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.audio.noise_floor import QUIETEST_DB, NoiseFloor

SECOND = 50
"""Frames."""


def heard(*runs: tuple[float, float, bool]) -> NoiseFloor:
    """After so many seconds at so many dB each, voiced or not."""
    floor = NoiseFloor()
    for duration_s, level_db, voiced in runs:
        for _ in range(round(duration_s * SECOND)):
            floor.learn(level_db, voiced)
    return floor


@pytest.mark.parametrize(
    ("runs", "level_db", "least_db", "most_db"),
    [
        ([], -40, 30, 30),  # a voice that is there from the first frame on stands out
        ([(5, -40, False)], -40, -0.1, 0.5),
        ([(5, -40, False)], -28, 11.9, 12.5),
        ([(5, -30, False), (4, -60, False)], -60, -1, 1),  # the fan is off
        ([(30, -25, False), (0.4, -65, False)], -42, 9, 20),  # a voice is heard at once
        ([(30, -25, False), (0.1, -30, False)], -25, 0, 1),  # that is noise that varies
        ([(1, -25, True)], -25, -0.1, 0.1),  # it runs already, and is taken for a voice
        ([(5, -60, False), (4, -30, False)], -30, -0.1, 1),  # and on again
        ([(5, -60, False), (4, -20, True)], -20, 34, 40),  # who speaks on is no noise
        ([(5, -60, False), (4, -20, True), (0.1, -55, True), (4, -20, True)], -20, 27, 40),
        ([(6, -25, True)], -25, -0.1, 0.1),  # nobody speaks for five seconds without a breath
        ([(60, -45, True), (4, -25, True)], -25, 14, 22),
        ([(0.4, -45, True), (0.2, -65, False)] * 100, -45, 12, 20),  # who speaks in a television is heard yet
        ([(5, -100, False)], -60, 9.9, 10.1),  # a muted microphone
        ([(5, -100, False), (2, -40, False)], -40, 0, 5),
    ],
)
def test_what_stands_above_the_floor(
    runs: list[tuple[float, float, bool]], level_db: float, least_db: float, most_db: float
) -> None:
    assert least_db <= heard(*runs).above(level_db) <= most_db


FRAMES = st.lists(st.tuples(st.integers(1, 200), st.floats(-100, 0), st.booleans()), max_size=20).map(
    lambda runs: [(level, voiced) for count, level, voiced in runs for _ in range(count)]
)


@given(FRAMES)
def test_the_floor_is_never_outside_of_what_was_heard(frames: list[tuple[float, bool]]) -> None:
    floor = NoiseFloor()
    for level_db, voiced in frames:
        floor.learn(level_db, voiced)
    loudest_db = max([QUIETEST_DB, *(level_db for level_db, _ in frames)])
    assert floor.above(loudest_db) >= -1e-6
    assert floor.above(QUIETEST_DB) <= 1e-6
