"""When the assistant may be spoken to, and where the question behind a wake word begins."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.audio.formats import FRAME_SAMPLES
from assistant.audio.waking import LISTEN_S, MOST_FOLLOW_UPS, QUIET_FRAMES, Gate, end_of_word
from assistant.messages import Outcome

FOLLOW_UP_S = 6.0


def test_nobody_is_heard_before_calling() -> None:
    assert not Gate(False, FOLLOW_UP_S).is_open(0.0)
    assert Gate(True, FOLLOW_UP_S).is_open(0.0), "where nobody need call"


def test_a_call_is_heard_out_for_a_while() -> None:
    gate = Gate(False, FOLLOW_UP_S)
    gate.called(10.0)
    assert gate.is_open(10.0 + LISTEN_S - 0.1)
    assert not gate.is_open(10.0 + LISTEN_S)


@pytest.mark.parametrize(
    ("outcome", "stays_open_s"),
    [("answered", FOLLOW_UP_S), ("failed", FOLLOW_UP_S), ("nothing", 0.0), ("cancelled", 0.0)],
)
def test_an_answer_may_be_followed_by_a_question(outcome: Outcome, stays_open_s: float) -> None:
    gate = Gate(False, FOLLOW_UP_S)
    gate.called(10.0)
    gate.began(1)
    assert gate.is_open(500.0), "while it is spoken, thought about or answered, however long that takes"
    gate.finished(1, outcome, 500.0)
    assert gate.is_open(500.0 + stays_open_s - 0.1) is (stays_open_s > 0)
    assert not gate.is_open(500.0 + stays_open_s)


def test_a_noise_does_not_use_the_call_up() -> None:
    gate = Gate(False, FOLLOW_UP_S)
    gate.called(10.0)
    gate.began(1)
    gate.finished(1, "nothing", 11.0)
    assert gate.is_open(10.0 + LISTEN_S - 0.1)
    assert not gate.is_open(10.0 + LISTEN_S)


def test_without_a_follow_up_each_question_is_called_for() -> None:
    gate = Gate(False, 0.0)
    gate.called(10.0)
    gate.began(1)
    gate.finished(1, "answered", 12.0)
    assert not gate.is_open(12.0), "what is left of the call has been used"


def test_who_is_asked_back_may_answer_even_where_nothing_else_may_follow() -> None:
    gate = Gate(False, 0.0)
    gate.called(10.0)
    gate.began(1)
    gate.finished(1, "answered", 20.0, asks=True)
    assert gate.is_open(20.0 + LISTEN_S - 0.1)
    assert not gate.is_open(20.0 + LISTEN_S)


def test_a_television_is_answered_a_few_times_and_a_call_counts_anew() -> None:
    gate = Gate(False, FOLLOW_UP_S)
    now_s, questions = 10.0, 0
    gate.called(now_s)
    while gate.is_open(now_s):
        questions += 1
        assert questions < 100
        gate.began(questions)
        now_s += 3.0
        gate.finished(questions, "answered", now_s)
    assert questions == MOST_FOLLOW_UPS + 1
    gate.called(now_s)
    gate.began(1000)
    gate.finished(1000, "answered", now_s)
    assert gate.is_open(now_s)


def test_the_end_of_a_turn_that_was_none_of_its_own_is_nothing_to_it() -> None:
    gate = Gate(False, FOLLOW_UP_S)
    gate.finished(7, "answered", 10.0)
    assert not gate.is_open(10.0), "an announcement does not open it"


FACTS = st.lists(
    st.tuples(
        st.floats(0, 20),
        st.sampled_from(["called", "began", "answered", "failed", "nothing", "cancelled"]),
        st.integers(1, 3),
    ),
    max_size=40,
)


@given(FACTS)
def test_left_alone_it_closes_and_never_opens_by_itself(facts: list[tuple[float, str, int]]) -> None:
    gate, now_s = Gate(False, FOLLOW_UP_S), 0.0
    turns: set[int] = set()
    for pause_s, fact, turn in facts:
        was_open = gate.is_open(now_s)
        now_s += pause_s
        assert was_open or not gate.is_open(now_s)
        if fact == "called":
            gate.called(now_s)
            assert gate.is_open(now_s)
        elif fact == "began":
            gate.began(turn)
            turns.add(turn)
        else:
            gate.finished(turn, fact, now_s)  # type: ignore[arg-type] # one of the outcomes
            turns.discard(turn)
        assert gate.is_open(now_s) or not turns
    for turn in turns:
        gate.finished(turn, "answered", now_s)
    assert not gate.is_open(now_s + max(LISTEN_S, FOLLOW_UP_S))


def frames(*amplitudes: int) -> list[bytes]:
    return [amplitude.to_bytes(2, "little") * FRAME_SAMPLES for amplitude in amplitudes]


@pytest.mark.parametrize(
    ("sound", "earliest", "latest", "begins"),
    [
        ((900, 900, 900, 10, 10, 10, 900, 900), 2, 6, 4),
        ((900, 900, 10, 10, 10, 900, 10, 10, 10), 5, 7, 7),  # only where it may be
        (
            (900, 900, 10, 10, 10, 10, 10, 10),
            2,
            6,
            3,
        ),  # the first of several, nothing of the question is lost
        ((900, 900), 5, 6, 2),  # too little sound: all of it is before
        ((900, 900, 900), -5, -2, 0),  # as is known of what was heard before the beginning
        ((), -5, 0, 0),
    ],
)
def test_a_question_begins_in_the_quietest_place(
    sound: tuple[int, ...], earliest: int, latest: int, begins: int
) -> None:
    assert end_of_word(frames(*sound), earliest, latest) == begins


@given(st.lists(st.integers(0, 30_000), max_size=30), st.integers(-10, 40), st.integers(0, 10))
def test_a_place_is_always_found_where_it_is_looked_for(
    sound: list[int], earliest: int, range_frames: int
) -> None:
    cut = end_of_word(frames(*sound), earliest, earliest + range_frames)
    assert 0 <= cut <= len(sound)
    if earliest >= 0 and earliest + range_frames <= len(sound) - QUIET_FRAMES:
        assert earliest <= cut <= earliest + range_frames or cut == earliest
