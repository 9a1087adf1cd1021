"""Whom a transcript is addressed to."""

# ruff: noqa: RUF001 - the letters and marks of other scripts are meant

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.text.addressing import Letters, question_after, question_behind


@pytest.mark.parametrize(
    ("phrase", "said", "question"),
    [
        ("computer", "Computer, what time is it?", "What time is it?"),
        ("computer", "computer what time is it", "What time is it"),
        ("Computer", "COMPUTER! What time is it?", "What time is it?"),
        ("computer", "Hey computer. What time is it?", "What time is it?"),
        ("computer", "Okay, computer, stop.", "Stop."),
        ("computer", "Computer.", ""),
        ("computer", "Hey, computer!", ""),
        ("computer", "Computor, what time is it?", "What time is it?"),
        ("computer", "Computor.", ""),
        ("computer", "computor", ""),
        ("computer", "I have bought a computer, computer.", "I have bought a computer."),
        ("computer", "Com puter, what time is it?", "What time is it?"),
        ("hey computer", "Hey, computer: lights on", "Lights on"),
        ("my dear house", "My dear house, is it warm?", "Is it warm?"),
        ("computer", "What time is it, computer?", "What time is it?"),
        ("computer", "Stop, Computer.", "Stop."),
        ("Élise", "elise quelle heure est-il ?", "Quelle heure est-il ?"),
        ("straße", "STRASSE, wie spät ist es?", "Wie spät ist es?"),
        ("дом", "Дом, который час?", "Который час?"),
        ("компьютер", "Компютер, который час?", "Который час?"),
        ("小助手", "小助手今天天气怎么样？", "今天天气怎么样？"),
        ("小助手", "小助手，今天天气怎么样？", "今天天气怎么样？"),
        ("كمبيوتر", "كمبيوتر، كم الساعة؟", "كم الساعة؟"),
        # not addressed
        ("computer", "What time is it?", None),
        ("computer", "", None),
        ("computer", "...", None),
        ("computer", "I have bought a computer.", None),
        ("computer", "What is a computer?", None),
        ("computer", "Computers are expensive.", None),
        ("computer", "Comp", None),
        ("computer", "Commuters take the train.", None),
        ("Anna", "And a dog was there.", None),
        ("Anna", "Hannah, come here.", None),
        ("computer", "Commuter trains are late.", None),
        ("computer", "Computed by hand.", None),
        ("computer", "Computer's broken.", None),
        ("computer", "Computer’s broken.", None),
        ("computer", "We need a desk, a computer.", None),
        ("computer", "We need chairs, commuters.", None),
        ("marvin", "Martin is coming.", None),
        ("jarvis", "Jar is open.", None),
        ("computer", "My computer, what a mess!", None),
        ("дом", "Домой, скорее!", None),
    ],
)
def test_who_is_called(phrase: str, said: str, question: str | None) -> None:
    assert question_behind(phrase, said) == question


@pytest.mark.parametrize(
    ("word", "said", "question"),
    [
        ("okay nabu", "What is the capital of Germany?", "What is the capital of Germany?"),
        ("okay nabu", "Okay Nabu, what is the capital of Germany?", "What is the capital of Germany?"),
        ("okay nabu", "OK, Nabu. What is it?", "What is it?"),
        ("okay nabu", "Okay Naboo what is it?", "What is it?"),
        ("okay nabu", "Nabu, what is it?", "What is it?"),
        ("okay nabu", "Bu. What is it?", "What is it?"),
        ("okay nabu", "Okay Nabu.", ""),
        ("okay nabu", "Okay, what is it?", "Okay, what is it?"),
        ("okay nabu", "But why?", "But why?"),
        ("okay nabu", "Abu Dhabi is how far away?", "Abu Dhabi is how far away?"),
        ("okay nabu", "Nabu what is it?", "What is it?"),
        ("alexa", "Alex Ferguson is how old?", "Alex Ferguson is how old?"),
        ("alexa", "Alex, what is it?", "What is it?"),
        ("alexa", "A taxi please.", "A taxi please."),
        ("hey jarvis", "Hey Jarvis what is it?", "What is it?"),
        ("hey jarvis", "His age?", "His age?"),
        ("alexa", "Alexa what is it?", "What is it?"),
        ("alexa", "A new day.", "A new day."),
        ("hey jarvis", "Hey Jervis, stop!", "Stop!"),
        ("hey mycroft", "Croft, tell me.", "Tell me."),
        ("hey mycroft", "", ""),
    ],
)
def test_what_is_left_of_a_wake_word_is_no_part_of_the_question(word: str, said: str, question: str) -> None:
    assert question_after(word, said) == question


@pytest.mark.parametrize("word", ["okay nabu", "hey jarvis", "hey mycroft", "alexa"])
@pytest.mark.parametrize(
    "first",
    [
        "Is",
        "A",
        "So",
        "Okay",
        "Hey",
        "My",
        "Was",
        "What",
        "Who",
        "How",
        "Ok",
        "As",
        "Left",
        "Soft",
        "Us",
        "I",
    ],
)
def test_the_first_word_of_a_question_is_kept(word: str, first: str) -> None:
    """Whatever the wake word sounds like at its end."""
    assert question_after(word, f"{first} it raining there?") == f"{first} it raining there?"


WORDS = st.text(st.characters(codec="utf-8"), max_size=40)


@given(WORDS, WORDS)
def test_any_text_has_an_answer_that_is_part_of_it(phrase: str, text: str) -> None:
    found = question_behind(phrase, text) if Letters(phrase).folded else None
    for question in (found, question_after("okay nabu", text)):
        assert question is None or len(Letters(question).folded) <= len(Letters(text).folded)


@given(st.sampled_from(["computer", "Elise", "小助手", "hey house"]), WORDS)
def test_who_is_called_as_is_written_is_always_called(phrase: str, rest: str) -> None:
    question = question_behind(phrase, f"{phrase}, {rest}")
    assert question is not None
    assert Letters(question).folded == Letters(rest).folded
