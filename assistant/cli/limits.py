"""`assistant limits`: has systemd hold the stages to the plan's memory; the one part that runs as root."""

from __future__ import annotations

import argparse
import os
import subprocess
from pathlib import Path

HELP = "hold the stages to the plan's memory limits (what systemd starts)"

MOST_BYTES = 1 << 40

MOST_FILE_BYTES = 4096
"""Ten times what the daemon writes."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help="what the daemon wrote")


def run(words: argparse.Namespace) -> int:
    """The daemon, which is not root, wrote the file: nothing is taken from it but numbers.

    Raises `DaemonError`.
    """
    done: dict[str, dict[str, int]] | None = None
    while (wanted := read(words.file)) != done:  # systemd does not look at the file while we run
        _apply(wanted)
        done = wanted
    return 0


def _apply(wanted: dict[str, dict[str, int]]) -> None:
    from assistant.errors import DaemonError

    for stage, limits in wanted.items():
        properties = [f"{name}={value}" for name, value in limits.items()]
        command = ["systemctl", "set-property", "--runtime", f"assistant-{stage}.service", *properties]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise DaemonError(f"systemd did not take the memory limits of {stage}: {done.stderr.strip()}.")


def read(path: Path) -> dict[str, dict[str, int]]:
    """`MemoryHigh` and `MemoryMax` in bytes for each stage.  Raises `DaemonError` for anything else."""
    import msgspec

    from assistant.errors import DaemonError
    from assistant.messages import STAGES

    try:
        # as types: names that are none of these, and values that are no such numbers, are refused
        found = msgspec.json.decode(_content(path), type=dict[str, dict[str, int]])
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise DaemonError(f"The plan's memory limits in {path} cannot be read: {error}.") from None
    for stage, limits in found.items():
        is_known = stage in STAGES and set(limits) == {"MemoryHigh", "MemoryMax"}
        if not is_known or not all(0 < value < MOST_BYTES for value in limits.values()):
            raise DaemonError(f"The plan's memory limits in {path} make no sense; restart assistant.service.")
    return found


def _content(path: Path) -> bytes:
    """What the file begins with: no link is followed, no pipe waited for.  Raises `OSError`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        return os.read(descriptor, MOST_FILE_BYTES)
    finally:
        os.close(descriptor)
