"""What is remembered of turns that are over: a line in the log, and their times for the status."""

from __future__ import annotations

import logging
from collections import deque

from assistant.config import Log
from assistant.daemon.times import in_words
from assistant.daemon.turn import Turn
from assistant.messages import Outcome, TurnStatus

log = logging.getLogger(__name__)

KEPT_TURNS = 10
"""Turns that are over and whose times are remembered, for who looks at the daemon's status."""


class TurnLog:
    """`recent` are the last questions, the newest last; noises, and what was said to others, are none."""

    def __init__(self, settings: Log) -> None:
        self.recent: deque[TurnStatus] = deque(maxlen=KEPT_TURNS)
        self._words = settings.words

    def record(self, turn: Turn, outcome: Outcome, failure: str, now_s: float) -> None:
        """One line a turn, but for noises; what was said only where config.toml wants it."""
        status = turn.times.of(turn.number, outcome, now_s)
        is_question = turn.ended and turn.is_meant
        if is_question:
            self.recent.append(status)
        level = logging.WARNING if outcome == "failed" else logging.INFO if is_question else logging.DEBUG
        ending = "had nothing to answer" if outcome == "nothing" else outcome
        why = f" ({failure.rstrip('.')})" if failure else ""
        words = f'; "{turn.text}" → "{turn.heard()[0]}"' if self._words else ""
        log.log(level, "turn %d %s%s: %s%s", turn.number, ending, why, in_words(status), words)
