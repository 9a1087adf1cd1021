"""What is written to a speaker, told on as `Played`, for an echo canceller."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from assistant.audio.formats import FRAME_SAMPLES, RATE_HZ
from assistant.audio.resampling import Resampler
from assistant.messages import Played

JITTER_S = 0.04
"""Sounds whose times are no further from joining than this do join: when a sample is heard is measured."""

Int16 = npt.NDArray[np.int16]


class Tap:
    """Gives `post` the sound at the program's own rate, 20 ms at a time, and the rest where a sound ends."""

    def __init__(self, post: Callable[[Played], None]) -> None:
        self._post = post
        self._resampler: Resampler | None = None
        self._written_s = 0.0
        """When the speaker will have played all that was written to it."""
        self._posted_s = 0.0
        self._held = np.empty(0, np.int16)

    def feed(self, pcm: Int16, rate_hz: int, due_s: float) -> None:
        """`pcm`, shape (n,), was written to the speaker, and will be heard from about `due_s` on."""
        if abs(due_s - self._written_s) > JITTER_S:
            self.end()
            self._written_s = due_s
        if self._resampler is None:
            self._resampler = Resampler(rate_hz, RATE_HZ)
            self._posted_s = self._written_s
        self._written_s += len(pcm) / rate_hz
        self._give(self._resampler.feed(pcm))

    def end(self) -> None:
        """The sound is whole."""
        if self._resampler is None:
            return
        self._give(self._resampler.end())
        if len(self._held):
            self._post_next(len(self._held))
        self._resampler = None

    def stopped(self, now_s: float) -> None:
        """What was written and not heard by now will not be heard."""
        self._resampler = None
        self._held = self._held[:0]
        self._written_s = now_s
        self._post(Played(b"", RATE_HZ, now_s))

    def _give(self, pcm: Int16) -> None:
        self._held = np.concatenate([self._held, pcm])
        while len(self._held) >= FRAME_SAMPLES:
            self._post_next(FRAME_SAMPLES)

    def _post_next(self, samples: int) -> None:
        self._post(Played(self._held[:samples].tobytes(), RATE_HZ, self._posted_s))
        self._held = self._held[samples:]
        self._posted_s += samples / RATE_HZ
