"""The daemon: the queue's owner.  Puts what the turns decide into effect, and keeps the stages going."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path

from assistant.board.memory import MemoryGauge
from assistant.config import Config
from assistant.daemon.announcer import Announcer, alert
from assistant.daemon.appliance import Appliance
from assistant.daemon.hanging import Hanging
from assistant.daemon.health import StagesHealth
from assistant.daemon.memory_watch import MemoryWatch
from assistant.daemon.mute import Mute
from assistant.daemon.plan_changes import NO_VOICE, PlanChanges
from assistant.daemon.status import StatusReport
from assistant.daemon.supervision import Supervisor, worker_command
from assistant.daemon.turn import Action, CancelWork, Enqueue, Kind, Notify, Publish, Tell
from assistant.daemon.turns import Turns
from assistant.daemon.volume import VolumeControl
from assistant.errors import AnswerError, AssistantError, QueueFull
from assistant.messages import (
    STAGES,
    AnyMessage,
    EarconStarted,
    Fault,
    MicrophoneLevel,
    Muted,
    PlayEarcon,
    Played,
    SetMute,
    SetVolume,
    Stage,
    StageState,
    StatusWanted,
)
from assistant.queues.broker import Broker, Peer
from assistant.queues.server import SocketServer
from assistant.service import systemd

log = logging.getLogger(__name__)

TICK_S = 0.25
"""How often the daemon looks at what hangs and at the memory: a program may take 100 MB in a second."""

SIGN_WITHIN_S = 0.3
"""Who has called and waits begins to speak by and by: a later sign that it listens would sound over them."""

MUTED = "The microphone is off."
HEARD_AGAIN = "The microphone is on again."
NOT_KEPT = "but only until the next start."


class Daemon:
    """Everything that lives as long as the daemon does.

    `workers` are the stages to start at once; None: somebody else (systemd) starts all, and nobody sits at a
    screen.  `clock` gives seconds, monotonic.  `memory` holds the plan that completes `config`, and says when
    to change it.  `faults` are there from the beginning.  `volume_file` and `mute_file` keep what volume
    somebody set, and whether somebody muted it.
    """

    def __init__(
        self,
        config: Config,
        socket: Path,
        workers: Iterable[Stage] | None,
        debug: bool = False,
        clock: Callable[[], float] = time.monotonic,
        memory: MemoryWatch | None = None,
        faults: Iterable[Fault] = (),
        volume_file: Path | None = None,
        mute_file: Path | None = None,
    ) -> None:
        self._clock = clock
        self._turns = Turns(config)
        self._health = StagesHealth()
        self._hanging = Hanging()
        self.broker = Broker(config, self, clock)
        self._server = SocketServer(socket, self.broker)
        self._supervisor = (
            Supervisor(workers, self._failing, lambda stage: worker_command(stage, socket, debug))
            if workers is not None
            else None
        )
        self._plan = (
            PlanChanges(
                memory,
                self.broker,
                self._supervisor,
                self._health,
                self._announce,
                self._failing,
                self._turns.stage_wanted_again,
            )
            if memory is not None
            else None
        )
        self._announcer = Announcer(
            config.sounds,
            self._announce,
            lambda name: self.broker.notify("tts", PlayEarcon(name)),
            lambda fault: alert(socket.with_name("alert.sock"), fault),
        )
        self._faults = tuple(faults)
        self._appliance = (
            Appliance(socket.parent, self._announcer, self._health) if self._supervisor is None else None
        )
        self._status = StatusReport(clock, MemoryGauge())
        self._volume = VolumeControl(config, volume_file)
        self._mute = Mute(mute_file)
        self._to_do: deque[Action] = deque()
        self._acting = False

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set.  Raises `DaemonError` when it cannot begin."""
        await self._server.start()
        try:
            if self._supervisor is not None:
                self._supervisor.start()
            if self._plan is not None:
                self._plan.begin()
            if self._appliance is not None:
                self._appliance.begin(self._faults, self._clock())
            systemd.ready()
            while not stop.is_set():
                await _wait(stop, TICK_S)
                await self._server.look()
                self.tick()
                systemd.alive()
            if self._appliance is not None:
                self._appliance.end()
        finally:
            systemd.stopping()
            if self._supervisor is not None:
                await self._supervisor.stop()
            await self._server.stop()

    def tick(self) -> None:
        """Time passes; every `TICK_S`."""
        now_s = self._clock()
        self.broker.tick()
        self._act(self._turns.tick(now_s))
        self._end_what_hangs()
        if self._plan is not None:
            workers = [worker.pid for stage in STAGES if (worker := self.broker.worker(stage)) is not None]
            turns = {turn.number for turn in self._turns.turns()}
            self._plan.look([os.getpid(), *workers], turns, now_s)
        self._let_hear(now_s)
        if self._appliance is not None:
            plan = self._plan.plan if self._plan is not None else None
            self._appliance.look(self._turns.turns(), plan, now_s)

    # ------------------------------------------------------------ what the broker tells (`Owner`)

    def joined(self, peer: Peer) -> None:
        if peer.role == "client" or peer.role == "watcher":
            for state in self._health.states.values():
                self.broker.tell(peer.number, state)
            if peer.role == "watcher" and self._mute.now:
                self.broker.tell(peer.number, Muted(True))
        else:
            self._set_state(StageState(peer.role, "starting"))
            if peer.role == "tts":
                self.broker.notify("tts", self._volume.now)
            if peer.role == "vad":  # before it is given a turn, and hears anything
                self.broker.notify("vad", Muted(self._mute.now))
            self._act(self._turns.stage_joined(peer.role))
            if self.pause_s(peer.role) == math.inf:
                self._failing(peer.role, NO_VOICE)

    def pause_s(self, stage: Stage) -> float:
        if self._supervisor is not None:
            return 0.0  # a worker of our own was started late enough
        for_room_s = self._plan.pause_s(stage, self._clock()) if self._plan is not None else 0.0
        return max(for_room_s, self._health.pause_s(stage, self._clock()))

    def left(self, peer: Peer) -> None:
        if peer.role == "client":
            self._act(self._turns.client_left(peer.number, self._clock()))
        elif peer.role != "watcher":
            if self._health.states[peer.role].state != "gone":
                self._set_state(StageState(peer.role, "gone"))
                self._died(peer.role)
            self._act(self._turns.stage_left(peer.role, self._clock()))
            if self._health.states[peer.role].fault == "microphone":
                now_s = self._clock()
                self._health.gave_up(now_s)
                if self._supervisor is not None:
                    self._supervisor.restart(peer.role, self._health.pause_s(peer.role, now_s))

    def posted(self, peer: Peer, message: AnyMessage) -> None:
        now_s = self._clock()
        if isinstance(message, StatusWanted):
            self._tell_status(peer)
        elif isinstance(message, SetVolume) and peer.role == "client":
            self._set_volume(peer, message)
        elif isinstance(message, SetMute) and peer.role in ("client", "vad"):
            self._set_mute(peer, message.muted)
        elif peer.role == "client":
            self._act(self._turns.from_client(peer.number, message, now_s))
        elif peer.role == "watcher":
            raise AnswerError("A watcher may only watch.")
        elif isinstance(message, StageState):
            self._stage_says(peer, message, now_s)
        elif isinstance(message, MicrophoneLevel):
            self._status.heard(message)
        elif isinstance(message, EarconStarted | Played):
            self.broker.notify("vad", message)
        else:
            self._act(self._turns.from_stage(peer.role, message, now_s))

    def again(self, message: AnyMessage) -> AnyMessage | None:
        return self._turns.again(message)

    def set_aside(self, stage: Stage, message: AnyMessage) -> None:
        log.error("a message killed two %s workers and was set aside", stage)
        self._act(self._turns.set_aside(stage, message, self._clock()))

    def lost(self, stage: Stage, message: AnyMessage, why: str) -> None:
        if self._turns.is_waited_for(message):
            log.warning("a message for %s was dropped: %s", stage, why)
            self._announcer.lost()
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
        if self._appliance is not None:
            self._appliance.note(self._turns.turns())

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

    def _stage_says(self, peer: Peer, state: StageState, now_s: float) -> None:
        assert peer.role != "client"
        assert peer.role != "watcher"
        self._set_state(state)
        if state.state == "ready":
            if self._supervisor is not None:
                self._supervisor.ready(peer.role)
            self._act(self._turns.stage_ready(peer.role, now_s))
            self.broker.begin(peer)
        elif state.state == "gone":
            self._act(self._turns.stage_unusable(peer.role, state.detail, now_s))
            if state.fault == "memory" and self._plan is not None:
                old = self._plan.plan
                self._plan.change(old, self._plan.memory.worker_has_no_room(peer.role, now_s), now_s)

    def _set_state(self, state: StageState) -> None:
        self._health.set(state)
        systemd.status(self._health.line())
        for peer in self.broker.peers():
            if peer.role in ("client", "watcher"):
                self.broker.tell(peer.number, state)

    def _failing(self, stage: Stage, reason: str) -> None:
        self._set_state(StageState(stage, "gone", reason))
        self._act(self._turns.stage_unusable(stage, reason, self._clock()))

    def _died(self, stage: Stage) -> None:
        """A worker went without having been told to."""
        now_s = self._clock()
        if self._plan is not None:
            self._plan.memory.worker_died(stage)
        if self._supervisor is None and self._health.fails_to_start(stage):
            model = getattr(getattr(self.broker.config, stage), "model", "")
            another = f", and choose another model than {model} if it is that one's fault" if model else ""
            self._failing(
                stage, f"The {stage} stage ends again and again while it starts; see its log lines{another}."
            )
        if self._health.died(stage, now_s):
            log.error("%s dies again and again", stage)
            if self._plan is not None:
                old = self._plan.plan
                self._plan.change(old, self._plan.memory.worker_crashes(stage, now_s), now_s, crashed=True)

    def _end_what_hangs(self) -> None:
        for stage in STAGES:
            worker = self.broker.worker(stage)
            if worker is None:
                continue
            is_ready = self._health.states[stage].state == "ready"
            if self._hanging.does(stage, worker, is_ready, self._clock()):
                log.error("%s (process %d) shows no sign of life and is replaced", stage, worker.pid)
                self.broker.dismiss(worker, "The stage showed no sign of life.")
                if self._supervisor is not None:
                    self._supervisor.kill(stage)
                elif worker.pid != os.getpid():  # systemd starts the next one
                    with contextlib.suppress(ProcessLookupError, PermissionError):
                        os.kill(worker.pid, signal.SIGKILL)

    def _tell_status(self, peer: Peer) -> None:
        wanted = STAGES if self._supervisor is None else self._supervisor.always
        plan = self._plan.plan if self._plan is not None else None
        turns = self._turns
        status = self._status.status(
            self.broker,
            self._health,
            wanted,
            plan,
            turns.turns(),
            turns.turn_log.recent,
            self._volume.now,
            self._mute.now,
        )
        self.broker.tell(peer.number, status)

    def _set_volume(self, peer: Peer, wanted: SetVolume) -> None:
        """Heard at once, answered, and then kept: a memory card takes its time."""
        is_new = self._volume.set(wanted)
        if is_new:
            self.broker.notify("tts", self._volume.now)
        self.broker.tell(peer.number, self._volume.now)
        if is_new:
            self._volume.keep()

    def _set_mute(self, peer: Peer, wanted: bool | None) -> None:
        """In force at once, and kept before it is confirmed; raises `AnswerError` where it cannot be."""
        self._mute.set(wanted)
        now = Muted(self._mute.now)
        self.broker.notify("vad", now)
        if now.muted:
            self._act(self._turns.muted(self._clock()))
        self.broker.publish(now)
        try:
            self._mute.keep()
        except AnswerError as error:
            if peer.role == "client":
                raise
            log.error("%s", error)
            self._announce(f"{(MUTED if now.muted else HEARD_AGAIN).rstrip('.')}, {NOT_KEPT}")
            return
        if peer.role == "vad":  # a button shows nothing
            self._announce(MUTED if now.muted else HEARD_AGAIN)
        self.broker.tell(peer.number, now)

    # ------------------------------------------------------------ what people hear of all this

    def _announce(self, text: str) -> int | None:
        """Say `text`; the number of that turn, None if nothing can be said."""
        try:
            number, actions = self._turns.announce(text, self._clock())
        except AssistantError:  # no speaker, or too many turns wait
            return None
        self._act(actions)
        return number

    def _let_hear(self, now_s: float) -> None:
        """Earcons, where there is a person who listens."""
        if self._supervisor is not None and "vad" not in self._supervisor.always:
            return
        states = self._health.states
        self._announcer.stages(
            all(state.state == "ready" for state in states.values()),
            any(state.detail and state.state != "ready" for state in states.values()),
        )
        turns = [turn for turn in self._turns.turns() if turn.kind is Kind.SPEECH]
        is_sign_due = self._turns.waking.is_sign_due(now_s)
        if all(turn.ended for turn in turns):  # nobody speaks, whom an earcon would disturb
            if is_sign_due:
                self.broker.notify("tts", PlayEarcon("listening", now_s + SIGN_WITHIN_S))
            for turn in turns:
                if turn.is_meant and not turn.sounding:
                    self._announcer.silence(turn.number, now_s - turn.ended_s)


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return
