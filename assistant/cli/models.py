"""`assistant models`: which models there are, fetching them, checking them."""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from assistant.config import Config, is_path, load, models_folder
from assistant.errors import ModelError

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

    from assistant.catalogue.read import Catalogue, Entry, Kind, ModelFile

HELP = "list, fetch and check models"


def arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    pull = actions.add_parser("pull", help="fetch models")
    pull.add_argument("names", nargs="*", metavar="NAME", help="default: those that config.toml asks for")
    pull.add_argument("--allow-unverified", action="store_true", help="also files whose hash nobody states")
    actions.add_parser("verify", help="read every model on disk and compare it with its hash")


def run(words: argparse.Namespace) -> int:
    from assistant.catalogue.read import read

    config = load(words.config)
    catalogue, folder = read(), models_folder(config)
    if words.action == "pull":
        return _pull(_wanted(words.names, catalogue, config), folder, words.allow_unverified)
    if words.action == "verify":
        return _verify(catalogue, folder)
    return _list(catalogue, config, folder)


def _list(catalogue: Catalogue, config: Config, folder: Path) -> int:
    from assistant.catalogue.read import KINDS

    automatic = {catalogue.auto.stt, catalogue.auto.llm, catalogue.auto.tts}
    rows = [("NAME", "KIND", "SIZE", "ON DISK", "LICENCE")]
    for entry in catalogue.models:
        name = entry.name + (" *" if entry.name in automatic else "")
        rows.append((name, entry.kind, _megabytes(entry.size_bytes), _state(entry, folder), entry.licence))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for name, kind, size, state, licence in rows:
        print(
            f"{name:<{widths[0]}}  {kind:<{widths[1]}}  {size:>{widths[2]}}  {state:<{widths[3]}}  {licence}"
        )
    print('\n* what "auto" in config.toml means; `assistant models pull NAME` fetches one.')
    print(f"Models live in {folder}. In use now:")
    for kind in KINDS:
        print(f"  {kind}  {_in_use(kind, config, folder)}")
    return 0


def _in_use(kind: Kind, config: Config, folder: Path) -> str:
    """What config.toml's model of that kind is at this moment, or why it is none."""
    from assistant.catalogue.locate import locate

    try:
        located = locate(kind, getattr(config, kind).model, folder)
    except ModelError as error:
        return str(error)
    return (
        f"{located.path.name} (a small test model, which knows little)"
        if located.test_model
        else located.name
    )


def _state(entry: Entry, folder: Path) -> str:
    """What a look at names and sizes tells."""
    from assistant.catalogue.transfer import part_bytes

    places = [(entry.place(file, folder), file.size_bytes) for file in entry.files]
    there = [(place, size) for place, size in places if place.exists()]
    if any(place.stat().st_size != size for place, size in there):
        return "damaged"
    if len(there) == len(places):
        return "yes"
    begun = there or any(part_bytes(place) for place, _ in places)
    return "partly" if begun else "no"


def _wanted(names: list[str], catalogue: Catalogue, config: Config) -> list[Entry]:
    """The models called `names`, or those that `config` asks for, smallest first."""
    from assistant.catalogue.read import KINDS

    entries = [catalogue.entry(name) for name in dict.fromkeys(names)]
    if not names:
        for kind in KINDS:
            name: str = getattr(config, kind).model
            if name == "auto":
                entries.append(catalogue.auto_entry(kind))
            elif not is_path(name):
                entries.append(catalogue.entry(name, kind))
    return sorted(entries, key=lambda entry: entry.size_bytes)


def _pull(entries: list[Entry], folder: Path, allow_unverified: bool) -> int:
    from assistant.catalogue.download import pull
    from assistant.catalogue.locate import locate

    if not entries:
        print("config.toml names files of your own for every stage; there is nothing to fetch.")
    for entry in entries:
        print(f"{entry.name} ({_megabytes(entry.size_bytes)}, licence: {entry.licence})", flush=True)
        with ExitStack() as stack:
            shown = stack.enter_context(_Bars()) if sys.stdout.isatty() else _Lines()
            pull(entry, folder, shown, allow_unverified=allow_unverified)
        # A file without a known hash may have the right size and still be something else.
        print(f"  in {locate(entry.kind, entry.name, folder).path}")
    return 0


def _verify(catalogue: Catalogue, folder: Path) -> int:
    from assistant.catalogue.read import MISSING
    from assistant.catalogue.transfer import damage

    found, damaged = 0, 0
    for entry in catalogue.models:
        if _state(entry, folder) == "no":
            continue
        found += 1
        reasons = {
            file.name: reason for file in entry.files if (reason := damage(file, entry.place(file, folder)))
        }
        came_bytes = _interrupted_at(entry, folder)
        if came_bytes and set(reasons.values()) == {"is missing"}:
            damaged += 1
            print(
                f"{entry.name}: its download was interrupted at {_megabytes(came_bytes)} of "
                f"{_megabytes(entry.size_bytes)}; `assistant models pull {entry.name}` goes on with it."
            )
        elif reasons:
            damaged += 1
            what = ", ".join(f"{name} {reason}" for name, reason in reasons.items())
            print(f"{entry.name}: {what}; fetch it again with `assistant models pull {entry.name}`.")
        elif any(file.sha256 == MISSING for file in entry.files):
            print(f"{entry.name}: the size is right; no hash is known to compare it with.", flush=True)
        else:
            print(f"{entry.name}: right", flush=True)
    if not found:
        print(f"There are no models in {folder}: the small test models serve.")
        print("`assistant models pull` fetches others.")
    return 1 if damaged else 0


def _interrupted_at(entry: Entry, folder: Path) -> int:
    """How many bytes of `entry` came before a download of it broke off within a file; 0 if none did."""
    from assistant.catalogue.transfer import part_bytes

    places = [entry.place(file, folder) for file in entry.files]
    begun_bytes = sum(part_bytes(place) for place in places)
    whole_bytes = sum(place.stat().st_size for place in places if place.exists())
    return begun_bytes and begun_bytes + whole_bytes


class _Lines:
    """Progress for a pipe: a line at every tenth of a file."""

    def __init__(self) -> None:
        self.tenths: dict[str, int] = {}

    def reached(self, file: ModelFile, done_bytes: int) -> None:
        tenth = 10 * done_bytes // file.size_bytes
        if tenth > self.tenths.get(file.name, 0):
            self.tenths[file.name] = tenth
            print(f"  {file.name}: {10 * tenth} % of {_megabytes(file.size_bytes)}", flush=True)

    def note(self, sentence: str) -> None:
        print(f"  {sentence}", flush=True)


class _Bars:
    """Progress for a terminal: a bar for each file."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
        from rich.progress import TransferSpeedColumn as SpeedColumn

        columns = (TextColumn("  {task.description}"), BarColumn(), DownloadColumn(), SpeedColumn())
        self.bars: RichProgress = Progress(*columns, TimeRemainingColumn())
        self.tasks: dict[str, TaskID] = {}

    def __enter__(self) -> _Bars:
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()

    def reached(self, file: ModelFile, done_bytes: int) -> None:
        if file.name not in self.tasks:
            # Started at what is there already, so that the speed is that of this download.
            self.tasks[file.name] = self.bars.add_task(file.name, total=file.size_bytes, completed=done_bytes)
        self.bars.update(self.tasks[file.name], completed=done_bytes)

    def note(self, sentence: str) -> None:
        self.bars.console.print(f"  {sentence}", markup=False, highlight=False)


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.0f} MB" if size_bytes >= 1e6 else f"{size_bytes / 1e3:.0f} kB"
