"""How far a file is, for a person: bars in a terminal, lines in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from assistant.catalogue.read import ModelFile
from assistant.catalogue.transfer import Progress

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID


@contextmanager
def shown() -> Iterator[Progress]:
    """Whatever standard output can show."""
    if sys.stdout.isatty():
        with Bars() as bars:
            yield bars
    else:
        yield Lines()


class Lines:
    """Progress for a pipe: a line at every tenth of a file."""

    def __init__(self) -> None:
        self.tenths: dict[ModelFile, int] = {}

    def reached(self, file: ModelFile, done_bytes: int) -> None:
        tenth = 10 * done_bytes // file.size_bytes
        if tenth > self.tenths.get(file, 0):
            self.tenths[file] = tenth
            print(f"  {file.name}: {10 * tenth} % of {megabytes(file.size_bytes)}", flush=True)

    def note(self, sentence: str) -> None:
        print(f"  {sentence}", flush=True)


class Bars:
    """Progress for a terminal: a bar for each file."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
        from rich.progress import TransferSpeedColumn as SpeedColumn

        columns = (TextColumn("  {task.description}"), BarColumn(), DownloadColumn(), SpeedColumn())
        self.bars: RichProgress = Progress(*columns, TimeRemainingColumn())
        self.tasks: dict[ModelFile, TaskID] = {}

    def __enter__(self) -> Bars:
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()

    def reached(self, file: ModelFile, done_bytes: int) -> None:
        if file not in self.tasks:
            # Started at what is there already, so that the speed is that of this download.
            self.tasks[file] = self.bars.add_task(file.name, total=file.size_bytes, completed=done_bytes)
        self.bars.update(self.tasks[file], completed=done_bytes)

    def note(self, sentence: str) -> None:
        self.bars.console.print(f"  {sentence}", markup=False, highlight=False)


def megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.0f} MB" if size_bytes >= 1e6 else f"{size_bytes / 1e3:.0f} kB"
