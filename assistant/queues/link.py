"""A peer's side of the queue, whatever the transport: what workers and clients hold.

No thread of its own: whoever waits (`receive`) or asks (`cancelled`) reads what has come.  It may be shared
by the threads of one process.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from assistant.config import Config
from assistant.errors import DaemonError, QueueFull
from assistant.messages import AnyMessage, Cancel
from assistant.queues import wire

BEAT_EVERY_S = 1.0
"""How often a working stage shows that its loop still turns, and how long `receive` waits at a time."""

ANSWER_WITHIN_S = 30.0
"""How long the daemon may take to say whether it took a message; it never does more than queue it."""


class Disconnected(DaemonError):
    """The daemon went away."""


class Dismissed(Disconnected):
    """The daemon ended the connection, and says why."""


class Channel(Protocol):
    """What a transport gives a link: whole frames, both ways."""

    def write(self, frame: bytes) -> None:
        """Raises `Disconnected`."""

    def wait(self, timeout_s: float | None) -> bool:
        """Whether something has come, waiting up to `timeout_s` for it (None: for ever)."""

    def read(self) -> list[wire.FromDaemon]:
        """Frames that have come; does not wait.  Raises `Disconnected`."""

    def close(self) -> None: ...


class Delivery:
    """Work for a stage; `done` when the work on it is finished, from whichever thread finishes it."""

    def __init__(self, link: Link, frame: wire.Deliver) -> None:
        self.message: AnyMessage = frame.message
        self.attempt = frame.attempt
        self._link = link
        self._number = frame.delivery

    def done(self) -> None:
        """Acknowledge.  Raises `Disconnected`."""
        self._link.send(wire.Done(self._number))


class Link:
    """One peer's connection to the daemon."""

    def __init__(self, channel: Channel, role: wire.Role) -> None:
        """Say hello and wait for the welcome.  Raises `DaemonError`."""
        self._on_notice: Callable[[AnyMessage], None] | None = None
        self.on_beat: Callable[[], None] | None = None
        """Called whenever the work loop turns."""
        self.config = self.written = Config()
        self.pause_s = 0.0
        """How long to wait before loading anything."""
        self._lock = threading.RLock()
        self._next_post = 1
        self._receiving = False
        self._join(channel, role)

    def rejoin(self, channel: Channel, role: wire.Role) -> None:
        """Go on with a new daemon; what the old one gave is void.  Raises `DaemonError`."""
        self._channel.close()
        self._join(channel, role)

    def _join(self, channel: Channel, role: wire.Role) -> None:
        self._channel = channel
        self._deliveries: deque[Delivery] = deque()
        self._notices: deque[AnyMessage] = deque()
        self._answers: dict[int, str] = {}
        self._welcomed = False
        self._stale: dict[int, int] = {}
        self._last_sent_s = time.monotonic()
        self.send(wire.Hello(role, os.getpid()))
        give_up_s = time.monotonic() + ANSWER_WITHIN_S
        while not self._welcomed:
            if time.monotonic() > give_up_s:
                raise DaemonError("The daemon does not answer; it may be overloaded or stopped: restart it.")
            self._pump(0.5)

    def send(self, frame: wire.Frame) -> None:
        """Write one frame.  Raises `Disconnected`."""
        with self._lock:
            self._channel.write(wire.encode(frame))
            self._last_sent_s = time.monotonic()

    def post(self, message: AnyMessage, confirm: bool = False) -> None:
        """Give the daemon a message; `confirm` waits until it is taken.  Raises `QueueFull`: refused."""
        if not confirm:
            self.send(wire.Post(message))
            return
        with self._lock:
            number = self._next_post
            self._next_post += 1
            self.send(wire.Post(message, number))
            give_up_s = time.monotonic() + ANSWER_WITHIN_S
            while number not in self._answers:
                if time.monotonic() > give_up_s:
                    raise DaemonError(
                        "The daemon does not answer; it may be overloaded or stopped: restart it."
                    )
                self._pump(0.5)
            if reason := self._answers.pop(number):
                raise QueueFull(reason)

    def receive(self, timeout_s: float | None = None) -> Delivery | None:
        """The next piece of work, or None after `timeout_s`.  Shows a sign of life while it waits."""
        give_up_s = None if timeout_s is None else time.monotonic() + timeout_s
        looked = False  # with a time-out of 0, too, what has come is read
        while True:
            with self._lock:
                if self._deliveries:
                    return self._deliveries.popleft()
                if give_up_s is not None and looked and time.monotonic() >= give_up_s:
                    return None
                self._receiving = True
            try:
                left_s = (
                    BEAT_EVERY_S if give_up_s is None else min(BEAT_EVERY_S, give_up_s - time.monotonic())
                )
                self._pump(max(0.0, left_s))
            finally:
                self._receiving = False
            self.beat()
            looked = True

    def on_notice(self, listener: Callable[[AnyMessage], None]) -> None:
        """For stages: have each notice given to `listener`, those included that have come already."""
        with self._lock:
            self._on_notice = listener
            while self._notices:
                listener(self._notices.popleft())

    def notice(self, timeout_s: float | None = None) -> AnyMessage | None:
        """For clients: the next notice (an event, a part of an answer), or None after `timeout_s`."""
        give_up_s = None if timeout_s is None else time.monotonic() + timeout_s
        while not self._notices:
            left_s = None if give_up_s is None else max(0.0, give_up_s - time.monotonic())
            self._pump(left_s)
            if left_s == 0.0 and not self._notices:
                return None
        return self._notices.popleft()

    def cancelled(self, turn: int, revision: int) -> bool:
        """Whether work on this revision of the turn is no longer wanted; cheap, and a sign of life."""
        self.beat()
        return self.is_stale(turn, revision)

    def is_stale(self, turn: int, revision: int) -> bool:
        """The same for a thread beside the work loop, whose life says nothing of that."""
        self._look()
        return self._stale.get(turn, -1) >= revision

    def look(self) -> None:
        """Read the notices that have come; does not wait.  Cheap, and a sign of life."""
        self._look()
        self.beat()

    def _look(self) -> None:
        if self._channel.wait(0):
            with self._lock:
                if not self._receiving:  # else that thread reads it, and would wait on for what is read here
                    self._read()

    def beat(self) -> None:
        """Show that the work loop turns; the daemon is told at most once a second."""
        if self.on_beat is not None:
            self.on_beat()
        if time.monotonic() - self._last_sent_s >= BEAT_EVERY_S:
            self.send(wire.Beat())

    def close(self) -> None:
        """End the connection."""
        self._channel.close()

    def _pump(self, timeout_s: float | None) -> None:
        """Read what has come.  Without the lock while it waits, so that another thread can send meanwhile."""
        if self._channel.wait(timeout_s):
            with self._lock:
                self._read()

    def _read(self) -> None:
        for frame in self._channel.read():
            self._take(frame)

    def _take(self, frame: wire.FromDaemon) -> None:
        if isinstance(frame, wire.Deliver):
            self._deliveries.append(Delivery(self, frame))
        elif isinstance(frame, wire.Notice):
            if isinstance(frame.message, Cancel):
                self._forget(frame.message)
            elif self._on_notice is None:
                self._notices.append(frame.message)
            else:
                self._on_notice(frame.message)
        elif isinstance(frame, wire.Welcome):
            self.config, self.written, self.pause_s = frame.config, frame.written, frame.pause_s
            self._welcomed = True
        elif isinstance(frame, wire.Taken):
            self._answers[frame.number] = ""
        elif isinstance(frame, wire.Refused):
            self._answers[frame.number] = frame.reason
        elif isinstance(frame, wire.Goodbye):
            raise Dismissed(frame.reason)

    def _forget(self, cancel: Cancel) -> None:
        self._stale[cancel.turn] = max(cancel.revision, self._stale.get(cancel.turn, -1))
        while len(self._stale) > 64:  # turns that old have long ended
            del self._stale[next(iter(self._stale))]
