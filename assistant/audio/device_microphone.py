"""A microphone of this board."""

from __future__ import annotations

import threading
import time
from collections import deque

import numpy as np

from assistant.audio import devices
from assistant.audio.formats import FRAME_BYTES, FRAME_MS, FRAME_SAMPLES, RATE_HZ, SAMPLE_BYTES
from assistant.audio.resampling import ToMono16k
from assistant.errors import AudioError

MOST_WAITING_FRAMES = 500
"""Ten seconds: what sound may pile up before the oldest is dropped."""
CLOSE_S = 1.0
FIRST_FRAME_S = 10.0
"""How long a microphone may take to start; PulseAudio has been seen to take 1.5 s."""
NEXT_FRAME_S = 3.0
"""PortAudio does not always notice that a microphone is pulled out; silent for so long, it is gone."""


class DeviceMicrophone:
    """A microphone of this board, at the rate it has; a thread reads it, so that nothing is lost between two
    reads.

    No callback: under systemd's MemoryDenyWriteExecute= it could not be made.
    """

    can_wait = False

    def __init__(self, name: str) -> None:
        self._device = devices.find("microphone", name)
        self._stream, rate_hz, channels = devices.open_stream(self._device, RATE_HZ)
        self._rate_hz = rate_hz
        self._channels = channels
        self._convert = ToMono16k(rate_hz, channels)
        self._came = threading.Condition()
        self._frames: deque[tuple[bytes, float]] = deque()
        self._failure: AudioError | None = None
        self._closing = False
        self.position = 0
        self.captured_at_s = 0.0
        self._patience_s = FIRST_FRAME_S
        self._listening = threading.Thread(target=self._listen, name="microphone", daemon=True)
        self._listening.start()

    def read(self, timeout_s: float) -> bytes | None:
        with self._came:
            # only what was waited for here counts: the whole program may have been suspended in between
            wait_s = min(timeout_s, self._patience_s)
            if not self._came.wait_for(lambda: self._frames or self._failure, wait_s):
                self._patience_s -= wait_s
                if self._patience_s > 0:
                    return None
                self._failure = devices.gone(self._device)
            if not self._frames:
                assert self._failure
                raise self._failure
            self._patience_s = NEXT_FRAME_S
            frame, self.captured_at_s = self._frames.popleft()
            self.position += FRAME_SAMPLES
            return frame

    def settled(self, samples: int) -> None:
        """A device's sound cannot be heard again."""

    def close(self) -> bool:
        self._closing = True
        # a microphone that was pulled out may never return from its read; its thread ends with the process
        self._listening.join(CLOSE_S)
        return not self._listening.is_alive()

    def _listen(self) -> None:
        block = self._rate_hz * FRAME_MS // 1000
        heard = 0.0
        given = 0
        rest = b""
        try:
            with self._stream:
                while not self._closing:
                    sound, _ = self._stream.read(block)
                    now_s = time.monotonic()
                    pcm = self._convert.feed(np.frombuffer(sound, np.int16).reshape(-1, self._channels))
                    heard += block / self._rate_hz
                    given += len(pcm)
                    # what the resampler holds back was captured later than what it gives out
                    captured_at_s = now_s - (heard - given / RATE_HZ)
                    rest = self._hand_out(rest + pcm.tobytes(), captured_at_s)
        except devices.load_portaudio().PortAudioError:
            with self._came:
                self._failure = devices.gone(self._device)
                self._came.notify_all()

    def _hand_out(self, sound: bytes, captured_at_s: float) -> bytes:
        """Queue the whole frames of `sound`, which was captured until then; returns what is left over."""
        whole = len(sound) // FRAME_BYTES * FRAME_BYTES
        with self._came:
            for start in range(0, whole, FRAME_BYTES):
                later = (len(sound) - start - FRAME_BYTES) / (SAMPLE_BYTES * RATE_HZ)
                self._frames.append((sound[start : start + FRAME_BYTES], captured_at_s - later))
            while len(self._frames) > MOST_WAITING_FRAMES:
                # the next frame that is read shows the gap in its position
                self._frames.popleft()
                self.position += FRAME_SAMPLES
            self._came.notify_all()
        return sound[whole:]
