"""A model's files on disk: what is wrong with them, whether there is room, how a new one gets its name.

A file grows as `<name>.part` and takes its name when it is whole: a file under its own name is complete.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from assistant.catalogue.read import MISSING, ModelFile
from assistant.errors import DownloadError

SPARE_BYTES = 64 * 1024 * 1024
"""What is left free on the disk."""


def damage(file: ModelFile, place: Path) -> str:
    """What is wrong with `file` at `place`, as the end of a sentence; "" if nothing.  Reads all of it."""
    try:
        size = place.stat().st_size
        if size != file.size_bytes:
            return f"has {size} bytes, not {file.size_bytes}"
        if file.sha256 != MISSING and _sha256(place) != file.sha256:
            return "is damaged (its SHA-256 is wrong)"
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return ""


def size_bytes(path: Path) -> int | None:
    """Of the regular file at `path`; None if there is none, or if it cannot be looked at."""
    try:
        found = path.stat()
    except (OSError, ValueError):  # the latter: a path with a zero byte in it
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def part_bytes(place: Path) -> int:
    """How much of the file that belongs at `place` an interrupted download has left."""
    return size_bytes(_part(place)) or 0


def require_room(what: str, need_bytes: int, folder: Path) -> None:
    """Raise `DownloadError` unless `folder`, which need not exist yet, can take `need_bytes` for `what`."""
    free_bytes = shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists())).free
    if need_bytes and free_bytes < need_bytes + SPARE_BYTES:
        raise DownloadError(
            f"{what} takes {(need_bytes + SPARE_BYTES) / 1e6:.0f} MB in {folder}, but only "
            f"{free_bytes / 1e6:.0f} MB are free; make room, or set [models] folder in config.toml to "
            "another disk."
        )


@contextlib.contextmanager
def growing(place: Path) -> Iterator[IO[bytes]]:
    """The .part of `place`, to append to, for this process alone; takes its name unless something is raised.

    Raises `DownloadError` if another process has it, `OSError` if the disk takes no more.  What was written
    stays; if that is nothing, no trace does, so that nobody takes it for a part.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    part = _part(place)
    with part.open("ab") as out:
        # Another process may have finished, and renamed the file, between our opening and our locking it.
        if not locked(out) or not part.exists():
            raise DownloadError(
                f"{place.name} could not be fetched: another process is fetching it; wait for that to end."
            )
        try:
            yield out
            out.flush()
        finally:
            if not os.fstat(out.fileno()).st_size:
                part.unlink(missing_ok=True)
                with contextlib.suppress(OSError):  # other files are there
                    place.parent.rmdir()
        os.fsync(out.fileno())
        part.replace(place)
    _sync_folder(place.parent)


def locked(file: IO[bytes]) -> bool:
    """Whether `file` is now this process's alone, until it is closed."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def disk_error(path: Path, error: OSError) -> DownloadError:
    """What an `error` at writing to `path` means."""
    return DownloadError(f"{path} cannot be written: {error.strerror}; make room or check its permissions.")


def _part(place: Path) -> Path:
    return place.with_name(place.name + ".part")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
