"""Looking at processes through /proc: which are the assistant's, what they have open."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import get_args

import msgspec

from assistant.board.cgroups import read
from assistant.messages import Stage

STAGE_NAMES = ("daemon", *get_args(Stage))
TABLES = ("tcp", "tcp6", "udp", "udp6", "udplite", "udplite6", "raw", "raw6", "icmp", "icmp6")
"""The tables of internet sockets in /proc/PID/net; the tenth word of a line is the socket's inode."""


class Process(msgspec.Struct, frozen=True):
    """`stage` is "daemon" or a stage's name for processes of the assistant, else "".

    `opened` are the targets of its descriptors, None where this user may not see them; `inet_inodes` those of
    the internet sockets in its network namespace.
    """

    pid: int
    name: str
    stage: str
    opened: list[str] | None
    inet_inodes: frozenset[str] = frozenset()

    @property
    def inet_sockets(self) -> int | None:
        """How many internet sockets it has; None where that cannot be seen."""
        if self.opened is None:
            return None
        return sum(
            target[8:-1] in self.inet_inodes for target in self.opened if target.startswith("socket:[")
        )


def gather_processes(root: Path) -> list[Process]:
    """All processes below `root`/proc that still run."""
    found = []
    for folder in (root / "proc").glob("[0-9]*"):
        words = read(folder / "cmdline").split("\0")
        stage = stage_of(words)
        found.append(
            Process(
                int(folder.name),
                read(folder / "comm").strip(),
                stage,
                _opened(folder / "fd"),
                _inet_inodes(folder / "net") if stage else frozenset(),
            )
        )
    return sorted(found, key=lambda process: process.pid)


def stage_of(words: list[str]) -> str:
    """What of the assistant a command line starts: "daemon", a stage's name, or "" for anything else."""
    if not any(Path(word).name == "assistant" for word in words[:5]):
        return ""
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word == "daemon":
            return word
        if word == "worker" and following in STAGE_NAMES:
            return following
    return ""


def holders(processes: Iterable[Process], prefix: str) -> Iterator[tuple[str, Process]]:
    """The files whose paths begin with `prefix` that processes have open, each with its process."""
    for process in processes:
        for target in dict.fromkeys(process.opened or ()):
            if target.startswith(prefix):
                yield target, process


def _opened(folder: Path) -> list[str] | None:
    try:
        names = os.listdir(folder)
    except OSError:  # another user's, or it has ended
        return None
    targets = []
    for name in names:
        try:
            targets.append(os.readlink(folder / name))
        except OSError:  # closed meanwhile
            continue
    return targets


def _inet_inodes(folder: Path) -> frozenset[str]:
    lines = [line.split() for table in TABLES for line in read(folder / table).splitlines()]
    return frozenset(words[9] for words in lines if len(words) > 9 and re.fullmatch(r"\d+:", words[0]))
