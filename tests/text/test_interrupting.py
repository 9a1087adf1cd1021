"""What words that are heard during an answer mean."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.text.interrupting import STOPS, is_echo, is_stop

ANSWER = "The capital of Germany is Berlin. It has about four million people, and I do not know its mayor."


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("Stop.", "en", True),
        ("Stop! Stop!", "en", True),
        ("please, stop", "en", True),
        ("That's enough.", "en", True),
        ("Hör auf!", "de", True),
        ("Stopp.", "de", True),
        ("Tais-toi.", "fr", True),
        ("¡Para!", "es", True),
        ("Basta, basta.", "it", True),
        ("Hou op.", "nl", True),
        ("Stop", "pl", True),
        ("When does the bus stop?", "en", False),
        ("Stop the timer.", "en", False),
        ("Still waters", "de", False),
        ("Para qué?", "es", False),
        ("", "en", False),
    ],
)
def test_to_stop_is_said_alone(text: str, language: str, expected: bool) -> None:
    assert is_stop(text, language) is expected


def test_each_way_to_say_stop_is_one() -> None:
    for language, stops in STOPS.items():
        for stop in stops:
            assert is_stop(f"{stop.capitalize()}!", language), stop


@pytest.mark.parametrize(
    "text",
    [
        "The capital of Germany is Berlin.",
        "of Germany is Berlin",
        "Four million people, and I do not know",
        "The capitol of Jermany is Berlin",  # as an echo is heard
        "Berlin.",
        "million people",
    ],
)
def test_the_answers_own_words_are_its_echo(text: str) -> None:
    assert is_echo(text, ANSWER)


@pytest.mark.parametrize(
    "text",
    [
        "What is the capital of France?",
        "And the capital of France?",
        "What is the capital of Germany?",
        "No.",  # stands in "know", and is no word of it
        "How many people?",
        "Tell me a joke.",
        "",
    ],
)
def test_what_people_say_is_no_echo(text: str) -> None:
    assert not is_echo(text, ANSWER)


@given(st.text(max_size=40), st.text(max_size=80))
def test_any_words_can_be_judged(text: str, spoken: str) -> None:
    assert not is_echo(text, "")
    is_echo(text, spoken)


@given(st.data())
def test_each_part_of_an_answer_is_its_echo(data: st.DataObject) -> None:
    words = ANSWER.split()
    first = data.draw(st.integers(0, len(words) - 1))
    last = data.draw(st.integers(first, len(words) - 1))
    assert is_echo(" ".join(words[first : last + 1]), ANSWER)
