"""Boards are told apart by the files that their kernels show."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from machine import V1_MOUNTS, V2_MOUNT, machine

from assistant.board.recognise import SOLD_GB, nominal_gb, recognise
from assistant.errors import BoardError

A53 = "fp asimd evtstrm crc32 cpuid"
A76 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"
OF_A_PI_5 = frozenset({"asimddp", "asimdhp"})
LAPTOP = "fpu vme sse4_2 fma f16c avx avx2 bmi2 avx_vnni"


def pi(model: str, revision: str, total_kib: int, features: str = A53, cores: int = 4) -> dict[str, str]:
    """What a Raspberry Pi with the 64-bit system shows."""
    core = (
        "processor\t: {}\nBogoMIPS\t: 108.00\nFeatures\t: " + features + "\nCPU implementer\t: 0x41\n"
        "CPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: 0xd08\nCPU revision\t: 3\n\n"
    )
    return {
        "proc/cpuinfo": "".join(core.format(index) for index in range(cores))
        + f"Revision\t: {revision}\nSerial\t\t: 10000000abcdef01\nModel\t\t: {model}\n",
        "proc/device-tree/model": model + "\0",
        "proc/meminfo": f"MemTotal:       {total_kib:8} kB\nMemAvailable:    2000 kB\n",
    }


def pc(processor: str, total_kib: int, flags: str = LAPTOP) -> dict[str, str]:
    core = f"processor\t: 0\nmodel\t\t: 142\nmodel name\t: {processor}\nflags\t\t: {flags}\nbugs\t\t: a\n\n"
    return {"proc/cpuinfo": core, "proc/meminfo": f"MemTotal: {total_kib} kB\n"}


@pytest.mark.parametrize(
    ("model", "revision", "total_kib", "features", "name", "gb"),
    [
        ("Raspberry Pi Zero 2 W Rev 1.0", "902120", 427156, A53, "Raspberry Pi Zero 2 W", 0.5),
        ("Raspberry Pi 3 Model B Plus Rev 1.3", "a020d3", 926380, A53, "Raspberry Pi 3 Model B+", 1),
        ("Raspberry Pi 4 Model B Rev 1.1", "a03111", 925836, A53, "Raspberry Pi 4 Model B", 1),
        ("Raspberry Pi 4 Model B Rev 1.4", "b03114", 1891068, A53, "Raspberry Pi 4 Model B", 2),
        ("Raspberry Pi 4 Model B Rev 1.5", "c03115", 3884332, A53, "Raspberry Pi 4 Model B", 4),
        ("Raspberry Pi 4 Model B Rev 1.4", "d03114", 7998984, A53, "Raspberry Pi 4 Model B", 8),
        ("Raspberry Pi 5 Model B Rev 1.0", "b04170", 2060848, A76, "Raspberry Pi 5", 2),
        ("Raspberry Pi 5 Model B Rev 1.0", "c04170", 4142704, A76, "Raspberry Pi 5", 4),
        ("Raspberry Pi 5 Model B Rev 1.0", "d04170", 8245264, A76, "Raspberry Pi 5", 8),
        ("Raspberry Pi 5 Model B Rev 1.1", "e04171", 16608256, A76, "Raspberry Pi 5", 16),
        ("Raspberry Pi Compute Module 4 Rev 1.0", "c03140", 3884332, A53, "Raspberry Pi Compute Module 4", 4),
        ("Raspberry Pi Compute Module 5 Rev 1.0", "d04180", 8245264, A76, "Raspberry Pi Compute Module 5", 8),
        # The warranty bit and those above it say nothing of the board.
        ("Raspberry Pi 3 Model B Rev 1.2", "2a02082", 926380, A53, "Raspberry Pi 3 Model B", 1),
        # Newer than the table: what the device tree says; memory of "another" size is rounded up.
        ("Raspberry Pi 7 Model B Rev 1.0", "f05ff0", 12200000, A76, "Raspberry Pi 7 Model B", 12),
    ],
)
def test_a_raspberry_pi(
    tmp_path: Path, model: str, revision: str, total_kib: int, features: str, name: str, gb: float
) -> None:
    files = pi(model, revision, total_kib, features)
    board = recognise(machine(tmp_path, files), "aarch64", 4, 2**63 - 1)
    assert (board.name, board.nominal_gb, board.memory_bytes) == (name, gb, total_kib * 1024)
    assert (board.cores, board.machine) == (4, "aarch64")
    assert board.features == (OF_A_PI_5 if features == A76 else frozenset())
    # The sold size is found from the memory alone as well, where the kernel shows no revision code.
    assert nominal_gb(board.memory_bytes) == gb


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("Raspberry Pi 5 Model B Rev 1.0", "Raspberry Pi 5"),
        ("Raspberry Pi 3 Model B Plus Rev 1.3", "Raspberry Pi 3 Model B+"),
        ("Orange Pi 5 Plus", "Orange Pi 5 Plus"),
        ("Radxa ROCK 5B", "Radxa ROCK 5B"),
    ],
)
def test_a_kernel_without_revision_codes(tmp_path: Path, model: str, name: str) -> None:
    machine(tmp_path, {"proc/device-tree/model": model + "\0"})
    assert recognise(tmp_path, "aarch64", 4).name == name


def test_a_container_that_sees_no_device_tree(tmp_path: Path) -> None:
    files = pi("Raspberry Pi 9 Model X Rev 2.0", "c05fe0", 3884332)
    del files["proc/device-tree/model"]
    assert recognise(machine(tmp_path, files), "aarch64", 4).name == "Raspberry Pi 9 Model X"


@pytest.mark.parametrize(
    ("processor", "name"),
    [
        ("AMD EPYC", "x86-64 PC (AMD EPYC)"),
        ("Intel(R) Core(TM) i5-8250U CPU @ 1.60GHz", "x86-64 PC (Intel Core i5-8250U)"),
        ("", "x86-64 PC (unknown processor)"),
    ],
)
def test_a_laptop(tmp_path: Path, processor: str, name: str) -> None:
    board = recognise(machine(tmp_path, pc(processor, 16_108_000)), "x86_64", 8)
    assert (board.name, board.nominal_gb, board.cores) == (name, 16, 8)
    assert board.features == {"avx2", "fma", "f16c", "avx_vnni"}


@pytest.mark.parametrize(
    ("revision", "kernel", "largest_index", "words"),
    [
        ("a020d3", "armv7l", 2**31 - 1, "The system is a 32-bit one (armv7l)"),
        ("a020d3", "armv8l", 2**31 - 1, "The system is a 32-bit one (armv8l)"),
        ("c03114", "aarch64", 2**31 - 1, "The Python is a 32-bit one"),
        ("", "i686", 2**31 - 1, "install the 64-bit"),
        ("9000c1", "armv6l", 2**31 - 1, "has a 32-bit processor"),
        ("a01041", "armv7l", 2**31 - 1, "has a 32-bit processor"),
        ("000e", "armv6l", 2**31 - 1, "has a 32-bit processor"),
        ("a02042", "armv7l", 2**31 - 1, "install the 64-bit Raspberry Pi OS on this Raspberry Pi 2 Model B."),
    ],
)
def test_32_bits_are_refused(
    tmp_path: Path, revision: str, kernel: str, largest_index: int, words: str
) -> None:
    machine(tmp_path, pi("Raspberry Pi Some Model Rev 1.0", revision, 926380))
    with pytest.raises(BoardError) as caught:
        recognise(tmp_path, kernel, 4, largest_index)
    assert words in str(caught.value)
    assert str(caught.value).count(".") == 1


@pytest.mark.parametrize(
    ("files", "affinity", "cores"),
    [
        ({}, 3, 3),
        ({}, 0, 1),
        ({"sys/fs/cgroup/a.slice/cpu.max": "200000 100000\n"}, 4, 2),
        ({"sys/fs/cgroup/a.slice/cpu.max": "max 100000\n"}, 4, 4),
        ({"sys/fs/cgroup/a.slice/cpu.max": "150000 100000\n"}, 4, 1),
        ({"sys/fs/cgroup/a.slice/cpu.max": "50000 100000\n"}, 4, 1),
        ({"sys/fs/cgroup/a.slice/cpu.max": "800000 100000\n"}, 4, 4),
        ({"sys/fs/cgroup/a.slice/cpu.max": "\n"}, 4, 4),
        ({"sys/fs/cgroup/a.slice/cpu.max": "max\n", "sys/fs/cgroup/cpu.max": "300000 100000\n"}, 4, 3),
    ],
)
def test_cores_that_may_be_used(tmp_path: Path, files: dict[str, str], affinity: int, cores: int) -> None:
    machine(
        tmp_path,
        {"proc/self/cgroup": "0::/a.slice\n", "proc/self/mountinfo": V2_MOUNT, "sys/fs/cgroup/a.slice/": ""},
    )
    assert recognise(machine(tmp_path, files), "aarch64", affinity).cores == cores


@pytest.mark.parametrize(("quota", "cores"), [("-1", 4), ("200000", 2)])
def test_cores_with_version_1_groups(tmp_path: Path, quota: str, cores: int) -> None:
    files = {
        "proc/self/cgroup": "2:cpu,cpuacct:/a\n1:name=systemd:/\n0::/\n",
        "proc/self/mountinfo": V1_MOUNTS,
        "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us": quota,
        "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us": "100000\n",
    }
    assert recognise(machine(tmp_path, files), "aarch64", 4).cores == cores


def test_a_machine_that_says_nothing(tmp_path: Path) -> None:
    board = recognise(tmp_path, "riscv64", 2)
    assert (board.name, board.memory_bytes, board.nominal_gb, board.cores) == ("riscv64", 0, 0, 2)
    assert recognise(tmp_path, "", 2).name == "unknown computer"


@given(cpuinfo=st.binary(max_size=300), meminfo=st.binary(max_size=100), model=st.binary(max_size=50))
def test_odd_files_never_stop_it(
    tmp_path_factory: pytest.TempPathFactory, cpuinfo: bytes, meminfo: bytes, model: bytes
) -> None:
    root = machine(tmp_path_factory.mktemp("odd"), {"proc/device-tree/": ""})
    (root / "proc/cpuinfo").write_bytes(b"Revision : " + cpuinfo)
    (root / "proc/meminfo").write_bytes(b"MemTotal: " + meminfo)
    (root / "proc/device-tree/model").write_bytes(model)
    board = recognise(root, "aarch64", 4)
    assert board.name
    assert board.memory_bytes >= 0


@given(st.integers(1, 2**40))
def test_the_sold_size_is_the_next_above(memory_bytes: int) -> None:
    gb = nominal_gb(memory_bytes)
    assert gb * 2**30 >= memory_bytes
    assert all(size >= gb or size * 2**30 < memory_bytes for size in SOLD_GB)


def test_this_machine() -> None:
    board = recognise()
    assert board.memory_bytes > 2**27
    assert board.cores >= 1
    assert sys.maxsize > 2**32
