"""The guards: what is a person's, and what is left of an echo."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.audio.barge_in import (
    FIRST_LOSS_DB,
    MARGIN_DB,
    MOST_LOSS_DB,
    TAIL,
    UNCANCELLED_LOSS_DB,
    WINDOW,
    WINDOWS,
    Guard,
)

PLAYED_DBFS, SILENCE_DBFS = -20.0, -100.0


def decided_at(voiced: str, heard_dbfs: float, guard: Guard | None = None) -> int | None:
    """With which frame ("#" is voiced) a person is found to speak over the answer."""
    guard = guard or Guard()
    for number, mark in enumerate(voiced):
        guard.feed(mark == "#", heard_dbfs, PLAYED_DBFS)
        if guard.has_person:
            return number
    return None


@pytest.mark.parametrize(
    ("voiced", "expected"),
    [
        ("######", 4),
        ("..######", 6),
        (".##.###", 6),
        (".#.####.", 6),
        ("####..####", None),  # what is left of an echo
        ("##.##.##.##.", None),
        ("......", None),
    ],
)
def test_a_person_is_who_speaks_in_two_windows_in_a_row(voiced: str, expected: int | None) -> None:
    assert decided_at(voiced, heard_dbfs=-20.0) == expected


@pytest.mark.parametrize(("above_db", "expected"), [(-1.0, None), (3.0, 4)])
def test_a_voice_must_be_louder_than_what_may_be_left_of_the_echo(
    above_db: float, expected: int | None
) -> None:
    heard_dbfs = PLAYED_DBFS - FIRST_LOSS_DB + MARGIN_DB + above_db
    assert decided_at("#" * 8, heard_dbfs) == expected


def test_the_room_is_learnt() -> None:
    """In one that swallows much a soft voice is enough; where an echo is not cancelled, only a loud one."""
    quiet, loud = Guard(), Guard()
    for _ in range(300):
        quiet.feed(False, -90.0, PLAYED_DBFS)
        loud.feed(False, -24.0, PLAYED_DBFS)
    assert quiet.loss_db == pytest.approx(MOST_LOSS_DB, abs=0.5)
    assert loud.loss_db == pytest.approx(4.0, abs=0.5)
    assert decided_at("#" * 8, -45.0, quiet) is not None
    assert decided_at("#" * 8, -24.0, loud) is None, "that is the echo itself"
    assert decided_at("#" * 8, -10.0, loud) is not None


def test_without_echo_every_voiced_frame_is_a_persons() -> None:
    guard = Guard()
    assert guard.feed(True, -58.0, SILENCE_DBFS)
    assert not guard.feed(False, -20.0, SILENCE_DBFS)


def test_an_echo_may_come_late() -> None:
    guard = Guard()
    guard.feed(False, -60.0, PLAYED_DBFS)
    for _ in range(TAIL - 1):
        assert not guard.feed(True, -35.0, SILENCE_DBFS)
    assert guard.feed(True, -35.0, SILENCE_DBFS)


def test_a_person_speaks_until_told_otherwise_and_teaches_nothing() -> None:
    guard = Guard()
    assert decided_at("######", -20.0, guard) is not None
    learnt_db = guard.loss_db
    for voiced in (True, False) * 20:
        guard.feed(voiced, -20.0, PLAYED_DBFS)
    assert guard.has_person
    assert guard.loss_db == learnt_db
    guard.person_fell_silent()
    assert decided_at("####", -20.0, guard) is None, "from the beginning"


def test_past_the_canceller_a_loud_sound_is_needed_however_quiet_it_was() -> None:
    """A speaker that is turned on may be all that comes."""
    guard = Guard()
    for cancelled, needed_dbfs in (
        (True, PLAYED_DBFS - MOST_LOSS_DB),
        (False, PLAYED_DBFS - UNCANCELLED_LOSS_DB),
    ):
        for _ in range(1_000):
            guard.feed(False, -90.0, PLAYED_DBFS, cancelled)
        assert not guard.feed(True, needed_dbfs + MARGIN_DB, PLAYED_DBFS, cancelled)
        assert guard.feed(True, needed_dbfs + MARGIN_DB + 1, PLAYED_DBFS, cancelled)


@given(st.lists(st.tuples(st.booleans(), st.floats(-100, 0), st.floats(-100, 0)), max_size=200))
def test_what_decides_is_the_last_frames_alone(frames: list[tuple[bool, float, float]]) -> None:
    guard = Guard()
    for voiced, heard_dbfs, played_dbfs in frames:
        had_person = guard.has_person
        is_person = guard.feed(voiced, heard_dbfs, played_dbfs)
        assert voiced or not is_person
        assert len(guard.last_frames) <= WINDOWS
        first, second = sum(guard.last_frames[:-WINDOW]), sum(guard.last_frames[-WINDOW:])
        decides = min(first, second) >= 2 and first + second >= 5
        assert guard.has_person == (had_person or decides)
        assert 0 <= guard.loss_db <= MOST_LOSS_DB
