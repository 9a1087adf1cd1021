"""How the daemon is, for whoever asks: what it does, its stages, its memory, its last turns."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable
from typing import Literal

import msgspec

from assistant.board.memory import MemoryGauge
from assistant.daemon.health import StagesHealth
from assistant.daemon.memory_watch import held_bytes
from assistant.daemon.turn import Turn
from assistant.messages import (
    STAGES,
    MicrophoneLevel,
    PlanStatus,
    Stage,
    StageStatus,
    Status,
    TurnStatus,
    Volume,
)
from assistant.plan.selection import Plan
from assistant.queues.broker import Broker
from assistant.version import __version__

Doing = Literal["starting", "idle", "listening", "thinking", "speaking", "deaf", "faulty"]


class StatusReport:
    """Remembers what nobody else does, and makes a `Status` when asked; `clock` gives seconds, monotonic."""

    def __init__(self, clock: Callable[[], float], gauge: MemoryGauge) -> None:
        self._clock = clock
        self._gauge = gauge
        self._started_at_s = clock()
        self._microphone: MicrophoneLevel | None = None

    def heard(self, level: MicrophoneLevel) -> None:
        """The microphone's last second."""
        self._microphone = level

    def status(
        self,
        broker: Broker,
        health: StagesHealth,
        wanted: Collection[Stage],
        plan: Plan | None,
        turns: Iterable[Turn],
        recent: Iterable[TurnStatus],
        volume: Volume,
        muted: bool,
    ) -> Status:
        """How everything is now.

        `wanted` are the stages that should run at all times, `turns` those that are not over, `recent` the
        last that are, `muted` whether the microphone is not to be heard.
        """
        stages = tuple(_stage(broker, health, stage, stage in wanted, plan) for stage in STAGES)
        available = self._gauge.available()
        return Status(
            version=__version__,
            pid=os.getpid(),
            started_at_s=self._started_at_s,
            at_s=self._clock(),
            state=doing(turns, stages),
            stages=stages,
            plan=_plan(plan),
            held_bytes=held_bytes(os.getpid()) + sum(stage.held_bytes for stage in stages),
            available_bytes=available.bytes,
            limited_by=available.limited_by,
            microphone=_as_meant(self._microphone, muted),
            turns=tuple(recent),
            volume=volume,
            muted=muted,
        )


def _as_meant(level: MicrophoneLevel | None, muted: bool) -> MicrophoneLevel | None:
    """`level`; who has muted the assistant may have switched the microphone off, too: no trouble then."""
    if level is not None and muted and level.trouble == "silent":
        return msgspec.structs.replace(level, trouble=None)
    return level


def doing(turns: Iterable[Turn], stages: Iterable[StageStatus]) -> Doing:
    """What a person would say that the assistant does now."""
    now = list(turns)
    if any(turn.sounding for turn in now):
        return "speaking"
    if any(turn.ended for turn in now):
        return "thinking"
    if now:
        return "listening"
    missing = [stage for stage in stages if stage.hinders]
    broken = {stage.stage for stage in missing if stage.detail}
    if "vad" in broken:
        return "deaf"
    return "faulty" if broken else "starting" if missing else "idle"


def _stage(
    broker: Broker, health: StagesHealth, stage: Stage, wanted: bool, plan: Plan | None
) -> StageStatus:
    state = health.states[stage]
    worker = broker.worker(stage)
    queue = broker.queues[stage]
    need = plan.processes.get(stage) if plan is not None else None
    model = getattr(plan, stage, None)  # vad has none
    return StageStatus(
        stage=stage,
        state=state.state,
        detail=health.why(stage),
        fault=state.fault,
        wanted=wanted,
        pid=worker.pid if worker is not None else 0,
        restarts=health.deaths[stage],
        waiting=len(queue) - queue.in_flight,
        in_work=queue.in_flight,
        held_bytes=held_bytes(worker.pid) if worker is not None else 0,
        predicted_bytes=need.peak_bytes if need is not None else 0,
        model=model.name if model is not None else "",
    )


def _plan(plan: Plan | None) -> PlanStatus | None:
    if plan is None:
        return None
    return PlanStatus(
        plan.has_voice,
        plan.fits,
        plan.context_tokens,
        plan.kv_type,
        plan.total_bytes,
        plan.budget_bytes,
    )
