"""Putting a changed plan into effect: workers go and come, and the person is told."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

from assistant.daemon.health import StagesHealth
from assistant.daemon.memory_watch import MemoryWatch
from assistant.daemon.stepping import sentence
from assistant.daemon.supervision import Supervisor
from assistant.messages import STAGES, Stage
from assistant.plan.selection import Plan, summary
from assistant.queues.broker import Broker, Peer

log = logging.getLogger(__name__)

VOICE: tuple[Stage, ...] = ("vad", "stt", "tts")
"""The stages that a plan without a voice does without."""

NO_VOICE = "There is no memory for speech at the moment; type instead."
SAY_WITHIN_S = 10.0
"""How long the voice may still take to say that it goes."""


class PlanChanges:
    """The plan in force, and going over from one to the next.

    `announce` says a sentence and gives back its turn, or None; `unusable` has everyone told that a stage
    cannot work, `wanted` that it is being started after all.
    """

    def __init__(
        self,
        memory: MemoryWatch,
        broker: Broker,
        supervisor: Supervisor | None,
        health: StagesHealth,
        announce: Callable[[str], int | None],
        unusable: Callable[[Stage, str], None],
        wanted: Callable[[Stage], None],
    ) -> None:
        self.memory = memory
        self._broker = broker
        self._supervisor = supervisor
        self._health = health
        self._announce = announce
        self._unusable = unusable
        self._wanted = wanted
        # The turn that says that the voice goes, and when not to wait for it any longer.
        self._voice_ends: tuple[int, float] | None = None
        self._old_vad: Peer | None = None  # it has the settings of the plan before
        broker.config = memory.config()

    @property
    def plan(self) -> Plan:
        """The plan in force."""
        return self.memory.plan

    def pause_s(self, stage: Stage, now_s: float) -> float:
        """How long a worker that systemd starts waits for room: for ever where the plan has no voice."""
        if self.plan.has_voice:
            return 0.0
        if self._voice_ends is None:
            return math.inf if stage in VOICE else 0.0
        # the voice still says that it goes: no other model is loaded beside it
        return {"tts": 0.0, "llm": self._voice_ends[1] - now_s}.get(stage, math.inf)

    def begin(self) -> None:
        """The first plan."""
        plan = self.plan
        log.info("the plan is %s of %d MiB", summary(plan), plan.budget_bytes >> 20)
        for reason in plan.reasons:
            log.log(logging.DEBUG if plan.fits else logging.WARNING, "%s", reason)
        if not plan.has_voice:
            self._end_voice(plan.why_no_voice)

    def look(self, pids: list[int], turns: set[int], now_s: float) -> None:
        """Time passes: `pids` are the processes, `turns` the numbers of what is being answered."""
        if self._voice_ends is not None:
            number, latest_s = self._voice_ends
            if now_s >= latest_s or number not in turns:
                self._voice_ends = None
                self._end_voice(NO_VOICE)
        if self._old_vad is not None and not turns:
            if self._broker.worker("vad") is self._old_vad:
                self._replace("vad")
            self._old_vad = None
        old = self.plan
        self.change(old, self.memory.look(pids, now_s, idle=not turns), now_s)

    def change(self, old: Plan, new: Plan | None, now_s: float, crashed: bool = False) -> None:
        """Put the plan into effect, and say so: aloud if anybody is listened to, and in the log."""
        if new is None:
            return
        what = sentence(old, new, crashed)
        log.warning("the plan is now %s%s", summary(new), f": {what}" if what else "")
        had, self._broker.config = self._broker.config, self.memory.config()
        # A stage that is to end needs no other model, but the voice to say so.
        kept = STAGES if new.has_voice or not self._listens else ("llm",)
        for stage in kept:
            if getattr(had, stage) != getattr(self._broker.config, stage):
                if stage == "vad" and (worker := self._broker.worker("vad")) is not None:
                    self._old_vad = worker  # which may hold the beginning of a question
                else:
                    self._replace(stage)
        if new.has_voice and not old.has_voice:
            self._begin_voice()
        voices = old.has_voice or new.has_voice
        number = self._announce(what) if what and self._listens and voices else None
        if number is not None and not new.has_voice:
            self._voice_ends = (number, now_s + SAY_WITHIN_S)
            self._let_go("stt", "llm")  # there is no room for a new model beside the voice that says so
        elif not new.has_voice and (old.has_voice or not self._listens):
            self._end_voice(NO_VOICE)

    def _replace(self, stage: Stage) -> None:
        """Have the stage's worker follow the new configuration; its work is not to blame for its end."""
        if (worker := self._broker.worker(stage)) is not None:
            self._health.let_go(stage)
            self._broker.dismiss(worker, "The plan has changed.", blameless=True)
        if self._supervisor is not None:
            self._supervisor.restart(stage)

    @property
    def _listens(self) -> bool:
        """Whether there is a person who speaks and hears, not just commands that ask for one thing."""
        return self._supervisor is None or "vad" in self._supervisor.always

    def _let_go(self, *stages: Stage) -> None:
        """End the stages' workers, for the time being."""
        for stage in stages:
            self._replace(stage)
            if self._supervisor is not None:
                self._supervisor.forget(stage)

    def _end_voice(self, why: str) -> None:
        for stage in VOICE:
            if self._supervisor is None and (worker := self._broker.worker(stage)) is not None:
                self._health.let_go(stage)
                self._broker.dismiss(worker, why, blameless=True)
            if self._supervisor is not None and (self._listens or not len(self._broker.queues[stage])):
                self._supervisor.forget(stage)
            if self._listens:  # else whoever needs the stage may still start it
                self._unusable(stage, why)
        if self._supervisor is not None and "llm" in self._supervisor.always:
            self._supervisor.need("llm")

    def _begin_voice(self) -> None:
        self._voice_ends = None
        for stage in VOICE:
            self._wanted(stage)
            if self._supervisor is None:
                self._replace(stage)  # its worker has waited for this
            elif stage in self._supervisor.always:
                self._supervisor.need(stage)
