"""The daemon's eye on memory: what there is, what its processes hold, which workers died for want of it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from assistant.board.memory import MemoryGauge
from assistant.config import Config
from assistant.daemon.stepping import Look, Stepper
from assistant.messages import Stage
from assistant.plan import planner
from assistant.plan.selection import Plan
from assistant.plan.sets import Facts

GOES_WITHIN_S = 5.0
"""The kernel counts a kill at once; that the worker is gone is seen only when its memory is taken away."""

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class MemoryWatch:
    """Looks at the memory every time it is asked to, and says when the plan has to change.

    `config` is as the user wrote it; `facts` and `plan` are what was made of it.
    """

    def __init__(self, config: Config, facts: Facts, plan: Plan, gauge: MemoryGauge) -> None:
        self._config = config
        self._facts = facts
        self._gauge = gauge
        self._stepper = Stepper(facts, plan, gauge.total().bytes)
        self._kills = gauge.kills()
        self._last_kill_s = float("-inf")
        self._dead: list[Stage] = []

    @property
    def plan(self) -> Plan:
        """The plan in force."""
        return self._stepper.plan

    def config(self) -> Config:
        """What the workers are given: the user's configuration, completed by the plan."""
        return planner.apply(self._config, self._facts, self.plan)

    def worker_died(self, stage: Stage) -> None:
        """A worker went without having been told to."""
        self._dead.append(stage)

    def worker_has_no_room(self, stage: Stage, now_s: float) -> Plan | None:
        """A worker could not get the memory it needs; the plan to go over to, if that was once too often."""
        return self._stepper.died(stage, now_s)

    def worker_crashes(self, stage: Stage, now_s: float) -> Plan | None:
        """A stage's workers die again and again; the plan to go over to, if there is one without it."""
        return self._stepper.crashes(stage, now_s)

    def look(self, pids: Iterable[int], now_s: float, idle: bool) -> Plan | None:
        """The plan to go over to now, None to stay.  `pids` are the daemon's and its workers' processes."""
        kills = self._gauge.kills()
        if kills > self._kills:
            self._last_kill_s = now_s
        self._kills = kills
        dead, self._dead = self._dead, []
        plan: Plan | None = None
        if now_s - self._last_kill_s < GOES_WITHIN_S:
            for stage in dead:
                plan = self._stepper.died(stage, now_s) or plan
        if plan is not None:
            return plan
        return self._stepper.look(
            Look(self._gauge.available().bytes, sum(map(held_bytes, pids)), now_s), idle
        )


def own_pids() -> list[int]:
    """The daemons and workers of this user that run on this machine."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            is_own = folder.stat().st_uid == os.getuid()
        except OSError:  # it ended meanwhile
            continue
        is_assistant = any(Path(os.fsdecode(word)).name == "assistant" for word in words[:4])
        if is_own and is_assistant and (b"daemon" in words or b"worker" in words):
            found.append(int(folder.name))
    return found


def held_bytes(pid: int) -> int:
    """What a process holds: its resident pages, but of files half, which others share; 0 if it is gone."""
    try:
        words = Path(f"/proc/{pid}/statm").read_text().split()
    except OSError:
        return 0
    return (int(words[1]) - int(words[2]) // 2) * PAGE_BYTES
