"""Whether the assistant may be spoken to just now, and where a question behind a wake word begins.

Pure: seconds and sound are passed in.  The daemon keeps the one `Gate`, since workers come and go.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from operator import mul

from assistant.messages import Outcome

LISTEN_S = 8.0
"""How long after being called the assistant waits for a question to begin."""

MOST_FOLLOW_UPS = 5
"""Questions in a row that need no call.  A television would keep up a conversation for ever; a person who
has more to ask calls again, which is a word."""

QUIET_FRAMES = 3
"""Frames (60 ms) over which the end of a wake word is looked for: a stop between two words is as short."""


class Gate:
    """Open from a call until the question behind it has been answered, and for a while after that.

    With `always_open` nobody need call.  All times are seconds of CLOCK_MONOTONIC, those of speech and calls
    as the microphone gave them: it does not matter how late they become known.
    """

    def __init__(self, always_open: bool, follow_up_s: float) -> None:
        self._always_open = always_open
        self._follow_up_s = follow_up_s
        self._until_s = -inf
        self._calls = 0
        self._call_ends_s = -inf
        self._turns: dict[int, int] = {}  # that are spoken, thought about or answered; after how many calls
        self._since_call: set[int] = set()  # turns that began since somebody called; no noises

    @property
    def until_s(self) -> float:
        """Until when there is something to listen to, as far as is known now."""
        if self._always_open or self._turns:
            return inf
        return self._until_s if len(self._since_call) <= MOST_FOLLOW_UPS else -inf

    def is_open(self, at_s: float) -> bool:
        """Whether speech that begins at `at_s` is meant for the assistant."""
        return self._always_open or (at_s < self.until_s and len(self._since_call) <= MOST_FOLLOW_UPS)

    def called(self, at_s: float) -> None:
        """Somebody called."""
        self._calls += 1
        self._call_ends_s = at_s + LISTEN_S
        self._until_s = max(self._until_s, self._call_ends_s)
        self._since_call.clear()

    def close(self) -> None:
        """Nobody called, whatever has been."""
        self._until_s = -inf
        self._turns.clear()

    def began(self, turn: int, at_s: float) -> bool:
        """Speech began at `at_s`, which is now the turn's: whether it is meant for the assistant."""
        if not self.is_open(at_s):
            return False
        self.named(turn)
        if not self._always_open:
            self._since_call.add(turn)
        return True

    def named(self, turn: int) -> None:
        """The turn is meant for the assistant in any case: it calls it itself."""
        self._turns.setdefault(turn, self._calls)

    def forget(self, turn: int) -> None:
        """The turn is not meant for the assistant after all."""
        self._turns.pop(turn, None)
        self._since_call.discard(turn)

    def finished(
        self, turn: int, outcome: Outcome, now_s: float, asks: bool = False, named: bool = False
    ) -> None:
        """The turn is over; one that was answered, or apologised for, may be followed by another.

        With `asks` the person was asked something back, and gets the time to answer that a call gives; one
        that `named` the assistant counts as a call.  One that was cancelled, or a noise, lets in who began to
        speak before that: it may be them who broke it off.
        """
        if turn not in self._turns:
            return
        is_called_again = self._calls > self._turns.pop(turn)
        if outcome == "nothing":
            self._since_call.discard(turn)
        elif outcome in ("answered", "failed"):
            if named:
                self._since_call = {turn}
            more_s = LISTEN_S if asks else self._follow_up_s
            self._until_s = max(now_s + more_s, self._call_ends_s if is_called_again else -inf)
        else:
            self._until_s = max(self._until_s, now_s)


def end_of_word(frames: Sequence[bytes], earliest: int, latest: int) -> int:
    """The frame with which what follows a wake word begins.

    The middle of the quietest `QUIET_FRAMES` frames, the cut being from `earliest` to `latest`; the first of
    several equally quiet ones, so that nothing of the question is lost.
    """
    half = QUIET_FRAMES // 2
    cuts = [
        cut for cut in range(max(earliest, 0), latest + 1) if half <= cut <= len(frames) - QUIET_FRAMES + half
    ]
    if not cuts:
        return min(max(earliest, 0), len(frames))
    energies = [_energy(frame) for frame in frames]
    return min(cuts, key=lambda cut: sum(energies[cut - half : cut - half + QUIET_FRAMES]))


def _energy(frame: bytes) -> int:
    samples = memoryview(frame).cast("h")
    return sum(map(mul, samples, samples))
