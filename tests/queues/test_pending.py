"""The bounded queue: hand-made cases, then a model beside it under any sequence of what can happen to it."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from assistant.errors import QueueFull
from assistant.queues.pending import MAX_DELIVERIES, Item, PendingQueue

LONG_S = 1000.0


def filled(count: int, ahead: int = 1) -> PendingQueue[int]:
    queue: PendingQueue[int] = PendingQueue(100, 10_000, ahead)
    for payload in range(count):
        queue.put(payload, 1, LONG_S, 0.0)
    return queue


def take_all(queue: PendingQueue[int]) -> list[int]:
    taken = []
    while (item := queue.take(0.0)) is not None:
        taken.append(item.payload)
    return taken


def test_only_the_head_is_blamed_for_a_dead_worker() -> None:
    queue = filled(4, ahead=3)
    for _ in range(MAX_DELIVERIES - 1):
        assert take_all(queue) == [0, 1, 2]
        assert queue.worker_lost(0.0) == []
    assert take_all(queue) == [0, 1, 2]
    assert [item.payload for item in queue.worker_lost(0.0)] == [0]
    assert take_all(queue) == [1, 2, 3]
    assert [item.deliveries for item in queue] == [0, 0, 0]


def test_an_idle_workers_death_blames_nothing() -> None:
    queue = filled(1)
    for _ in range(5):
        assert queue.worker_lost(0.0) == []
    assert take_all(queue) == [0]


def test_a_worker_that_was_told_to_go_blames_nothing() -> None:
    """Its work waits again, in order and with its time to live anew; blame from before stays."""
    queue: PendingQueue[int] = PendingQueue(100, 10_000, ahead=2)
    for payload in range(3):
        queue.put(payload, 1, 10.0, 0.0)
    assert take_all(queue) == [0, 1]
    assert queue.worker_lost(0.0) == []
    for now_s in (5.0, 14.0, 23.0):
        assert [item.payload for item in (queue.take(now_s), queue.take(now_s)) if item] == [0, 1]
        assert queue.worker_lost(now_s, blameless=True) == []
        assert [item.deliveries for item in queue] == [1, 0, 0]
    assert [item.payload for item in queue.expired(32.0)] == [2]
    assert [item.payload for item in (queue.take(32.0), queue.take(32.0)) if item] == [0, 1]
    assert [item.payload for item in queue.worker_lost(32.0)] == [0]


def test_acknowledging_twice_or_early_does_nothing() -> None:
    queue = filled(2)
    first = queue.take(0.0)
    assert first is not None
    assert queue.acknowledge(first.number + 1) is None  # still waits
    assert queue.acknowledge(first.number) == 0
    assert queue.acknowledge(first.number) is None
    assert len(queue) == 1


def test_a_message_that_never_fits_drops_nothing() -> None:
    queue: PendingQueue[str] = PendingQueue(10, 100, drop_oldest=True)
    queue.put("a", 60, LONG_S, 0.0)
    with pytest.raises(QueueFull, match=r"101 bytes is longer than the queue holds; make it shorter\."):
        queue.put("b", 101, LONG_S, 0.0)
    assert [item.payload for item in queue] == ["a"]


def test_what_is_out_is_never_dropped_and_a_refusal_drops_nothing() -> None:
    queue: PendingQueue[str] = PendingQueue(10, 100, drop_oldest=True)
    queue.put("out", 50, LONG_S, 0.0)
    queue.take(0.0)
    queue.put("waits", 30, LONG_S, 0.0)
    with pytest.raises(QueueFull, match="2 messages wait already"):
        queue.put("too big beside what is out", 60, LONG_S, 0.0)
    assert [item.payload for item in queue] == ["out", "waits"]
    assert [item.payload for item in queue.put("fits in its place", 50, LONG_S, 0.0)] == ["waits"]


def test_dropping_takes_the_oldest_and_no_more_than_needed() -> None:
    queue: PendingQueue[int] = PendingQueue(3, 1000, drop_oldest=True)
    dropped = [item.payload for number in range(5) for item in queue.put(number, 1, LONG_S, 0.0)]
    assert dropped == [0, 1]
    assert take_all(queue) == [2]


def test_time_to_live() -> None:
    queue: PendingQueue[str] = PendingQueue(10, 100)
    queue.put("short", 1, 10.0, now_s=0.0)
    queue.put("long", 1, 30.0, now_s=0.0)
    assert queue.expired(9.9) == []
    assert queue.take(10.0) is None  # too old to be begun
    assert [item.payload for item in queue.expired(10.0)] == ["short"]
    assert (item := queue.take(10.0)) is not None
    assert item.payload == "long"
    assert queue.expired(1000.0) == []  # is being worked on, not waiting


def test_what_was_worked_on_does_not_expire_by_its_workers_death() -> None:
    queue: PendingQueue[str] = PendingQueue(10, 100)
    queue.put("long work", 1, 60.0, now_s=0.0)
    queue.take(1.0)
    queue.worker_lost(now_s=80.0)
    assert queue.expired(139.0) == []
    assert [item.payload for item in queue.expired(140.0)] == ["long work"]


def test_removing_by_number() -> None:
    queue = filled(4, ahead=2)
    take_all(queue)
    numbers = {item.payload: item.number for item in queue}
    queue.remove({numbers[0], numbers[3]})
    assert [item.payload for item in queue] == [1, 2]
    assert (len(queue), queue.in_flight, queue.size_bytes) == (2, 1, 2)


class Model:
    """A queued message as the test remembers it."""

    def __init__(self, payload: int, size: int, expires_s: float, ttl_s: float) -> None:
        self.payload = payload
        self.size = size
        self.expires_s = expires_s
        self.ttl_s = ttl_s
        self.deaths = 0


class AnySequence(RuleBasedStateMachine):
    """Nothing is lost, doubled, reordered or miscounted, whatever happens in whatever order."""

    def __init__(self) -> None:
        super().__init__()
        self.drop_oldest = False
        self.ahead = 1
        self.capacity, self.capacity_bytes = 4, 100
        self.rebuild()

    def rebuild(self) -> None:
        self.queue: PendingQueue[int] = PendingQueue(
            self.capacity, self.capacity_bytes, self.ahead, self.drop_oldest
        )
        self.waiting: list[Model] = []
        self.out: list[Model] = []
        self.numbers: dict[int, int] = {}
        self.now_s = 0.0
        self.next = 0
        self.delivered: list[int] = []

    @rule(drop_oldest=st.booleans(), ahead=st.integers(1, 3), capacity=st.integers(1, 6))
    def begin_anew(self, drop_oldest: bool, ahead: int, capacity: int) -> None:
        if self.next == 0:
            self.drop_oldest, self.ahead, self.capacity = drop_oldest, ahead, capacity
            self.rebuild()

    @rule(size=st.integers(0, 120), ttl_s=st.sampled_from([1.0, 5.0, 100.0]))
    def put(self, size: int, ttl_s: float) -> None:
        before = self.payloads()
        try:
            dropped = self.queue.put(self.next, size, ttl_s, self.now_s)
        except QueueFull:
            assert self.payloads() == before
            fits_in_order = len(before) < self.capacity and self.bytes() + size <= self.capacity_bytes
            assert not fits_in_order
            if self.drop_oldest:  # even without all that waits it would not fit
                out_bytes = sum(each.size for each in self.out)
                assert len(self.out) >= self.capacity or out_bytes + size > self.capacity_bytes
            return
        assert [item.payload for item in dropped] == [each.payload for each in self.waiting[: len(dropped)]]
        assert not dropped or self.drop_oldest
        if dropped:  # no more than was needed
            last = self.waiting[len(dropped) - 1]
            kept = self.waiting[len(dropped) :] + self.out
            count, total = len(kept) + 2, sum(each.size for each in kept) + last.size + size
            assert count > self.capacity or total > self.capacity_bytes
        del self.waiting[: len(dropped)]
        self.waiting.append(Model(self.next, size, self.now_s + ttl_s, ttl_s))
        self.next += 1

    @rule()
    def take(self) -> None:
        item = self.queue.take(self.now_s)
        may = len(self.out) < self.ahead and self.waiting and self.waiting[0].expires_s > self.now_s
        assert (item is not None) == bool(may)
        if item is not None:
            head = self.waiting.pop(0)
            assert (item.payload, item.deliveries) == (head.payload, head.deaths)
            self.out.append(head)
            self.numbers[item.payload] = item.number

    @rule(which=st.integers(0, 5))
    def acknowledge(self, which: int) -> None:
        if self.out:
            done = self.out.pop(which % len(self.out))
            assert self.queue.acknowledge(self.numbers[done.payload]) == done.payload
            assert self.queue.acknowledge(self.numbers[done.payload]) is None

    @rule(blameless=st.booleans())
    def worker_dies(self, blameless: bool) -> None:
        aside: list[Item[int]] = self.queue.worker_lost(self.now_s, blameless)
        expected: list[int] = []
        if self.out and not blameless:
            self.out[0].deaths += 1
            if self.out[0].deaths == MAX_DELIVERIES:
                expected.append(self.out.pop(0).payload)
        for each in self.out:
            each.expires_s = self.now_s + each.ttl_s
        self.waiting = self.out + self.waiting
        self.out = []
        assert [item.payload for item in aside] == expected

    @rule(odd=st.booleans())
    def cancel(self, odd: bool) -> None:
        gone = self.queue.cancel(lambda payload: payload % 2 == odd)
        assert sorted(gone) == sorted(p for p in self.model_payloads() if p % 2 == odd)
        self.waiting = [each for each in self.waiting if each.payload % 2 != odd]
        self.out = [each for each in self.out if each.payload % 2 != odd]

    @rule(seconds=st.floats(0.1, 10.0))
    def time_passes(self, seconds: float) -> None:
        self.now_s += seconds
        old = [each.payload for each in self.waiting if each.expires_s <= self.now_s]
        assert [item.payload for item in self.queue.expired(self.now_s)] == old
        self.waiting = [each for each in self.waiting if each.payload not in old]

    @invariant()
    def is_as_the_model_says(self) -> None:
        assert self.payloads() == self.model_payloads()
        assert self.queue.size_bytes == self.bytes()
        assert len(self.queue) == len(self.waiting) + len(self.out) <= self.capacity
        assert self.queue.size_bytes <= self.capacity_bytes
        assert self.queue.in_flight == len(self.out) <= self.ahead

    def payloads(self) -> list[int]:
        return [item.payload for item in self.queue]

    def model_payloads(self) -> list[int]:
        return [each.payload for each in self.out + self.waiting]

    def bytes(self) -> int:
        return sum(each.size for each in self.out + self.waiting)


TestAnySequence = AnySequence.TestCase
TestAnySequence.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
