"""Whether it pays to begin work before the end of a turn.  Pure.

Work that began before the end of a turn was sure saves that time; work on a pause that was none may keep the
next one waiting, as a recogniser cannot be stopped at once.  On a slow board, with people who speak slowly,
that costs more than it saves: then the work begins at the end of the turn, and from time to time it is tried
again.  Where the recogniser is quick, speech is read while it goes on, so that the language model knows how
the question begins.
"""

from __future__ import annotations

from collections import deque

from assistant.messages import AnyMessage, TurnEnded, TurnFinished, Worked

REMEMBERED = 10
"""Turns from which it is judged."""

FEWEST = 3
"""Turns before anything is judged."""

TRY_AGAIN_AFTER = 50
"""Turns without, after which it is tried again: people, and what else the board does, change."""


LOOK_EVERY_MS = 500
READING_SHARE = 1 / 5
"""Of the time while somebody speaks, at most, goes into reading what they have said so far."""

SLOWEST_READING_S = 0.4
"""A reading of what was said so far keeps the one that counts waiting for half of this, one time in five."""


class Speculation:
    """Watches the messages of spoken turns.  `pays` is whether to go on with it.

    `look_every_ms` is after how much speech what there is of it is worth to be read; 0 if it never is.
    """

    def __init__(self) -> None:
        self.pays = True
        self.look_every_ms = 0  # until it is known how long reading takes
        self._reading_began_s: dict[tuple[int, int], float] = {}  # by turn and revision
        self._ended: dict[int, TurnEnded] = {}
        self._saved_s: deque[float] = deque(maxlen=REMEMBERED)
        self._turns_without = 0

    def feed(self, message: AnyMessage) -> None:
        """What the watchers are told of a turn."""
        if isinstance(message, Worked) and message.stage == "stt":
            self._reading_began_s[message.turn, message.revision] = message.began_s
            reading_s = message.ended_s - message.began_s
            is_quick = self.pays and reading_s <= SLOWEST_READING_S
            every_ms = max(LOOK_EVERY_MS, round(1000 * reading_s / READING_SHARE))
            self.look_every_ms = every_ms if is_quick else 0
        elif isinstance(message, TurnEnded):
            self._ended[message.turn] = message
        elif isinstance(message, TurnFinished):
            ended = self._ended.pop(message.turn, None)
            if ended is not None:
                began_s = self._reading_began_s.get((ended.turn, ended.revision), ended.at_s)
                self._judge(ended.at_s - began_s)
            for turn, revision in list(self._reading_began_s):
                if turn <= message.turn:
                    del self._reading_began_s[turn, revision]

    def _judge(self, saved_s: float) -> None:
        """Reading began so much before the turn's end; below 0: behind it, held up by stale work."""
        if self.pays:
            self._saved_s.append(saved_s)
            self.pays = len(self._saved_s) < FEWEST or sum(self._saved_s) >= 0
        else:
            self._turns_without += 1
            if self._turns_without >= TRY_AGAIN_AFTER:
                self._saved_s.clear()
                self._turns_without = 0
                self.pays = True
