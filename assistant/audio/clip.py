"""What a player plays: sound that may still be growing, and what is done with it."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from enum import Enum
from typing import Protocol

import numpy as np
import numpy.typing as npt

AUDIBLE = 200
"""Absolute sample value (-44 dB below full scale) from which sound is audible: above a voice's breath."""

LEAD_MS = 3
"""How much silence is left before the first audible sample."""

Int16 = npt.NDArray[np.int16]


class Verdict(Enum):
    """Whether a clip may be heard now."""

    WAIT = "not yet"
    PLAY = "yes"
    DROP = "no longer"


class Sound:
    """Mono int16 that can be played while it grows: one thread adds and ends, another takes.

    Its first `heard` samples were heard elsewhere, and are not added.  `expected` is a guess of how many
    samples it will have in all.  What was taken is kept, as the speaker may go before it has been heard.
    """

    def __init__(self, expected: int = 0, heard: int = 0) -> None:
        self.heard = heard
        self._expected = expected
        self._samples = heard
        self._whole = False
        self._pieces: queue.SimpleQueue[Int16 | None] = queue.SimpleQueue()
        self._taken: list[Int16] = []
        self._again: list[Int16] = []

    @property
    def total(self) -> int:
        """How many samples it has in all; while it grows a guess, above what there is."""
        return self._samples if self._whole else max(self._expected, self._samples + 1)

    def add(self, pcm: Int16) -> None:
        """`pcm`, shape (n,), joins on to what there is."""
        self._samples += len(pcm)
        self._pieces.put(pcm)

    def end(self) -> None:
        """It is whole."""
        self._whole = True
        self._pieces.put(None)

    @property
    def is_begun(self) -> bool:
        """Whether some of it was taken to be played."""
        return bool(self._taken)

    def take(self, timeout_s: float) -> Int16 | None:
        """The next piece; an empty one if none comes within `timeout_s`, None at the end."""
        if self._again:
            piece: Int16 | None = self._again.pop()
        else:
            try:
                piece = self._pieces.get(timeout=timeout_s)
            except queue.Empty:
                return np.empty(0, np.int16)
        if piece is None:
            self._pieces.put(None)  # for whoever takes it again
        else:
            self._taken.append(piece)
        return piece

    def rewind(self, heard: int) -> None:
        """So many samples have been heard now: what was taken behind them is to be taken again."""
        if self._taken:
            self._again = [np.concatenate([*self._taken, *self._again])[heard - self.heard :]]
            self._taken = []
            self.heard = heard


def whole(pcm: Int16) -> Sound:
    """`pcm`, shape (n,), as a sound that no longer grows."""
    sound = Sound()
    sound.add(pcm)
    sound.end()
    return sound


class Clip(Protocol):
    """A sound to play; called back from the player's thread."""

    sound: Sound
    waits: bool
    """Whether it is heard behind other clips; else it is heard at once, or not at all."""

    @property
    def answer(self) -> tuple[int, int] | None:
        """The turn and revision that it is a part of: silence between two parts of one answer is a gap."""

    def verdict(self) -> Verdict: ...

    def volume(self) -> float:
        """How loud it is to be from now on, from 0 to 1."""

    def started(self, at_s: float) -> None:
        """Its first audible sample was heard at that CLOCK_MONOTONIC second."""

    def progress(self, fraction: float) -> None:
        """So much of it has been heard, above 0 to 1, each time more; 1 is the last call.

        While it grows, this is a guess.
        """

    def gap(self, duration_ms: int, at_s: float) -> None:
        """The speaker was silent for so long until then: there was no more of the answer yet."""

    def dropped(self, reason: str) -> None:
        """It will not be heard (to its end): cancelled if `reason` is empty, else why it could not be."""


def without_silent_start(pieces: Iterator[Int16], rate_hz: int) -> Iterator[Int16]:
    """The sound in `pieces` without what is inaudible at its beginning, but for `LEAD_MS` that rise from 0.

    Sound of which nothing is audible stays as it is.
    """
    start = np.empty(0, np.int16)
    for piece in pieces:
        start = np.concatenate([start, piece])
        if (first := first_audible(start)) is not None:
            lead = min(first, rate_hz * LEAD_MS // 1000)
            start = start[first - lead :]
            start[:lead] = start[:lead] * np.linspace(0, 1, lead)
            break
    yield start
    yield from pieces


def first_audible(pcm: Int16) -> int | None:
    """Which sample of `pcm`, shape (n,), is the first audible one."""
    # -32768 has no counterpart above 0 in 16 bits
    loud = np.flatnonzero(np.abs(pcm.astype(np.int32)) >= AUDIBLE)
    return int(loud[0]) if len(loud) else None
