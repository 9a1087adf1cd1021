"""A microphone of this board."""

from __future__ import annotations

import contextlib
import math
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
"""How long a microphone may take to start; PulseAudio has been seen to take 2 s."""
NEXT_FRAME_S = 0.8
"""PortAudio does not always notice that a microphone is pulled out; silent for so long, it is gone."""

POLL_S = 0.005
"""How late sound may be read."""

SLEPT_THROUGH = 0.97
"""Sound comes in periods of about 40 ms: until the next one is due, there is nothing to look for."""
LONGEST_SLEEP_S = 0.04

Frame = tuple[bytes, int, float]
"""Its sound, the position behind it, and when its last sample was captured."""


class DeviceMicrophone:
    """A microphone of this board, at the rate it has; a thread reads it, so that nothing is lost between two
    reads.

    No callback: under systemd's MemoryDenyWriteExecute= it could not be made.  And no read that waits: that
    of a microphone which was pulled out never returns, and only a new process could hear again.
    """

    can_wait = False

    def __init__(self, name: str, channel: int = 0) -> None:
        self._device = devices.find("microphone", name)
        counts = devices.channel_counts(self._device, channel)
        self._stream, rate_hz, channels = devices.open_stream(
            self._device, devices.MICROPHONE_RATES_HZ, counts
        )
        self._rate_hz = rate_hz
        self._channels = channels
        # most sound servers and some microphones give what is needed: this runs fifty times a second for ever
        is_ours = (rate_hz, channels) == (RATE_HZ, 1)
        self._convert = None if is_ours else ToMono16k(rate_hz, channels, channel)
        self._frames: queue.SimpleQueue[Frame | AudioError] = queue.SimpleQueue()
        self._given_samples = 0
        self._closing = threading.Event()
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
        self._closing.set()
        # what blocks, such as a sound server that hangs, keeps its thread until the process ends
        self._listening.join(CLOSE_S)
        return not self._listening.is_alive()

    def _listen(self) -> None:
        block = self._rate_hz * FRAME_MS // 1000
        lost = LostSound()
        heard = 0
        given = 0
        rest = b""
        try:
            with self._stream:
                while not self._closing.is_set():
                    ready: int = self._stream.read_available // block * block
                    if not ready:
                        time.sleep(POLL_S)
                        continue
                    sound, _ = self._stream.read(ready)
                    now_s = time.monotonic()
                    heard += ready
                    self._given_samples += int(RATE_HZ * lost.feed(heard / self._rate_hz, now_s))
                    pcm = bytes(sound)
                    if self._convert is not None:
                        samples = np.frombuffer(pcm, np.int16).reshape(-1, self._channels)
                        pcm = self._convert.feed(samples).tobytes()
                    given += len(pcm) // SAMPLE_BYTES
                    # what the resampler holds back was captured later than what it gives out
                    captured_at_s = now_s - (heard / self._rate_hz - given / RATE_HZ)
                    rest += pcm
                    while len(rest) >= FRAME_BYTES:
                        later_s = (len(rest) - FRAME_BYTES) / (SAMPLE_BYTES * RATE_HZ)
                        self._give(rest[:FRAME_BYTES], captured_at_s - later_s)
                        rest = rest[FRAME_BYTES:]
                    time.sleep(min(SLEPT_THROUGH * ready / self._rate_hz, LONGEST_SLEEP_S))
        except devices.load_portaudio().PortAudioError:
            self._frames.put(devices.gone(self._device))

    def _give(self, frame: bytes, captured_at_s: float) -> None:
        self._given_samples += FRAME_SAMPLES
        self._frames.put((frame, self._given_samples, captured_at_s))
        if self._frames.qsize() > MOST_WAITING_FRAMES:
            # the position of the next one that is read shows the gap; one read just now makes room as well
            with contextlib.suppress(queue.Empty):
                self._frames.get_nowait()


class LostSound:
    """Notices sound that a device lost, which it does not always say: what came, against the clock.  Pure.

    Sound that is late comes all the same, so of some seconds the smallest delay counts: what that grows by
    was lost.  What it falls by again came after all: as much of the next loss is told already.  A device's
    clock that runs slow by a thousandth stays below `LEAST_S`.
    """

    WINDOW_S = 2.0
    LEAST_S = 0.03

    def __init__(self) -> None:
        self._usual_s: float | None = None
        self._smallest_s = math.inf
        self._until_s: float | None = None
        self._told_s = 0.0  # in all, but for what came after all
        self._too_much_s = 0.0  # told of what came after all

    def feed(self, received_s: float, now_s: float) -> float:
        """How many seconds are known to be lost since the last time, when so much has come in all."""
        delay_s = now_s - received_s
        self._smallest_s = min(self._smallest_s, delay_s)
        if self._until_s is None:
            self._until_s = now_s + self.WINDOW_S
        if now_s < self._until_s:
            return 0.0
        if self._usual_s is None:
            # a sound server begins with what it had before
            self._smallest_s = delay_s
        lost_s = 0.0 if self._usual_s is None else self._smallest_s - self._usual_s
        self._usual_s = self._smallest_s
        self._smallest_s, self._until_s = math.inf, now_s + self.WINDOW_S
        if lost_s < -self.LEAST_S:
            came_s = min(-lost_s, self._told_s)
            self._told_s -= came_s
            self._too_much_s += came_s
        if lost_s <= self.LEAST_S:
            return 0.0
        told_s = min(lost_s, self._too_much_s)
        self._too_much_s -= told_s
        self._told_s += lost_s
        return lost_s - told_s
