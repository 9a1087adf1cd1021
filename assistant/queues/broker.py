"""The daemon's side of the queue, whatever the transport: who is connected, what waits for whom, who is told.

Synchronous and without sockets: a transport feeds it `join`, `received`, `leave`, and gives each peer a
`Port` to write to.  What the messages *mean* is the `Owner`'s business.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from assistant.config import Config
from assistant.errors import AssistantError, QueueFull
from assistant.messages import (
    STAGES,
    AnyMessage,
    Cancel,
    Question,
    Sentence,
    Spoken,
    Stage,
    Token,
    Utterance,
)
from assistant.queues import wire
from assistant.queues.pending import PendingQueue

WATCHER_BACKLOG_BYTES = 256 * 1024
"""A watcher with more than this unread loses events; it never slows a turn."""

CLIENT_BACKLOG_BYTES = 32 * 1024 * 1024
"""A client that reads nothing of what it asked for is let go, before it costs the board its memory."""


class Port(Protocol):
    """A connection to a peer, as the broker sees it: never blocks."""

    def send(self, frame: bytes) -> None: ...

    def close(self) -> None: ...

    def backlog_bytes(self) -> int: ...


class Peer:
    """A connected process; `role` is a stage's name, "client" or "watcher"."""

    def __init__(self, number: int, role: wire.Role, pid: int, port: Port, now_s: float) -> None:
        self.number = number
        self.role = role
        self.pid = pid
        self.port = port
        self.last_seen_s = now_s
        self.is_ready = False


class Owner(Protocol):
    """What the daemon decides about messages and peers."""

    def joined(self, peer: Peer) -> None: ...

    def left(self, peer: Peer) -> None: ...

    def pause_s(self, stage: Stage) -> float:
        """How long a worker of the stage that joins now shall wait before it loads."""

    def posted(self, peer: Peer, message: AnyMessage) -> None:
        """A peer's message.  An `AssistantError` refuses it: the peer is told why."""

    def again(self, message: AnyMessage) -> AnyMessage | None:
        """A worker died on `message`; what its successor shall get instead, None if nothing is left to do."""

    def set_aside(self, stage: Stage, message: AnyMessage) -> None:
        """`message` killed two workers and will not be delivered again."""

    def lost(self, stage: Stage, message: AnyMessage, why: str) -> None:
        """`message` was dropped undelivered: too old, or the oldest sound of a full queue."""


def is_stale(message: AnyMessage, turn: int, revision: int) -> bool:
    """Whether cancelling `turn` up to `revision` takes away the need for `message`."""
    return (
        isinstance(message, Utterance | Question | Sentence)
        and message.turn == turn
        and message.revision <= revision
    )


class Broker:
    """Queues of the four stages, and the peers behind them.  `clock` gives seconds, monotonic."""

    def __init__(self, config: Config, owner: Owner, clock: Callable[[], float]) -> None:
        self.config = config
        """What a worker or a client is given when it joins: what the user wrote, completed by the plan."""
        self.written = config
        """What the user wrote."""
        self._owner = owner
        self._clock = clock
        self._peers: dict[int, Peer] = {}
        self._workers: dict[Stage, Peer] = {}
        self._next_peer = 1
        mib = 1024 * 1024
        self.queues: dict[Stage, PendingQueue[AnyMessage]] = {
            "vad": PendingQueue(1, mib),
            "stt": PendingQueue(8, 16 * mib, drop_oldest=True),
            "llm": PendingQueue(64, 8 * mib),  # a question per turn, and the daemon takes fewer turns
            "tts": PendingQueue(128, mib, ahead=3),  # a few sentences per turn
        }

    # ------------------------------------------------------------ what a transport calls

    def join(self, hello: wire.Hello, port: Port) -> Peer:
        """A peer said who it is.  A second worker of one stage replaces the first."""
        if hello.protocol != wire.PROTOCOL:
            raise wire.ProtocolError(
                f"The peer speaks version {hello.protocol} of the queue's protocol and the daemon "
                f"{wire.PROTOCOL}; restart whichever of the two is older."
            )
        peer = Peer(self._next_peer, hello.role, hello.pid, port, self._clock())
        self._next_peer += 1
        stage = _stage(peer)
        if stage is not None and (old := self._workers.get(stage)) is not None:
            self.dismiss(old, "Another worker of this stage has taken over.")
        self._peers[peer.number] = peer
        if stage is not None:
            self._workers[stage] = peer
        pause_s = self._owner.pause_s(stage) if stage is not None else 0.0
        port.send(wire.encode(wire.Welcome(self.config, self.written, pause_s)))
        self._owner.joined(peer)
        return peer

    def received(self, peer: Peer, frame: wire.FromPeer) -> None:
        """A frame of a peer that has joined."""
        peer.last_seen_s = self._clock()
        if isinstance(frame, wire.Post):
            try:
                self._owner.posted(peer, frame.message)
            except AssistantError as refusal:
                peer.port.send(wire.encode(wire.Refused(frame.number, str(refusal))))
            else:
                if frame.number:
                    peer.port.send(wire.encode(wire.Taken(frame.number)))
        elif isinstance(frame, wire.Done):
            if (stage := _stage(peer)) is not None and self._workers.get(stage) is peer:
                self.queues[stage].acknowledge(frame.delivery)
                self._deliver(stage)
        elif isinstance(frame, wire.Hello):
            raise wire.ProtocolError("The peer said hello twice.")

    def leave(self, peer: Peer, blameless: bool = False) -> None:
        """A connection ended.  If it was a worker's, its unfinished messages go to the next one."""
        if self._peers.pop(peer.number, None) is None:
            return
        stage = _stage(peer)
        if stage is not None and self._workers.get(stage) is peer:
            del self._workers[stage]
            for item in self.queues[stage].worker_lost(self._clock(), blameless):
                self._owner.set_aside(stage, item.payload)
            self._refresh(stage)
        self._owner.left(peer)

    # ------------------------------------------------------------ what the daemon calls

    def offer(self, stage: Stage, message: AnyMessage, ttl_s: float) -> None:
        """Queue work for a stage.  Raises `QueueFull`."""
        size = wire.size_bytes(message)
        if size > wire.MAX_WORK_BYTES:
            raise QueueFull(f"The message of {size} bytes is longer than a queue carries; make it shorter.")
        for item in self.queues[stage].put(message, size, ttl_s, self._clock()):
            self._owner.lost(stage, item.payload, "newer sound took its place in the full queue")
        self._deliver(stage)

    def begin(self, worker: Peer) -> None:
        """The worker has loaded what it needs: give it what waits.  Until then no message can be to blame."""
        worker.is_ready = True
        if (stage := _stage(worker)) is not None:
            self._deliver(stage)

    def cancel(self, turn: int, revision: int) -> None:
        """Forget all work on the turn up to that revision, and have the workers stop."""
        for stage in STAGES:
            if self.queues[stage].cancel(lambda message: is_stale(message, turn, revision)):
                self._deliver(stage)
            self.notify(stage, Cancel(turn, revision))

    def notify(self, stage: Stage, message: AnyMessage) -> None:
        """Tell a stage something that overtakes all its queued work; nothing if it has no worker."""
        if (worker := self._workers.get(stage)) is not None:
            worker.port.send(wire.encode(wire.Notice(message)))

    def tell(self, peer_number: int, message: AnyMessage) -> None:
        """Send a client what it asked for; nothing if it has gone.  One that does not read is let go."""
        peer = self._peers.get(peer_number)
        if peer is None:
            return
        if peer.port.backlog_bytes() > CLIENT_BACKLOG_BYTES:
            self.dismiss(peer, "The client does not read its answers.")
        else:
            peer.port.send(wire.encode(wire.Notice(message)))

    def publish(self, message: AnyMessage) -> None:
        """Send an event to all watchers that keep up; one that does not loses tokens long before turns."""
        most_bytes = WATCHER_BACKLOG_BYTES * (1 if isinstance(message, Token | Spoken) else 16)
        frame: bytes | None = None
        for peer in self._peers.values():
            if peer.role == "watcher" and peer.port.backlog_bytes() < most_bytes:
                frame = frame or wire.encode(wire.Notice(message))
                peer.port.send(frame)

    def tick(self) -> None:
        """Drop what waited too long; to be called about once a second."""
        for stage in STAGES:
            for item in self.queues[stage].expired(self._clock()):
                self._owner.lost(stage, item.payload, "it waited longer than its time to live")
            self._deliver(stage)

    def dismiss(self, peer: Peer, reason: str, blameless: bool = False) -> None:
        """End a peer's connection, telling it why; `blameless` if not for what the worker was working on."""
        peer.port.send(wire.encode(wire.Goodbye(reason)))
        self.leave(peer, blameless)  # first: a transport that closes at once would call it too, with blame
        peer.port.close()

    def worker(self, stage: Stage) -> Peer | None:
        """The connected worker of a stage."""
        return self._workers.get(stage)

    def peers(self) -> list[Peer]:
        """Everyone who is connected."""
        return list(self._peers.values())

    # ------------------------------------------------------------ inside

    def _deliver(self, stage: Stage) -> None:
        worker = self._workers.get(stage)
        if worker is None or not worker.is_ready:
            return
        while (item := self.queues[stage].take(self._clock())) is not None:
            frame = wire.Deliver(item.number, item.deliveries + 1, item.payload)
            worker.port.send(wire.encode(frame))

    def _refresh(self, stage: Stage) -> None:
        """Bring what waits again up to date: part of its effect may have happened before the worker died."""
        finished: set[int] = set()
        for item in self.queues[stage]:
            newer = self._owner.again(item.payload)
            if newer is None:
                finished.add(item.number)
            else:
                item.payload = newer
        self.queues[stage].remove(finished)


def _stage(peer: Peer) -> Stage | None:
    return None if peer.role == "client" or peer.role == "watcher" else peer.role
