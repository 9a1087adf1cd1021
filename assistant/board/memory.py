"""How much memory the assistant may take: what is free, within the limits of its control groups.

Swap and zram never count: a language model that is swapped out answers in minutes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from assistant.board.cgroups import Group, field, groups_of, read

SLICE = "assistant.slice"
"""The group that systemd keeps all of the assistant's processes in."""

FREE = "the memory that is free"
BOARD = "the memory of the board"


class Available(msgspec.Struct, frozen=True):
    """Bytes that may be taken, and what keeps them from being more, as in "the memory limit of x.slice"."""

    bytes: int
    limited_by: str


class MemoryGauge:
    """Reads the memory of the machine whose files lie below `root`; where to look is found out once.

    A reading takes well below a millisecond.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        # A Raspberry Pi starts without the memory controller: then there are no such files, and no limits.
        self._groups = [
            group
            for group in groups_of("memory", root)
            if (group.folder / ("memory.max" if group.is_v2 else "memory.limit_in_bytes")).exists()
        ]

    def available(self) -> Available:
        """How much more may be taken now."""
        meminfo = read(self._root / "proc/meminfo")
        # Kernels before 3.14 do not say what is available: then what is free counts, which is less.
        free_kib = field(meminfo, "MemAvailable")
        if free_kib is None:
            free_kib = field(meminfo, "MemFree") or 0
        lowest = Available(free_kib * 1024, FREE)
        for group, limit_bytes in self._limits(_total_bytes(meminfo)):
            lowest = _lower(lowest, max(0, limit_bytes - _held_bytes(group)), group)
        return lowest

    def total(self) -> Available:
        """What a plan for the whole board may count on, were nothing else running."""
        total_bytes = _total_bytes(read(self._root / "proc/meminfo"))
        lowest = Available(total_bytes, BOARD)
        for group, limit_bytes in self._limits(total_bytes):
            lowest = _lower(lowest, limit_bytes, group)
        return lowest

    def _limits(self, total_bytes: int) -> Iterator[tuple[Group, int]]:
        """The groups that have a limit, and it.

        One beyond the memory there is limits nothing: version 1 has a huge number in place of none.
        """
        for group in self._groups:
            limit_bytes = _limit_bytes(group)
            if limit_bytes is not None and limit_bytes < total_bytes:
                yield group, limit_bytes

    def kills(self) -> int:
        """How many processes the kernel has killed for want of memory: since start-up, so watch it grow.

        Of the assistant's own where its groups count them, else of the whole machine.
        """
        own = [group for group in self._groups if group.is_v2 and group.name == SLICE] + self._groups[:1]
        if own:
            file = "memory.events" if own[0].is_v2 else "memory.oom_control"
            kills = field(own[0].read(file), "oom_kill")
            if kills is not None:
                return kills
        return field(read(self._root / "proc/vmstat"), "oom_kill") or 0


def _total_bytes(meminfo: str) -> int:
    return (field(meminfo, "MemTotal") or 0) * 1024


def _limit_bytes(group: Group) -> int | None:
    """The limit of the group itself; None without one.

    Beyond `memory.high` a group is not refused memory but slowed down until nothing works: a limit too.
    """
    if not group.is_v2:
        return group.number("memory.limit_in_bytes")
    limits = [group.number("memory.max"), group.number("memory.high")]
    return min((limit for limit in limits if limit is not None), default=None)


def _held_bytes(group: Group) -> int:
    """What the group holds and cannot be made to give back: all but the pages of files that nobody maps.

    A model that was loaded twice is among the files read lately (`active_file`), and is dropped at need like
    the others; only what is mapped, the libraries, would be read again at once.  All numbers include the
    groups below.
    """
    stat = group.read("memory.stat")
    prefix, mapped_name = ("", "file_mapped") if group.is_v2 else ("total_", "total_mapped_file")
    used = group.number("memory.current" if group.is_v2 else "memory.usage_in_bytes") or 0
    inactive, active, mapped = (
        field(stat, name) or 0 for name in (f"{prefix}inactive_file", f"{prefix}active_file", mapped_name)
    )
    return max(0, used - inactive - max(0, active - mapped))


def _lower(lowest: Available, left_bytes: int, group: Group) -> Available:
    if left_bytes >= lowest.bytes:
        return lowest
    return Available(left_bytes, f"the memory limit of {group.name}")
