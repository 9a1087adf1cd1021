"""The daemon: the queue's owner.  Puts what the turns decide into effect, and keeps the stages going."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from pathlib import Path

from assistant.config import Config
from assistant.daemon.supervision import Supervisor
from assistant.daemon.turn import Action, CancelWork, Enqueue, Notify, Publish, Tell
from assistant.daemon.turns import Turns
from assistant.errors import AnswerError, QueueFull
from assistant.messages import STAGES, Message, Stage, StageState, TurnFinished
from assistant.queues.broker import Broker, Peer
from assistant.queues.server import SocketServer

log = logging.getLogger(__name__)

SILENT_S: dict[Stage, float] = {"vad": 10.0, "stt": 150.0, "llm": 60.0, "tts": 30.0}
"""A ready worker that shows no sign of life for so long hangs: it is killed, and its work given to the next.

All stages show one every second, but stt is blind while CTranslate2 works on a window (30 s of sound on the slowest
board, at five times real time).
"""

LOADING_S = 600.0
"""The same while it loads its model: a large one from a slow SD card takes minutes."""


class Daemon:
    """Everything that lives as long as the daemon does.  `workers` None: somebody else (systemd) starts the stages."""

    def __init__(self, config: Config, socket: Path, workers: Iterable[Stage] | None, debug: bool) -> None:
        self._turns = Turns(config.daemon.question_ttl_s)
        self._broker = Broker(config, self, time.monotonic)
        self._server = SocketServer(socket, self._broker)
        self._supervisor = (
            Supervisor(socket, workers, debug, self._failing) if workers is not None else None
        )
        self._states: dict[Stage, StageState] = {stage: StageState(stage, "gone") for stage in STAGES}

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set.  Raises `DaemonError` when it cannot begin."""
        await self._server.start()
        try:
            if self._supervisor is not None:
                self._supervisor.start()
            while not stop.is_set():
                await _wait(stop, 0.5)
                self._broker.tick()
                self._act(self._turns.tick(time.monotonic()))
                self._end_what_hangs()
        finally:
            if self._supervisor is not None:
                await self._supervisor.stop()
            await self._server.stop()

    # ------------------------------------------------------------ what the broker tells (`Owner`)

    def joined(self, peer: Peer) -> None:
        if peer.role == "client" or peer.role == "watcher":
            for state in self._states.values():
                self._broker.tell(peer.number, state)
        else:
            self._set_state(StageState(peer.role, "starting"))
            self._act(self._turns.stage_joined(peer.role))

    def left(self, peer: Peer) -> None:
        if peer.role == "client":
            self._act(self._turns.client_left(peer.number))
        elif peer.role != "watcher":
            if self._states[peer.role].state != "gone":
                self._set_state(StageState(peer.role, "gone"))
            self._act(self._turns.stage_left(peer.role, time.monotonic()))

    def posted(self, peer: Peer, message: Message) -> None:
        now_s = time.monotonic()
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
            elif message.state == "gone":
                self._act(self._turns.stage_unusable(peer.role, message.detail, now_s))
        else:
            self._act(self._turns.from_stage(peer.role, message, now_s))

    def again(self, stage: Stage, message: Message) -> Message | None:
        return self._turns.again(message)

    def set_aside(self, stage: Stage, message: Message) -> None:
        log.error("a message killed two %s workers and was set aside", stage)
        self._act(self._turns.set_aside(stage, message, time.monotonic()))

    def lost(self, stage: Stage, message: Message, why: str) -> None:
        log.warning("a message for %s was dropped: %s", stage, why)
        self._act(self._turns.lost(stage, message, why, time.monotonic()))

    # ------------------------------------------------------------ what the turns decide

    def _act(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Enqueue(stage, message, ttl_s):
                    if self._supervisor is not None:
                        self._supervisor.need(stage)
                    try:
                        self._broker.offer(stage, message, ttl_s)
                    except QueueFull as full:
                        self.lost(stage, message, str(full))
                case CancelWork(turn, revision):
                    self._broker.cancel(turn, revision)
                case Notify(stage, message):
                    self._broker.notify(stage, message)
                case Tell(client, message):
                    self._broker.tell(client, message)
                case Publish(message):
                    if isinstance(message, TurnFinished):
                        log.info("turn %d: %s %s", message.turn, message.outcome, message.failure)
                    self._broker.publish(message)

    # ------------------------------------------------------------ the stages' health

    def _set_state(self, state: StageState) -> None:
        self._states[state.stage] = state
        log.log(logging.WARNING if state.detail else logging.INFO, "%s %s %s", state.stage, state.state, state.detail)
        for peer in self._broker.peers():
            if peer.role in ("client", "watcher"):
                self._broker.tell(peer.number, state)

    def _failing(self, stage: Stage, reason: str) -> None:
        self._set_state(StageState(stage, "gone", reason))
        self._act(self._turns.stage_unusable(stage, reason, time.monotonic()))

    def _end_what_hangs(self) -> None:
        for stage in STAGES:
            worker = self._broker.worker(stage)
            if worker is None:
                continue
            patience_s = SILENT_S[stage] if self._states[stage].state == "ready" else LOADING_S
            if time.monotonic() - worker.last_seen_s > patience_s:
                log.error("%s (process %d) shows no sign of life and is replaced", stage, worker.pid)
                self._broker.dismiss(worker, "The stage showed no sign of life.")
                if self._supervisor is not None:
                    self._supervisor.kill(stage)


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return
