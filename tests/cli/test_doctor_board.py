"""What the doctor says of a board, from the files of its kernel."""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from assistant.board.health import Health, Throttled, parse_throttled
from assistant.board.memory import BOARD
from assistant.board.recognise import Board
from assistant.cli.doctor import board
from assistant.cli.doctor.check import Check, asked, gib
from assistant.errors import BoardError

MIB = 2**20
TODAY = datetime.date(2026, 11, 21)
UNKNOWN = Health(None, None, None, None, None)
PI = board.System("aarch64", True, "debian", "13", "6.12.47", "3.13.5")
FOUR_GB = board.Memory(
    3700 * MIB, 2900 * MIB, BOARD, 1900 * MIB, True, True, "/boot/firmware/cmdline.txt", True
)


def tree(root: Path, files: Mapping[str, str]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


def changed(facts: msgspec.Struct, **values: object) -> msgspec.Struct:
    return msgspec.structs.replace(facts, **values)


@pytest.mark.parametrize(
    ("changes", "state", "said"),
    [
        ({}, "ok", "Debian 13, aarch64, kernel 6.12.47, Python 3.13.5"),
        ({"os": "raspbian", "version": "12"}, "ok", "Debian 12"),
        ({"version": "11"}, "warning", "Debian 11"),
        ({"version": ""}, "warning", "Debian without a number"),
        ({"os": "ubuntu", "version": "24.04"}, "warning", "ubuntu 24.04"),
        ({"os": "", "version": ""}, "warning", "an unknown system"),
        ({"machine": "armv7l"}, "fault", "32-bit"),
        ({"is_64_bit": False}, "fault", "32-bit"),
    ],
)
def test_system(changes: dict[str, object], state: str, said: str) -> None:
    check = board.check_system(changed(PI, **changes))  # type: ignore[arg-type] # it stays a System
    assert check.state == state
    assert said in check.what
    assert bool(check.mend) == (state != "ok")


def test_the_name_of_a_system_or_kernel_is_not_public(tmp_path: Path) -> None:
    root = tree(tmp_path, {"etc/os-release": 'ID=alices-os\nVERSION_ID="alice"\n'})
    check = board.check_system(board.gather_system(root))
    assert "alices-os" in check.what
    assert "alice" not in check.public
    assert board._version("6.1.0-alice") == "6.1.0"


def test_the_board() -> None:
    check = board.check_board(Board("Raspberry Pi 4 Model B", 3700 * MIB, 4, 4, "aarch64", frozenset()))
    assert (check.state, check.what) == ("ok", "Raspberry Pi 4 Model B, 4 GB, 4 cores")
    check = board.check_board(BoardError("The system is a 32-bit one; install the 64-bit one."))
    assert (check.state, check.mend) == ("fault", "install the 64-bit one")


@pytest.mark.parametrize(
    ("changes", "installed", "state", "said", "mend"),
    [
        ({}, True, "ok", "2.8 GiB of 3.6 GiB available, 1.9 GiB zram", ""),
        ({"swap_bytes": 0}, True, "ok", "no swap", ""),
        ({"limited_by": "the memory limit of x.slice"}, True, "ok", "the memory limit of x.slice", ""),
        ({"available_bytes": 90 * MIB}, True, "warning", "hardly any", "ps aux"),
        ({"has_controller": False}, True, "warning", "cannot limit", "sudo reboot"),
        (
            {"has_controller": False, "is_asked_for": False},
            False,  # a Raspberry Pi all the same
            "warning",
            "cannot limit",
            "sudo sed -i '1s/$/ cgroup_enable=memory/' /boot/firmware/cmdline.txt && sudo reboot",
        ),
        (
            {"has_controller": False, "cmdline": "", "is_asked_for": False},
            True,
            "warning",
            "cannot",
            "command line",
        ),
        ({"has_controller": False, "cmdline": "", "is_asked_for": False}, False, "ok", "GiB", ""),
    ],
)
def test_memory(changes: dict[str, object], installed: bool, state: str, said: str, mend: str) -> None:
    check = board.check_memory(changed(FOUR_GB, **changes), installed)  # type: ignore[arg-type] # a Memory
    assert check.state == state
    assert said in check.what
    assert mend in check.mend
    assert "slice" not in check.public


@pytest.mark.parametrize(
    ("files", "has_controller"),
    [
        ({"sys/fs/cgroup/cgroup.controllers": "cpuset cpu io memory pids\n"}, True),
        ({"sys/fs/cgroup/cgroup.controllers": "cpuset cpu io pids\n"}, False),
        ({"proc/cgroups": "#subsys_name\thierarchy\tnum_cgroups\tenabled\nmemory\t8\t60\t1\n"}, True),
        ({"proc/cgroups": "#subsys_name\thierarchy\tnum_cgroups\tenabled\nmemory\t0\t60\t0\n"}, False),
        ({"proc/cgroups": ""}, False),
    ],
)
def test_the_memory_controller_is_found(tmp_path: Path, files: dict[str, str], has_controller: bool) -> None:
    assert board.gather_memory(tree(tmp_path, files)).has_controller is has_controller


def test_the_memory_of_a_pi_is_gathered(tmp_path: Path) -> None:
    files = {
        "proc/meminfo": "MemTotal: 3884332 kB\nMemAvailable: 2900000 kB\nSwapTotal: 2097148 kB\n",
        "proc/swaps": "Filename Type Size Used Priority\n/dev/zram0 partition 2097148 0 100\n",
        "boot/firmware/cmdline.txt": "console=tty1 root=PARTUUID=1 rootwait cgroup_enable=memory\n",
    }
    facts = board.gather_memory(tree(tmp_path, files))
    assert facts.total_bytes == 3884332 * 1024
    assert (facts.swap_bytes, facts.has_zram) == (2097148 * 1024, True)
    assert (facts.cmdline, facts.is_asked_for) == ("/boot/firmware/cmdline.txt", True)
    (tmp_path / "boot/firmware/cmdline.txt").write_text("console=tty1\n")
    assert not board.gather_memory(tmp_path).is_asked_for


@pytest.mark.parametrize(
    ("health", "firmware", "state", "said"),
    [
        (UNKNOWN, "", "skipped", "no sensors"),
        (Health(48.7, False, None, 1_800_000_000, None), "", "ok", "49 °C, 1800 MHz, power is sufficient"),
        (Health(41.0, None, None, None, None), "", "ok", "nothing is known of the power supply"),
        (UNKNOWN, "throttled=0x0", "ok", "power is sufficient"),
        (Health(48.7, True, None, None, None), "", "fault", "too weak at this moment (49 °C)"),
        (Health(48.7, None, None, None, None), "throttled=0x50005", "fault", "too weak at this moment"),
        (Health(80.0, False, None, None, None), "", "fault", "too hot"),
        (Health(70.0, False, True, None, None), "", "fault", "slows the board down"),
        (Health(48.7, False, None, None, None), "throttled=0x50000", "warning", "too weak at least once"),
        (Health(48.7, False, None, None, None), "throttled=0xe0000", "warning", "by heat at least once"),
        # What a Pi 3B+ does on every warm day is no fault.
        (Health(61.0, False, None, None, None), "throttled=0x80008", "ok", "61 °C"),
    ],
)
def test_power_and_heat(health: Health, firmware: str, state: str, said: str) -> None:
    throttled: Throttled | None = parse_throttled(firmware)
    check = board.check_power(health, throttled)
    assert check.state == state
    assert said in check.what
    assert bool(check.mend) == (state in ("warning", "fault"))


def place(role: str, free_bytes: int, **values: object) -> board.Place:
    made = board.Place(role, f"/home/alice/{role}", free_bytes, 1000, False, 1)
    return msgspec.structs.replace(made, **values)


@pytest.mark.parametrize(
    ("places", "state", "said"),
    [
        ([place("models", 9 * 1024 * MIB)], "ok", "9.0 GiB free for models"),
        (
            [place("program", 0, is_read_only=True), place("state", 900 * MIB, device=2)],
            *("ok", "read-only for program; 900 MiB free for state"),
        ),
        ([place("models", 150 * MIB)], "warning", "nearly full: 150 MiB free for models"),
        ([place("state", 5 * MIB)], "fault", "full: 5 MiB free for state"),
        ([place("state", 900 * MIB, free_files=0)], "fault", "full"),
        ([place("state", 900 * MIB, is_read_only=True)], "warning", "cannot be kept"),
    ],
)
def test_disk(places: list[board.Place], state: str, said: str) -> None:
    check = board.check_disk(places)
    assert check.state == state
    assert said in check.what
    assert bool(check.mend) == (state != "ok")
    assert "alice" not in check.public


def test_places_that_are_yet_to_be_made(tmp_path: Path) -> None:
    first, second = board.gather_places([("state", tmp_path / "not/there"), ("models", tmp_path)])
    assert first.device == second.device == tmp_path.stat().st_dev
    assert first.free_bytes == pytest.approx(second.free_bytes, abs=100 * MIB)
    assert first.path == str(tmp_path / "not/there")


@pytest.mark.parametrize(
    ("facts", "state", "said"),
    [
        (board.Clock(TODAY, TODAY, True, False), "ok", "set by the network"),
        (board.Clock(TODAY, TODAY, False, True), "ok", "a clock of its own"),
        (board.Clock(TODAY, TODAY, None, False), "skipped", "nobody tells"),
        (board.Clock(TODAY, TODAY, False, False), "warning", "no clock that goes on"),
        (board.Clock(datetime.date(1970, 1, 1), TODAY, None, False), "warning", "1970-01-01"),
        (board.Clock(datetime.date(2020, 1, 1), TODAY, True, True), "warning", "2020-01-01"),
    ],
)
def test_clock(facts: board.Clock, state: str, said: str) -> None:
    check = board.check_clock(facts)
    assert check.state == state
    assert said in check.what
    assert bool(check.mend) == (state == "warning")


def test_programs_that_are_missing_fail_or_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, body in (("fails", "exit 3"), ("speaks", "echo word"), ("blurts", "printf '\\377'")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert asked(["there-is-no-such-program"]) is None
    assert asked(["fails"]) is None
    assert asked(["speaks"]) == "word\n"
    assert asked(["blurts"]) == "�"
    monkeypatch.setattr("assistant.cli.doctor.check.ANSWERS_WITHIN_S", 0.05)
    assert asked(["sleep", "30"]) is None


@pytest.mark.parametrize(("size", "text"), [(512 * MIB, "512 MiB"), (1024 * MIB, "1.0 GiB"), (0, "0 MiB")])
def test_sizes(size: int, text: str) -> None:
    assert gib(size) == text


def test_a_check_is_private_unless_it_says_otherwise() -> None:
    assert Check("name", "ok", "what").public == ""
