"""WAV as a stream: read and written from the first byte to the last, without seeking.

A program that plays a microphone into a pipe cannot know how long it will last, so the lengths in a header
are only hints: 0, 0xFFFFFFFF and wrong ones are common, and none of them costs sound here.
"""

from __future__ import annotations

import struct
from typing import Protocol

import numpy as np
import numpy.typing as npt

from assistant.audio.formats import SAMPLE_BYTES
from assistant.errors import AudioError

UNKNOWN_LENGTH = 0xFFFF_FFFF
LONGEST_BELIEVED = 0x7FFF_0000
"""Longer lengths are what recorders write when they cannot know: nearly 2 GiB or nearly 4 GiB."""

CHUNK = struct.Struct("<4sI")
FORMAT = struct.Struct("<HHIIHH")
EXTENSION = struct.Struct("<HHIH")
LONGEST_FORMAT_BYTES = 4_096
HEADER_BYTES = 44
PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
ENCODINGS = {(PCM, 8), (PCM, 16), (PCM, 24), (PCM, 32), (FLOAT, 32)}
MOST_CHANNELS = 256
RIFF = (b"RIFF", b"RF64")
NOT_SOUND = {
    b"LIST",
    b"id3 ",
    b"ID3 ",
    b"cue ",
    b"smpl",
    b"fact",
    b"bext",
    b"PEAK",
    b"JUNK",
    b"PAD ",
    b"iXML",
}
"""Chunks that may follow the sound; anything else there means that its length was wrong and it goes on."""
PIECE_BYTES = 65_536

Samples = npt.NDArray[np.float32] | npt.NDArray[np.int16]


class RawReader(Protocol):
    """An unbuffered binary file: `read` gives what has arrived, at least one byte, and b"" at the end."""

    def read(self, size: int, /) -> bytes | None: ...


class RawWriter(Protocol):
    """An unbuffered binary file: `write` may take a part only, and says how many bytes it took."""

    def write(self, piece: memoryview, /) -> int | None: ...
    def seekable(self) -> bool: ...
    def seek(self, offset: int, /) -> int: ...
    def tell(self) -> int: ...
    def close(self) -> None: ...


class WavStreamReader:
    """The sound of a WAV stream; the constructor reads, and waits for, the header.  Raises `AudioError`.

    `raw` is unbuffered, as `open(path, "rb", buffering=0)` gives it: what a pipe holds is handed on at once.
    Takes PCM of 8, 16, 24 and 32 bit and 32 bit float, passes over chunks that are no sound, and goes on with
    a second WAV stream of the same format behind the first.
    """

    def __init__(self, raw: RawReader) -> None:
        self._raw = raw
        self._ahead = b""
        self._left: int | None = 0
        """Bytes of the data chunk still to come; None: all until the stream ends."""
        self._format: tuple[int, int, int, int] | None = None
        self.rate_hz = 0
        self.channels = 0
        start = self._peek(CHUNK.size + 4)
        if not start:
            raise AudioError("The sound stream is empty; check that the program that writes it runs.")
        if not any(name.startswith(start[:4]) for name in RIFF):
            raise AudioError("The sound stream is not WAV; convert it to a WAV stream first.")
        if not self._to_next_sound():
            raise AudioError(
                "The sound stream ended within its WAV header; check the program that writes it."
            )

    def read(self, max_frames: int) -> Samples:
        """What has arrived, shape (n, channels) with 1 <= n <= `max_frames`; n is 0 when the stream has
        ended.

        16 bit PCM comes as int16, everything else as float32 between -1 and 1.
        """
        while self._left != 0 or self._to_next_sound():
            wanted = max_frames * self._frame_bytes
            if self._left is not None:
                wanted = min(wanted, self._left)
            if len(self._ahead) < self._frame_bytes:
                arrived = self._raw.read(wanted - len(self._ahead))
                if not arrived:
                    break
                self._ahead += arrived
            whole = min(len(self._ahead), wanted) // self._frame_bytes * self._frame_bytes
            if whole:
                sound, self._ahead = self._ahead[:whole], self._ahead[whole:]
                if self._left is not None:
                    self._left -= whole
                return self._samples(sound)
        self._left, self._ahead = 0, b""
        return self._samples(b"")

    def _to_next_sound(self) -> bool:
        """Go on to the samples of the next data chunk; False when the stream ends before."""
        heard = self._format is not None
        while len(header := self._peek(CHUNK.size)) == CHUNK.size:
            name, length = CHUNK.unpack(header)
            if heard and name not in NOT_SOUND and name not in RIFF:
                self._left = None
                return True
            self._ahead = self._ahead[CHUNK.size :]
            if name in RIFF:
                heard = False
                if self._take(4) != b"WAVE":
                    raise AudioError(
                        "The sound stream is RIFF but not WAV; convert it to a WAV stream first."
                    )
            elif name == b"fmt ":
                body = self._take(min(length, LONGEST_FORMAT_BYTES))
                self._read_format(body)
                self._skip(length - len(body) + length % 2)
            elif name == b"data":
                if self._format is None:
                    raise AudioError("The WAV header says no format before its sound; write the stream anew.")
                believable = 0 < length < LONGEST_BELIEVED and length % self._frame_bytes == 0
                self._left = length if believable else None
                return True
            else:
                self._skip(length + length % 2)
        return False

    def _read_format(self, chunk: bytes) -> None:
        if len(chunk) < FORMAT.size:
            raise AudioError(
                "The sound stream ended within its WAV header; check the program that writes it."
            )
        encoding, channels, rate_hz, _, frame_bytes, bits = FORMAT.unpack_from(chunk)
        if encoding == EXTENSIBLE and len(chunk) >= FORMAT.size + EXTENSION.size:
            # the real encoding is the first field of an identifier that follows size, valid bits, speaker
            # positions
            encoding = EXTENSION.unpack_from(chunk, FORMAT.size)[3]
        if (encoding, bits) not in ENCODINGS:
            raise AudioError(
                f"The WAV stream's encoding {encoding} with {bits} bits is not known here; "
                "write it as 8, 16, 24 or 32 bit PCM or 32 bit float."
            )
        if not (0 < channels <= MOST_CHANNELS and rate_hz > 0 and frame_bytes == channels * bits // 8):
            raise AudioError(
                f"The WAV header is damaged: {channels} channels of {bits} bits at {rate_hz} Hz "
                f"in {frame_bytes} bytes; write the stream anew."
            )
        if self._format not in (None, (encoding, bits, channels, rate_hz)):
            raise AudioError("The sound stream changes its format on the way; write all of it in one format.")
        self._format = (encoding, bits, channels, rate_hz)
        self._encoding, self._bits, self.channels, self.rate_hz = self._format
        self._frame_bytes = frame_bytes

    def _samples(self, sound: bytes) -> Samples:
        samples: Samples
        if self._encoding == FLOAT:
            samples = np.frombuffer(sound, "<f4").astype(np.float32)
        elif self._bits == 16:
            samples = np.frombuffer(sound, "<i2").astype(np.int16)
        elif self._bits == 8:
            samples = np.frombuffer(sound, np.uint8).astype(np.float32) / np.float32(128) - np.float32(1)
        elif self._bits == 24:
            # three bytes become the upper three of four
            wide = np.zeros((len(sound) // 3, 4), np.uint8)
            wide[:, 1:] = np.frombuffer(sound, np.uint8).reshape(-1, 3)
            samples = (wide.view("<i4")[:, 0] / 2**31).astype(np.float32)
        else:
            samples = (np.frombuffer(sound, "<i4") / 2**31).astype(np.float32)
        return samples.reshape(-1, self.channels)

    def _peek(self, count: int) -> bytes:
        """The next `count` bytes, waited for but left in place; fewer when the stream ends."""
        while len(self._ahead) < count:
            arrived = self._raw.read(count - len(self._ahead))
            if not arrived:
                break
            self._ahead += arrived
        return self._ahead[:count]

    def _take(self, count: int) -> bytes:
        taken = self._peek(count)
        self._ahead = self._ahead[len(taken) :]
        return taken

    def _skip(self, count: int) -> None:
        while count and (skipped := self._take(min(count, PIECE_BYTES))):
            count -= len(skipped)


class WavStreamWriter:
    """Mono 16 bit sound at `rate_hz` as a WAV stream into `raw`, which is unbuffered.

    The header goes out at once and says that the length is unknown; every `write` goes out at once too.
    `OSError`s of `raw` are passed on.
    """

    def __init__(self, raw: RawWriter, rate_hz: int) -> None:
        self._raw = raw
        self._rate_hz = rate_hz
        self._sound_bytes = 0
        # behind something else in the same file the lengths would not stand where `close` patches them
        self._patchable = raw.seekable() and raw.tell() == 0
        self._put(_header(rate_hz, UNKNOWN_LENGTH))

    def write(self, pcm: npt.NDArray[np.int16]) -> None:
        """Append `pcm`, shape (n,)."""
        sound = pcm.astype("<i2", copy=False).tobytes()
        self._put(sound)
        self._sound_bytes += len(sound)

    def close(self) -> None:
        """Close `raw`, after putting the real lengths into the header where that is possible."""
        try:
            if self._patchable:
                self._raw.seek(0)
                self._put(_header(self._rate_hz, self._sound_bytes))
        finally:
            self._raw.close()

    def _put(self, piece: bytes) -> None:
        rest = memoryview(piece)
        while rest:
            rest = rest[self._raw.write(rest) or 0 :]


def _header(rate_hz: int, sound_bytes: int) -> bytes:
    length = min(sound_bytes, UNKNOWN_LENGTH)
    riff_length = min(sound_bytes + HEADER_BYTES - CHUNK.size, UNKNOWN_LENGTH)
    form = FORMAT.pack(PCM, 1, rate_hz, rate_hz * SAMPLE_BYTES, SAMPLE_BYTES, 8 * SAMPLE_BYTES)
    return b"".join(
        (
            CHUNK.pack(b"RIFF", riff_length),
            b"WAVE",
            CHUNK.pack(b"fmt ", FORMAT.size),
            form,
            CHUNK.pack(b"data", length),
        )
    )
