"""Keeping the stages' workers alive where systemd does not: the same processes, started here."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from assistant.messages import STAGES, Stage
from assistant.service import EXIT_UNUSABLE

log = logging.getLogger(__name__)

IMMEDIATE_RESTARTS = 3
"""A worker that dies before it is ready is replaced at once so often, then after ever longer pauses."""

LONGEST_PAUSE_S = 10.0
TERMINATE_WITHIN_S = 1.0


def restart_pause_s(failures: int, exit_code: int) -> float:
    """How long to wait before the next worker: not at all after a sudden death, longer when it keeps failing.

    `failures` counts the workers in a row that died before they were ready, this one included.
    """
    if exit_code == EXIT_UNUSABLE:
        return LONGEST_PAUSE_S
    if failures <= IMMEDIATE_RESTARTS:
        return 0.0
    return min(LONGEST_PAUSE_S, 0.25 * 2.0 ** (failures - IMMEDIATE_RESTARTS))


class Supervisor:
    """Starts a worker per stage, and another when it dies.  Stages not in `always` start when first needed.

    `failing` is told when a stage's workers die again and again before they are ready; `command` gives what a
    stage's worker is started with.
    """

    def __init__(
        self,
        always: Iterable[Stage],
        failing: Callable[[Stage, str], None],
        command: Callable[[Stage], list[str]],
    ) -> None:
        self._command = command
        self._failing = failing
        self._failures: dict[Stage, int] = dict.fromkeys(STAGES, 0)
        self.always = frozenset(always)
        self._stopping = False
        self._tasks: dict[Stage, asyncio.Task[None]] = {}
        self._processes: dict[Stage, asyncio.subprocess.Process] = {}

    def start(self) -> None:
        """Start what always runs."""
        for stage in STAGES:
            if stage in self.always:
                self.need(stage)

    def need(self, stage: Stage, pause_s: float = 0.0) -> None:
        """There is work for the stage; where it has no worker, one starts in `pause_s`."""
        if stage not in self._tasks and not self._stopping:
            self._tasks[stage] = asyncio.get_running_loop().create_task(self._keep_alive(stage, pause_s))

    def ready(self, stage: Stage) -> None:
        """The stage's worker has started well."""
        self._failures[stage] = 0

    def forget(self, stage: Stage) -> None:
        """The stage is no longer wanted: its worker ends, and none follows until it is needed again."""
        if (task := self._tasks.pop(stage, None)) is not None:
            task.cancel()
        self.kill(stage)
        self._failures[stage] = 0  # what comes next is not to blame for what was ended

    def restart(self, stage: Stage, pause_s: float = 0.0) -> None:
        """Have another worker start in `pause_s`, whatever pause the stage is in."""
        if stage in self._tasks:
            self.forget(stage)
            self.need(stage, pause_s)

    def kill(self, stage: Stage) -> None:
        """End a worker that hangs; it will be replaced."""
        if (process := self._processes.get(stage)) is not None and process.returncode is None:
            process.kill()

    async def stop(self) -> None:
        """End all workers: politely, then not."""
        self._stopping = True
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        living = [process for process in self._processes.values() if process.returncode is None]
        for process in living:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
                process.send_signal(signal.SIGCONT)  # a stopped process would not hear it
        waiting = [asyncio.ensure_future(process.wait()) for process in living]
        if waiting:
            await asyncio.wait(waiting, timeout=TERMINATE_WITHIN_S)
        for process in living:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()

    async def _keep_alive(self, stage: Stage, pause_s: float) -> None:
        await asyncio.sleep(pause_s)
        while True:
            try:
                process = await asyncio.create_subprocess_exec(
                    *self._command(stage), stdin=asyncio.subprocess.DEVNULL, start_new_session=True
                )
            except OSError as error:  # no memory or no process left on the board: perhaps in a while
                self._failing(stage, f"The {stage} stage cannot be started: {error.strerror}.")
                await asyncio.sleep(LONGEST_PAUSE_S)
                continue
            self._processes[stage] = process
            self._failures[stage] += 1  # until it says that it is ready
            code = await process.wait()
            failures = self._failures[stage]
            pause_s = restart_pause_s(failures, code)
            # said once, not at every attempt: one that cannot work has told why, others `failing` is told of
            is_news = failures <= IMMEDIATE_RESTARTS and code != EXIT_UNUSABLE
            level = logging.INFO if is_news else logging.DEBUG
            log.log(level, "%s ended (%s); the next one starts in %.1f s", stage, _how(code), pause_s)
            if failures > IMMEDIATE_RESTARTS and code != EXIT_UNUSABLE:
                self._failing(
                    stage,
                    f"The {stage} stage ends again and again while it starts ({_how(code)}); see its log "
                    "lines, and if memory is short choose a smaller model in config.toml.",
                )
            await asyncio.sleep(pause_s)


def worker_command(stage: Stage, socket: Path, debug: bool) -> list[str]:
    """What starts a stage's worker: the interpreter and the command line that we run with."""
    options = ["--debug"] if debug else []
    return [sys.executable, "-P", "-m", "assistant", *options, "worker", stage, "--socket", str(socket)]


def _how(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):  # a real-time signal has no name
        return signal.Signals(-code).name
    return f"signal {-code}"
