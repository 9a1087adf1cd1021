"""Fixtures for the tests of the appliance: `pytest_plugins = ["appliance_fixtures"]` in a test module.

(A conftest.py would do the same, but the tests are no packages and mypy takes only one module of that name.)
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from container import clear_groups
from installed import CACHE, COMPILED, Board, rootfs

from assistant import Assistant


class Boards:
    """Makes boards, each over the installed one, and clears them away."""

    def __init__(self, folder: Path, ear: Assistant) -> None:
        self.folder = folder
        self.ear = ear
        self.layers: list[Path] = []
        self.output = ""
        """What install.sh printed."""
        self._shared: Board | None = None
        self._made: list[Board] = []

    def install(self) -> None:
        board = self.bare()
        board.machine.boot()
        self.output = board.install()
        board.machine.power_off()
        for wheel in (board.machine.upper / "var/cache/assistant/wheels").iterdir():
            if not (COMPILED / wheel.name).exists():
                shutil.copytree(wheel, COMPILED / wheel.name)
        self.layers = [board.machine.upper, *self.layers]

    def bare(self) -> Board:
        """A board that nothing is installed on, off, with sound and a clone of this checkout."""
        board = self._make([rootfs()])
        self.layers = self.layers or [rootfs()]
        board.sound.install()
        board.put_checkout()
        return board

    def fresh(self) -> Board:
        """An installed board that nothing else has used, off."""
        return self._make(self.layers)

    def shared(self) -> Board:
        """An installed board, on and ready, which other tests have used but not harmed."""
        board = self._shared
        if board is None or board.spoiled or not board.machine.is_on():
            if board is not None:
                self.drop(board)
            self._shared = board = self.fresh()
            board.boot()
        board.wait_ready()
        return board

    def drop(self, board: Board) -> None:
        board.machine.close()
        self._made.remove(board)
        shutil.rmtree(board.folder)

    def close(self) -> None:
        for board in self._made:
            board.machine.close()

    def _make(self, layers: list[Path]) -> Board:
        folder = self.folder / f"board{len(list(self.folder.iterdir()))}"
        self._made.append(Board(layers, folder, self.ear))
        return self._made[-1]


@pytest.fixture(scope="session")
def boards() -> Iterator[Boards]:
    """One installation for all tests.  Not in /tmp, which may be in memory."""
    clear_groups()
    root = CACHE / "appliance"
    for left in root.glob("run-*"):
        if not Path("/proc", left.name.removeprefix("run-")).exists():
            shutil.rmtree(left)
    folder = root / f"run-{os.getpid()}"
    folder.mkdir(parents=True)
    with Assistant.open(workers=["stt"]) as ear:
        made = Boards(folder, ear)
        try:
            made.install()
            yield made
        finally:
            made.close()
            shutil.rmtree(folder)


@pytest.fixture
def board(boards: Boards) -> Board:
    """An installed board, on and ready.  Tests share it: leave it as you found it, or take `fresh_board`."""
    return boards.shared()


@pytest.fixture
def fresh_board(boards: Boards) -> Iterator[Board]:
    """An installed board of the test's own, off: prepare it, then `boot()`."""
    board = boards.fresh()
    yield board
    boards.drop(board)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """A failed test shows what the journal says, and its board is not used again."""
    report = yield
    if report.failed:
        for board in getattr(item, "funcargs", {}).values():
            if isinstance(board, Board):
                board.spoiled = True
                if board.machine.is_on():
                    report.sections.append(("journal", board.machine.journal(lines=80)))
    return report
