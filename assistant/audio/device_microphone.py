"""A microphone of this board."""

from __future__ import annotations

import contextlib
import queue
import threading
import time

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

Frame = tuple[bytes, int, float]
"""Its sound, the position behind it, and when its last sample was captured."""


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
        # most sound servers and some microphones give what is needed: this runs fifty times a second for ever
        self._convert = None if (rate_hz, channels) == (RATE_HZ, 1) else ToMono16k(rate_hz, channels)
        self._frames: queue.SimpleQueue[Frame | AudioError] = queue.SimpleQueue()
        self._given_samples = 0
        self._closing = False
        self.position = 0
        self.captured_at_s = 0.0
        self._failure: AudioError | None = None
        self._patience_s = FIRST_FRAME_S
        self._listening = threading.Thread(target=self._listen, name="microphone", daemon=True)
        self._listening.start()

    def read(self, timeout_s: float) -> bytes | None:
        if self._failure:
            raise self._failure
        # only what was waited for here counts: the whole program may have been suspended in between
        wait_s = min(timeout_s, self._patience_s)
        try:
            came = self._frames.get(timeout=wait_s)
        except queue.Empty:
            self._patience_s -= wait_s
            if self._patience_s > 0:
                return None
            came = devices.gone(self._device)
        if isinstance(came, AudioError):
            self._failure = came
            raise came
        self._patience_s = NEXT_FRAME_S
        frame, self.position, self.captured_at_s = came
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
                    if self._convert is None:
                        self._give(bytes(sound), now_s)
                        continue
                    pcm = self._convert.feed(np.frombuffer(sound, np.int16).reshape(-1, self._channels))
                    heard += block / self._rate_hz
                    given += len(pcm)
                    # what the resampler holds back was captured later than what it gives out
                    captured_at_s = now_s - (heard - given / RATE_HZ)
                    rest += pcm.tobytes()
                    while len(rest) >= FRAME_BYTES:
                        later_s = (len(rest) - FRAME_BYTES) / (SAMPLE_BYTES * RATE_HZ)
                        self._give(rest[:FRAME_BYTES], captured_at_s - later_s)
                        rest = rest[FRAME_BYTES:]
        except devices.load_portaudio().PortAudioError:
            self._frames.put(devices.gone(self._device))

    def _give(self, frame: bytes, captured_at_s: float) -> None:
        self._given_samples += FRAME_SAMPLES
        self._frames.put((frame, self._given_samples, captured_at_s))
        if self._frames.qsize() > MOST_WAITING_FRAMES:
            # the position of the next one that is read shows the gap; one read just now makes room as well
            with contextlib.suppress(queue.Empty):
                self._frames.get_nowait()
