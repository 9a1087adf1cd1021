"""Echo cancellation: WebRTC's AEC3.  The one file that imports pywebrtc_audio.

It finds out by itself how much later than the reference the echo comes (up to half a second), follows when
that or the room changes, and needs no training: its first second is good enough.  Where there is none, it
mutes people for some seconds (`audio.echo_search`).
"""

from __future__ import annotations

import numpy as np
from pywebrtc_audio import EchoCanceller as Aec3

from assistant.audio.formats import FRAME_SAMPLES, RATE_HZ


class EchoCanceller:
    """Takes what a speaker plays out of what a microphone hears."""

    def __init__(self) -> None:
        self._aec = Aec3(RATE_HZ)

    def cancel(self, frame: bytes, played: bytes) -> bytes:
        """`frame` without the echo of `played` and of what was played before; both 20 ms.

        The sound comes out some milliseconds later than it went in.  Raises `ValueError` for other lengths.
        """
        near, far = np.frombuffer(frame, np.int16), np.frombuffer(played, np.int16)
        if len(near) != FRAME_SAMPLES or len(far) != FRAME_SAMPLES:
            raise ValueError(f"frames have {FRAME_SAMPLES} samples, not {len(near)} and {len(far)}")
        cancelled: bytes = self._aec.process(near, far).tobytes()
        return cancelled
