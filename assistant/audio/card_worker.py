"""The worker's end of a virtual sound card: its microphone for vad, its speaker for tts.

The other end is in `card`; `card_link` says what passes between the two.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING

from assistant.audio.card_link import (
    CLOCK,
    HEARD,
    LARGEST_PACKET_BYTES,
    PLAY,
    POSITION,
    SOUND,
    STOP,
    STOPPED,
    connect,
)
from assistant.audio.formats import FRAME_BYTES, SAMPLE_BYTES
from assistant.audio.playback_clock import AHEAD_S, ANSWER_S, PlaybackClock
from assistant.errors import AudioError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

JITTER_S = 0.000_1
"""A card says exactly when a sample is heard."""


class CardMicrophone:
    """The worker's end of a virtual card's microphone; begins at what the last worker left unsettled."""

    can_wait = True

    def __init__(self, path: str) -> None:
        self._link = connect(path)
        self.captured_at_s = 0.0
        self._ahead = bytearray()
        self._ended = False
        try:
            greeting = self._link.recv(LARGEST_PACKET_BYTES)
        except OSError:
            greeting = b""
        if len(greeting) != POSITION.size:
            self._link.close()
            raise AudioError(f"The sound card {path} gave no answer; was its command ended?")
        self.position: int = POSITION.unpack(greeting)[0]

    def read(self, timeout_s: float) -> bytes | None:
        deadline_s = time.monotonic() + timeout_s
        while len(self._ahead) < FRAME_BYTES and not self._ended:
            self._link.settimeout(max(0.0, deadline_s - time.monotonic()))
            try:
                packet = self._link.recv(LARGEST_PACKET_BYTES)
            except (TimeoutError, BlockingIOError):
                return None
            except OSError:
                packet = b""
            if not packet:
                raise AudioError("The sound card went away; was its command ended?")
            self._take(packet)
        frame = bytes(self._ahead[:FRAME_BYTES])
        if frame:
            del self._ahead[:FRAME_BYTES]
            self.position += len(frame) // SAMPLE_BYTES
            # the last frame of a recording may be short
            frame = frame.ljust(FRAME_BYTES, b"\0")
        return frame

    def settled(self, samples: int) -> None:
        # a card that went away is noticed by `read`
        with contextlib.suppress(OSError):
            self._link.send(POSITION.pack(samples))

    def close(self) -> bool:
        self._link.close()
        return True

    def _take(self, packet: bytes) -> None:
        start, at_s = SOUND.unpack_from(packet)
        pcm = packet[SOUND.size :]
        if not pcm:
            self._ended = True
            return
        if start != self.position + len(self._ahead) // SAMPLE_BYTES:
            # the card had to drop sound: what comes now does not join on
            self._ahead.clear()
            self.position = start
        self._ahead += pcm
        self.captured_at_s = at_s


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
        self._playback = PlaybackClock(self._clock_hz, JITTER_S)
        self._written = 0
        self._stops = 0
        self._stops_answered = 0
        self._silent_from = 0
        self._gone = False
        self._hearing = threading.Thread(target=self._hear, name="speaker", daemon=True)
        self._hearing.start()

    def write(self, pcm: npt.NDArray[np.int16]) -> None:
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
            if self._gone:
                raise self._lost()
            return self._written - self._pending()

    def pending(self) -> int:
        with self._changed:
            if self._gone:
                raise self._lost()
            return self._pending()

    def heard_at_s(self, sample: int) -> float:
        with self._changed:
            return self._playback.at_s(sample)

    def due_s(self, sample: int) -> float:
        with self._changed:
            return self._playback.due_s(sample, time.monotonic())

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
            left = self._silent_from - self._playback.played(time.monotonic())
            self._changed.wait_for(
                lambda: self._playback.played(time.monotonic()) >= self._silent_from,
                max(0, left) / self._clock_hz,
            )

    def close(self) -> bool:
        # unlike close, shutdown wakes the thread that waits in recv; OSError: the card was gone first
        with contextlib.suppress(OSError):
            self._link.shutdown(socket.SHUT_RDWR)
        self._hearing.join()
        self._link.close()
        return True

    def _lost(self) -> AudioError:
        return AudioError("The sound card went away; was its command ended?")

    def _pending(self) -> int:
        return self._written - self._playback.played(time.monotonic())

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
                    self._playback.cut(start)
                    self._written = self._silent_from = start
                    self._stops_answered += 1
                else:
                    self._playback.add(start, count, at_s)
                self._changed.notify_all()
        with self._changed:
            self._gone = True
            self._changed.notify_all()

    def _receive(self) -> bytes:
        try:
            return self._link.recv(LARGEST_PACKET_BYTES)
        except OSError:
            return b""
