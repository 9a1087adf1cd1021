"""The memory that each stage may take, for systemd to enforce: a leak then costs one stage, not the board."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from pathlib import Path

from assistant.plan.selection import Plan

log = logging.getLogger(__name__)

MIB = 1024 * 1024
NAME = "limits.json"


def limits(plan: Plan) -> dict[str, dict[str, int]]:
    """`MemoryHigh` and `MemoryMax` of each stage's service, in bytes.

    Predictions have been off by 6 % at most.  From a quarter above, the kernel slows the stage down to
    reclaim what can be; at one and a half it is killed.  The rest is what the kernel keeps for a process.
    """
    return {
        stage: {
            "MemoryHigh": need.peak_bytes * 5 // 4 + 32 * MIB,
            "MemoryMax": need.peak_bytes * 3 // 2 + 64 * MIB,
        }
        for stage, need in plan.processes.items()
        if stage != "daemon"
    }


def write_limits(plan: Plan, folder: Path) -> None:
    """Leave them in `folder` for `assistant limits`, which systemd starts when the file changes."""
    new = folder / (NAME + ".new")
    try:
        new.write_text(json.dumps(limits(plan)))
        new.chmod(0o640)
        os.replace(new, folder / NAME)
    except OSError as error:
        log.warning("the plan's memory limits cannot be written: %s", error.strerror)
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)
