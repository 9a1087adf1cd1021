"""What vad knows of turns, and the turn that it leaves behind when it dies.  Pure.

A worker that dies while somebody speaks leaves an orphan: an open turn that nobody hears the rest of.  Its
successor takes the turn up as a new revision, or the turn ends without it after a while.
"""

from __future__ import annotations

from assistant.daemon.speculation import Speculation
from assistant.daemon.turn import Turn
from assistant.messages import Awake, NextTurn

BACK_WITHIN_S = 15.0
RESUMES_WITHIN_S = 3.0
"""An orphan ends if no successor comes back, or one came and did not take it up."""

TORN_WITHIN_S = 1.0
"""Speech that a successor hears so soon began before: nobody has heard its first words."""


class VadWorker:
    """What vad was told.  `number` is the one that it has for its next turn.

    A new worker is awake until `awake_until_s`, as far as it knows.  Times are seconds of CLOCK_MONOTONIC.
    """

    def __init__(self, awake_until_s: float) -> None:
        self.number = 0
        self._first_awake_s = self._told_awake_s = awake_until_s
        self._settled = 0
        self._told = NextTurn(0)
        self._orphan_ends_s: float | None = None
        self._hears_since_s: float | None = float("-inf")  # None: there is no worker that could

    # ------------------------------------------------------------ how its worker is

    def joined(self) -> None:
        """A new worker knows no more than the settings: the rest has to be told."""
        self._told_awake_s = self._first_awake_s

    def ready(self, now_s: float) -> None:
        """It hears, and may take the orphan up."""
        if self._hears_since_s is None:
            self._hears_since_s = now_s
        if self._orphan_ends_s is not None:
            self._orphan_ends_s = now_s + RESUMES_WITHIN_S

    def left(self, has_open_turn: bool, now_s: float) -> None:
        """It is gone; its open turn is an orphan."""
        self._hears_since_s = None
        if has_open_turn:
            self._orphan_ends_s = now_s + BACK_WITHIN_S

    def settled(self, sample: int) -> None:
        """Up to that sample of the microphone's stream everything has become a turn."""
        self._settled = max(self._settled, sample)

    # ------------------------------------------------------------ the turn that a dead one left

    @property
    def has_orphan(self) -> bool:
        """Whether the open turn waits for a successor."""
        return self._orphan_ends_s is not None

    def no_orphan(self) -> None:
        """The orphan was taken up, or is over."""
        self._orphan_ends_s = None

    def is_orphan_given_up(self, now_s: float) -> bool:
        """Whether it has waited long enough."""
        return self._orphan_ends_s is not None and now_s >= self._orphan_ends_s

    def tears(self, now_s: float) -> bool:
        """Whether speech that begins now may have begun while nobody heard it."""
        return self._hears_since_s is None or now_s - self._hears_since_s < TORN_WITHIN_S

    # ------------------------------------------------------------ what it is to be told

    def next_turn(self, open_turn: Turn | None, early: Speculation) -> NextTurn:
        """The number of its next turn: the orphan's, which it hears again, as a new revision of it."""
        number, revision = self.number, 0
        if open_turn is not None and self.has_orphan:
            number, revision = open_turn.number, open_turn.revision + 1
        self._told = NextTurn(number, revision, self._settled, early.pays, early.look_every_ms)
        return self._told

    def knows(self, early: Speculation) -> bool:
        """Whether it was told of early work what is so now; it knows what was so when its turn began."""
        return (self._told.speculate, self._told.look_every_ms) == (early.pays, early.look_every_ms)

    def awake(self, until_s: float) -> Awake | None:
        """Until when it is to listen; None if it knows."""
        if until_s == self._told_awake_s:
            return None
        self._told_awake_s = until_s
        return Awake(until_s)
