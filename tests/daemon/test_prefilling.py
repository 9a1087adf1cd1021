from __future__ import annotations

import pytest

from assistant.daemon.prefilling import Prefilling
from assistant.daemon.turn import CancelWork, Enqueue
from assistant.messages import Exchange, Prefill

HISTORY = (Exchange("Why?", "Because."),)


def test_a_reading_takes_the_place_of_the_one_before() -> None:
    prefilling = Prefilling()
    assert prefilling.begin(HISTORY, "") == [Enqueue("llm", Prefill(HISTORY, "", 1))]
    assert prefilling.begin(HISTORY, "And") == [CancelWork(0, 1), Enqueue("llm", Prefill(HISTORY, "And", 2))]


def test_it_is_stopped_once() -> None:
    prefilling = Prefilling()
    assert prefilling.stop() == []
    prefilling.begin(HISTORY, "")
    assert prefilling.stop() == [CancelWork(0, 1)]
    assert prefilling.stop() == []


@pytest.mark.parametrize(("ended", "stopped"), [(2, []), (1, [CancelWork(0, 2)])])
def test_only_the_end_of_the_last_one_counts(ended: int, stopped: list[CancelWork]) -> None:
    prefilling = Prefilling()
    prefilling.begin(HISTORY, "")
    prefilling.begin(HISTORY, "And")
    prefilling.ended(ended)
    assert prefilling.stop() == stopped


def test_a_worker_takes_its_reading_along() -> None:
    prefilling = Prefilling()
    prefilling.begin(HISTORY, "")
    prefilling.worker_left()
    assert prefilling.stop() == []
