"""Reading a binary file of unknown origin: no length that it states is believed before it is checked."""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from assistant.errors import ModelError

AGAIN = "fetch it again"
_KEPT_LIMIT_BYTES = 2 << 20


class Bounded:
    """A file read forwards, up to `limit_bytes` (the whole file unless set).

    What is kept of it is counted, so that a file cannot fill the memory.  Raises `ModelError`.
    """

    def __init__(self, path: Path, file: BinaryIO, size_bytes: int) -> None:
        self.path = path
        self.file = file
        self.size_bytes = self.limit_bytes = size_bytes
        self.at = 0
        self._kept_bytes = 0

    def flaw(self, what: str, remedy: str = f"{AGAIN} or choose another") -> ModelError:
        """The error that says `what` is wrong with this file."""
        return ModelError(f"The model file {self.path} {what}; {remedy}.")

    def need(self, count: int) -> None:
        """Refuse the file unless `count` more bytes may be read."""
        if count > self.size_bytes - self.at:
            raise self.flaw(f"is cut off: it should go on after its {self.size_bytes} bytes", AGAIN)
        if count > self.limit_bytes - self.at:
            raise self.flaw(f"is not plausible: its header is larger than {self.limit_bytes} bytes")

    def keep(self, count: int) -> None:
        """Refuse the file if, with these `count` bytes, too much of it would be held in memory."""
        self._kept_bytes += count
        if self._kept_bytes > _KEPT_LIMIT_BYTES:
            raise self.flaw("is not plausible: its header holds too much text")

    def skip(self, count: int) -> None:
        self.need(count)
        self.at += count
        self.file.seek(self.at)

    def peek(self, count: int) -> bytes:
        """Up to `count` of the bytes that come next; the place stays."""
        coming = self.file.read(count)
        self.file.seek(self.at)
        return coming

    def take(self, count: int) -> bytes:
        self.need(count)
        taken = self.file.read(count)
        if len(taken) < count:  # somebody truncated it meanwhile
            raise self.flaw("became shorter while it was read", AGAIN)
        self.at += count
        return taken

    def unpack(self, layout: struct.Struct) -> tuple[Any, ...]:
        return layout.unpack(self.take(layout.size))

    def text(self, length: int) -> str:
        """`length` bytes of UTF-8; what is not is replaced."""
        self.keep(length)
        return self.take(length).decode(errors="replace")


@contextmanager
def opened(path: Path) -> Iterator[Bounded]:
    """The file at `path`, closed at the end; reading errors come out as `ModelError`."""
    try:
        # Before opening: to open a pipe would wait for ever.
        if not stat.S_ISREG(path.stat().st_mode):
            raise ModelError(f"{path} is not a file; give the path of a model's file.")
        with path.open("rb") as file:
            yield Bounded(path, file, os.fstat(file.fileno()).st_size)
    except OSError as error:
        raise ModelError(f"The model file {path} cannot be read: {error.strerror}; check the path.") from None
