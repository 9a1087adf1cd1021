"""The control groups of this process: its own, and those around it whose limits hold for it too.

Sources: the kernel's admin-guide/cgroup-v1 and admin-guide/cgroup-v2, and proc_pid_mountinfo(5).
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

import msgspec


class Group(msgspec.Struct, frozen=True):
    """A control group: `name` in words for a person, and whether it is of the second version."""

    folder: Path
    name: str
    is_v2: bool

    def read(self, file: str) -> str:
        """What the group's `file` holds; "" where there is none."""
        return read(self.folder / file)

    def number(self, file: str) -> int | None:
        """The number in `file`; None for "max" and where there is none."""
        return number(self.read(file))


def read(path: Path) -> str:
    """The text of a file of the kernel's, "" where it is missing, gone or not to be read."""
    try:
        with path.open("rb", buffering=0) as file:
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


def number(text: str) -> int | None:
    """`text` as a number of bytes, microseconds or times; None where it is none."""
    found = re.fullmatch(r"\s*([0-9]{1,20})\s*", text)
    return int(found[1]) if found else None


def field(text: str, name: str) -> int | None:
    """The number behind `name` in a file of the kernel's with one name and one number a line."""
    found = re.search(rf"^{name}:?[ \t]+([0-9]{{1,20}})\b", text, re.MULTILINE)
    return int(found[1]) if found else None


def groups_of(controller: str, root: Path) -> tuple[Group, ...]:
    """The groups that limit this process, its own first: "memory" or "cpu" below the file system `root`.

    A machine may have both versions at once; a controller is in one of them, and the groups of the other
    have none of its files.  Without control groups there are none.
    """
    found: list[Group] = []
    mounts = [line.split() for line in read(root / "proc/self/mountinfo").splitlines()]
    for line in read(root / "proc/self/cgroup").splitlines():
        controllers, _, path = line.partition(":")[2].partition(":")
        is_v2 = line.startswith("0::")
        if is_v2 or controller in controllers.split(","):
            for words in mounts:
                if _is_mount_of(words, controller, is_v2):
                    found += _upwards(root, words[3], words[4], path, is_v2)
                    break
    return tuple(found)


def can_limit_memory(root: Path) -> bool:
    """Whether the kernel has the memory controller: that of a Raspberry Pi starts without."""
    controllers = root / "sys/fs/cgroup/cgroup.controllers"
    if controllers.exists():
        return "memory" in read(controllers).split()
    # of version 1: name, hierarchy, number of groups, enabled
    return re.search(r"^memory\s+\d+\s+\d+\s+1\s*$", read(root / "proc/cgroups"), re.M) is not None


def _is_mount_of(words: list[str], controller: str, is_v2: bool) -> bool:
    if "-" not in words[6:]:
        return False
    kind, _, options = [*words[words.index("-", 6) + 1 :], "", "", ""][:3]
    return kind == "cgroup2" if is_v2 else kind == "cgroup" and controller in options.split(",")


def _upwards(root: Path, mounted: str, mount_point: str, path: str, is_v2: bool) -> list[Group]:
    """From the group at `path` up to the one that the mount shows as its root.

    A container sees a part of the hierarchy only: its path may lie outside of what is mounted, or
    not be there.  Its own group is then what is mounted.
    """
    top = root / mount_point.lstrip("/").replace("\\040", " ")
    inside = PurePosixPath(path)
    inside = inside.relative_to(mounted) if inside.is_relative_to(mounted) else PurePosixPath()
    if ".." in inside.parts or not (top / inside).is_dir():
        inside = PurePosixPath()
    return [Group(top / part, part.name or "the container", is_v2) for part in (inside, *inside.parents)]
