from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.daemon.history import ROOM
from assistant.daemon.speculation import Speculation
from assistant.daemon.turn import Kind, Turn
from assistant.daemon.vad_worker import BACK_WITHIN_S, RESUMES_WITHIN_S, TORN_WITHIN_S, VadWorker
from assistant.messages import Awake, NextTurn


def open_turn(number: int = 7, revision: int = 2) -> Turn:
    return Turn(number, Kind.SPEECH, ROOM, revision=revision, ended=False)


@pytest.fixture
def vad() -> VadWorker:
    vad = VadWorker(inf)
    vad.number = 8
    return vad


def test_an_orphan_is_offered_to_the_successor_until_it_is_taken_up_or_over(vad: VadWorker) -> None:
    early = Speculation()
    assert vad.next_turn(open_turn(), early) == NextTurn(8)
    vad.left(True, 100.0)
    assert vad.next_turn(open_turn(), early) == NextTurn(7, revision=3)
    assert vad.next_turn(None, early) == NextTurn(8), "it is over"
    vad.no_orphan()
    assert vad.next_turn(open_turn(), early) == NextTurn(8)


def test_an_orphan_waits_for_a_successor_and_then_for_its_word(vad: VadWorker) -> None:
    assert not vad.is_orphan_given_up(1e9)
    vad.left(True, 100.0)
    assert vad.has_orphan
    assert not vad.is_orphan_given_up(100 + BACK_WITHIN_S - 0.1)
    assert vad.is_orphan_given_up(100 + BACK_WITHIN_S)
    vad.ready(110.0)
    assert not vad.is_orphan_given_up(110 + RESUMES_WITHIN_S - 0.1)
    assert vad.is_orphan_given_up(110 + RESUMES_WITHIN_S)


def test_who_dies_in_silence_leaves_no_orphan(vad: VadWorker) -> None:
    vad.left(False, 100.0)
    vad.ready(101.0)
    assert not vad.has_orphan


def test_speech_is_torn_while_nobody_hears_and_shortly_after(vad: VadWorker) -> None:
    assert not vad.tears(0.0), "of the first worker"
    vad.left(False, 100.0)
    assert vad.tears(200.0)
    vad.ready(200.0)
    assert vad.tears(200 + TORN_WITHIN_S - 0.1)
    vad.ready(200.5)  # the microphone came back; it was no new worker
    assert not vad.tears(200 + TORN_WITHIN_S)


@given(st.lists(st.integers(0, 10**9)))
def test_what_is_settled_stays_so(samples: list[int]) -> None:
    vad = VadWorker(inf)
    for sample in samples:
        vad.settled(sample)
    assert vad.next_turn(None, Speculation()).settled == max(samples, default=0)


def test_it_is_told_once_what_early_work_pays(vad: VadWorker) -> None:
    early = Speculation()
    vad.next_turn(None, early)
    assert vad.knows(early)
    early.look_every_ms = 500
    assert not vad.knows(early)
    assert vad.next_turn(None, early) == NextTurn(8, look_every_ms=500)
    assert vad.knows(early)
    early.pays = False
    assert not vad.knows(early)


def test_it_is_told_once_until_when_to_listen() -> None:
    vad = VadWorker(-inf)
    assert vad.awake(-inf) is None
    assert vad.awake(10.0) == Awake(10.0)
    assert vad.awake(10.0) is None
    vad.joined()
    assert vad.awake(10.0) == Awake(10.0), "its successor does not know"
    vad.joined()
    assert vad.awake(-inf) is None, "that it knows of itself"
