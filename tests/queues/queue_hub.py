"""For the queue's tests: a real broker on either transport, and an owner that remembers what it was told."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

from assistant.config import Config, Daemon
from assistant.errors import AssistantError
from assistant.messages import AnyMessage, Ask, Stage, StageState
from assistant.queues import memory, socket
from assistant.queues.broker import Broker, Peer
from assistant.queues.link import Link
from assistant.queues.server import SocketServer
from assistant.queues.wire import Role

CONFIG = Config(daemon=Daemon(question_ttl_s=7))
SYNC = Ask("has everything come?")
PATIENCE_S = 30.0

T = TypeVar("T")


class Ledger:
    """An `Owner` that decides nothing."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.peers: list[Peer] = []
        self.gone: list[Role] = []
        self.posts: list[AnyMessage] = []
        self.aside: list[tuple[Stage, AnyMessage]] = []
        self.dropped: list[tuple[Stage, AnyMessage, str]] = []
        self.refusal: AssistantError | None = None
        self.worker_waits_s = 0.0
        self.renew: Callable[[AnyMessage], AnyMessage | None] = lambda message: message
        self.begin: Callable[[Peer], None]

    def joined(self, peer: Peer) -> None:
        with self.changed:
            self.peers.append(peer)
            self.changed.notify_all()

    def left(self, peer: Peer) -> None:
        with self.changed:
            self.gone.append(peer.role)
            self.changed.notify_all()

    def posted(self, peer: Peer, message: AnyMessage) -> None:
        if message == SYNC:
            return
        if isinstance(message, StageState):
            self.begin(peer)
            return
        if self.refusal is not None:
            raise self.refusal
        with self.changed:
            self.posts.append(message)
            self.changed.notify_all()

    def pause_s(self, _stage: Stage) -> float:
        return self.worker_waits_s

    def again(self, message: AnyMessage) -> AnyMessage | None:
        return self.renew(message)

    def set_aside(self, stage: Stage, message: AnyMessage) -> None:
        self.aside.append((stage, message))

    def lost(self, stage: Stage, message: AnyMessage, why: str) -> None:
        self.dropped.append((stage, message, why))


class Hub(Protocol):
    """What the contract's tests need of a transport."""

    owner: Ledger
    broker: Broker
    now_s: float

    def connect(self, role: Role) -> Link: ...

    def rejoin(self, link: Link, role: Role) -> None: ...

    def call(self, action: Callable[[], T]) -> T:
        """Do something to the broker, where the broker lives."""

    def until(self, reached: Callable[[], bool]) -> None:
        """Wait until the owner has been told enough."""


class MemoryHub:
    """The broker in this thread: what is done has happened."""

    def __init__(self) -> None:
        self.owner = Ledger()
        self.now_s = 0.0
        self.broker = Broker(CONFIG, self.owner, lambda: self.now_s)
        self.owner.begin = self.broker.begin

    def connect(self, role: Role) -> Link:
        return ready(memory.connect(self.broker, role), role)

    def rejoin(self, link: Link, role: Role) -> None:
        link.rejoin(memory.MemoryChannel(self.broker), role)

    def call(self, action: Callable[[], T]) -> T:
        return action()

    def until(self, reached: Callable[[], bool]) -> None:
        assert reached()


class SocketHub:
    """The broker behind a real socket, on an event loop in a thread of its own."""

    def __init__(self, path: Path, hello_within_s: float = 5.0) -> None:
        self.owner = Ledger()
        self.now_s = 0.0
        self.path = path
        self.broker = Broker(CONFIG, self.owner, lambda: self.now_s)
        self.owner.begin = self.broker.begin
        self._hello_within_s = hello_within_s
        self._links: list[Link] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    def __enter__(self) -> SocketHub:
        self._thread.start()
        self.server = SocketServer(self.path, self.broker, self._hello_within_s)
        asyncio.run_coroutine_threadsafe(self.server.start(), self._loop).result(PATIENCE_S)
        return self

    def __exit__(self, *_: object) -> None:
        for link in self._links:
            link.close()
        self.until(lambda: len(self.owner.gone) == len(self.owner.peers))
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_S)
        self._loop.close()

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self.server.stop(), self._loop).result(PATIENCE_S)

    def connect(self, role: Role) -> Link:
        count = len(self.owner.peers)
        link = socket.connect(self.path, role)
        self._links.append(link)
        self.until(lambda: len(self.owner.peers) > count)  # the welcome comes a moment earlier
        return ready(link, role)

    def rejoin(self, link: Link, role: Role) -> None:
        count = len(self.owner.peers)
        socket.reconnect(link, self.path, role)
        self.until(lambda: len(self.owner.peers) > count and len(self.owner.gone) >= count)

    def look(self) -> None:
        asyncio.run_coroutine_threadsafe(self.server.look(), self._loop).result(PATIENCE_S)

    def call(self, action: Callable[[], T]) -> T:
        async def act() -> T:
            return action()

        return asyncio.run_coroutine_threadsafe(act(), self._loop).result(PATIENCE_S)

    def until(self, reached: Callable[[], bool]) -> None:
        with self.owner.changed:
            assert self.owner.changed.wait_for(reached, PATIENCE_S)


def ready(link: Link, role: Role) -> Link:
    """A worker that has loaded its model says so; nothing is given to it before."""
    if role != "client" and role != "watcher":
        link.post(StageState(role, "ready"))
    return link


def in_step(link: Link) -> None:
    """Wait until the daemon has read all that this peer sent, and the peer all that came until then."""
    link.post(SYNC, confirm=True)
