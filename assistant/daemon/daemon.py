"""The daemon: the queue's owner.  Puts what the turns decide into effect, and keeps the stages going."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path

from assistant.config import Config
from assistant.daemon.memory_watch import MemoryWatch
from assistant.daemon.stepping import sentence
from assistant.daemon.supervision import Supervisor, worker_command
from assistant.daemon.turn import Action, CancelWork, Enqueue, Notify, Publish, Tell
from assistant.daemon.turns import Turns
from assistant.errors import AnswerError, AssistantError, QueueFull
from assistant.messages import STAGES, AnyMessage, Stage, StageState
from assistant.plan.selection import Plan, summary
from assistant.queues.broker import Broker, Peer
from assistant.queues.server import SocketServer

log = logging.getLogger(__name__)

TICK_S = 0.25
"""How often the daemon looks at what hangs and at the memory: a program may take 100 MB in a second."""

SILENT_S: dict[Stage, float] = {"vad": 10.0, "stt": 150.0, "llm": 60.0, "tts": 30.0}
"""A ready worker that shows no sign of life for so long hangs: it is killed, and its work given to the next.

All stages show one every second, but stt is blind while CTranslate2 works on a window (30 s of sound on the
slowest board, at five times real time).
"""

VOICE: tuple[Stage, ...] = ("vad", "stt", "tts")
"""The stages that a plan without a voice does without."""

NO_VOICE = "There is no memory for speech at the moment; type instead."
SAY_WITHIN_S = 10.0
"""How long the voice may still take to say that it goes."""

LOADING_S = 600.0
"""The same while it loads its model: a large one from a slow SD card takes minutes."""


class Daemon:
    """Everything that lives as long as the daemon does.

    `workers` are the stages to start at once; None: somebody else (systemd) starts all.  `clock` gives
    seconds, monotonic.  `memory` holds the plan that completes `config`, and says when to change it.
    """

    def __init__(
        self,
        config: Config,
        socket: Path,
        workers: Iterable[Stage] | None,
        debug: bool = False,
        clock: Callable[[], float] = time.monotonic,
        memory: MemoryWatch | None = None,
    ) -> None:
        self._clock = clock
        self._memory = memory
        # The turn that says that the voice goes, and when not to wait for it any longer.
        self._voice_ends: tuple[int, float] | None = None
        self._turns = Turns(config.daemon.question_ttl_s, config.log.words)
        self.broker = Broker(config, self, clock)
        if memory is not None:
            self.broker.config = memory.config()
        self._server = SocketServer(socket, self.broker)
        self._supervisor = (
            Supervisor(workers, self._failing, lambda stage: worker_command(stage, socket, debug))
            if workers is not None
            else None
        )
        self._to_do: deque[Action] = deque()
        self._acting = False
        self._said: dict[Stage, str] = {}  # why a stage cannot work, as far as it has been logged
        self._states: dict[Stage, StageState] = {stage: StageState(stage, "gone") for stage in STAGES}

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set.  Raises `DaemonError` when it cannot begin."""
        await self._server.start()
        self._log_plan()
        try:
            if self._supervisor is not None:
                self._supervisor.start()
            if self._memory is not None and not self._memory.plan.has_voice:
                self._end_voice(self._memory.plan.why_no_voice)
            while not stop.is_set():
                await _wait(stop, TICK_S)
                self.tick()
        finally:
            if self._supervisor is not None:
                await self._supervisor.stop()
            await self._server.stop()

    def tick(self) -> None:
        """Time passes; every `TICK_S`."""
        self.broker.tick()
        self._act(self._turns.tick(self._clock()))
        self._end_what_hangs()
        self._look_at_memory()

    # ------------------------------------------------------------ what the broker tells (`Owner`)

    def joined(self, peer: Peer) -> None:
        if peer.role == "client" or peer.role == "watcher":
            for state in self._states.values():
                self.broker.tell(peer.number, state)
        else:
            self._set_state(StageState(peer.role, "starting"))
            self._act(self._turns.stage_joined(peer.role))
            if peer.role in VOICE and self._is_mute:
                self.broker.dismiss(peer, NO_VOICE, blameless=True)
                self._failing(peer.role, NO_VOICE)

    def left(self, peer: Peer) -> None:
        if peer.role == "client":
            self._act(self._turns.client_left(peer.number))
        elif peer.role != "watcher":
            if self._states[peer.role].state != "gone":
                self._set_state(StageState(peer.role, "gone"))
                if self._memory is not None:
                    self._memory.worker_died(peer.role)
            self._act(self._turns.stage_left(peer.role, self._clock()))

    def posted(self, peer: Peer, message: AnyMessage) -> None:
        now_s = self._clock()
        if peer.role == "client":
            self._act(self._turns.from_client(peer.number, message, now_s))
        elif peer.role == "watcher":
            raise AnswerError("A watcher may only watch.")
        elif isinstance(message, StageState):
            self._set_state(message)
            if message.state == "ready":
                if self._supervisor is not None:
                    self._supervisor.ready(peer.role)
                self._act(self._turns.stage_ready(peer.role, now_s))
                self.broker.begin(peer)
            elif message.state == "gone":
                self._act(self._turns.stage_unusable(peer.role, message.detail, now_s))
                if message.no_room and self._memory is not None:
                    self._change_plan(self._memory.plan, self._memory.worker_has_no_room(peer.role, now_s))
        else:
            self._act(self._turns.from_stage(peer.role, message, now_s))

    def again(self, message: AnyMessage) -> AnyMessage | None:
        return self._turns.again(message)

    def set_aside(self, stage: Stage, message: AnyMessage) -> None:
        log.error("a message killed two %s workers and was set aside", stage)
        self._act(self._turns.set_aside(stage, message, self._clock()))

    def lost(self, stage: Stage, message: AnyMessage, why: str) -> None:
        log.warning("a message for %s was dropped: %s", stage, why)
        self._act(self._turns.lost(stage, message, why, self._clock()))

    # ------------------------------------------------------------ what the turns decide

    def _act(self, actions: list[Action]) -> None:
        """In the order of the decisions: an action may lead to others, which stand behind the rest."""
        self._to_do += actions
        if self._acting:
            return
        self._acting = True
        try:
            while self._to_do:
                self._do(self._to_do.popleft())
        finally:
            self._acting = False

    def _do(self, action: Action) -> None:
        match action:
            case Enqueue(stage, message, ttl_s):
                if self._supervisor is not None:
                    self._supervisor.need(stage)
                try:
                    self.broker.offer(stage, message, ttl_s)
                except QueueFull as full:
                    self.lost(stage, message, str(full))
            case CancelWork(turn, revision):
                self.broker.cancel(turn, revision)
            case Notify(stage, message):
                self.broker.notify(stage, message)
            case Tell(client, message):
                self.broker.tell(client, message)
            case Publish(message):
                self.broker.publish(message)

    # ------------------------------------------------------------ the stages' health

    def _set_state(self, state: StageState) -> None:
        self._states[state.stage] = state
        if not state.detail:
            log.log(
                logging.INFO if state.state == "ready" else logging.DEBUG,
                "%s is %s",
                state.stage,
                state.state,
            )
        elif state.detail != self._said.get(
            state.stage
        ):  # once, however often the next worker finds the same
            log.warning("%s cannot work: %s", state.stage, state.detail)
        if state.detail or state.state == "ready":
            self._said[state.stage] = state.detail
        for peer in self.broker.peers():
            if peer.role in ("client", "watcher"):
                self.broker.tell(peer.number, state)

    def _failing(self, stage: Stage, reason: str) -> None:
        self._set_state(StageState(stage, "gone", reason))
        self._act(self._turns.stage_unusable(stage, reason, self._clock()))

    def _end_what_hangs(self) -> None:
        for stage in STAGES:
            worker = self.broker.worker(stage)
            if worker is None:
                continue
            patience_s = SILENT_S[stage] if self._states[stage].state == "ready" else LOADING_S
            if self._clock() - worker.last_seen_s > patience_s:
                log.error("%s (process %d) shows no sign of life and is replaced", stage, worker.pid)
                self.broker.dismiss(worker, "The stage showed no sign of life.")
                if self._supervisor is not None:
                    self._supervisor.kill(stage)

    # ------------------------------------------------------------ the plan

    def _log_plan(self) -> None:
        if self._memory is not None:
            plan = self._memory.plan
            log.info("the plan is %s of %d MiB", summary(plan), plan.budget_bytes >> 20)
            for reason in plan.reasons:
                log.log(logging.DEBUG if plan.fits else logging.WARNING, "%s", reason)

    def _look_at_memory(self) -> None:
        if self._memory is None:
            return
        now_s = self._clock()
        if self._voice_ends is not None:
            number, latest_s = self._voice_ends
            if now_s >= latest_s or all(turn.number != number for turn in self._turns.turns()):
                self._voice_ends = None
                self._end_voice(NO_VOICE)
        workers = [worker.pid for stage in STAGES if (worker := self.broker.worker(stage)) is not None]
        old = self._memory.plan
        idle = not self._turns.turns()
        self._change_plan(old, self._memory.look([os.getpid(), *workers], now_s, idle))

    def _change_plan(self, old: Plan, new: Plan | None) -> None:
        """Put the plan into effect, and say so: aloud if anybody is listened to, and in the log."""
        if new is None or self._memory is None:
            return
        what = sentence(old, new)
        log.warning("the plan is now %s: %s", summary(new), what)
        had, self.broker.config = self.broker.config, self._memory.config()
        # A stage that is to end needs no other model, but the voice to say so.
        kept: tuple[Stage, ...] = ("stt", "llm", "tts") if new.has_voice or not self._listens else ("llm",)
        for stage in kept:
            if getattr(had, stage) != getattr(self.broker.config, stage):
                self._replace(stage)
        if new.has_voice and not old.has_voice:
            self._begin_voice()
        voices = old.has_voice or new.has_voice
        number = self._announce(what) if self._listens and voices else None
        if number is not None and not new.has_voice:
            self._voice_ends = (number, self._clock() + SAY_WITHIN_S)
            self._let_go("stt", "llm")  # there is no room for a new model beside the voice that says so
        elif not new.has_voice and (old.has_voice or not self._listens):
            self._end_voice(NO_VOICE)

    def _announce(self, text: str) -> int | None:
        """Say `text`; the number of that turn, None if nothing can be said."""
        try:
            number, actions = self._turns.announce(text, self._clock())
        except AssistantError:  # no speaker, or too many turns wait
            return None
        self._act(actions)
        return number

    def _replace(self, stage: Stage) -> None:
        """Have the stage's worker follow the new configuration; its work is not to blame for its end."""
        if (worker := self.broker.worker(stage)) is not None:
            self._states[stage] = StageState(stage, "gone")  # told to go: not a death
            self.broker.dismiss(worker, "The plan has changed.", blameless=True)
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

    @property
    def _is_mute(self) -> bool:
        """Whether whoever starts the workers has to be told that the plan has no voice."""
        plan = self._memory.plan if self._memory is not None else None
        return plan is not None and not plan.has_voice and self._supervisor is None and not self._voice_ends

    def _end_voice(self, why: str) -> None:
        for stage in VOICE:
            if self._supervisor is None and (worker := self.broker.worker(stage)) is not None:
                self._states[stage] = StageState(stage, "gone")  # told to go: not a death
                self.broker.dismiss(worker, why, blameless=True)
            if self._supervisor is not None and (self._listens or not len(self.broker.queues[stage])):
                self._supervisor.forget(stage)
            if self._listens:  # else whoever needs the stage may still start it
                self._failing(stage, why)
        if self._supervisor is not None and "llm" in self._supervisor.always:
            self._supervisor.need("llm")

    def _begin_voice(self) -> None:
        self._voice_ends = None
        for stage in VOICE:
            self._turns.stage_wanted_again(stage)
            if self._supervisor is not None and stage in self._supervisor.always:
                self._supervisor.need(stage)


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return
