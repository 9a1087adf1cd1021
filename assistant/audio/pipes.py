"""FIFOs, standard input and standard output, none of which may hold anybody up.

The other end may come late, be slow, or go away: a reader here can be stopped while it waits, a writer never
waits.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import sys
import time
from io import FileIO
from pathlib import Path

from assistant.audio.wav import RawWriter
from assistant.errors import AudioError

STANDARD = "-"
MOST_KEPT_BYTES = 16 * 1024 * 1024
"""What is kept for a reader that does not read, about three minutes of sound; then it counts as gone."""
OTHER_ENDINGS = (".aac", ".aif", ".aiff", ".flac", ".m4a", ".mp3", ".ogg", ".opus", ".wma")
LAST_CHANCE_S = 1.0
"""How long closing waits for a slow reader."""


def is_pipe(name: str) -> bool:
    """Whether sound from or to `name` is a stream: "-" or a FIFO."""
    if name == STANDARD:
        return True
    try:
        return stat.S_ISFIFO(os.stat(name).st_mode)
    except OSError:
        return False


def standard(number: int) -> int:
    """A descriptor of one's own for standard input (0) or output (1).  Raises `AudioError`."""
    name, stream = (("input", sys.stdin), ("output", sys.stdout))[number]
    try:
        # what was closed from the start may by now be the number of another file
        if stream is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        fd = os.dup(number)
    except OSError as error:
        raise AudioError(
            f"Standard {name} cannot be used: {error.strerror}; connect it to a file or a program."
        ) from None
    if os.isatty(fd):
        os.close(fd)
        raise AudioError(f"Standard {name} is a terminal, not sound; connect it to a file or a program.")
    return fd


class PipeReader:
    """A FIFO, or standard input for "-", for `WavStreamReader`.  Raises `AudioError`."""

    def __init__(self, name: str) -> None:
        if name == STANDARD:
            self._fd = standard(0)
        else:
            try:
                # without O_NONBLOCK, opening would wait for a writer
                self._fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK)
            except OSError as error:
                raise AudioError(
                    f"The FIFO {name} cannot be read: {error.strerror}; check its permissions."
                ) from None
        self._stop_seen, self._stop = os.pipe()
        self._arrival = select.poll()
        self._arrival.register(self._fd, select.POLLIN)
        self._arrival.register(self._stop_seen, select.POLLIN)

    def read(self, size: int, /) -> bytes:
        """What has arrived, waited for, at most `size` bytes; b"" once the writer has closed it, or after
        `stop`.

        Before its first writer a FIFO has nothing to read but has not ended either: that is waited for too.
        """
        while True:
            ready = {fd for fd, _ in self._arrival.poll()}
            if self._stop_seen in ready:
                return b""
            try:
                return os.read(self._fd, size)
            except BlockingIOError:
                continue

    def stop(self) -> None:
        """End a `read` that waits, and every later one; from any thread."""
        os.write(self._stop, b"\0")

    def close(self) -> None:
        for fd in (self._fd, self._stop_seen, self._stop):
            os.close(fd)


class PipeWriter:
    """A FIFO by its path, or an open pipe by its descriptor, for `WavStreamWriter`; writing never waits or
    fails.

    What nobody takes yet is kept in order.  `lost` is true once the reader has gone away, or has let too much
    pile up; from then on everything is discarded.
    """

    def __init__(self, path_or_fd: str | int) -> None:
        self._path = "" if isinstance(path_or_fd, int) else path_or_fd
        self._fd = path_or_fd if isinstance(path_or_fd, int) else None
        self._kept = bytearray()
        self.lost = False

    def write(self, piece: memoryview, /) -> int:
        if not self.lost:
            self._kept += piece
            self._hand_over(wait_s=0)
            self.lost = self.lost or len(self._kept) > MOST_KEPT_BYTES
        return len(piece)

    def seekable(self) -> bool:
        return False

    def seek(self, offset: int, /) -> int:
        raise OSError(errno.ESPIPE, os.strerror(errno.ESPIPE), offset)

    def tell(self) -> int:
        raise OSError(errno.ESPIPE, os.strerror(errno.ESPIPE))

    def close(self) -> None:
        """Hand over what is kept, if a reader takes it within a second."""
        if not self.lost:
            self._hand_over(wait_s=LAST_CHANCE_S)
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _hand_over(self, wait_s: float) -> None:
        try:
            if self._fd is None:
                self._fd = os.open(self._path, os.O_WRONLY | os.O_NONBLOCK)
            room = select.poll()
            room.register(self._fd, select.POLLOUT)
            deadline_s = time.monotonic() + wait_s
            # a pipe that has room takes PIPE_BUF bytes without waiting, whether or not it is set to wait
            while self._kept and room.poll(1000 * max(0.0, deadline_s - time.monotonic())):
                written = os.write(self._fd, self._kept[: select.PIPE_BUF])
                del self._kept[:written]
        except BlockingIOError:
            return
        except OSError as error:
            # ENXIO: nobody has opened the FIFO for reading yet
            self.lost = error.errno != errno.ENXIO
            if self.lost:
                self._kept.clear()


def open_writer(name: str) -> RawWriter:
    """The file or FIFO `name`, or standard output for "-", for a WAV stream.  Raises `AudioError`."""
    refuse_other_endings(name)
    try:
        if name == STANDARD:
            fd = standard(1)
            return FileIO(fd, "wb") if stat.S_ISREG(os.fstat(fd).st_mode) else PipeWriter(fd)
        return PipeWriter(name) if is_pipe(name) else FileIO(name, "wb")
    except AudioError:
        raise
    except OSError as error:
        raise not_written(name, error) from None


def refuse_other_endings(name: str) -> None:
    """Raises `AudioError` for the name of another kind of file than WAV, the only one that is written."""
    path = Path(name)
    if path.suffix.lower() in OTHER_ENDINGS and not is_pipe(name):
        raise AudioError(f"{name} cannot be written: only WAV is; name it {path.with_suffix('.wav')}.")


def not_written(name: str, error: OSError) -> AudioError:
    """What an `error` at writing sound to `name` means, and what to do."""
    folder = os.path.dirname(os.path.realpath(name))
    if error.errno == errno.ENOENT and not os.path.exists(folder):
        reason = f"the folder {folder} does not exist; create it or choose another place"
    elif error.errno in (errno.ENOSPC, errno.EDQUOT):
        reason = f"{error.strerror}; make room or choose another place"
    else:
        reason = f"{error.strerror}; choose another place"
    return AudioError(f"{name} cannot be written: {reason}.")
