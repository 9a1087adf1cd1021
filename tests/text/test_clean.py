# ruff: noqa: RUF001 - characters that look like others are what is tested

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistant.text.clean import clean_question, printable

FORBIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
ATOMS = [
    "\x1b", "\x1b[", "\x9b", "31m", "\x1b]0;", "\x9d", "\x07", "\x1b\\", "\r", "\n", "\t", " ", "a",
    "é", "e\u0301", "\u200b", "\u200c", "\u200d", "\ufeff", "\u202e", "\u2066", "\ud800", "\udc80", "م",
    "خ", "क", "्", "\x85", "[", ";",
]  # fmt: skip
anything = st.text(st.characters()) | st.lists(st.sampled_from(ATOMS), max_size=12).map("".join)


@pytest.mark.parametrize(
    ("pasted", "cleaned"),
    [
        ("What is the capital of France?", "What is the capital of France?"),
        ("  one\ttwo \r\n three\rfour\n", "one\ttwo \n three\nfour"),
        ("a\x00b\x07c\x7fd\x9fe", "abcde"),
        ("\x1b[1;31mred\x1b[0m \x9b4mline\x9b0m", "red line"),
        ("\x1b]0;a title\x07text \x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "text link"),
        ("\x1bPorders\x1b\\text \x1b(Bmore \x1bcend", "text more end"),
        ("\x1b]0;never closed", "0;never closed"),
        ("the last character is an escape\x1b", "the last character is an escape"),
        ("ab\u202edc\u202c \u2066x\u2069", "abdc x"),
        ("\ufeffhe\u200bl\u200dlo\u2060\u00ad", "hello"),
        ("\ud83d lone \udca9", "lone"),
        ("cafe\u0301", "café"),
        ("ما هي عاصمة فرنسا؟", "ما هي عاصمة فرنسا؟"),
        ("מהי בירת צרפת?", "מהי בירת צרפת?"),
        ("می\u200cخواهم", "می\u200cخواهم"),  # a joiner that is part of the spelling
        ("What 🎈 is ½ of 8 €?", "What 🎈 is ½ of 8 €?"),
        (" \u200b\x00\n", ""),
    ],
)
def test_a_question_keeps_its_words_and_loses_what_nobody_sees(pasted: str, cleaned: str) -> None:
    assert clean_question(pasted) == cleaned


@settings(deadline=None)  # a busy machine is no defect
@given(anything)
def test_a_cleaned_question_is_plain_text(text: str) -> None:
    cleaned = clean_question(text)
    assert not FORBIDDEN.search(cleaned)
    assert cleaned.encode("utf-8").decode("utf-8") == cleaned
    assert cleaned == cleaned.strip() == unicodedata.normalize("NFC", cleaned)
    assert clean_question(cleaned) == cleaned


@settings(deadline=None)  # a busy machine is no defect
@given(st.text(st.characters(categories=["L", "N", "P"], max_codepoint=0x5FF, exclude_characters="\u00ad")))
def test_letters_digits_and_punctuation_stay(text: str) -> None:
    assert clean_question(text) == unicodedata.normalize("NFC", text)


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        ("  Paris.\n\n\t- it is  ", "  Paris.\n\n\t- it is  "),
        ("\x1b[2J\x1b[HParis\x07\x08\x08", "Paris"),
        ("\x1b]52;c;c2VjcmV0\x07Paris", "Paris"),
        ("over\rwritten\r\n", "over\nwritten\n"),
        ("\ud83dx", "\ufffdx"),
        ("a\u202eb", "ab"),
        ("👨\u200d👩\u200d👧 می\u200cخواهم", "👨\u200d👩\u200d👧 می\u200cخواهم"),
    ],
)
def test_an_answer_gives_the_terminal_no_orders(answer: str, shown: str) -> None:
    assert printable(answer) == shown


@settings(deadline=None)  # a busy machine is no defect
@given(anything)
def test_what_is_printable_is_plain_text(text: str) -> None:
    shown = printable(text)
    assert not FORBIDDEN.search(shown)
    assert shown.encode("utf-8").decode("utf-8") == shown
    assert printable(shown) == shown


@settings(deadline=None)  # a busy machine is no defect
@given(st.lists(anything, max_size=4))
def test_an_answer_printed_piece_by_piece_gives_no_orders_either(pieces: list[str]) -> None:
    assert not FORBIDDEN.search("".join(map(printable, pieces)))
