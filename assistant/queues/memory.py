"""The transport without a socket: for tests, and as the smallest example of what a transport must give.

It encodes and decodes all the same, so that what passes here passes on a socket.  Single-threaded: reading
what has not come yet is a mistake in the test, not a wait.
"""

from __future__ import annotations

from collections import deque

from assistant.queues import wire
from assistant.queues.broker import Broker, Peer
from assistant.queues.link import Disconnected, Link


class MemoryChannel:
    """Both ends of a connection: a `Channel` for the link, a `Port` for the broker."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._peer: Peer | None = None
        self._inbox: deque[bytes] = deque()
        self._open = True

    # the link's end

    def write(self, frame: bytes) -> None:
        if not self._open:
            raise Disconnected("The daemon went away; start it again.")
        decoded = wire.decode_from_peer(frame[wire.HEADER_BYTES :])
        if self._peer is not None:
            self._broker.received(self._peer, decoded)
        elif isinstance(decoded, wire.Hello):
            self._peer = self._broker.join(decoded, self)

    def wait(self, timeout_s: float | None) -> bool:
        if not self._inbox and self._open and timeout_s is None:
            raise AssertionError("nothing was sent, and nobody else will send")
        return bool(self._inbox) or not self._open

    def read(self) -> list[wire.FromDaemon]:
        if not self._inbox and not self._open:
            raise Disconnected("The daemon went away; start it again.")
        frames = [wire.decode_from_daemon(frame[wire.HEADER_BYTES :]) for frame in self._inbox]
        self._inbox.clear()
        return frames

    # the broker's end; `close` is the same

    def send(self, frame: bytes) -> None:
        self._inbox.append(frame)

    def close(self) -> None:
        """Either end hangs up, or the peer's process dies."""
        self._open = False
        if self._peer is not None:
            self._broker.leave(self._peer)

    def backlog_bytes(self) -> int:
        return sum(len(frame) for frame in self._inbox)


def connect(broker: Broker, role: wire.Role) -> Link:
    """A peer of `broker` in this process; `close` is its death."""
    return Link(MemoryChannel(broker), role)
