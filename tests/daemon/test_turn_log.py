"""What is remembered of turns; how long their steps took is in test_times.py."""

from __future__ import annotations

import logging

import pytest

from assistant.config import Log
from assistant.daemon.history import ROOM
from assistant.daemon.turn import Kind, Turn
from assistant.daemon.turn_log import KEPT_TURNS, TurnLog


def asked(number: int = 1, ended: bool = True, is_meant: bool = True) -> Turn:
    turn = Turn(number, Kind.SPEECH, ROOM, text="Why?", ended=ended, is_meant=is_meant)
    turn.sentences, turn.complete, turn.finished_sentences = ["Because."], True, 1
    return turn


def test_only_the_last_turns_are_kept() -> None:
    turns = TurnLog(Log())
    for number in range(KEPT_TURNS + 3):
        turns.record(asked(number), "answered", "", float(number))
    assert [(turn.turn, turn.finished_at_s) for turn in turns.recent] == [
        (number, float(number)) for number in range(3, KEPT_TURNS + 3)
    ]


@pytest.mark.parametrize("noise", [asked(ended=False), asked(is_meant=False)])
def test_a_noise_is_no_line_nor_is_what_was_said_to_others(
    noise: Turn, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    turns = TurnLog(Log())
    turns.record(noise, "nothing", "", 1.0)
    assert not turns.recent
    assert not caplog.records
    turns.record(noise, "failed", "A defect.", 1.0)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


@pytest.mark.parametrize(("words", "line"), [(False, ""), (True, '; "Why?" → "Because."')])
def test_what_was_said_is_written_only_where_that_is_wanted(
    words: bool, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    TurnLog(Log(words=words)).record(asked(), "answered", "", 1.0)
    assert caplog.messages == [f"turn 1 answered: 0.0 s in all{line}"]
