"""Fetching the models of the catalogue from the hub, or from the mirror that HF_ENDPOINT names."""

from __future__ import annotations

import os
import shutil
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path

from assistant.catalogue.read import MISSING, Entry, ModelFile
from assistant.catalogue.transfer import Progress, Transfer, damage, part_bytes
from assistant.errors import DownloadError

HUB = "https://huggingface.co"
SPARE_BYTES = 64 * 1024 * 1024
"""What a download leaves free on the disk."""


def pull(
    entry: Entry,
    folder: Path,
    progress: Progress,
    *,
    allow_unverified: bool = False,
    wait: Callable[[float], None] = time.sleep,
) -> None:
    """Have all files of `entry` complete below `folder`, fetching what is missing or damaged.

    HF_ENDPOINT names a mirror of the hub.  A file without a known hash is refused unless `allow_unverified`.
    `wait` is given the seconds between attempts.  Raises `DownloadError`; what came so far stays as .part.
    """
    unverified = [file.name for file in entry.files if file.sha256 == MISSING]
    if unverified and not allow_unverified:
        raise DownloadError(
            f"No hash is known for {unverified[0]}, so nobody could tell whether the right file came; "
            f"`assistant models pull {entry.name} --allow-unverified` fetches it all the same."
        )
    wanted = []
    for file in entry.files:
        place = entry.place(file, folder)
        reason = damage(file, place)
        if not reason:
            progress.reached(file, file.size_bytes)
            continue
        if place.exists():
            progress.note(f"{place} {reason}; fetching it again.")
        wanted.append(file)
    try:
        (folder / entry.name).mkdir(parents=True, exist_ok=True)
        _require_space(entry, wanted, folder)
        for file in wanted:
            Transfer(url(entry, file), file, entry.place(file, folder), progress, wait).run()
    except DownloadError:
        raise
    except OSError as error:
        raise _disk_error(folder / entry.name, error) from None


def url(entry: Entry, file: ModelFile) -> str:
    """Where `file` comes from."""
    path = urllib.parse.quote(file.path)
    if entry.url:
        return f"{entry.url}/{path}"
    hub = (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")
    if not hub.startswith(("http://", "https://")):
        raise DownloadError(f'HF_ENDPOINT is "{hub}", which is no address; let it begin with https://.')
    return f"{hub}/{entry.repo}/resolve/{entry.revision}/{path}"


def _require_space(entry: Entry, wanted: list[ModelFile], folder: Path) -> None:
    need = SPARE_BYTES if wanted else 0
    for file in wanted:
        need += max(0, file.size_bytes - part_bytes(entry.place(file, folder)))
    free = shutil.disk_usage(folder).free
    if free < need:
        raise DownloadError(
            f"{entry.name} needs {need / 1e6:.0f} MB in {folder}, but only {free / 1e6:.0f} MB are free; "
            "make room, or set [models] folder in config.toml to another disk."
        )


def _disk_error(path: Path, error: OSError) -> DownloadError:
    return DownloadError(f"{path} cannot be written: {error.strerror}; make room or check its permissions.")
