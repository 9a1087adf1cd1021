"""Speakers, as the tts stage plays through them: a device, or the speaker of a virtual sound card."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from assistant.audio import devices
from assistant.audio.card_link import (
    CARD_PREFIX,
    CLOCK,
    HEARD,
    LARGEST_PACKET_BYTES,
    PLAY,
    STOP,
    STOPPED,
    connect,
)
from assistant.audio.formats import SAMPLE_BYTES
from assistant.errors import AudioError

AHEAD_S = 0.1
"""How much may be queued: enough to bridge the pauses of a busy processor, little enough to stop at once."""
ANSWER_S = 2.0
CLOSE_S = 1.0
DEVICE_STARTS_S = 5.0
BLOCKS_PER_S = 100
"""How often a device is written to, and thus can be stopped."""
CARD_JITTER_S = 0.000_1
DEVICE_JITTER_S = 0.02
"""A card says exactly when a sample is heard; for a device it is measured, in a thread that may be late."""
MOST_STRETCHES = 256

Int16 = npt.NDArray[np.int16]


class Speaker(Protocol):
    """Plays mono int16 at `rate_hz`.

    Samples are numbered from 0 at opening; those that `stop` dropped give their numbers back, so the next
    sample to be written always has the number `played() + pending()`.  All but `close` raise `AudioError`
    once the speaker is gone.
    """

    @property
    def rate_hz(self) -> int: ...

    def write(self, pcm: Int16) -> None:
        """Queue `pcm`, shape (n,); returns when about 100 ms of it are left to play, or after a `stop`."""

    def played(self) -> int:
        """Samples heard so far."""

    def pending(self) -> int:
        """Samples written but not heard yet."""

    def heard_at_s(self, sample: int) -> float:
        """When sample number `sample`, one of the `played()` ones, was heard, in seconds of CLOCK_MONOTONIC.

        Raises `ValueError` for a sample that was not heard, or so long ago that it is forgotten.
        """

    def stop(self) -> None:
        """Drop what has not been heard; it is silent, within 50 ms, when this returns.

        Another thread than the writing one may call it: the `write` then returns early.
        """

    def close(self) -> None:
        """Drop what has not been heard, and let the speaker go."""


def open_speaker(name: str, rate_hz: int) -> Speaker:
    """The speaker `name`: "auto", a name that `assistant devices` shows, or "card:" and a card's socket.

    `rate_hz` is wished for; the speaker's own may differ.  Raises `AudioError`.
    """
    if name.startswith(CARD_PREFIX):
        return CardSpeaker(name.removeprefix(CARD_PREFIX))
    return DeviceSpeaker(name, rate_hz)


@dataclass
class Stretch:
    """`count` samples from number `start` on, heard without a gap from `at_s` on."""

    start: int
    count: int
    at_s: float


class Heard:
    """Which samples are heard when.  Pure; `rate_hz` counts samples per second of the monotonic clock.

    Times that are no more than `jitter_s` from where the samples before them end mean that there was no gap.
    """

    def __init__(self, rate_hz: float, jitter_s: float) -> None:
        self._rate_hz = rate_hz
        self._jitter_s = jitter_s
        self._stretches: deque[Stretch] = deque(maxlen=MOST_STRETCHES)

    def add(self, start: int, count: int, at_s: float) -> None:
        """`count` samples from number `start` on are heard from `at_s` on, which may still be to come."""
        if self._stretches:
            last = self._stretches[-1]
            expected_s = last.at_s + last.count / self._rate_hz
            if start == last.start + last.count and abs(at_s - expected_s) <= self._jitter_s:
                last.count += count
                return
        self._stretches.append(Stretch(start, count, at_s))

    def played(self, now_s: float) -> int:
        """How many samples have been heard by `now_s`."""
        for stretch in reversed(self._stretches):
            if stretch.at_s <= now_s:
                return stretch.start + min(stretch.count, int((now_s - stretch.at_s) * self._rate_hz))
        return self._stretches[0].start if self._stretches else 0

    def at_s(self, sample: int) -> float:
        """When `sample` was or will be heard.  Raises `ValueError` if that is not known (any more)."""
        for stretch in reversed(self._stretches):
            if stretch.start <= sample < stretch.start + stretch.count:
                return stretch.at_s + (sample - stretch.start) / self._rate_hz
        raise ValueError(f"sample {sample} was not heard, or is forgotten")

    def cut(self, played: int) -> None:
        """Only the first `played` samples were heard; the numbers behind are free again."""
        while self._stretches and self._stretches[-1].start >= played:
            self._stretches.pop()
        if self._stretches:
            last = self._stretches[-1]
            last.count = min(last.count, played - last.start)


class CardSpeaker:
    """The worker's end of a virtual card's speaker."""

    def __init__(self, path: str) -> None:
        self._link = connect(path)
        try:
            greeting = self._link.recv(LARGEST_PACKET_BYTES)
        except OSError:
            greeting = b""
        if len(greeting) != CLOCK.size:
            self._link.close()
            raise AudioError(f"The sound card {path} gave no answer; was its command ended?")
        self._link.settimeout(None)
        self.rate_hz: int
        self.rate_hz, speed = CLOCK.unpack(greeting)
        # all that counts in seconds here runs with the card's clock
        self._clock_hz = self.rate_hz * speed
        self._ahead = int(AHEAD_S * self._clock_hz)
        self._changed = threading.Condition()
        self._heard = Heard(self._clock_hz, CARD_JITTER_S)
        self._written = 0
        self._stops = 0
        self._stops_answered = 0
        self._silent_from = 0
        self._gone = False
        self._hearing = threading.Thread(target=self._hear, name="speaker", daemon=True)
        self._hearing.start()

    def write(self, pcm: Int16) -> None:
        sound = pcm.astype("<i2", copy=False).tobytes()
        with self._changed:
            # the answer to a stop sets the numbers of what comes next
            self._changed.wait_for(lambda: self._gone or self._stops_answered == self._stops, ANSWER_S)
            stops = self._stops
            while sound and self._stops == stops:
                if self._gone:
                    raise self._lost()
                room = self._ahead - self._pending()
                if room > 0:
                    piece = sound[: min(room * SAMPLE_BYTES, LARGEST_PACKET_BYTES // 2)]
                    sound = sound[len(piece) :]
                    self._send(PLAY + piece)
                    self._written += len(piece) // SAMPLE_BYTES
                else:
                    self._changed.wait(max(1 - room, self._ahead // 10) / self._clock_hz)

    def played(self) -> int:
        with self._changed:
            return self._written - self._pending()

    def pending(self) -> int:
        with self._changed:
            if self._gone:
                raise self._lost()
            return self._pending()

    def heard_at_s(self, sample: int) -> float:
        with self._changed:
            return self._heard.at_s(sample)

    def stop(self) -> None:
        with self._changed:
            self._stops += 1
            mine = self._stops
            self._send(STOP)
            self._changed.notify_all()
            if (
                not self._changed.wait_for(lambda: self._gone or self._stops_answered >= mine, ANSWER_S)
                or self._gone
            ):
                raise self._lost()
            # the card has answered how much will have been heard when its last block of sound has passed
            left = self._silent_from - self._heard.played(time.monotonic())
            self._changed.wait_for(
                lambda: self._heard.played(time.monotonic()) >= self._silent_from,
                max(0, left) / self._clock_hz,
            )

    def close(self) -> None:
        # unlike close, shutdown wakes the thread that waits in recv; OSError: the card was gone first
        with contextlib.suppress(OSError):
            self._link.shutdown(socket.SHUT_RDWR)
        self._hearing.join()
        self._link.close()

    def _lost(self) -> AudioError:
        return AudioError("The sound card went away; was its command ended?")

    def _pending(self) -> int:
        return self._written - self._heard.played(time.monotonic())

    def _send(self, packet: bytes) -> None:
        try:
            self._link.send(packet)
        except OSError:
            self._gone = True
            raise self._lost() from None

    def _hear(self) -> None:
        while packet := self._receive():
            kind, start, count, at_s = HEARD.unpack(packet)
            with self._changed:
                if kind == STOPPED:
                    self._heard.cut(start)
                    self._written = self._silent_from = start
                    self._stops_answered += 1
                else:
                    self._heard.add(start, count, at_s)
                self._changed.notify_all()
        with self._changed:
            self._gone = True
            self._changed.notify_all()

    def _receive(self) -> bytes:
        try:
            return self._link.recv(LARGEST_PACKET_BYTES)
        except OSError:
            return b""


class DeviceSpeaker:
    """A speaker of this board.

    A thread keeps the device's buffer full, with silence when there is nothing to say: so it never runs dry
    between two sentences, an amplifier stays awake and swallows no first syllable, and what is in the buffer
    tells when a sample will be heard.  No callback: under systemd's MemoryDenyWriteExecute= it could not be
    made.
    """

    def __init__(self, name: str, rate_hz: int) -> None:
        self._device = devices.find("speaker", name)
        self._stream, self.rate_hz, self._channels = devices.open_stream(self._device, rate_hz)
        self._block_samples = self.rate_hz // BLOCKS_PER_S
        self._buffer_samples: int = self._stream.write_available
        self._ahead = int(AHEAD_S * self.rate_hz)
        self._changed = threading.Condition()
        self._queued = np.empty(0, np.int16)
        self._heard = Heard(self.rate_hz, DEVICE_JITTER_S)
        self._written = 0
        self._stopping = False
        self._closing = False
        self._running = False
        self._failure: AudioError | None = None
        self._playing = threading.Thread(target=self._play, name="speaker", daemon=True)
        self._playing.start()
        with self._changed:
            self._changed.wait_for(lambda: self._running or self._failure, DEVICE_STARTS_S)
            if not self._running:
                self._closing = True
                raise self._failure or devices.gone(self._device)

    def write(self, pcm: Int16) -> None:
        with self._changed:
            self._await_stop()
            while len(pcm):
                room = max(0, self._ahead - len(self._queued))
                self._queued = np.concatenate([self._queued, pcm[:room]])
                self._written += len(pcm[:room])
                pcm = pcm[room:]
                if len(pcm):
                    self._changed.wait()
                self._raise_failure()
                if self._stopping:
                    return

    def played(self) -> int:
        with self._changed:
            return self._heard.played(time.monotonic())

    def pending(self) -> int:
        with self._changed:
            self._raise_failure()
            return self._written - self._heard.played(time.monotonic())

    def heard_at_s(self, sample: int) -> float:
        with self._changed:
            return self._heard.at_s(sample)

    def stop(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
            self._await_stop()

    def close(self) -> None:
        self._closing = True
        # a speaker that was pulled out may never return from its write; its thread ends with the process
        self._playing.join(CLOSE_S)

    def _await_stop(self) -> None:
        if not self._changed.wait_for(lambda: not self._stopping or self._failure, ANSWER_S):
            self._failure = devices.gone(self._device)
        self._raise_failure()

    def _raise_failure(self) -> None:
        if self._failure:
            raise self._failure

    def _play(self) -> None:
        blocks = 0
        start = 0
        try:
            with self._stream:
                while not self._closing:
                    with self._changed:
                        if self._stopping:
                            start = self._drop()
                        sound = self._queued[: self._block_samples]
                        self._queued = self._queued[len(sound) :]
                        self._changed.notify_all()
                    block = np.zeros((self._block_samples, self._channels), np.int16)
                    block[: len(sound)] = sound[:, None]
                    self._stream.write(block.tobytes())
                    in_buffer = self._buffer_samples - self._stream.write_available
                    at_s = time.monotonic() + (in_buffer - self._block_samples) / self.rate_hz
                    blocks += 1
                    with self._changed:
                        if len(sound):
                            self._heard.add(start, len(sound), at_s)
                            start += len(sound)
                        # only a full buffer makes writing wait, and shows that the device plays
                        self._running = blocks * self._block_samples > self._buffer_samples
                self._stream.abort()
        except devices.load_portaudio().PortAudioError:
            with self._changed:
                self._failure = devices.gone(self._device)
                self._changed.notify_all()

    def _drop(self) -> int:
        """Silence at once; the number that the next sample has.  The lock is held."""
        self._stream.abort()
        self._stream.start()
        heard = self._heard.played(time.monotonic())
        self._heard.cut(heard)
        self._queued = self._queued[:0]
        self._written = heard
        self._stopping = False
        return heard
