"""Sound files: whatever libsndfile reads comes in as the program's own sound; WAV goes out.

The only module that imports soundfile.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
from collections.abc import Iterable, Iterator
from io import FileIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from assistant.audio.pipes import STANDARD, not_written, standard
from assistant.audio.resampling import ToMono16k
from assistant.audio.wav import Samples, WavStreamReader, WavStreamWriter
from assistant.errors import AudioError

BLOCK_S = 0.5
MOST_FRAMES = 2**36
"""As many as a FLAC file can name, weeks of sound; libsndfile's 2**63 - 1 means that it does not know."""
STANDARD_OUTPUT = (STANDARD, "/dev/stdout")

Int16 = npt.NDArray[np.int16]


def blocks(path: Path) -> Iterator[Int16]:
    """The sound of `path` as 16 kHz mono blocks of about half a second; only one is in memory at a time.

    Raises `AudioError` at once for what cannot be opened or holds no sound.  A file that was cut short gives
    what there is.
    """
    rate_hz, channels, pieces = _open(path)
    converter = ToMono16k(rate_hz, channels)
    first = next(pieces, None)
    if first is None:
        raise AudioError(f"{path} holds no sound; record it anew.")
    return _converted(itertools.chain([first], pieces), converter)


def duration_s(path: Path) -> float:
    """How long the sound of `path` lasts, in seconds: as the file says, or counted where it does not.

    Raises `AudioError`.
    """
    sound = _open_file(path)
    with sound:
        if 0 < sound.frames < MOST_FRAMES:
            return float(sound.frames / sound.samplerate)
    rate_hz, _, pieces = _open(path)
    return sum(len(piece) for piece in pieces) / rate_hz


def write_wav(path: Path, pcm: Int16, rate_hz: int) -> None:
    """Write mono `pcm`, shape (n,), to `path`, or to standard output for "-": all of it, or an `AudioError`.

    A file is replaced in one go, and after an error what it was before.
    """
    try:
        if str(path) in STANDARD_OUTPUT:
            _write(standard(1), pcm, rate_hz)
        elif path.exists() and not path.is_file():
            # a FIFO or a device cannot be replaced by a file
            _write(path, pcm, rate_hz)
        else:
            target = path.resolve()
            beside = target.with_name(f".{target.name}.{os.getpid()}.part")
            try:
                _write(beside, pcm, rate_hz)
                beside.replace(target)
            finally:
                beside.unlink(missing_ok=True)
    except AudioError:
        raise
    except OSError as error:
        raise not_written(str(path), error) from None


class _Forward(soundfile.SoundFile):  # type: ignore[misc]  # untyped
    """A file that is read from its start to its end, only.

    Where it can, soundfile seeks after every read to where it is already; in an MP3 that starts the decoder
    anew, and spoils the beginning of every block but the first.
    """

    def seekable(self) -> bool:
        return False


def _open(path: Path) -> tuple[int, int, Iterator[Samples]]:
    """Rate, channels and the sound in pieces of shape (n, channels), n > 0."""
    sound = _open_file(path)
    rate_hz, channels, block = sound.samplerate, sound.channels, max(1, int(sound.samplerate * BLOCK_S))
    if sound.frames == 0 and sound.format in ("WAV", "WAVEX"):
        # the length that a recorder leaves in the header when it is killed; as a stream, the sound is there
        sound.close()
        return rate_hz, channels, _stream_pieces(path, block)
    return rate_hz, channels, _file_pieces(sound, block)


def _open_file(path: Path) -> _Forward:
    try:
        state = path.stat()
        if stat.S_ISDIR(state.st_mode):
            raise AudioError(f"{path} is a folder; name a sound file in it.")
        if not stat.S_ISREG(state.st_mode):
            raise AudioError(f"{path} is not a file; name a sound file.")
        if not state.st_size:
            raise AudioError(f"{path} is empty; record it anew.")
        path.open("rb").close()
    except AudioError:
        raise
    except FileNotFoundError:
        raise AudioError(f"There is no sound file {path}; check the name.") from None
    except OSError as error:
        raise AudioError(
            f"{path} cannot be read: {error.strerror}; check its permissions and its disk."
        ) from None
    try:
        return _Forward(path)
    except soundfile.LibsndfileError:
        raise AudioError(f"{path} is not sound, or is damaged; give a WAV, FLAC, MP3 or OGG file.") from None


def _file_pieces(sound: _Forward, block: int) -> Iterator[Samples]:
    # a damaged place ends the sound: what came before it is still good
    with sound, contextlib.suppress(soundfile.LibsndfileError):
        while len(samples := sound.read(block, dtype="float32", always_2d=True)):
            yield samples


def _stream_pieces(path: Path, block: int) -> Iterator[Samples]:
    with FileIO(path) as raw:
        stream = WavStreamReader(raw)
        while len(samples := stream.read(block)):
            yield samples


def _write(place: Path | int, pcm: Int16, rate_hz: int) -> None:
    with FileIO(place, "wb") as raw:
        writer = WavStreamWriter(raw, rate_hz)
        writer.write(pcm)
        writer.close()


def _converted(pieces: Iterable[Samples], converter: ToMono16k) -> Iterator[Int16]:
    for piece in pieces:
        yield converter.feed(piece)
    yield converter.end()
