"""Whether anything can be heard of the speaker.  Pure.

A canceller takes everything for an echo until it has found one, and mutes people; where there is none, on
headphones or in a room with a louder fan, that takes seconds.  Until then this says what needs no canceller.
"""

from __future__ import annotations

from collections import deque

import numpy as np
import numpy.typing as npt

from assistant.audio.barge_in import TAIL
from assistant.audio.formats import FRAME_SAMPLES, RATE_HZ

LOOKED_AT = 10
"""Frames (200 ms) of the microphone's that are looked at: a syllable."""

PLAYED = LOOKED_AT + TAIL + 1
"""Frames of what was played that they are looked for in; the reference goes one ahead."""

EVERY = 2
"""Frames: a look takes 0.7 ms of a PC, some 10 of the slowest board."""

LIKE = 0.25
"""The likeness that makes an echo suspected.  Other people come to 0.2, three looks of a hundred to more than
this; echoes that are 15 dB louder than the room's noise come to 0.3 to 0.8."""

APART = LOOKED_AT
"""Frames between two looks whose one delay shows an echo: where likeness is chance, it is another one."""

SAME = 2 * RATE_HZ // 1_000
"""Samples (2 ms) by which the delay may differ: now the loudspeaker is the louder, now a wall."""

LOUD = 300.0
"""Root mean square (of 32768; -41 dBFS) of what is played from which on an echo would show."""

SURE = 10
"""Loud frames (200 ms) whose echo has had time to come, and of which none was found."""

UNTRAINED = 400
"""Loud frames (8 s) within which a canceller that hears no echo has found that out itself (7 s)."""

LOWEST_HZ, HIGHEST_HZ = 200, 6_500
SMOOTHED_HZ = 100
"""Where speakers and voices are, and how finely their spectrum is levelled."""

LEAST_SHARE = 0.1
"""Of the mean power of what was played: in its pauses there is nothing to compare with."""

Samples = npt.NDArray[np.float64]


class EchoSearch:
    """One for a microphone and its canceller."""

    def __init__(self) -> None:
        self.has_found = False
        """An echo, which no other sound can have been."""
        self._heard: deque[Samples] = deque(maxlen=LOOKED_AT)
        self._played: deque[Samples] = deque(maxlen=PLAYED)
        self._loud = 0
        self.begin_anew()

    def begin_anew(self) -> None:
        """What comes is no continuation: a speaker may have been turned on since then."""
        self._heard.clear()
        self._played.clear()
        self._frames = 0
        self._sure = 0
        self._suspected: tuple[int, int] | None = None  # with which frame, and which delay
        self._last_like = -LOOKED_AT

    def finds_none(self, heard: bytes, played: bytes) -> bool:
        """Whether the next frame, `heard` while that was `played` (both 20 ms), needs no canceller."""
        if self.has_found or self._loud >= UNTRAINED:
            return False
        self._heard.append(np.frombuffer(heard, np.int16).astype(np.float64))
        self._played.append(np.frombuffer(played, np.int16).astype(np.float64))
        self._frames += 1
        self._loud += _is_loud(self._played[-1])
        if self._frames <= TAIL + 1:
            return False
        self._sure += _is_loud(self._played[-2 - TAIL])
        if self._frames % EVERY == 0 and sum(map(_is_loud, self._played)) >= SURE:
            self._look()
        return self._sure >= SURE and self._frames - self._last_like >= LOOKED_AT and not self.has_found

    def _look(self) -> None:
        before = np.zeros(FRAME_SAMPLES * (PLAYED - len(self._played)))
        like, delay = likeness(np.concatenate(self._heard), np.concatenate([before, *self._played]))
        if like < LIKE:
            return
        self._last_like = self._frames
        if self._suspected is None or abs(delay - self._suspected[1]) > SAME:
            self._suspected = self._frames, delay
        self.has_found = self._frames - self._suspected[0] >= APART


def likeness(heard: Samples, played: Samples) -> tuple[float, int]:
    """How much of `heard` is the end of `played`, or what was played before, and how many samples before.

    It is 0 to 1, the greatest of their correlations at all delays at which `heard` lies within the longer
    `played`, both with a flat spectrum (Knapp and Carter, "The generalized correlation method for estimation
    of time delay", 1976).
    """
    count, delays = len(played), len(played) - len(heard) + 1
    flat_heard, flat_played = _flat(heard, count), _flat(played, count)
    products = np.fft.irfft(flat_played * np.conj(flat_heard), count)[:delays]
    power = np.concatenate([[0.0], np.cumsum(np.fft.irfft(flat_played, count) ** 2)])
    powers = np.maximum(power[-delays:] - power[:delays], LEAST_SHARE * power[-1] * len(heard) / count)
    heard_power = 2 * float(np.sum(np.abs(flat_heard) ** 2)) / count
    likenesses = np.abs(products) / np.sqrt(heard_power * powers + 1e-9)
    most = int(np.argmax(likenesses))
    return min(1.0, float(likenesses[most])), delays - 1 - most


def _flat(sound: Samples, count: int) -> npt.NDArray[np.complex128]:
    """The spectrum of `count` samples, `sound` and silence behind it, with one power in all frequencies."""
    spectrum = np.fft.rfft(sound, count)
    lowest, highest, width = (round(hz * count / RATE_HZ) for hz in (LOWEST_HZ, HIGHEST_HZ, SMOOTHED_HZ))
    sums = np.concatenate([[0.0], np.cumsum(np.abs(spectrum) ** 2)])
    middle = slice(lowest, highest)
    powers = (
        sums[lowest + width // 2 : highest + width // 2] - sums[lowest - width // 2 : highest - width // 2]
    )
    flat = np.zeros_like(spectrum)
    flat[middle] = spectrum[middle] / np.sqrt(powers / width + len(sound))  # more than rounding
    return flat


def _is_loud(frame: Samples) -> bool:
    return float(frame @ frame) > LOUD**2 * len(frame)
