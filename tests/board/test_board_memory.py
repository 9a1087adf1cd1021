"""What may be taken is what is free, within every limit on the way up."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from machine import NO_LIMIT_V1, V1_MOUNTS, V2_MOUNT, machine

from assistant.board.cgroups import field, read
from assistant.board.memory import BOARD, FREE, Available, MemoryGauge

MIB = 2**20
MEMINFO = """\
MemTotal:        3884332 kB
MemFree:          600000 kB
MemAvailable:    3000000 kB
SwapTotal:       2097136 kB
SwapFree:        2097136 kB
"""
AVAILABLE, TOTAL = 3_000_000 * 1024, 3_884_332 * 1024
V2 = {
    "proc/meminfo": MEMINFO,
    "proc/self/cgroup": "0::/assistant.slice/assistant.service\n",
    "proc/self/mountinfo": V2_MOUNT,
}
V1 = {"proc/meminfo": MEMINFO, "proc/self/cgroup": "4:memory:/a/b\n0::/\n", "proc/self/mountinfo": V1_MOUNTS}


def v2_group(name: str, limit: str, used: int, high: str = "max", cache: int = 0) -> dict[str, str]:
    """A version 2 group; sizes in MiB."""
    folder = f"sys/fs/cgroup/{name}/memory."
    return {
        folder + "max": f"{limit}\n" if limit == "max" else f"{int(limit) * MIB}\n",
        folder + "high": f"{high}\n" if high == "max" else f"{int(high) * MIB}\n",
        folder + "current": f"{used * MIB}\n",
        folder + "stat": f"inactive_file {cache * MIB}\nactive_file {7 * MIB}\nfile_mapped {7 * MIB}\n",
        folder + "events": "low 0\nhigh 0\nmax 3\noom 2\noom_kill 2\noom_group_kill 0\n",
    }


def v1_group(name: str, limit: str, used: int, cache: int = 0) -> dict[str, str]:
    folder = f"sys/fs/cgroup/memory/{name}/memory."
    return {
        folder + "limit_in_bytes": f"{limit}\n" if limit == NO_LIMIT_V1 else f"{int(limit) * MIB}\n",
        folder + "usage_in_bytes": f"{used * MIB}\n",
        folder + "stat": f"inactive_file 5\nhierarchical_memory_limit 9\ntotal_inactive_file {cache * MIB}\n",
        folder + "oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n",
    }


SERVICE, SLICE = "assistant.slice/assistant.service", "assistant.slice"


@pytest.mark.parametrize(
    ("files", "left_mib", "limited_by", "total_mib"),
    [
        pytest.param({}, None, FREE, None, id="no memory controller, as a Pi starts"),
        pytest.param(v2_group(SERVICE, "max", 100), None, FREE, None, id="no limit"),
        pytest.param(v2_group(SERVICE, "500", 100), 400, "assistant.service", 500, id="limit"),
        pytest.param(v2_group(SERVICE, "500", 100, high="300"), 200, "assistant.service", 300, id="high"),
        pytest.param(v2_group(SERVICE, "500", 450, cache=200), 250, "assistant.service", 500, id="cache"),
        pytest.param(v2_group(SERVICE, "500", 600), 0, "assistant.service", 500, id="beyond the limit"),
        pytest.param(v2_group(SERVICE, "9000", 10), None, FREE, None, id="a limit beyond the board"),
        pytest.param(v2_group(SERVICE, "3500", 10), None, FREE, 3500, id="a limit beyond what is free"),
        pytest.param(
            v2_group(SERVICE, "500", 100) | v2_group(SLICE, "600", 450),
            150,
            "assistant.slice",
            500,
            id="the slice is nearly full",
        ),
        pytest.param(
            v2_group(SERVICE, "max", 100) | v2_group(".", "512", 112),
            400,
            "the container",
            512,
            id="container",
        ),
    ],
)
def test_version_2(
    tmp_path: Path, files: dict[str, str], left_mib: int | None, limited_by: str, total_mib: int | None
) -> None:
    gauge = MemoryGauge(machine(tmp_path, V2 | files))
    by = limited_by if limited_by == FREE else f"the memory limit of {limited_by}"
    assert gauge.available() == Available(AVAILABLE if left_mib is None else left_mib * MIB, by)
    assert gauge.total().bytes == (TOTAL if total_mib is None else total_mib * MIB)
    assert (gauge.total().limited_by == BOARD) == (total_mib is None)


@pytest.mark.parametrize(
    ("files", "left_mib", "limited_by"),
    [
        pytest.param(v1_group("a/b", NO_LIMIT_V1, 100), None, FREE, id="no limit"),
        pytest.param(v1_group("a/b", "300", 200, cache=50), 150, "b", id="limit"),
        pytest.param(v1_group("a/b", "300", 20) | v1_group("a", "100", 90), 10, "a", id="limit above"),
        pytest.param({"sys/fs/cgroup/memory/memory.limit_in_bytes": "what"}, None, FREE, id="odd"),
    ],
)
def test_version_1(tmp_path: Path, files: dict[str, str], left_mib: int | None, limited_by: str) -> None:
    available = MemoryGauge(machine(tmp_path, V1 | files)).available()
    by = FREE if limited_by == FREE else f"the memory limit of {limited_by}"
    assert available == Available(AVAILABLE if left_mib is None else left_mib * MIB, by)


sizes = st.integers(0, 2**33)


@given(
    free_kib=st.integers(0, 2**23), groups=st.lists(st.tuples(sizes, sizes, sizes), min_size=3, max_size=3)
)
def test_never_more_than_any_limit_leaves(
    tmp_path_factory: pytest.TempPathFactory, free_kib: int, groups: list[tuple[int, int, int]]
) -> None:
    root = machine(tmp_path_factory.mktemp("groups"), V2)
    machine(root, {"proc/meminfo": f"MemTotal: {2**23} kB\nMemAvailable: {free_kib} kB\n"})
    for name, (limit, used, cache) in zip((SERVICE, SLICE, "."), groups, strict=True):
        folder = f"sys/fs/cgroup/{name}/memory."
        stat = f"inactive_file {min(cache, used)}\n"
        machine(root, {folder + "max": str(limit), folder + "current": str(used), folder + "stat": stat})
    left = [max(0, limit - used + min(cache, used)) for limit, used, cache in groups if limit < 2**33]
    assert MemoryGauge(root).available().bytes == min([free_kib * 1024, *left])


@pytest.mark.parametrize(("mapped", "left"), [(0, 260), (40, 220), (60, 200), (90, 200)])
def test_files_read_lately_can_be_dropped_unless_mapped(mapped: int, left: int, tmp_path: Path) -> None:
    stat = f"inactive_file 0\nactive_file {60 * MIB}\nfile_mapped {mapped * MIB}\n"
    root = machine(tmp_path, V2 | v2_group(SERVICE, "500", 300))
    machine(root, {f"sys/fs/cgroup/{SERVICE}/memory.stat": stat})
    assert MemoryGauge(root).available().bytes == left * MIB


def test_groups_are_resolved_once_and_numbers_read_anew(tmp_path: Path) -> None:
    gauge = MemoryGauge(machine(tmp_path, V2 | v2_group(SERVICE, "500", 100)))
    machine(tmp_path, v2_group(SERVICE, "500", 499) | {"proc/self/cgroup": "0::/\n"})
    assert gauge.available().bytes == MIB
    (tmp_path / "sys/fs/cgroup" / SERVICE / "memory.max").unlink()
    assert gauge.available() == Available(AVAILABLE, FREE)


@pytest.mark.parametrize(
    ("meminfo", "bytes_free"),
    [
        ("MemTotal: 9 kB\nMemFree: 3 kB\n", 3072),
        ("MemTotal: 9 kB\nMemFree: 3 kB\nMemAvailable: 0 kB\n", 0),
        ("", 0),
        ("MemAvailable: lots", 0),
    ],
)
def test_odd_meminfo(tmp_path: Path, meminfo: str, bytes_free: int) -> None:
    gauge = MemoryGauge(machine(tmp_path, {"proc/meminfo": meminfo}))
    assert gauge.available() == Available(bytes_free, FREE)


VMSTAT = {"proc/vmstat": "pgfault 9\noom_kill 7\n"}


@pytest.mark.parametrize(
    ("files", "kills"),
    [
        pytest.param({}, 0, id="nothing says"),
        pytest.param(VMSTAT, 7, id="no memory controller"),
        pytest.param(V2 | VMSTAT | v2_group(SERVICE, "max", 1), 2, id="version 2"),
        pytest.param(
            V2
            | v2_group(SERVICE, "max", 1)
            | v2_group(SLICE, "max", 1)
            | {f"sys/fs/cgroup/{SLICE}/memory.events": "oom 9\noom_kill 5\n"},
            5,
            id="of all the assistant's processes",
        ),
        pytest.param(V1 | VMSTAT | v1_group("a/b", "300", 1), 4, id="version 1"),
    ],
)
def test_kills(tmp_path: Path, files: dict[str, str], kills: int) -> None:
    assert MemoryGauge(machine(tmp_path, files)).kills() == kills


def test_this_machine() -> None:
    gauge = MemoryGauge()
    available, total = gauge.available(), gauge.total()
    assert 0 < available.bytes < total.bytes
    assert total.bytes <= (field(read(Path("/proc/meminfo")), "MemTotal") or 0) * 1024
    assert gauge.kills() >= 0


def test_a_reading_is_quick_enough_for_every_second() -> None:
    gauge = MemoryGauge()
    times = [time.perf_counter()]
    for _ in range(50):
        gauge.available()
        gauge.kills()
        times.append(time.perf_counter())
    assert min(later - earlier for earlier, later in itertools.pairwise(times)) < 0.001
