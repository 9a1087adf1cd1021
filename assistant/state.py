"""What is kept from one run to the next: written whole or not at all, whenever the power fails."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from assistant.config import Config, of_another_version, state_folder

GOOD = "config.good.json"
"""The last configuration that could be used, completed by the defaults of its time."""


def write_whole(path: Path, content: bytes) -> None:
    """All of `content` or, whenever the power fails, what was there before.  Raises `OSError`.

    Written beside the old file, brought to the disk, and put in its place; at last the folder's entry itself.
    """
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Bring to the disk which files are in `folder`.  Raises `OSError`."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def keep_good(config: Config) -> None:
    """Remember that `config` can be used; writes only where it differs from the one before.

    Where nothing can be written (a full or read-only disk), the one before stays the last good one.
    """
    path = state_folder() / GOOD
    content = msgspec.json.encode(config)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_bytes() != content:
            write_whole(path, content)


def last_good() -> Config | None:
    """The configuration that could be used before, if by another version as far as this one knows it.

    None if there was none.
    """
    with contextlib.suppress(OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        document = msgspec.json.decode((state_folder() / GOOD).read_bytes(), type=dict[str, dict[str, Any]])
        return of_another_version(document)
    return None
