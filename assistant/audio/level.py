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
    """Measures frames as they come: about 0.1 ms of a Raspberry Pi 4's time for each."""

    def __init__(self) -> None:
        self._squares = 0.0
        self._peak = 0
        self._frames = 0
        self._lost_samples = 0
        self._position: int | None = None

    def feed(self, frame: bytes, position: int, at_s: float) -> MicrophoneLevel | None:
        """The level, whenever a second is full.  `position` is the sample of the stream behind the frame."""
        samples = array("h", frame)
        self._squares += math.hypot(*samples) ** 2
        self._peak = max(self._peak, max(samples), -min(samples))
        self._frames += 1
        if self._position is not None:
            self._lost_samples += max(0, position - self._position - FRAME_SAMPLES)
        self._position = position
        if self._frames < FRAMES:
            return None
        level = MicrophoneLevel(
            dbfs(math.sqrt(self._squares / (self._frames * FRAME_SAMPLES))),
            dbfs(self._peak),
            self._frames,
            self._lost_samples // FRAME_SAMPLES,
            at_s,
        )
        self._squares, self._peak, self._frames, self._lost_samples = 0.0, 0, 0, 0
        return level


def dbfs(amplitude: float) -> float:
    """`amplitude`, from 0 to `FULL_SCALE`, in decibels below full scale."""
    return max(SILENCE_DBFS, 20 * math.log10(amplitude / FULL_SCALE)) if amplitude else SILENCE_DBFS
