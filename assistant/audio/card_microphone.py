"""The microphone of a virtual sound card: a recording in real time, or a stream as it comes.

A worker gets all sound at least once.  The card keeps what is not settled, so a worker that is killed in the
middle of an utterance is followed by one that hears the whole utterance again.
"""

from __future__ import annotations

import bisect
import socket
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from assistant.audio.card_link import POSITION, SOUND
from assistant.audio.files import blocks
from assistant.audio.formats import FRAME_SAMPLES, RATE_HZ, SAMPLE_BYTES
from assistant.audio.pipes import PipeReader, is_pipe
from assistant.audio.resampling import ToMono16k
from assistant.audio.wav import WavStreamReader
from assistant.errors import AudioError

MOST_KEPT_S = 180
LONGEST_PIECE_S = 0.5

Int16 = npt.NDArray[np.int16]


@dataclass(frozen=True)
class Piece:
    """PCM from sample `start` on, of which the last sample was captured at `at_s`."""

    start: int
    pcm: bytes
    at_s: float

    @property
    def end(self) -> int:
        return self.start + len(self.pcm) // SAMPLE_BYTES

    def since(self, position: int) -> Piece:
        """The part of it from sample `position` on."""
        return Piece(position, self.pcm[(position - self.start) * SAMPLE_BYTES :], self.at_s)


class KeptSound:
    """The sound that may be asked for again: all since the settled position, 180 s at most."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._pieces: deque[Piece] = deque()
        self._end = 0
        self._handed_out = 0
        self._ended = False
        self._closed = False
        self.settled = 0

    def append(self, pcm: Int16, at_s: float) -> None:
        """Add sound that was captured until `at_s`.

        When too much is kept the oldest goes, but only what some worker got; the rest is waited for.
        """
        if not pcm.size:
            return
        with self._changed:
            piece = Piece(self._end, pcm.astype("<i2", copy=False).tobytes(), at_s)
            self._pieces.append(piece)
            self._end = piece.end
            self._changed.notify_all()
            while self._pieces and self._end - self._pieces[0].end >= MOST_KEPT_S * RATE_HZ:
                oldest = self._pieces[0]
                if oldest.end > self._handed_out and not self._closed:
                    self._changed.wait()
                else:
                    self._pieces.popleft()

    def end(self) -> None:
        """No more sound will be added."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def close(self) -> None:
        """Nobody will ask for sound any more; whoever waits here returns."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def wake(self) -> None:
        """Have every `after` look at its `gone` again."""
        with self._changed:
            self._changed.notify_all()

    def settle(self, position: int) -> None:
        """Sound before `position` will not be asked for again."""
        with self._changed:
            self.settled = max(self.settled, min(position, self._end))
            while self._pieces and self._pieces[0].end <= self.settled:
                self._pieces.popleft()
            self._changed.notify_all()

    def after(self, position: int, gone: threading.Event) -> Piece | None:
        """The sound from `position` on as far as it came in one piece; None at the end of it, or once `gone`
        is set.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self._end > position or self._ended or self._closed or gone.is_set()
            )
            if gone.is_set() or self._closed or self._end <= position:
                return None
            self._handed_out = max(self._handed_out, position)
            self._changed.notify_all()
            index = bisect.bisect_right(self._pieces, position, key=lambda piece: piece.start) - 1
            return self._pieces[0] if index < 0 else self._pieces[index].since(position)


class CardMicrophoneSide:
    """Reads `source`, keeps its sound, and serves one worker at a time (`serve`).

    `source` is a sound file, played `speed` times faster than real time, or a FIFO or "-".  A file that is
    missing or not sound raises `AudioError` here; `failure` tells what was wrong with a stream.
    """

    def __init__(self, source: str, speed: float) -> None:
        self._speed = speed
        self._kept = KeptSound()
        self._closing = threading.Event()
        self._pipe = PipeReader(source) if is_pipe(source) else None
        self._blocks = None if self._pipe else blocks(Path(source))
        self._feeding = threading.Thread(target=self._feed, name="card microphone", daemon=True)
        self._started_at_s = 0.0
        self.ended = threading.Event()
        self.failure: AudioError | None = None

    def start(self, at_s: float) -> None:
        """The first sample of a file is captured at `at_s`."""
        self._started_at_s = at_s
        self._feeding.start()

    def close(self) -> None:
        self._closing.set()
        self._kept.close()
        if self._pipe:
            self._pipe.stop()
        if self._feeding.is_alive():
            self._feeding.join()
        if self._pipe:
            self._pipe.close()

    def serve(self, link: socket.socket) -> None:
        """Give a worker the sound since the settled position, as fast as it reads, then what comes."""
        gone = threading.Event()
        settling = threading.Thread(target=self._take_settled, args=(link, gone), daemon=True)
        settling.start()
        position = self._kept.settled
        try:
            link.send(POSITION.pack(position))
            while piece := self._kept.after(position, gone):
                link.send(SOUND.pack(piece.start, piece.at_s) + piece.pcm)
                position = piece.end
            if not (gone.is_set() or self._closing.is_set()):
                link.send(SOUND.pack(position, time.monotonic()))
        except OSError:
            # the worker died: its successor gets everything since the settled position
            pass
        settling.join()

    def _take_settled(self, link: socket.socket, gone: threading.Event) -> None:
        try:
            while packet := link.recv(POSITION.size):
                self._kept.settle(POSITION.unpack(packet)[0])
        except OSError:
            pass
        gone.set()
        self._kept.wake()

    def _feed(self) -> None:
        try:
            if self._pipe:
                self._feed_stream(self._pipe)
            elif self._blocks:
                self._feed_file(self._blocks)
        except AudioError as error:
            # a stream that ends because it is closed here has not failed
            self.failure = None if self._closing.is_set() else error
        self._kept.end()
        self.ended.set()

    def _feed_file(self, sound: Iterable[Int16]) -> None:
        captured = 0
        for frame in _frames(sound):
            captured += len(frame)
            at_s = self._started_at_s + captured / (RATE_HZ * self._speed)
            if self._closing.wait(max(0.0, at_s - time.monotonic())):
                return
            self._kept.append(frame, at_s)

    def _feed_stream(self, pipe: PipeReader) -> None:
        stream = WavStreamReader(pipe)
        convert = ToMono16k(stream.rate_hz, stream.channels)
        longest = int(stream.rate_hz * LONGEST_PIECE_S)
        while len(samples := stream.read(longest)):
            self._kept.append(convert.feed(samples), time.monotonic())
        self._kept.append(convert.end(), time.monotonic())


def _frames(sound: Iterable[Int16]) -> Iterator[Int16]:
    """`sound` in pieces of one frame, so that each has its own time; the last may be shorter."""
    rest = np.empty(0, np.int16)
    for block in sound:
        joined = np.concatenate([rest, block])
        whole = len(joined) // FRAME_SAMPLES * FRAME_SAMPLES
        yield from joined[:whole].reshape(-1, FRAME_SAMPLES)
        rest = joined[whole:]
    if rest.size:
        yield rest
