"""What else changes the models' folder: removing models, and bringing them from a USB stick."""

from __future__ import annotations

import os
import shutil
import stat
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from assistant.catalogue.disk import damage, disk_error, growing, locked, require_room
from assistant.catalogue.read import KINDS, MISSING, Catalogue, Entry, ModelFile
from assistant.catalogue.transfer import BLOCK_BYTES, Progress
from assistant.config import Config, is_path
from assistant.errors import DownloadError, ModelError, one_line

DEPTH = 4
"""How many folders deep models are looked for."""


class Imported(msgspec.Struct, frozen=True):
    """The models that came, those that were there already, and a sentence for each that is flawed."""

    came: list[Entry]
    there: list[Entry]
    flaws: list[str]


def require_removable(entries: Sequence[Entry], folder: Path, config: Config) -> None:
    """Raise `ModelError` if one of `entries` is not in `folder`, or is what `config` names."""
    for entry in entries:
        place = folder / entry.name
        if not os.path.lexists(place):
            raise ModelError(f"The model {entry.name} is not in {folder}, so there is nothing to remove.")
        for kind in KINDS:
            name: str = getattr(config, kind).model
            if name == entry.name or (is_path(name) and Path(name).resolve().is_relative_to(place.resolve())):
                raise ModelError(
                    f"The model {entry.name} is what {kind}.model in config.toml asks for; "
                    "name another there before you remove it."
                )


def remove(entry: Entry, folder: Path) -> int:
    """Delete what there is of `entry` in `folder`, whole or not; gives back how many bytes that frees.

    Nothing outside `folder` is touched: of a link only the link goes.  Raises `ModelError`.
    """
    place = folder / entry.name
    try:
        if place.is_symlink() and not place.is_file():
            place.unlink()
            return 0
        if not place.is_dir():
            raise ModelError(f"{place} is a file, no folder of a model; see what it is and move it away.")
        for part in place.glob("*.part"):
            with part.open("rb") as file:
                if not locked(file):
                    raise ModelError(
                        f"The model {entry.name} is being fetched by another process; wait for that to end."
                    )
        freed_bytes = sum(path.lstat().st_size for path in place.rglob("*") if not path.is_dir())
        shutil.rmtree(place)
    except OSError as error:
        raise ModelError(f"{place} cannot be removed: {error.strerror}; check its permissions.") from None
    return freed_bytes


def import_models(
    source: Path, catalogue: Catalogue, names: Sequence[str], folder: Path, progress: Progress
) -> Imported:
    """Copy the models called `names`, or all of `catalogue` that are there, from `source` to `folder`.

    Files count by size and SHA-256, whatever they are called; they lie in `source` or up to `DEPTH` folders
    below.  A model comes only when all its files are there.  Raises `ModelError` if there is none, and
    `DownloadError` if the disk takes no more.
    """
    entries = [catalogue.entry(name) for name in dict.fromkeys(names)] or list(catalogue.models)
    stick = _Stick(source, catalogue)
    copies: dict[Entry, list[tuple[ModelFile, Path]]] = {}
    result = Imported([], [], [])
    for entry in entries:
        if not stick.hints_at(entry):
            if names:
                result.flaws.append(f"{entry.name}: nothing of it is in {source} ({_looked_for(entry)}).")
            continue
        lacking = [file for file in entry.files if damage(file, entry.place(file, folder))]
        if not lacking:
            result.there.append(entry)
            continue
        progress.note(f"Reading {entry.name}.")
        found = [(file, path) for file in lacking if (path := stick.find(entry, file))]
        if len(found) == len(lacking):
            copies[entry] = found
        elif flaws := stick.flaws(entry, lacking, bool(names)):
            result.flaws.append(f"{entry.name}: {', '.join(flaws)}; it was not imported.")
    if not (copies or result.there or result.flaws):
        raise ModelError(
            f"There is no model of the catalogue in {source} or up to {DEPTH} folders below it; looked for "
            f"files of the right size and SHA-256, such as {_looked_for(entries[0])}."
        )
    _copy_all(copies, folder, progress, result)
    return result


def _copy_all(
    copies: dict[Entry, list[tuple[ModelFile, Path]]], folder: Path, progress: Progress, result: Imported
) -> None:
    try:
        need_bytes = sum(file.size_bytes for found in copies.values() for file, _ in found)
        require_room(f"Importing {', '.join(entry.name for entry in copies)}", need_bytes, folder)
        for entry, found in copies.items():
            try:
                for file, path in found:
                    _copy(path, file, entry.place(file, folder), progress)
            except ModelError as error:
                result.flaws.append(f"{entry.name}: {error}")
            else:
                result.came.append(entry)
    except DownloadError:
        raise
    except OSError as error:
        raise disk_error(folder, error) from None


def _copy(source: Path, file: ModelFile, place: Path, progress: Progress) -> None:
    """Raises `ModelError` if the source is not what it was, `OSError` if the disk takes no more."""
    with growing(place) as out:
        out.truncate(0)
        try:
            done_bytes = 0
            for block in _blocks(source):
                out.write(block)
                done_bytes += len(block)
                progress.reached(file, min(done_bytes, file.size_bytes))
            out.flush()
            reason = damage(file, Path(out.name))
            if reason:
                raise ModelError(f"what came of {one_line(str(source))} {reason}; import it again.")
        except BaseException:
            out.truncate(0)
            raise


def _blocks(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while block := file.read(BLOCK_BYTES):
                yield block
    except OSError as error:
        raise ModelError(
            f"{one_line(str(path))} cannot be read: {error.strerror}; copy it to the stick again."
        ) from None


def _looked_for(entry: Entry) -> str:
    return ", ".join(f"{entry.name}/{file.name}" for file in entry.files)


class _Stick:
    """The files below `root` that have the size or the name of a model's file; none is hashed twice."""

    def __init__(self, root: Path, catalogue: Catalogue) -> None:
        self.root = root
        files = [file for entry in catalogue.models for file in entry.files]
        names = Counter(file.name for file in files)
        self.telling_names = {name for name, count in names.items() if count == 1}
        self.by_size: dict[int, list[Path]] = defaultdict(list)
        self.by_name: dict[str, list[Path]] = defaultdict(list)
        self.reasons: dict[tuple[Path, ModelFile], str] = {}
        sizes = {file.size_bytes for file in files}
        for path, size in _files(root):
            if size in sizes:
                self.by_size[size].append(path)
            if path.name in names:
                self.by_name[path.name].append(path)

    def claims(self, entry: Entry, file: ModelFile) -> list[Path]:
        """What by its name and folder should be `file`, whatever is in it."""
        return [
            path
            for path in self.by_name.get(file.name, ())
            if path.parent.name == entry.name or file.name in self.telling_names
        ]

    def hints_at(self, entry: Entry) -> bool:
        """Whether anything looks like a file of `entry` that no other model has."""
        model = entry.files[0]
        return model.size_bytes in self.by_size or any(self.claims(entry, file) for file in entry.files)

    def find(self, entry: Entry, file: ModelFile) -> Path | None:
        """The right file, looked for first where it should be."""
        if file.sha256 == MISSING:
            return None
        likely = sorted(
            self.by_size.get(file.size_bytes, ()),
            key=lambda path: (path.parent.name != entry.name, path.name != file.name, path),
        )
        return next((path for path in likely if not self._reason(path, file)), None)

    def flaws(self, entry: Entry, lacking: list[ModelFile], wanted: bool) -> list[str]:
        """What keeps `entry` from being imported; nothing if nobody `wanted` it and it is another file."""
        claimed = any(self.claims(entry, file) for file in entry.files)
        if not (wanted or claimed or self.find(entry, entry.files[0])):
            return []
        flaws = []
        for file in lacking:
            if file.sha256 == MISSING:
                flaws.append(f"no hash is known for {file.name} (give its path in config.toml instead)")
            elif not self.find(entry, file):
                damaged = [f"{path} {self._reason(path, file)}" for path in self.claims(entry, file)]
                flaws += [one_line(flaw) for flaw in damaged] or [f"{file.name} is missing"]
        return flaws

    def _reason(self, path: Path, file: ModelFile) -> str:
        if (path, file) not in self.reasons:
            self.reasons[path, file] = damage(file, path)
        return self.reasons[path, file]


def _files(root: Path) -> Iterator[tuple[Path, int]]:
    """The files in `root` and up to `DEPTH` folders below, with their sizes.  Raises `ModelError`."""
    try:
        os.listdir(root)
    except OSError as error:
        raise ModelError(f"The folder {root} cannot be read: {error.strerror}; check its path.") from None
    for where, folders, names in os.walk(root):
        folder = Path(where)
        if len(folder.relative_to(root).parts) >= DEPTH:
            folders.clear()
        for path in (folder / name for name in names):
            try:
                found = path.stat()
            except OSError:  # a link to nowhere
                continue
            if stat.S_ISREG(found.st_mode):
                yield path, found.st_size
