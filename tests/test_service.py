"""What a process is to its surroundings: the journal's lines, and systemd's sockets, of real processes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from assistant.config import CHECKOUT
from assistant.service import Systemd

LOGS = """
import logging
from assistant.service import log_to_stderr
log_to_stderr("debug", "assistant-llm")
log = logging.getLogger("assistant.x")
for level in ("debug", "info", "warning", "error", "critical"):
    getattr(log, level)("a %s", level)
log.warning("two\\n<0>lines")
log.log(25, "between")
"""
JOURNAL_LINES = """\
<7>a debug
<6>a info
<4>a warning
<3>a error
<2>a critical
<4>two
<4><0>lines
<6>between
"""
TERMINAL_LINES = """\
assistant-llm: DEBUG: a debug
assistant-llm: INFO: a info
assistant-llm: WARNING: a warning
assistant-llm: ERROR: a error
assistant-llm: CRITICAL: a critical
assistant-llm: WARNING: two
<0>lines
assistant-llm: Level 25: between
"""


def stderr_of(folder: Path, *words: str, in_journal: bool = True, stream: str = "") -> str:
    """What Python writes to standard error with these `words`, as systemd would start it."""
    path = folder / "stderr"
    with path.open("w") as file:
        stat = os.fstat(file.fileno())
        env = {name: value for name, value in os.environ.items() if name != "JOURNAL_STREAM"}
        if in_journal:
            env["JOURNAL_STREAM"] = stream or f"{stat.st_dev}:{stat.st_ino}"
        subprocess.run([sys.executable, *words], stderr=file, env=env, timeout=60, check=False)
    return path.read_text()


def test_lines_for_the_journal_begin_with_their_priority(tmp_path: Path) -> None:
    assert stderr_of(tmp_path, "-c", LOGS) == JOURNAL_LINES


@pytest.mark.parametrize("stream", ["", "1:2", "nonsense"])
def test_lines_for_anything_else_begin_with_the_name(stream: str, tmp_path: Path) -> None:
    """Also where the variable was inherited, and standard error is another file."""
    assert stderr_of(tmp_path, "-c", LOGS, in_journal=bool(stream), stream=stream) == TERMINAL_LINES


@pytest.mark.parametrize(
    ("ending", "priority", "last"),
    [
        ("\nraise ValueError('what a person said')\n", "<2>", ["<2>ValueError"]),
        ("\ntry:\n  1 / 0\nexcept ValueError:\n  pass\n", "<2>", ["<2>ZeroDivisionError"]),
        (
            "\ntry:\n  1 / 0\nexcept ArithmeticError:\n  log.exception('oh')\n",
            "<3>",
            ["<3>ZeroDivisionError"],
        ),
    ],
)
def test_each_line_of_a_traceback_has_the_priority(
    ending: str, priority: str, last: list[str], tmp_path: Path
) -> None:
    lines = stderr_of(tmp_path, "-c", LOGS + ending).splitlines()[len(JOURNAL_LINES.splitlines()) :]
    assert len(lines) > 3
    assert all(line.startswith(priority) for line in lines)
    assert lines[-len(last) :] == last, "an exception's own words may be a person's"


@pytest.mark.parametrize("in_journal", [False, True])
def test_a_command_that_cannot_begin_says_so_as_an_error(in_journal: bool, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[zzzz]\n")
    words = ("-m", "assistant", "--config", str(config), "worker", "llm")
    (line,) = stderr_of(tmp_path, *words, in_journal=in_journal).splitlines()
    assert line.startswith("<3>assistant: " if in_journal else "assistant: ")


# ---------------------------------------------------------------- systemd


@pytest.fixture(params=["a path", "an abstract name"])
def manager(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[socket.socket]:
    """systemd's end of the socket for notifications."""
    for name in ("WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(path if request.param == "a path" else "\0" + path)
        receiver.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", path if request.param == "a path" else "@" + path)
        yield receiver


def told(manager: socket.socket) -> list[str]:
    """What has come, in order."""
    found = []
    with contextlib.suppress(BlockingIOError):
        while True:
            found.append(manager.recv(10_000).decode())
    return found


def test_systemd_is_told_of_a_service(manager: socket.socket) -> None:
    service = Systemd()
    service.status("loading")
    service.ready()
    for text in ("ready", "ready", "Größe: ½ °C", "ready"):
        service.status(text)
    service.stopping()
    statuses = [f"STATUS={text}" for text in ("ready", "Größe: ½ °C", "ready")]
    assert told(manager) == ["STATUS=loading", "READY=1", *statuses, "STOPPING=1"]


@pytest.mark.parametrize(
    ("env", "fed"),
    [
        ({}, 0),
        ({"WATCHDOG_USEC": "0"}, 0),
        ({"WATCHDOG_USEC": "4"}, 20),
        ({"WATCHDOG_USEC": "3600000000"}, 1),
        ({"WATCHDOG_USEC": "4", "WATCHDOG_PID": "1"}, 0),
        ({"WATCHDOG_USEC": "4", "WATCHDOG_PID": str(os.getpid())}, 20),
    ],
)
def test_the_watchdog_is_fed(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch, env: dict[str, str], fed: int
) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    service = Systemd()
    found = []
    for _ in range(20):
        before_s = time.monotonic()
        while time.monotonic() - before_s < 2e-6:
            pass
        service.alive()
        found += told(manager)
    assert found == ["WATCHDOG=1"] * fed


def test_the_watchdog_is_fed_four_times_as_often_as_it_asks(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "80000")
    service = Systemd()
    began_s, found = time.monotonic(), 0
    while found < 5:
        service.alive()
        found += len(told(manager))
    assert 4 * 0.02 <= time.monotonic() - began_s < 5.0


@pytest.mark.parametrize("address", [None, "", "/nobody/listens", "@nobody-listens"])
def test_without_systemd_nothing_is_told(address: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    if address is not None:
        monkeypatch.setenv("NOTIFY_SOCKET", address)
    monkeypatch.setenv("WATCHDOG_USEC", "4")
    service = Systemd()
    service.ready()
    service.status("ready")
    service.alive()
    service.stopping()


AS_SYSTEMD_DOES = """
import os, sys
for number, passed in enumerate(sys.argv[3:], 3):
    os.dup2(int(passed), number)
os.environ["LISTEN_FDS"] = str(len(sys.argv) - 3)
os.environ["LISTEN_PID"] = sys.argv[2] if sys.argv[2] != "own" else str(os.getpid())
os.execv(sys.executable, [sys.executable, "-c", sys.argv[1]])
"""
ANSWERS = """
from assistant.service import systemd
for listening in systemd.sockets():
    print(listening.getsockname(), flush=True)
    with listening, listening.accept()[0] as peer:
        peer.sendall(b"welcome")
"""


@pytest.mark.parametrize(("pid", "count"), [("own", 0), ("own", 1), ("own", 2), ("1", 2)])
def test_the_sockets_that_systemd_passed(tmp_path: Path, pid: str, count: int) -> None:
    """A process that is not meant has none, whatever it inherited."""
    paths = [str(tmp_path / f"{number}.sock") for number in range(count)]
    with contextlib.ExitStack() as opened:
        peers = []
        numbers = []
        for path in paths:
            listening = opened.enter_context(socket.socket(socket.AF_UNIX))
            listening.bind(path)
            listening.listen()
            # out of the way of the numbers that they are to have
            numbers.append(fcntl.fcntl(listening.fileno(), fcntl.F_DUPFD, 20))
            opened.callback(os.close, numbers[-1])
            peers.append(opened.enter_context(socket.socket(socket.AF_UNIX)))
            peers[-1].settimeout(30.0)
            peers[-1].connect(path)  # before there is a process
        command = [sys.executable, "-c", AS_SYSTEMD_DOES, ANSWERS, pid, *map(str, numbers)]
        done = subprocess.run(
            command, pass_fds=numbers, capture_output=True, text=True, timeout=60, check=True, cwd=CHECKOUT
        )
        assert done.stdout.splitlines() == (paths if pid == "own" else [])
        if pid == "own":
            assert [peer.recv(100) for peer in peers] == [b"welcome"] * count


def test_without_systemd_there_are_no_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LISTEN_PID", "LISTEN_FDS"):
        monkeypatch.delenv(name, raising=False)
    assert Systemd().sockets() == []
