"""Keeping workers alive: real processes, which stand in for the stages only in what they do with signals."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest

from assistant.config import Audio, Config
from assistant.daemon import daemon, supervision
from assistant.daemon.daemon import Daemon
from assistant.daemon.supervision import (
    IMMEDIATE_RESTARTS,
    LONGEST_PAUSE_S,
    Supervisor,
    restart_pause_s,
    worker_command,
)
from assistant.messages import Stage, StageState
from assistant.queues.socket import connect
from assistant.service import EXIT_UNUSABLE


@pytest.mark.parametrize(
    ("failures", "exit_code", "pause_s"),
    [
        (0, -9, 0.0),
        (1, -9, 0.0),
        (IMMEDIATE_RESTARTS, 1, 0.0),
        (IMMEDIATE_RESTARTS + 1, 1, 0.5),
        (IMMEDIATE_RESTARTS + 2, -11, 1.0),
        (IMMEDIATE_RESTARTS + 3, 1, 2.0),
        (IMMEDIATE_RESTARTS + 6, 1, LONGEST_PAUSE_S),
        (1000, 1, LONGEST_PAUSE_S),
        (0, EXIT_UNUSABLE, LONGEST_PAUSE_S),
        (1, EXIT_UNUSABLE, LONGEST_PAUSE_S),
    ],
)
def test_how_long_to_wait_before_the_next_worker(failures: int, exit_code: int, pause_s: float) -> None:
    assert restart_pause_s(failures, exit_code) == pause_s


def test_the_command_of_a_worker() -> None:
    command = worker_command("stt", Path("/run/assistant/assistant.sock"), debug=False)
    assert command == [
        sys.executable,
        "-P",
        "-m",
        "assistant",
        "worker",
        "stt",
        "--socket",
        "/run/assistant/assistant.sock",
    ]
    assert worker_command("stt", Path("s"), debug=True)[4:6] == ["--debug", "worker"]


SLEEP = "time.sleep(100)"
DEAF = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"


class Nursery:
    """A supervisor whose workers write a line when they start, and the lines that came."""

    def __init__(self, folder: Path, *program: str) -> None:
        fifo = folder / "lines"
        os.mkfifo(fifo)
        self.lines = open(os.open(fifo, os.O_RDWR), encoding="utf-8")  # noqa: SIM115 # closed by `run`
        self.failures: list[tuple[Stage, str]] = []
        self.program = (
            f"import os, time, signal\n{program[0]}\n"
            f"with open({str(fifo)!r}, 'w') as lines: print(os.getpid(), file=lines)\n{program[1]}"
        )
        self.supervisor = Supervisor(
            ("stt",), lambda stage, reason: self.failures.append((stage, reason)), self.command
        )

    def command(self, _stage: Stage) -> list[str]:
        return [sys.executable, "-S", "-c", self.program]

    async def started(self) -> int:
        """The number of the next worker's process, once it runs."""
        return int(await asyncio.to_thread(self.lines.readline))

    def run(self, scene: Callable[[], Coroutine[None, None, None]]) -> float:
        """Play the scene, then stop; gives back how long stopping took, in seconds."""

        async def play() -> float:
            self.supervisor.start()
            try:
                await scene()
            finally:
                begun_s = time.monotonic()
                await self.supervisor.stop()
            return time.monotonic() - begun_s

        with self.lines:
            return asyncio.run(play())


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_a_killed_worker_is_replaced_at_once_and_ends_with_us(tmp_path: Path) -> None:
    nursery = Nursery(tmp_path, "", SLEEP)
    pids: list[int] = []

    async def scene() -> None:
        for _ in range(
            IMMEDIATE_RESTARTS + 3
        ):  # more often than is forgiven to those that never become ready
            pids.append(await nursery.started())
            nursery.supervisor.ready("stt")
            os.kill(pids[-1], signal.SIGKILL)
        pids.append(await nursery.started())

    assert nursery.run(scene) < 2.0
    assert len(set(pids)) == len(pids)
    assert not any(is_alive(pid) for pid in pids)
    assert nursery.failures == []


@pytest.mark.parametrize("before", ["", DEAF])
@pytest.mark.parametrize("stopped", [True, False])
def test_a_worker_that_is_stopped_or_deaf_does_not_hold_us_up(
    tmp_path: Path, before: str, stopped: bool
) -> None:
    nursery = Nursery(tmp_path, before, SLEEP)
    pids: list[int] = []

    async def scene() -> None:
        pids.append(await nursery.started())
        if stopped:
            os.kill(pids[0], signal.SIGSTOP)
            os.waitid(os.P_PID, pids[0], os.WSTOPPED | os.WNOWAIT)

    assert nursery.run(scene) < 2.0
    assert not is_alive(pids[0])
    assert nursery.supervisor.need("stt") is None  # type: ignore[func-returns-value] # after the end: starts nothing


def test_workers_that_die_while_starting_are_reported(tmp_path: Path) -> None:
    nursery = Nursery(tmp_path, "", "os.kill(os.getpid(), signal.SIGSEGV)")

    async def scene() -> None:
        for _ in range(IMMEDIATE_RESTARTS + 2):
            await nursery.started()

    nursery.run(scene)
    stage, reason = nursery.failures[0]
    assert stage == "stt"
    assert reason.startswith("The stt stage ends again and again while it starts (SIGSEGV); see its log")


def test_a_hanging_worker_is_killed_on_request(tmp_path: Path) -> None:
    nursery = Nursery(tmp_path, DEAF, SLEEP)

    async def scene() -> None:
        first = await nursery.started()
        nursery.supervisor.kill("llm")  # never started
        nursery.supervisor.kill("stt")
        assert await nursery.started() != first

    nursery.run(scene)


def test_a_worker_is_replaced_on_request_after_a_pause(tmp_path: Path) -> None:
    nursery = Nursery(tmp_path, "", SLEEP)

    async def scene() -> None:
        first = await nursery.started()
        begun_s = time.monotonic()
        nursery.supervisor.restart("stt", 0.3)
        assert await nursery.started() != first
        assert time.monotonic() - begun_s >= 0.3

    nursery.run(scene)


def test_a_stage_starts_when_first_needed_and_once(tmp_path: Path) -> None:
    nursery = Nursery(tmp_path, "", SLEEP)
    asked: list[Stage] = []

    def command(stage: Stage) -> list[str]:
        asked.append(stage)
        return nursery.command(stage)

    supervisor = Supervisor((), lambda *_: None, command)

    async def scene() -> None:
        supervisor.start()
        for _ in range(3):
            supervisor.need("tts")
        await nursery.started()
        await supervisor.stop()
        supervisor.need("llm")
        await asyncio.sleep(0)

    with nursery.lines:
        asyncio.run(scene())
    assert asked == ["tts"]


def test_a_program_that_cannot_be_started_is_reported(tmp_path: Path) -> None:
    failures: list[str] = []

    async def scene() -> None:
        reported = asyncio.Event()

        def failing(_stage: Stage, reason: str) -> None:
            failures.append(reason)
            reported.set()

        supervisor = Supervisor(("vad",), failing, lambda _stage: [str(tmp_path / "missing")])
        supervisor.start()
        await asyncio.wait_for(reported.wait(), 10.0)
        await supervisor.stop()

    asyncio.run(scene())
    assert failures == ["The vad stage cannot be started: No such file or directory."]


IMPATIENT_VAD = """
import sys
from pathlib import Path
from assistant.stages import vad
from assistant.stages.loop import work
vad.LOOK_FOR_S = 0.0
sys.exit(work("vad", Path(sys.argv[1])))
"""


def test_who_looked_for_a_microphone_in_vain_is_followed_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has waited long enough itself; a sound server that is back is not missed for a pause more."""

    def command(_stage: Stage, socket: Path, _debug: bool) -> list[str]:
        return [sys.executable, "-c", IMPATIENT_VAD, str(socket)]

    monkeypatch.setattr(daemon, "worker_command", command)
    monkeypatch.setattr(supervision, "LONGEST_PAUSE_S", math.inf)  # so a pause would never end
    socket = tmp_path / "daemon.sock"
    config = Config(audio=Audio(microphone=f"card:{tmp_path / 'nowhere'}"))

    def see_the_next() -> None:
        """The first vad gives up, and the next one begins."""
        has_given_up = False
        with contextlib.closing(connect(socket, "watcher")) as link:
            while True:
                message = link.notice(60)
                assert message is not None, "there is no next one"
                if isinstance(message, StageState) and message.fault == "microphone":
                    has_given_up = True
                elif isinstance(message, StageState) and message.state == "starting" and has_given_up:
                    return

    async def scene() -> None:
        stop = asyncio.Event()
        running = asyncio.create_task(Daemon(config, socket, ("vad",)).run(stop))
        while not socket.exists():
            await asyncio.sleep(0)
        try:
            await asyncio.to_thread(see_the_next)
        finally:
            stop.set()
            await running

    asyncio.run(scene())
