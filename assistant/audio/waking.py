"""Whether the assistant may be spoken to just now, and where a question behind a wake word begins.

Pure: seconds and sound are passed in.  vad keeps a `Gate` where a word or a button wakes, the daemon keeps
one where a phrase in the transcript does.
"""

from __future__ import annotations

from collections.abc import Sequence
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

    With `always_open` nobody need call.  All times are seconds on one clock of the caller's.
    """

    def __init__(self, always_open: bool, follow_up_s: float) -> None:
        self._always_open = always_open
        self._follow_up_s = follow_up_s
        self._until_s = float("-inf")
        self._turns: set[int] = set()  # that are spoken, thought about or answered
        self._follow_ups = 0

    def is_open(self, now_s: float) -> bool:
        """Whether speech that begins now is meant for the assistant."""
        return self._always_open or bool(self._turns) or now_s < self._until_s

    def called(self, now_s: float) -> None:
        """Somebody called."""
        self._until_s = max(self._until_s, now_s + LISTEN_S)
        self._follow_ups = 0

    def close(self) -> None:
        """Nobody called, whatever has been; the caller's clock may begin anew."""
        self._until_s = float("-inf")
        self._turns.clear()

    def began(self, turn: int) -> None:
        """A turn that is meant for the assistant goes on."""
        self._turns.add(turn)

    def finished(self, turn: int, outcome: Outcome, now_s: float, asks: bool = False) -> None:
        """The turn is over; one that was answered, or apologised for, may be followed by another.

        With `asks` the person was asked something back, and gets the time to answer that a call gives.  After
        a noise, or an answer that was broken off, everything stays as it was.
        """
        if turn not in self._turns:
            return
        self._turns.discard(turn)
        if asks:
            self._until_s = now_s + LISTEN_S
        elif outcome in ("answered", "failed"):
            is_follow_up = self._follow_ups < MOST_FOLLOW_UPS
            self._until_s = now_s + self._follow_up_s if is_follow_up else now_s
            self._follow_ups += 1


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
