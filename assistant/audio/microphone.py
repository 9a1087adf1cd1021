"""Microphones, as the vad stage hears them: a device, or the microphone of a virtual sound card."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from typing import Protocol

from assistant.audio.card_link import CARD_PREFIX, LARGEST_PACKET_BYTES, POSITION, SOUND, connect
from assistant.audio.formats import FRAME_BYTES, FRAME_MS, FRAME_SAMPLES, RATE_HZ, SAMPLE_BYTES
from assistant.errors import AudioError

MOST_WAITING_FRAMES = 500
"""Ten seconds: what a device's sound may pile up before the oldest is dropped."""
CLOSE_S = 1.0


class Microphone(Protocol):
    """Sound as it is captured, frame by frame: 16 kHz, mono, signed 16 bit little-endian."""

    can_wait: bool
    """Whether sound that is not read yet is kept, however long; a device's is lost after some seconds."""

    @property
    def position(self) -> int:
        """Samples given out (or dropped) so far since the stream began; after a resume, where that begins."""

    @property
    def captured_at_s(self) -> float:
        """When the last sample given out was captured, in seconds of CLOCK_MONOTONIC; 0 before the first
        frame.
        """

    def read(self, timeout_s: float) -> bytes | None:
        """The next frame; b"" when a recorded microphone has ended; None when nothing came within
        `timeout_s`.

        Raises `AudioError` when the microphone is gone.
        """

    def settled(self, samples: int) -> None:
        """All before this `position` is dealt with: a successor need not hear it again."""

    def close(self) -> None: ...


def open_microphone(name: str) -> Microphone:
    """The microphone `name`: "auto", a name that `assistant devices` shows, or "card:" and a card's socket.

    Raises `AudioError`.
    """
    if name.startswith(CARD_PREFIX):
        return CardMicrophone(name.removeprefix(CARD_PREFIX))
    return DeviceMicrophone(name)


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

    def close(self) -> None:
        self._link.close()

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


class DeviceMicrophone:
    """A microphone of this board, at the rate it has; a thread reads it, so that nothing is lost between two
    reads.

    No callback: under systemd's MemoryDenyWriteExecute= it could not be made.
    """

    can_wait = False

    def __init__(self, name: str) -> None:
        # numpy and PortAudio, which a recorded microphone does not need
        from assistant.audio import devices
        from assistant.audio.resampling import ToMono16k

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
        self.dropped_frames = 0
        """Frames that nobody read in time."""
        self._listening = threading.Thread(target=self._listen, name="microphone", daemon=True)
        self._listening.start()

    def read(self, timeout_s: float) -> bytes | None:
        with self._came:
            if not self._came.wait_for(lambda: self._frames or self._failure, timeout_s):
                return None
            if not self._frames:
                assert self._failure
                raise self._failure
            frame, self.captured_at_s = self._frames.popleft()
            self.position += FRAME_SAMPLES
            return frame

    def settled(self, samples: int) -> None:
        """A device's sound cannot be heard again."""

    def close(self) -> None:
        self._closing = True
        # a microphone that was pulled out may never return from its read; its thread ends with the process
        self._listening.join(CLOSE_S)

    def _listen(self) -> None:
        import numpy as np

        from assistant.audio import devices

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
                self.dropped_frames += 1
                self.position += FRAME_SAMPLES
            self._came.notify_all()
        return sound[whole:]
