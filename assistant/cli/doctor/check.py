"""What a check of the doctor's finds, and how programs of the system are asked."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from typing import Literal

import msgspec

State = Literal["ok", "warning", "fault", "skipped"]

ANSWERS_WITHIN_S = 5.0


class Check(msgspec.Struct, frozen=True):
    """One line: what was looked at, how it is, and the command that mends it ("" where nothing is to do).

    `public` is what a support bundle may hold of `what`: numbers and words of our own, no name, path, or
    sentence of somebody else's.
    """

    name: str
    state: State
    what: str
    mend: str = ""
    public: str = ""


def plain(name: str, state: State, what: str, mend: str = "") -> Check:
    """A check whose sentence has nothing in it but numbers and words of our own."""
    return Check(name, state, what, mend, what)


def asked(command: Sequence[str]) -> str | None:
    """What a program of the system's answers on standard output; None where it is missing, fails or hangs."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=ANSWERS_WITHIN_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode(errors="replace")


def gib(size_bytes: int) -> str:
    """ "3.7 GiB", or "512 MiB" of little."""
    mib = size_bytes / 2**20
    return f"{mib / 1024:.1f} GiB" if mib >= 1000 else f"{mib:.0f} MiB"


def count(number: int, noun: str) -> str:
    """ "1 restart", "2 restarts"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
