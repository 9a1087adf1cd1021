"""Sound at any rate and with any number of channels, brought to another rate, piece by piece.

The resampler works in float32 and rounds itself: its own conversion to 16 bit adds dither, which would make
the same sound come out differently each time.  At high quality it holds back up to 40 ms (48 kHz to 16 kHz).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import soxr

from assistant.audio.formats import RATE_HZ
from assistant.errors import AudioError

FULL_SCALE = 32_768
LOWEST_HZ, HIGHEST_HZ = 1_000, 768_000

Int16 = npt.NDArray[np.int16]
Samples = npt.NDArray[np.float32] | Int16
"""Float samples lie between -1 and 1."""


class ToMono16k:
    """A stream of sound at `rate_hz` with `channels`, as the program's own: 16 kHz, mono, int16.

    Channels are averaged, unless `channel`, from 1, says which one is wanted.  Sound of one channel that is
    16 kHz int16 already comes through bit for bit.  Raises `AudioError` for a rate that no sound has.
    """

    def __init__(self, rate_hz: int, channels: int, channel: int = 0) -> None:
        if not LOWEST_HZ <= rate_hz <= HIGHEST_HZ:
            raise AudioError(f"Sound at {rate_hz} Hz cannot be converted; is the file or the stream damaged?")
        self._channels = channels
        self._wanted = slice(channel - 1, channel) if channel else slice(None)
        self._stream = None if rate_hz == RATE_HZ else _stream(rate_hz, RATE_HZ)

    def feed(self, samples: Samples) -> Int16:
        """What is ready of the sound up to and including `samples`, of shape (n, channels) or, for mono,
        (n,).
        """
        wanted = samples.reshape(-1, self._channels)[:, self._wanted]
        if self._stream is None and wanted.shape[1] == 1 and wanted.dtype == np.int16:
            return wanted[:, 0].astype(np.int16)
        floats = _to_float(wanted).mean(axis=1, dtype=np.float32)
        return _to_int16(floats if self._stream is None else self._stream.resample_chunk(floats))

    def end(self) -> Int16:
        """What the resampler still held back; afterwards it takes a new stream."""
        return _flush(self._stream)


class Resampler:
    """A stream of mono int16 at `from_hz`, as one at `to_hz`; the same rate comes through bit for bit."""

    def __init__(self, from_hz: int, to_hz: int) -> None:
        self._stream = None if from_hz == to_hz else _stream(from_hz, to_hz)

    def feed(self, pcm: Int16) -> Int16:
        """What is ready of the sound up to and including `pcm`, of shape (n,)."""
        if self._stream is None:
            return pcm
        return _to_int16(self._stream.resample_chunk(_to_float(pcm)))

    def end(self) -> Int16:
        """What the resampler still held back; afterwards it takes a new stream."""
        return _flush(self._stream)


def _stream(from_hz: int, to_hz: int) -> soxr.ResampleStream:
    return soxr.ResampleStream(from_hz, to_hz, 1, dtype="float32", quality="HQ")


def _flush(stream: soxr.ResampleStream | None) -> Int16:
    if stream is None:
        return np.empty(0, np.int16)
    held: Int16 = _to_int16(stream.resample_chunk(np.empty(0, np.float32), last=True))
    stream.clear()
    return held


def _to_float(samples: Samples) -> npt.NDArray[np.float32]:
    if samples.dtype == np.int16:
        return samples.astype(np.float32) / np.float32(FULL_SCALE)
    # one NaN from a broken float file would stay in the resampler for good
    return np.nan_to_num(samples, nan=0, posinf=1, neginf=-1)


def _to_int16(samples: npt.NDArray[np.float32]) -> Int16:
    whole = np.rint(samples * np.float32(FULL_SCALE))
    rounded: Int16 = np.clip(whole, -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)
    return rounded
