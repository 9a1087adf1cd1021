"""Which board this is, from what the kernel says of it.

Source of the revision codes:
https://www.raspberrypi.com/documentation/computers/raspberry-pi.html#raspberry-pi-revision-codes
"""

from __future__ import annotations

import math
import os
import platform
import re
import sys
from pathlib import Path

import msgspec

from assistant.board.cgroups import field, groups_of, number, read
from assistant.errors import BoardError

GIB = 2**30

SOLD_GB = (0.25, 0.5, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
"""Sizes that memory is sold in."""

TYPES = {
    0x04: "2 Model B",
    0x08: "3 Model B",
    0x0A: "Compute Module 3",
    0x0D: "3 Model B+",
    0x0E: "3 Model A+",
    0x10: "Compute Module 3+",
    0x11: "4 Model B",
    0x12: "Zero 2 W",
    0x13: "400",
    0x14: "Compute Module 4",
    0x15: "Compute Module 4S",
    0x17: "5",
    0x18: "Compute Module 5",
    0x19: "500",
    0x1A: "Compute Module 5 Lite",
    0x1B: "Compute Module 0",
}
"""The Raspberry Pis with a 64-bit processor, by bits 4 to 11 of their revision code."""

FEATURES = frozenset(
    ("asimddp", "asimdhp", "i8mm", "sve", "avx2", "avx512f", "avx512_vnni", "avx_vnni", "f16c", "fma")
)
"""What llama.cpp has code of its own for, in Linux's words; `asimddp` are the dot products of a Pi 5."""


class Board(msgspec.Struct, frozen=True):
    """The computer the assistant runs on.

    `memory_bytes` is what the kernel has to give away (0: unknown), `nominal_gb` the size the board was sold
    with.  `cores` are those that this process may use.
    """

    name: str
    memory_bytes: int
    nominal_gb: float
    cores: int
    machine: str
    features: frozenset[str]


def recognise(
    root: Path = Path("/"),
    machine: str | None = None,
    affinity: int | None = None,
    largest_index: int = sys.maxsize,
) -> Board:
    """The board whose files lie below `root`; what they do not say is left unknown.

    `machine` is uname's ("aarch64"), `affinity` the number of cores that this process may be scheduled on,
    `largest_index` Python's `sys.maxsize`, which tells a 32-bit Python from a 64-bit one.  Raises
    `BoardError` on a 32-bit system.
    """
    machine = platform.machine() if machine is None else machine
    affinity = len(os.sched_getaffinity(0)) if affinity is None else affinity
    cpuinfo = _cpuinfo(read(root / "proc/cpuinfo"))
    revision = _revision(cpuinfo.get("Revision", ""))
    name = _name(root, cpuinfo, revision, machine)
    _refuse_32_bit(name, revision, machine, largest_index)
    memory_bytes = (field(read(root / "proc/meminfo"), "MemTotal") or 0) * 1024
    return Board(
        name=name,
        memory_bytes=memory_bytes,
        nominal_gb=_memory_gb(revision) or nominal_gb(memory_bytes),
        cores=_cores(root, affinity),
        machine=machine,
        features=FEATURES.intersection((cpuinfo.get("Features") or cpuinfo.get("flags") or "").split()),
    )


def nominal_gb(memory_bytes: int) -> float:
    """The sold size next above `memory_bytes`: firmware and kernel keep some for themselves; 0 for 0."""
    if memory_bytes <= 0:
        return 0
    gb = memory_bytes / GIB
    return next((size for size in SOLD_GB if size >= gb), math.ceil(gb / 64) * 64)


def _cpuinfo(text: str) -> dict[str, str]:
    """The first value of each name: what is said of the first core, and of the board."""
    values: dict[str, str] = {}
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            values.setdefault(name.strip(), value.strip())
    return values


def _revision(text: str) -> int:
    """A Raspberry Pi's revision code; 0 where there is none."""
    return int(text, 16) if re.fullmatch(r"[0-9a-fA-F]{1,8}", text) else 0


def _bits(revision: int, lowest: int, highest: int) -> int:
    return revision >> lowest & (1 << highest - lowest + 1) - 1


def _is_new_style(revision: int) -> bool:
    return _bits(revision, 23, 23) == 1


def _memory_gb(revision: int) -> float:
    """Bits 20 to 22: 256 MB, doubled so many times; 0 where the code does not say (7: another size)."""
    doubled = _bits(revision, 20, 22)
    return 0.25 * 2**doubled if _is_new_style(revision) and doubled < 7 else 0


def _name(root: Path, cpuinfo: dict[str, str], revision: int, machine: str) -> str:
    if _is_new_style(revision) and (of_pi := TYPES.get(_bits(revision, 4, 11))):
        return "Raspberry Pi " + of_pi
    model = read(root / "proc/device-tree/model").rstrip("\0\n ") or cpuinfo.get("Model", "")
    if model:
        model = re.sub(r"^(Raspberry Pi .*?)( Rev [\d.]+)?$", r"\1", model)
        return model.replace("Raspberry Pi 5 Model B", "Raspberry Pi 5").replace(" Model B Plus", " Model B+")
    if machine == "x86_64":
        processor = re.sub(r"\((R|TM)\)|\bCPU\b|@.*", "", cpuinfo.get("model name", ""))
        return f"x86-64 PC ({' '.join(processor.split()) or 'unknown processor'})"
    return machine or "unknown computer"


def _refuse_32_bit(name: str, revision: int, machine: str, largest_index: int) -> None:
    is_32_bit_kernel = re.fullmatch(r"arm.*|i[3-6]86", machine) is not None
    if not is_32_bit_kernel and largest_index > 2**32:
        return
    # Bits 12 to 15 are the processor: BCM2835 and BCM2836 have 32 bits, as all boards with old codes.
    if revision and (not _is_new_style(revision) or _bits(revision, 12, 15) < 2):
        raise BoardError(
            f"The {name} has a 32-bit processor, and the assistant needs 64 bits; "
            "use a Raspberry Pi 3, 4, 5 or Zero 2 W."
        )
    what = f"system is a 32-bit one ({machine})" if is_32_bit_kernel else "Python is a 32-bit one"
    raise BoardError(
        f"The {what}, and the assistant needs 64 bits; install the 64-bit Raspberry Pi OS on this {name}."
    )


def _cores(root: Path, affinity: int) -> int:
    """Cores that may be used at the same time: a cpuset is in `affinity`, a quota may leave fewer.

    A quota of 1.5 cores counts as one: two threads that wait for each other would be stopped all the time.
    """
    cores = affinity
    for group in groups_of("cpu", root):
        if group.is_v2:
            quota, period = [*map(number, group.read("cpu.max").split()), None, None][:2]
        else:
            quota, period = group.number("cpu.cfs_quota_us"), group.number("cpu.cfs_period_us")
        if quota and period:
            cores = min(cores, quota // period)
    return max(1, cores)
