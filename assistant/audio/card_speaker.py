"""The speaker of a virtual sound card: a clock that writes WAV, sound where a worker has sent some and
silence else.

Sample p belongs to the moment start + p / (rate * speed) and is written then, in blocks of 5 ms.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import numpy as np

from assistant.audio.card_link import CLOCK, HEARD, LARGEST_PACKET_BYTES, PLAY, PLAYED, STOPPED
from assistant.audio.formats import SAMPLE_BYTES
from assistant.audio.pipes import PipeWriter, not_written, open_writer
from assistant.audio.wav import RawWriter, WavStreamWriter
from assistant.errors import AudioError

BLOCKS_PER_S = 200


class CardSpeakerSide:
    """Plays what one worker at a time sends (`serve`) into `target`: a file, a FIFO, "-", or "" for nowhere.

    Raises `AudioError` when the file cannot be written; `failure` says so when that happens later (a full
    disk), `lost` when the reader of a FIFO went away.  The clock goes on in both cases.
    """

    def __init__(self, target: str, rate_hz: int, speed: float) -> None:
        self._target = target
        self._rate_hz = rate_hz
        self._speed = speed
        self._block_samples = max(1, rate_hz // BLOCKS_PER_S)
        self._lock = threading.Lock()
        self._raw: RawWriter | None = open_writer(target) if target else None
        self._wav: WavStreamWriter | None = None
        self._started_at_s: float | None = None
        self._position = 0
        self._queued = bytearray()
        self._heard = 0
        """Samples heard of those that the present worker sent."""
        self._link: socket.socket | None = None
        self._closing = threading.Event()
        self._playing = threading.Thread(target=self._play, name="card speaker", daemon=True)
        self.failure: AudioError | None = None

    @property
    def lost(self) -> bool:
        return isinstance(self._raw, PipeWriter) and self._raw.lost

    def start(self, at_s: float) -> None:
        """The first sample of `target` is heard at `at_s`."""
        with self._lock:
            if self._raw:
                with self._write_failures():
                    self._wav = WavStreamWriter(self._raw, self._rate_hz)
            self._started_at_s = at_s
        self._playing.start()

    def close(self) -> None:
        """Write what is due by now, and the lengths into the header of a file."""
        self._closing.set()
        if self._playing.is_alive():
            self._playing.join()
        with self._lock:
            self._advance(time.monotonic())
            with self._write_failures():
                if self._raw and self._started_at_s is None:
                    self._wav = WavStreamWriter(self._raw, self._rate_hz)  # a WAV file all the same
                if self._wav:
                    self._wav.close()
                elif self._raw:
                    self._raw.close()
            self._wav = self._raw = None

    def serve(self, link: socket.socket) -> None:
        """Play what a worker sends until it goes away; what it left unplayed is dropped."""
        with self._lock:
            self._queued.clear()
            self._heard = 0
            self._link = link
        try:
            link.send(CLOCK.pack(self._rate_hz, self._speed))
            while packet := link.recv(LARGEST_PACKET_BYTES):
                with self._lock:
                    # what was due before this packet came must not hear of it
                    self._advance(time.monotonic())
                    if packet.startswith(PLAY):
                        self._queued += packet[len(PLAY) :]
                        continue
                    self._queued.clear()
                    answer = HEARD.pack(STOPPED, self._heard, 0, time.monotonic())
                link.send(answer)
        except OSError:
            # the worker died; the daemon tells its successor how much was heard
            pass
        with self._lock:
            self._advance(time.monotonic())
            self._queued.clear()
            self._link = None

    def _play(self) -> None:
        wait_s = 0.0
        while not self._closing.wait(wait_s):
            with self._lock:
                self._advance(time.monotonic())
                wait_s = max(0.0, self._at_s(self._position) - time.monotonic())

    def _at_s(self, position: int) -> float:
        assert self._started_at_s is not None
        return self._started_at_s + position / (self._rate_hz * self._speed)

    def _advance(self, now_s: float) -> None:
        """Play every block whose moment has come.  The lock is held."""
        while self._started_at_s is not None and (at_s := self._at_s(self._position)) <= now_s:
            sound = bytes(self._queued[: self._block_samples * SAMPLE_BYTES])
            del self._queued[: len(sound)]
            self._write(sound.ljust(self._block_samples * SAMPLE_BYTES, b"\0"))
            self._position += self._block_samples
            if sound and self._link:
                played = len(sound) // SAMPLE_BYTES
                with contextlib.suppress(OSError):
                    # a worker that does not read its reports misses some; the next one tells the sum
                    self._link.send(HEARD.pack(PLAYED, self._heard, played, at_s), socket.MSG_DONTWAIT)
                self._heard += played

    def _write(self, block: bytes) -> None:
        if self._wav and not self.failure:
            with self._write_failures():
                self._wav.write(np.frombuffer(block, "<i2").astype(np.int16))

    @contextlib.contextmanager
    def _write_failures(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.failure = self.failure or not_written(self._target, error)
