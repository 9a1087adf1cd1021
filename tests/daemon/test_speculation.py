from __future__ import annotations

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.daemon.speculation import FEWEST, REMEMBERED, TRY_AGAIN_AFTER, Speculation
from assistant.messages import AnyMessage, TurnEnded, TurnFinished, Worked


class Board:
    """Turns one after the other; each ends at second 10, and `began_s` is when its last words were read."""

    def __init__(self) -> None:
        self.speculation = Speculation()
        self._turns = count(1)

    def turn(self, *began_s: float, late: bool = False) -> bool:
        """A turn of several revisions; `late`: the reading is only told when the turn has ended."""
        turn = next(self._turns)
        readings = [Worked("stt", turn, i, at_s, at_s + 1, at_s + 1) for i, at_s in enumerate(began_s)]
        ended = TurnEnded(turn, len(began_s) - 1, 9.5, 10.0)
        messages: list[AnyMessage] = [ended, *readings] if late else [*readings, ended]
        for message in messages:
            self.speculation.feed(message)
        self.speculation.feed(Worked("llm", turn, 0, 11.0, 12.0, 13.0))
        self.speculation.feed(TurnFinished(turn, 20.0, "answered"))
        return self.speculation.pays


def test_it_pays_while_the_reading_begins_before_the_turn_ends() -> None:
    board = Board()
    assert all(board.turn(9.6) for _ in range(30))
    assert all(board.turn(7.0, 9.7, late=True) for _ in range(30))


def test_a_board_whose_last_reading_waits_behind_stale_ones_stops() -> None:
    board = Board()
    assert [board.turn(8.0, 11.5, late=True) for _ in range(FEWEST)] == [True] * (FEWEST - 1) + [False]


def test_some_stale_work_is_outweighed() -> None:
    board = Board()
    assert all(board.turn(9.4) and board.turn(8.0, 10.5, late=True) for _ in range(20))


def test_it_is_tried_again_after_a_while() -> None:
    board = Board()
    while board.turn(8.0, 12.0, late=True):
        pass
    assert [board.turn(10.0) for _ in range(TRY_AGAIN_AFTER)] == [False] * (TRY_AGAIN_AFTER - 1) + [True]
    assert all(board.turn(9.6) for _ in range(30))


def test_turns_that_came_to_nothing_say_nothing() -> None:
    speculation = Speculation()
    for turn in range(30):
        speculation.feed(Worked("stt", turn, 0, 1.0, 2.0, 2.0))
        speculation.feed(TurnFinished(turn, 3.0, "nothing"))
        speculation.feed(TurnFinished(1000 + turn, 3.0, "answered"))  # typed, and spoken aloud
    assert speculation.pays


@given(st.lists(st.floats(0, 20)))
def test_only_the_last_turns_count(began_s: list[float]) -> None:
    board = Board()
    for at_s in began_s:
        board.turn(at_s)
    for _ in range(TRY_AGAIN_AFTER + REMEMBERED):
        board.turn(9.0)
    assert board.speculation.pays


@pytest.mark.parametrize(
    ("reading_s", "every_ms"), [(0.05, 500), (0.1, 500), (0.12, 600), (0.4, 2000), (0.41, 0), (3.0, 0)]
)
def test_a_quick_recogniser_reads_while_somebody_speaks(reading_s: float, every_ms: int) -> None:
    speculation = Speculation()
    assert speculation.look_every_ms == 0
    speculation.feed(Worked("stt", 0, 0, 0.0, reading_s, reading_s))
    assert speculation.look_every_ms == every_ms
    speculation.pays = False
    speculation.feed(Worked("stt", 0, 0, 0.0, reading_s, reading_s))
    assert speculation.look_every_ms == 0
