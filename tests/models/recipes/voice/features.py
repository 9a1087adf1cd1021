"""What the voice's network predicts for every frame, and how phoneme ids are read; shared by all its steps.

A frame is HOP samples at RATE_HZ (4.99 ms). Its features [OUT]: the log power envelope at BANDS points
spaced evenly in mel, the log of the pitch in hertz, and noisiness in units of 20 dB at 0, 3 and 6 kHz.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

RATE_HZ, HOP = 22050, 110
BANDS, NOISINESS = 56, 3
OUT = BANDS + 1 + NOISINESS
_NOISINESS_HZ = (0.0, 3000.0, 6000.0, 11025.0)

SYMBOLS = 168
#: Piper's ids of ! , . : ; ? - the last in a sentence decides its melody; a text without is a statement.
ENDS = (4, 8, 10, 11, 12, 13)
END_OF = [i if i in ENDS else 10 for i in range(SYMBOLS)]

#: The network is told how many phonemes are still to come, in units of 32, up to this bound (80 phonemes).
#: Few sentences of the teacher are longer, and a network extrapolates badly: without the bound, 120 words
#: without punctuation became 390 s of sound.
REMAINING_UNIT, REMAINING_LIMIT = 32.0, 2.5

# widths and depths of the phoneme layers and of the frame layers
PHONEME_CHANNELS, PHONEME_KERNEL, PHONEME_LAYERS = 96, 5, 3
FRAME_CHANNELS, FRAME_KERNEL, FRAME_LAYERS = 128, 5, 4


def dilation(layer: int) -> int:
    """Of a frame layer."""
    return 1 + layer % 3


def _mel(hz: npt.ArrayLike) -> npt.NDArray[np.float64]:
    return np.asarray(2595 * np.log10(1 + np.asarray(hz, dtype=np.float64) / 700))


def band_matrix(hz: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """[BANDS, len(hz)]: times an envelope, that envelope at `hz`, linear between the band centres."""
    centres = np.linspace(0, _mel(RATE_HZ / 2), BANDS)
    at = np.clip(_mel(hz) / (centres[1] - centres[0]), 0, BANDS - 1)
    return np.asarray(np.maximum(0, 1 - np.abs(np.arange(BANDS)[:, None] - at[None, :])))


def noisiness_matrix(hz: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """[NOISINESS, len(hz)]: decibels between the three points, rising to 0 dB at 11 kHz."""
    out = np.zeros((NOISINESS, len(hz)))
    for i in range(NOISINESS):
        peak = np.zeros(len(_NOISINESS_HZ))
        peak[i] = 1
        out[i] = np.interp(hz, _NOISINESS_HZ, peak)
    return out
