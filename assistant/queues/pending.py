"""A bounded queue that keeps each message until the work on it is acknowledged.  No sockets, no clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from assistant.errors import QueueFull

MAX_DELIVERIES = 2
"""A message that was being worked on when two workers died is set aside."""

T = TypeVar("T")


class Item(Generic[T]):
    """A queued message: its number, its payload, and how many workers it has been given to in earnest."""

    __slots__ = ("deliveries", "expires_s", "number", "payload", "size_bytes", "ttl_s")

    def __init__(self, number: int, payload: T, size_bytes: int, ttl_s: float, now_s: float) -> None:
        self.number = number
        self.payload = payload
        self.size_bytes = size_bytes
        self.ttl_s = ttl_s
        self.expires_s = now_s + ttl_s
        self.deliveries = 0


class PendingQueue(Generic[T]):
    """First in, first out; at-least-once; bounded in messages and in bytes.

    `ahead` messages may be with the worker at a time.  Only the oldest of them is being worked on in earnest,
    so only that one counts a delivery when the worker dies: one that merely waited behind it is not to blame.
    """

    def __init__(self, capacity: int, capacity_bytes: int, ahead: int = 1, drop_oldest: bool = False) -> None:
        self._capacity = capacity
        self._capacity_bytes = capacity_bytes
        self._ahead = ahead
        self._drop_oldest = drop_oldest
        self._waiting: deque[Item[T]] = deque()
        self._out: deque[Item[T]] = deque()
        self._bytes = 0
        self._next = 1

    def __len__(self) -> int:
        return len(self._waiting) + len(self._out)

    @property
    def size_bytes(self) -> int:
        """Bytes of everything queued or out for work."""
        return self._bytes

    @property
    def in_flight(self) -> int:
        """How many messages are with the worker."""
        return len(self._out)

    def put(self, payload: T, size_bytes: int, ttl_s: float, now_s: float) -> list[Item[T]]:
        """Queue `payload` for `ttl_s` from now; gives back what was dropped to make room.

        Raises `QueueFull` where nothing may or can be dropped; the queue is then as it was.
        """
        if size_bytes > self._capacity_bytes:
            raise QueueFull(
                f"The message of {size_bytes} bytes is longer than the queue holds; make it shorter."
            )
        to_drop, count, total = 0, len(self), self._bytes + size_bytes
        while count >= self._capacity or total > self._capacity_bytes:
            if not self._drop_oldest or to_drop == len(self._waiting):
                raise QueueFull(
                    f"The queue is full: {len(self)} messages wait already; try again in a moment."
                )
            total -= self._waiting[to_drop].size_bytes
            count -= 1
            to_drop += 1
        dropped = [self._waiting.popleft() for _ in range(to_drop)]
        self._bytes -= sum(item.size_bytes for item in dropped)
        item = Item(self._next, payload, size_bytes, ttl_s, now_s)
        self._next += 1
        self._waiting.append(item)
        self._bytes += size_bytes
        return dropped

    def take(self, now_s: float) -> Item[T] | None:
        """The next message to give to the worker, or None: nothing waits, or the worker has enough."""
        if len(self._out) >= self._ahead or not self._waiting or self._waiting[0].expires_s <= now_s:
            return None
        item = self._waiting.popleft()
        self._out.append(item)
        return item

    def expired(self, now_s: float) -> list[Item[T]]:
        """Remove and give back what waited beyond its time to live."""
        return self._remove(self._waiting, lambda item: item.expires_s <= now_s)

    def acknowledge(self, number: int) -> T | None:
        """The work on message `number` is finished; None if it is not with the worker (any more)."""
        done = self._remove(self._out, lambda item: item.number == number)
        return done[0].payload if done else None

    def worker_lost(self, now_s: float, blameless: bool = False) -> list[Item[T]]:
        """Everything that was with the worker waits again, in order, but what is to be set aside: given back.

        Its time to live begins anew: until just now it was being worked on, not waiting.  `blameless` says
        that the worker was ended for another reason than what it worked on.
        """
        aside: list[Item[T]] = []
        if self._out and not blameless:
            self._out[0].deliveries += 1
            if self._out[0].deliveries >= MAX_DELIVERIES:
                aside.append(self._out.popleft())
                self._bytes -= aside[0].size_bytes
        for item in self._out:
            item.expires_s = now_s + item.ttl_s
        self._waiting.extendleft(reversed(self._out))
        self._out.clear()
        return aside

    def cancel(self, stale: Callable[[T], bool]) -> list[T]:
        """Forget every message that `stale` says is so, waiting or with the worker."""
        gone = self._remove(self._waiting, lambda item: stale(item.payload))
        gone += self._remove(self._out, lambda item: stale(item.payload))
        return [item.payload for item in gone]

    def remove(self, numbers: set[int]) -> None:
        """Forget messages by their numbers."""
        self._remove(self._waiting, lambda item: item.number in numbers)
        self._remove(self._out, lambda item: item.number in numbers)

    def __iter__(self) -> Iterator[Item[T]]:
        yield from self._out
        yield from self._waiting

    def _remove(self, line: deque[Item[T]], condition: Callable[[Item[T]], bool]) -> list[Item[T]]:
        removed = [item for item in line if condition(item)]
        if removed:
            kept = [item for item in line if not condition(item)]
            line.clear()
            line.extend(kept)
            self._bytes -= sum(item.size_bytes for item in removed)
        return removed
