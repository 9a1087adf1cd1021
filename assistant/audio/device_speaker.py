"""A speaker of this board."""

from __future__ import annotations

import threading
import time
from collections import deque
from statistics import median

import numpy as np
import numpy.typing as npt

from assistant.audio import devices
from assistant.audio.playback_clock import AHEAD_S, ANSWER_S, PlaybackClock
from assistant.errors import AudioError, DeviceStuck

CLOSE_S = 1.0
DEVICE_STARTS_S = 5.0
BLOCKS_PER_S = 100
"""How often a device is written to, and thus can be stopped."""
JITTER_S = 0.02
"""When a sample is heard is measured, in a thread that may be late by this much."""
MEASURED_BLOCKS = 101
"""Blocks (a second) of which the median measurement counts: an echo canceller needs it to be steady."""

Int16 = npt.NDArray[np.int16]


class DeviceSpeaker:
    """A speaker of this board.

    A thread keeps the device's buffer full, with silence when there is nothing to say: so it never runs dry
    between two sentences, an amplifier stays awake and swallows no first syllable, and what is in the buffer
    tells when a sample will be heard.  No callback: under systemd's MemoryDenyWriteExecute= it could not be
    made.
    """

    def __init__(self, name: str, rate_hz: int) -> None:
        self._device = devices.find("speaker", name)
        rates_hz = (rate_hz, self._device.default_rate_hz, *devices.SPEAKER_RATES_HZ)
        # a speaker in mono plays on the left only
        counts = (min(2, self._device.channels),)
        self._stream, self.rate_hz, self._channels = devices.open_stream(self._device, rates_hz, counts)
        self._block_samples = self.rate_hz // BLOCKS_PER_S
        self._buffer_samples: int = self._stream.write_available
        self._ahead = int(AHEAD_S * self.rate_hz)
        self._changed = threading.Condition()
        self._queued = np.empty(0, np.int16)
        self._playback = PlaybackClock(self.rate_hz, JITTER_S)
        self._written = 0
        self._stopping = False
        self._closing = False
        self._running = False
        self._failure: AudioError | None = None
        self._block_done_s = time.monotonic()
        self._next_block_s = 0.0
        """When a block that is written next will be heard."""
        self._playing = threading.Thread(target=self._play, name="speaker", daemon=True)
        self._playing.start()
        with self._changed:
            self._changed.wait_for(lambda: self._running or self._failure, DEVICE_STARTS_S)
            is_running, failure = self._running, self._failure or devices.gone(self._device)
        if not is_running:
            # a write that hangs would crash if PortAudio ended under it, as it does to look again
            raise failure if self.close() else DeviceStuck(str(failure))

    def write(self, pcm: Int16) -> None:
        with self._changed:
            self._await_stop()
            while len(pcm):
                room = max(0, self._ahead - len(self._queued))
                self._queued = np.concatenate([self._queued, pcm[:room]])
                self._written += len(pcm[:room])
                pcm = pcm[room:]
                if len(pcm):
                    self._changed.wait(ANSWER_S)
                self._raise_failure()
                if self._stopping:
                    return

    def played(self) -> int:
        with self._changed:
            self._raise_failure()
            return self._playback.played(time.monotonic())

    def pending(self) -> int:
        with self._changed:
            self._raise_failure()
            return self._written - self._playback.played(time.monotonic())

    def heard_at_s(self, sample: int) -> float:
        with self._changed:
            return self._playback.at_s(sample)

    def due_s(self, sample: int) -> float:
        with self._changed:
            return self._playback.due_s(sample, max(time.monotonic(), self._next_block_s))

    def stop(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
            self._await_stop()

    def close(self) -> bool:
        self._closing = True
        # a speaker that was pulled out may never return from its write; its thread ends with the process
        self._playing.join(CLOSE_S)
        return not self._playing.is_alive()

    def _await_stop(self) -> None:
        if not self._changed.wait_for(lambda: not self._stopping or self._failure, ANSWER_S):
            self._failure = devices.gone(self._device)
        self._raise_failure()

    def _raise_failure(self) -> None:
        """The lock is held."""
        now_s = time.monotonic()
        # PortAudio does not always notice that a speaker is pulled out: a write to it may never return
        if self._written > self._playback.played(now_s) and now_s - self._block_done_s >= ANSWER_S:
            self._failure = self._failure or devices.gone(self._device)
        if self._failure:
            raise self._failure

    def _play(self) -> None:
        blocks = 0
        start = 0
        # when the device's first sample would have been heard, by what was measured with each block
        began_s: deque[float] = deque(maxlen=MEASURED_BLOCKS)
        try:
            with self._stream:
                while not self._closing:
                    if self._stopping:
                        start = self._drop()
                        began_s.clear()
                    with self._changed:
                        sound = self._queued[: self._block_samples]
                        self._queued = self._queued[len(sound) :]
                        self._changed.notify_all()
                    block = np.zeros((self._block_samples, self._channels), np.int16)
                    block[: len(sound)] = sound[:, None]
                    self._stream.write(block.tobytes())
                    in_buffer = self._buffer_samples - self._stream.write_available
                    written_s = blocks * self._block_samples / self.rate_hz
                    measured_s = time.monotonic() + (in_buffer - self._block_samples) / self.rate_hz
                    began_s.append(measured_s - written_s)
                    at_s = median(began_s) + written_s
                    blocks += 1
                    with self._changed:
                        self._block_done_s = time.monotonic()
                        self._next_block_s = at_s + self._block_samples / self.rate_hz
                        if len(sound):
                            self._playback.add(start, len(sound), at_s)
                            start += len(sound)
                        # only a full buffer makes writing wait, and shows that the device plays
                        self._running = blocks * self._block_samples > self._buffer_samples
                self._stream.abort()
        except devices.load_portaudio().PortAudioError:
            with self._changed:
                self._failure = devices.gone(self._device)
                self._changed.notify_all()

    def _drop(self) -> int:
        """Silence at once; the number that the next sample has."""
        # without the lock: a speaker that was pulled out may never answer
        self._stream.abort()
        silent_s = time.monotonic()
        self._stream.start()
        with self._changed:
            heard = self._playback.played(silent_s)
            self._playback.cut(heard)
            self._queued = self._queued[:0]
            self._written = heard
            self._stopping = False
            self._changed.notify_all()
        return heard
