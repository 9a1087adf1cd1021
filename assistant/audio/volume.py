"""How loud a volume is, and changing it without a click.  Pure.

A volume is from 0, silent, to 1, full.  Half of it sounds half as loud: loudness doubles with every 10 dB
(Stevens, "The measurement of loudness", J. Acoust. Soc. Am. 27, 1955; the sone of ISO 532-1).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

DB_PER_HALVING = 10.0

FULL_FADE_S = 0.02
"""How long a change from silent to full takes, a smaller one a part of it: too slow to be heard as a click,
too fast to be heard as a fade."""


def gain(volume: float) -> float:
    """The factor for the samples, from 0 to 1, of a volume from 0 to 1."""
    return float(volume ** (DB_PER_HALVING / (20 * math.log10(2))))


class Fader:
    """Scales samples as they are played; a new gain is reached along a straight line."""

    def __init__(self, gain: float) -> None:
        self._gain = gain

    def fade(self, pcm: npt.NDArray[np.int16], gain: float, rate_hz: int) -> npt.NDArray[np.int16]:
        """`pcm`, shape (n,), behind what was scaled before, on the way to `gain` or at it."""
        if gain == self._gain == 1.0 or not len(pcm):
            return pcm
        way = (np.arange(len(pcm)) + 1) / (FULL_FADE_S * rate_hz)
        gains = (
            np.maximum(self._gain - way, gain) if gain < self._gain else np.minimum(self._gain + way, gain)
        )
        self._gain = float(gains[-1])
        scaled: npt.NDArray[np.int16] = np.rint(pcm * gains).astype(np.int16)
        return scaled
