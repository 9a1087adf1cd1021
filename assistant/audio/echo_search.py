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

LIKE = 0.25
"""The likeness that shows an echo.  People who speak meanwhile come to 0.2, three looks of a hundred to more;
echoes that are 15 dB louder than the room's noise come to 0.3 and more."""

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
        self._heard: deque[Samples] = deque(maxlen=LOOKED_AT)
        self._played: deque[Samples] = deque(maxlen=LOOKED_AT + TAIL)
        self._is_found = False
        self._loud = 0
        self._sure = 0

    def begin_anew(self) -> None:
        """What comes is no continuation: a speaker may have been turned on since then."""
        self._heard.clear()
        self._played.clear()
        self._sure = 0

    def finds_none(self, heard: bytes, played: bytes) -> bool:
        """Whether the next frame, `heard` while that was `played` (both 20 ms), needs no canceller.

        Once an echo has been found it is always needed.
        """
        if self._is_found or self._loud >= UNTRAINED:
            return False
        self._heard.append(np.frombuffer(heard, np.int16).astype(np.float64))
        self._played.append(np.frombuffer(played, np.int16).astype(np.float64))
        self._loud += _is_loud(self._played[-1])
        if len(self._played) <= TAIL or len(self._heard) < LOOKED_AT:
            return False
        self._sure += _is_loud(self._played[-1 - TAIL])
        before = np.zeros(FRAME_SAMPLES * (LOOKED_AT + TAIL - len(self._played)))
        like = likeness(np.concatenate(self._heard), np.concatenate([before, *self._played]))
        self._is_found = like >= LIKE
        return self._sure >= SURE and not self._is_found


def likeness(heard: Samples, played: Samples) -> float:
    """How much of `heard` is the end of `played`, or what was played before: 0 to 1.

    The greatest of their correlations at all delays at which `heard` lies within the longer `played`, both
    with a flat spectrum (Knapp and Carter, "The generalized correlation method for estimation of time delay",
    1976).
    """
    count, delays = len(played), len(played) - len(heard) + 1
    flat_heard, flat_played = _flat(heard, count), _flat(played, count)
    products = np.fft.irfft(flat_played * np.conj(flat_heard), count)[:delays]
    power = np.concatenate([[0.0], np.cumsum(np.fft.irfft(flat_played, count) ** 2)])
    powers = np.maximum(power[-delays:] - power[:delays], LEAST_SHARE * power[-1] * len(heard) / count)
    heard_power = 2 * float(np.sum(np.abs(flat_heard) ** 2)) / count
    return float(np.max(np.abs(products) / np.sqrt(heard_power * powers + 1e-9)))


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
    flat[middle] = spectrum[middle] / np.sqrt(powers / width + 1.0)
    return flat


def _is_loud(frame: Samples) -> bool:
    return float(frame @ frame) > LOUD**2 * len(frame)
