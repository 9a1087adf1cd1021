"""The daemon's eye on memory, on the files of a machine that the test writes, and on real processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from assistant.board.memory import MemoryGauge
from assistant.config import Config, Llm
from assistant.daemon.memory_watch import GOES_WITHIN_S, MemoryWatch, held_bytes, own_pids
from assistant.daemon.stepping import LONGEST_BEFORE_UP_S, ROOM_BEFORE_UP_S, SETTLES_WITHIN_S
from assistant.plan.candidates import of_path
from assistant.plan.planner import reserve_bytes
from assistant.plan.selection import Plan, select
from assistant.plan.sets import Facts

MIB = 2**20
TINY = Path(__file__).parents[1] / "models"
LLMS = tuple(of_path("llm", TINY / f"tiny-chat-{kind}.gguf") for kind in ("q8_0", "q4_k_m"))
FACTS = Facts(
    1 << 50,
    2,
    frozenset(),
    (of_path("stt", TINY / "whisper-tiny-test"),),
    LLMS,
    (of_path("tts", TINY / "en_US-tiny-medium.onnx"),),
)
BEST, LEAST = select(FACTS), select(msgspec.structs.replace(FACTS, budget_bytes=0))
SECOND = select(msgspec.structs.replace(FACTS, budget_bytes=BEST.total_bytes - 10 * MIB))
TOTAL = 64 * 2**30
RESERVE = reserve_bytes(TOTAL)
"""So much that with a low memory there is room for the smallest plan alone."""


class Machine:
    """A machine with much memory, and a watch on it."""

    def __init__(self, root: Path) -> None:
        self._root = root
        (root / "proc").mkdir()
        self.is_there(TOTAL // 2)
        self.killed(3)
        self.now_s = 100.0
        self.watch = MemoryWatch(Config(), FACTS, BEST, MemoryGauge(root))

    def is_there(self, available_bytes: int) -> None:
        text = f"MemTotal: {TOTAL // 1024} kB\nMemFree: 1 kB\nMemAvailable: {available_bytes // 1024} kB\n"
        (self._root / "proc/meminfo").write_text(text)

    def killed(self, times: int) -> None:
        (self._root / "proc/vmstat").write_text(f"pgfault 12\noom_kill {times}\n")

    def look(self, *pids: int, idle: bool = True) -> Plan | None:
        self.now_s += 0.25
        return self.watch.look(pids, self.now_s, idle)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_low_memory_steps_down_and_room_up_again(machine: Machine) -> None:
    assert machine.look() is None
    machine.is_there(RESERVE // 2)
    assert [machine.look(), machine.look()] == [None, LEAST]
    machine.is_there(TOTAL // 2)
    machine.now_s += SETTLES_WITHIN_S
    assert machine.look() is None
    machine.now_s += ROOM_BEFORE_UP_S
    assert machine.look(idle=False) is None
    better = machine.look()
    assert better is not None
    assert better is machine.watch.plan
    assert (better.llm, better.context_tokens, better.has_voice) == (BEST.llm, BEST.context_tokens, True)


def test_what_the_processes_hold_counts_as_theirs(machine: Machine) -> None:
    """What is still to be had is too little for a plan with a voice, but not with what they hold."""
    machine.is_there(0)
    assert machine.look() == LEAST
    own = held_bytes(os.getpid())
    assert own > 20 * MIB
    machine.is_there(RESERVE * 5 // 4 + BEST.total_bytes - 10 * MIB)
    for pids, total_bytes in (((), None), ((os.getpid(),), BEST.total_bytes)):
        machine.now_s += SETTLES_WITHIN_S
        machine.look(*pids)
        machine.now_s += LONGEST_BEFORE_UP_S
        machine.look(*pids)
        assert machine.watch.plan.total_bytes == (total_bytes or SECOND.total_bytes)


def test_the_workers_are_given_the_plan_in_force(machine: Machine) -> None:
    written = Config()
    assert machine.watch.config().llm.model == str(TINY / "tiny-chat-q8_0.gguf")
    assert machine.watch.config().llm.context_tokens == 2048
    machine.is_there(0)
    assert machine.look() == LEAST
    config = machine.watch.config()
    assert (config.llm.model, config.llm.context_tokens, config.llm.kv_type) == (
        str(TINY / "tiny-chat-q4_k_m.gguf"),
        512,
        "q8_0",
    )
    assert config.stt.model == str(TINY / "whisper-tiny-test")  # for whoever transcribes a file
    assert not config.vad.second_opinion
    others = msgspec.structs.replace(config, vad=written.vad, llm=Llm(), stt=written.stt, tts=written.tts)
    assert others == written


def test_workers_that_the_kernel_killed(machine: Machine) -> None:
    for kills, found in ((4, False), (5, True)):
        machine.killed(kills)
        machine.watch.worker_died("llm")
        assert (machine.look() is not None) == found
    assert machine.watch.plan.total_bytes < BEST.total_bytes
    assert machine.watch.plan.has_voice


def test_the_kernel_counts_before_the_worker_is_gone(machine: Machine) -> None:
    """A large process is taken away page by page before its connection closes."""
    for kills, found in ((4, False), (5, True)):
        machine.killed(kills)
        assert machine.look() is None
        assert machine.look() is None
        machine.watch.worker_died("llm")
        assert (machine.look() is not None) == found


@pytest.mark.parametrize("kills", [0, 1])
def test_workers_that_died_of_something_else(machine: Machine, kills: int) -> None:
    """Nothing was killed, or something else long before."""
    machine.killed(3 + kills)
    machine.look()
    machine.now_s += GOES_WITHIN_S
    for _ in range(5):
        machine.watch.worker_died("llm")
        assert machine.look() is None


def test_another_program_was_killed(machine: Machine) -> None:
    for kills in range(4, 12):
        machine.killed(kills)
        assert machine.look() is None


def test_two_stages_killed_at_once_count_both(machine: Machine) -> None:
    machine.watch.worker_died("llm")
    machine.killed(4)
    assert machine.look() is None
    machine.watch.worker_died("llm")
    machine.watch.worker_died("tts")
    machine.killed(6)
    assert machine.look() is not None
    first = machine.watch.plan
    machine.watch.worker_died("tts")
    machine.killed(7)
    assert machine.look() is not None
    assert machine.watch.plan.total_bytes < first.total_bytes


def test_workers_that_find_no_room(machine: Machine) -> None:
    assert machine.watch.worker_has_no_room("llm", 100.0) is None
    plan = machine.watch.worker_has_no_room("llm", 110.0)
    assert plan is not None
    assert plan.total_bytes < BEST.total_bytes
    assert plan is machine.watch.plan


# ---------------------------------------------------------------- real processes

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """`start(program, *words)`: a Python process that lives until its standard input ends."""
    processes: list[subprocess.Popen[str]] = []

    def begin(program: str, *words: str) -> subprocess.Popen[str]:
        code = f"{program}\nprint(flush=True)\nimport sys\nsys.stdin.read()"
        process = subprocess.Popen(
            [sys.executable, "-S", "-c", code, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "\n"
        return process

    yield begin
    for process in processes:
        process.communicate()


def test_what_a_process_holds(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(64 * MIB))
    empty = held_bytes(start("").pid)
    taken = held_bytes(start("kept = bytearray(b'x') * (64 << 20)").pid)
    mapped = start(
        f"import mmap\nfile = open({str(file)!r}, 'r+b')\nkept = mmap.mmap(file.fileno(), 0)\nkept.find(b'x')"
    )
    assert 60 * MIB < taken - empty < 68 * MIB
    assert 32 * MIB <= held_bytes(mapped.pid) - empty < 36 * MIB  # a file's pages may be others' as well
    assert 0 < empty < 30 * MIB


def test_a_process_that_is_gone_holds_nothing(start: Start) -> None:
    process = start("")
    process.communicate()
    assert held_bytes(process.pid) == 0


def test_the_processes_of_this_user(start: Start, tmp_path: Path) -> None:
    other = start("", "assistant", "daemon")
    worker = start("", "worker", "llm")
    socket = tmp_path / "daemon.sock"
    with subprocess.Popen(
        [sys.executable, "-m", "assistant", "daemon", "--owned", "--workers", "none", "--socket", socket],
        stdin=subprocess.PIPE,
    ) as daemon:
        give_up_s = time.monotonic() + 30.0
        while not socket.exists():  # it listens
            assert time.monotonic() < give_up_s
            assert daemon.poll() is None
        found = own_pids()
        assert daemon.stdin is not None
        daemon.stdin.close()
    assert daemon.pid in found
    assert not {other.pid, worker.pid, os.getpid()} & set(found)
    assert daemon.pid not in own_pids()


def test_a_daemon_started_by_its_installed_command(tmp_path: Path) -> None:
    """Its command line names the file of the command, not the module."""
    command = tmp_path / "assistant"
    command.write_text("import sys\nprint(flush=True)\nsys.stdin.read()\n")
    with subprocess.Popen(
        [sys.executable, command, "daemon"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as daemon:
        assert daemon.stdout is not None
        assert daemon.stdout.readline() == "\n"
        assert daemon.pid in own_pids()
        daemon.communicate()
