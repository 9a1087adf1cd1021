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
    assert not Gate(False, FOLLOW_UP_S).began(1, 0.0)
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
    gate.began(1, 11.0)
    assert gate.is_open(500.0), "while it is spoken, thought about or answered, however long that takes"
    gate.finished(1, outcome, 500.0)
    assert gate.is_open(500.0 + stays_open_s - 0.1) is (outcome != "nothing"), "who began before counts"
    assert not gate.is_open(500.0 + stays_open_s)


def test_a_noise_does_not_use_the_call_up() -> None:
    gate = Gate(False, FOLLOW_UP_S)
    gate.called(10.0)
    gate.began(1, 11.0)
    gate.finished(1, "nothing", 11.0)
    assert gate.is_open(10.0 + LISTEN_S - 0.1)
    assert not gate.is_open(10.0 + LISTEN_S)


def test_without_a_follow_up_each_question_is_called_for() -> None:
    gate = Gate(False, 0.0)
    gate.called(10.0)
    gate.began(1, 11.0)
    gate.finished(1, "answered", 12.0)
    assert not gate.is_open(12.0), "what is left of the call has been used"


def test_who_is_asked_back_may_answer_even_where_nothing_else_may_follow() -> None:
    gate = Gate(False, 0.0)
    gate.called(10.0)
    gate.began(1, 11.0)
    gate.finished(1, "answered", 20.0, asks=True)
    assert gate.is_open(20.0 + LISTEN_S - 0.1)
    assert not gate.is_open(20.0 + LISTEN_S)


def test_a_call_during_an_answer_is_not_used_up_by_the_end_of_that() -> None:
    """Somebody called again before the answer was over: that call counts, whatever may follow answers."""
    gate = Gate(False, 0.0)
    gate.called(10.0)
    gate.began(1, 11.0)
    gate.called(20.0)
    gate.finished(1, "answered", 21.0)
    assert gate.is_open(20.0 + LISTEN_S - 0.1)
    assert not gate.is_open(20.0 + LISTEN_S)
    gate.began(2, 22.0)
    gate.finished(2, "answered", 23.0)
    assert not gate.is_open(23.0), "it has been used"


def test_a_call_counts_though_the_question_began_before_it_was_noticed() -> None:
    gate = Gate(False, 0.0)
    gate.called(10.0)
    assert gate.began(1, 9.9)
    gate.finished(1, "answered", 12.0)
    assert not gate.is_open(12.0)


@pytest.mark.parametrize("asks", [False, True])
@pytest.mark.parametrize("answered_before_the_next", [True, False])
def test_a_television_is_answered_a_few_times_and_a_call_counts_anew(
    asks: bool, answered_before_the_next: bool
) -> None:
    """Also one that talks on while it is answered, and one that is asked back."""
    gate = Gate(False, FOLLOW_UP_S)
    now_s, questions = 10.0, 0
    gate.called(now_s)
    waiting: list[int] = []
    while gate.began(questions + 1, now_s):
        questions += 1
        assert questions < 100
        waiting.append(questions)
        now_s += 3.0
        while len(waiting) > (not answered_before_the_next):
            gate.finished(waiting.pop(0), "answered", now_s, asks)
    assert questions == MOST_FOLLOW_UPS + 1
    for turn in waiting:
        gate.finished(turn, "answered", now_s, asks)
    assert gate.until_s < now_s
    gate.called(now_s)
    assert gate.began(1000, now_s)
    gate.finished(1000, "answered", now_s)
    assert gate.is_open(now_s)


def test_noises_are_not_counted() -> None:
    gate = Gate(False, FOLLOW_UP_S)
    gate.called(10.0)
    for turn in range(20):
        assert gate.began(turn, 11.0)
        gate.finished(turn, "nothing", 12.0)


def test_who_names_it_needs_no_call_and_counts_as_one() -> None:
    gate = Gate(False, FOLLOW_UP_S)
    now_s = 10.0
    for turn in range(50):
        gate.named(turn)
        assert gate.until_s > now_s + 1000
        now_s += 3.0
        gate.finished(turn, "answered", now_s, named=True)
        assert gate.is_open(now_s)
    gate.named(50)
    gate.forget(50)
    assert gate.until_s < now_s + 1000, "it had been misread"


def test_the_end_of_a_turn_that_was_none_of_its_own_is_nothing_to_it() -> None:
    gate = Gate(False, FOLLOW_UP_S)
    gate.finished(7, "answered", 10.0)
    assert not gate.is_open(10.0), "an announcement does not open it"


FACTS = st.lists(
    st.tuples(
        st.floats(0, 20),
        st.sampled_from(["called", "began", "answered", "asks", "failed", "nothing", "cancelled"]),
        st.integers(1, 3),
    ),
    max_size=60,
)


@given(FACTS, st.sampled_from([0.0, FOLLOW_UP_S]))
def test_left_alone_it_closes_and_nothing_but_calls_keeps_it_open(
    facts: list[tuple[float, str, int]], follow_up_s: float
) -> None:
    """Turns overlap as they like, and only a few of them are answered without a new call."""
    gate, now_s, number = Gate(False, follow_up_s), 0.0, 0
    turns: list[int] = []
    answered = 0
    for pause_s, fact, which in facts:
        was_open = gate.is_open(now_s)
        now_s += pause_s
        assert was_open or not gate.is_open(now_s)
        if fact == "called":
            gate.called(now_s)
            answered = 0
            assert gate.is_open(now_s)
        elif fact == "began":
            number += 1
            if gate.began(number, now_s):
                turns.append(number)
        elif turns:
            outcome = "answered" if fact == "asks" else fact
            gate.finished(turns.pop(which % len(turns)), outcome, now_s, fact == "asks")  # type: ignore[arg-type] # one of the outcomes
            answered += outcome == "answered"
        assert gate.until_s > now_s + 1000 or not turns, "it is heard out"
        assert len(turns) + answered <= 2 * (MOST_FOLLOW_UPS + 1) + 1
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
