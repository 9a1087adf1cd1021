"""How loud sound is."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FULL_SCALE = 32_768
SILENCE_DBFS = -100.0
"""Below what 16 bits can hold (-90.3 dBFS is a constant 1): returned instead of minus infinity."""


def dbfs(pcm: npt.NDArray[np.int16]) -> float:
    """The level of `pcm` in decibels below full scale, from its root mean square; -100 for silence or no
    samples.
    """
    if not pcm.size:
        return SILENCE_DBFS
    power = float(np.mean(np.square(pcm, dtype=np.float64))) / FULL_SCALE**2
    return max(SILENCE_DBFS, 10 * float(np.log10(power))) if power else SILENCE_DBFS
