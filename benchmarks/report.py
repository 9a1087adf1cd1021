"""What every benchmark prints and writes: a table for people, `benchmarks/results/NAME.json` for programs."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that `percent` of all values do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100).__int__() - 1)]


def report(name: str, rows: Sequence[Mapping[str, object]]) -> None:
    """Print `rows`, which share their keys, as a table, and write them with the machine's facts."""
    if not rows:
        raise SystemExit("Nothing was measured: tests/models/recipes/build.sh inflate makes what it needs.")
    columns = list(rows[0])
    cells = [columns, *[[_shown(row[column]) for column in columns] for row in rows]]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    for line in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    RESULTS.mkdir(exist_ok=True)
    machine = {"processor": _processor(), "cores": os.cpu_count(), "python": platform.python_version()}
    (RESULTS / f"{name}.json").write_text(
        json.dumps({"machine": machine, "rows": list(rows)}, indent=1) + "\n"
    )


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(("model name", "Model")):
            return line.partition(":")[2].strip()
    return platform.machine()
