"""How loud a microphone is, second by second; without numpy, which a recorded microphone does not need."""

from __future__ import annotations

import math
from array import array

from assistant.audio.formats import FRAME_MS, FRAME_SAMPLES
from assistant.messages import MicrophoneLevel

FULL_SCALE = 32_768
SILENCE_DBFS = -100.0
"""What stands for no sound at all, which has no logarithm; one step of 16 bits is at -90.3 dB."""

FRAMES = 1_000 // FRAME_MS
"""A level is of one second."""


class LevelMeter:
    """Measures a second at a time: about 4 ms of a Raspberry Pi 4's."""

    def __init__(self) -> None:
        self._frames: list[bytes] = []
        self._lost_samples = 0
        self._position: int | None = None

    def feed(self, frame: bytes, position: int, at_s: float) -> MicrophoneLevel | None:
        """The level, whenever a second is full.  `position` is the sample of the stream behind the frame."""
        self._frames.append(frame)
        if self._position is not None:
            self._lost_samples += max(0, position - self._position - FRAME_SAMPLES)
        self._position = position
        if len(self._frames) < FRAMES:
            return None
        samples = array("h", b"".join(self._frames)).tolist()
        level = MicrophoneLevel(
            dbfs(math.hypot(*samples) / math.sqrt(len(samples))),
            dbfs(max(max(samples), -min(samples))),
            FRAMES,
            self._lost_samples // FRAME_SAMPLES,
            at_s,
        )
        self._frames, self._lost_samples = [], 0
        return level


def dbfs(amplitude: float) -> float:
    """`amplitude`, from 0 to `FULL_SCALE`, in decibels below full scale."""
    return max(SILENCE_DBFS, 20 * math.log10(amplitude / FULL_SCALE)) if amplitude else SILENCE_DBFS
