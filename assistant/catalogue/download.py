"""Fetching the models of the catalogue from the hub, or from the mirror that HF_ENDPOINT names."""

from __future__ import annotations

import os
import time
import urllib.parse
from collections.abc import Callable, Sequence
from pathlib import Path

from assistant.catalogue.disk import damage, disk_error, part_bytes, require_room, size_bytes
from assistant.catalogue.read import MISSING, Entry, ModelFile
from assistant.catalogue.transfer import Progress, Transfer
from assistant.errors import DownloadError

HUB = "https://huggingface.co"


def check_beforehand(entries: Sequence[Entry], folder: Path, *, allow_unverified: bool = False) -> None:
    """Raise `DownloadError`, before the first byte comes, unless all `entries` can be pulled to `folder`."""
    for entry in entries:
        _require_hashes(entry, allow_unverified)
        for file in entry.files:
            url(entry, file)
    try:
        lacking = [
            (file, place)
            for entry in entries
            for file in entry.files
            if size_bytes(place := entry.place(file, folder)) != file.size_bytes
        ]
        _require_room(entries, lacking, folder)
    except DownloadError:
        raise
    except OSError as error:
        raise disk_error(folder, error) from None


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
    _require_hashes(entry, allow_unverified)
    wanted = []
    for file in entry.files:
        place = entry.place(file, folder)
        reason = damage(file, place)
        if not reason:
            progress.reached(file, file.size_bytes)
            continue
        if size_bytes(place) is not None:
            progress.note(f"{place} {reason}; fetching it again.")
        wanted.append((file, place))
    try:
        _require_room([entry], wanted, folder)
        for file, place in wanted:
            Transfer(url(entry, file), file, place, progress, wait).run()
    except DownloadError:
        raise
    except OSError as error:
        raise disk_error(folder / entry.name, error) from None


def url(entry: Entry, file: ModelFile) -> str:
    """Where `file` comes from."""
    path = urllib.parse.quote(file.path)
    if entry.url:
        return f"{entry.url}/{path}"
    hub = (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")
    if not hub.startswith(("http://", "https://")):
        raise DownloadError(f'HF_ENDPOINT is "{hub}", which is no address; let it begin with https://.')
    return f"{hub}/{entry.repo}/resolve/{entry.revision}/{path}"


def _require_hashes(entry: Entry, allow_unverified: bool) -> None:
    unverified = [file.name for file in entry.files if file.sha256 == MISSING]
    if unverified and not allow_unverified:
        raise DownloadError(
            f"No hash is known for {unverified[0]}, so nobody could tell whether the right file came; "
            f"`assistant models pull {entry.name} --allow-unverified` fetches it all the same."
        )


def _require_room(entries: Sequence[Entry], wanted: list[tuple[ModelFile, Path]], folder: Path) -> None:
    need_bytes = sum(max(0, file.size_bytes - part_bytes(place)) for file, place in wanted)
    require_room(f"Fetching {', '.join(entry.name for entry in entries)}", need_bytes, folder)
