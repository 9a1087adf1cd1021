"""For the stages' tests: the daemon's end of the queue, on either transport, and recordings."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import soundfile

from assistant.audio.formats import RATE_HZ
from assistant.config import Audio, Config, Llm, Stt, Tts
from assistant.messages import AnyMessage, Stage, StageState
from assistant.queues import socket
from assistant.queues.broker import Broker, Peer
from assistant.queues.link import Link
from assistant.queues.memory import MemoryChannel
from assistant.queues.server import SocketServer
from assistant.stages.loop import Handler

TESTS = Path(__file__).parents[1]
AUDIO = TESTS / "audio"
MODELS = TESTS / "models"
CONFIG = Config(
    audio=Audio(speaker="card:nowhere"),  # whether this machine has one shall not matter
    stt=Stt(model=str(MODELS / "whisper-tiny-test")),
    llm=Llm(model=str(MODELS / "tiny-chat-q8_0.gguf"), temperature=0),
    tts=Tts(model=str(MODELS / "en_US-tiny-medium.onnx")),
)
PATIENCE_S = 60.0

Int16 = npt.NDArray[np.int16]
T = TypeVar("T")


class Ledger:
    """An `Owner` that decides nothing but what the test has it decide, in `when_posted`."""

    def __init__(self) -> None:
        self.posts: list[AnyMessage] = []
        self.peers = 0
        self.gone = 0
        self.lost_work: list[AnyMessage] = []
        self.when_posted: Callable[[AnyMessage], None] = lambda _message: None
        self.worker_waits_s = 0.0
        self.begin: Callable[[Peer], None]

    def joined(self, _peer: Peer) -> None:
        self.peers += 1

    def left(self, _peer: Peer) -> None:
        self.gone += 1

    def posted(self, peer: Peer, message: AnyMessage) -> None:
        if isinstance(message, StageState) and message.state == "ready":
            self.begin(peer)
        self.when_posted(message)
        self.posts.append(message)

    def pause_s(self, _stage: Stage) -> float:
        return self.worker_waits_s

    def again(self, message: AnyMessage) -> AnyMessage:
        return message

    def set_aside(self, _stage: Stage, message: AnyMessage) -> None:
        self.lost_work.append(message)

    def lost(self, _stage: Stage, message: AnyMessage, _why: str) -> None:
        self.lost_work.append(message)


class WatchedChannel(MemoryChannel):
    """Whenever the worker looks for what has come, and would wait for it so long, the test may act first."""

    def __init__(self, daemon: MemoryDaemon) -> None:
        super().__init__(daemon.broker)
        self._daemon = daemon

    def wait(self, timeout_s: float | None) -> bool:
        self._daemon.when_looking(timeout_s)
        return super().wait(timeout_s)


class MemoryDaemon:
    """The broker in the worker's thread: what is done has happened."""

    def __init__(self, config: Config = CONFIG) -> None:
        self.owner = Ledger()
        self.broker = Broker(config, self.owner, time.monotonic)
        self.owner.begin = self.broker.begin
        self.when_looking: Callable[[float | None], None] = lambda _timeout_s: None

    def connect(self, stage: Stage) -> Link:
        link = Link(WatchedChannel(self), stage)
        link.post(StageState(stage, "ready"))
        return link

    def have_done(self, stage: Stage, worker: Handler, link: Link, message: AnyMessage) -> list[AnyMessage]:
        """What the worker makes of a message, which it then acknowledges."""
        self.broker.offer(stage, message, PATIENCE_S)
        delivery = link.receive(0)
        assert delivery is not None
        made = list(worker.handle(delivery))
        delivery.done()
        assert not self.broker.queues[stage]
        return made


class SocketDaemon:
    """The broker behind a real socket, on an event loop in a thread of its own."""

    def __init__(self, path: Path, config: Config = CONFIG) -> None:
        self.owner = Ledger()
        self.path = path
        self.broker = Broker(config, self.owner, time.monotonic)
        self.owner.begin = self.broker.begin
        self._server = SocketServer(path, self.broker)
        self._links: list[Link] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    def __enter__(self) -> SocketDaemon:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._server.start(), self._loop).result(PATIENCE_S)
        return self

    def __exit__(self, *_: object) -> None:
        for link in self._links:
            link.close()
        self.stop()
        until(lambda: self.owner.gone == self.owner.peers)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_S)
        self._loop.close()
        assert not self.owner.lost_work

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self._server.stop(), self._loop).result(PATIENCE_S)

    def die(self) -> None:
        """End without a word, as when the process is killed; a socket that others gave it stays."""

        async def end() -> None:
            for peer in self.broker.peers():
                peer.port.close()
            await self._server.stop()

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(PATIENCE_S)

    def connect(self, stage: Stage) -> Link:
        link = socket.connect(self.path, stage)
        self._links.append(link)
        link.post(StageState(stage, "ready"))
        return link

    def call(self, action: Callable[[], T]) -> T:
        """Do something to the broker, where the broker lives."""

        async def act() -> T:
            return action()

        return asyncio.run_coroutine_threadsafe(act(), self._loop).result(PATIENCE_S)

    def offer(self, stage: Stage, message: AnyMessage) -> None:
        self.call(lambda: self.broker.offer(stage, message, PATIENCE_S))

    def notify(self, stage: Stage, message: AnyMessage) -> None:
        self.call(lambda: self.broker.notify(stage, message))

    def unfinished(self, stage: Stage) -> int:
        """How many messages the stage has not acknowledged."""
        return self.call(lambda: len(self.broker.queues[stage]))


def until(reached: Callable[[], bool]) -> None:
    """Ask again and again; other threads bring it about."""
    pause = threading.Event()
    deadline_s = time.monotonic() + PATIENCE_S
    while not reached():
        assert time.monotonic() < deadline_s, "it never came to that"
        pause.wait(0.002)


def posted(daemon: MemoryDaemon | SocketDaemon, kind: type[T]) -> list[T]:
    """The messages of one kind that the daemon has got, in order."""
    return [message for message in list(daemon.owner.posts) if isinstance(message, kind)]


def recording(name: str) -> Int16:
    """A recording of the tests, 16 kHz, mono."""
    samples, rate_hz = soundfile.read(AUDIO / name, dtype="int16", always_2d=True)
    assert rate_hz == RATE_HZ
    return np.asarray(samples[:, 0], np.int16)


def silence(seconds: float) -> Int16:
    return np.zeros(round(seconds * RATE_HZ), np.int16)
