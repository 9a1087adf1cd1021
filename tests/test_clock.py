"""A jump of the clock changes nothing: ages, latencies and pauses are counted by the monotonic one.

A Raspberry Pi's clock does not go on without power: it starts in the past and jumps when it learns the time.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from assistant.config import CHECKOUT

JUMPING = {
    "time.time",
    "time.time_ns",
    "time.localtime",
    "time.gmtime",
    "time.ctime",
    "time.strftime",
    "time.clock_gettime",
    "datetime.now",
    "datetime.utcnow",
    "datetime.today",
    "date.today",
}
SHOWN = {
    "catalogue/update.py": "whether an update of the catalogue claims to be from the future",
    "cli/doctor/visit.py": "whether the clock is set",
    "cli/status.py": "the time of day at which something happened, for a person",
    "engines/templates.py": "a template that tells the model the day",
}
"""Who may ask what day it is: nothing is measured by it."""
FILES = sorted((CHECKOUT / "assistant").rglob("*.py"))


def uses(source: str) -> Iterator[str]:
    """Every use of a clock that may jump, whatever its module was imported as."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            whole = ast.unparse(node)
            yield from (name for name in JUMPING if whole == name or whole.endswith(f".{name}"))
        elif isinstance(node, ast.ImportFrom) and node.module == "time":
            yield from (f"time.{name.name}" for name in node.names if f"time.{name.name}" in JUMPING)
        elif isinstance(node, ast.Import):
            yield from (
                f"{name.name} as {name.asname}" for name in node.names if name.name == "time" and name.asname
            )


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import time\ntime.time()", ["time.time"]),
        ("from time import time, monotonic", ["time.time"]),
        ("import time as t", ["time as t"]),
        ("import datetime\ndatetime.datetime.now()", ["datetime.now"]),
        ("from datetime import date\nf(today=date.today)", ["date.today"]),
        ("import time\ntime.monotonic() + time.perf_counter()", []),
    ],
)
def test_what_is_found(source: str, found: list[str]) -> None:
    assert list(uses(source)) == found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_nothing_is_measured_by_a_clock_that_may_jump(path: Path) -> None:
    found = list(uses(path.read_text("utf-8")))
    assert bool(found) == (str(path.relative_to(CHECKOUT / "assistant")) in SHOWN), found
