"""Asking back, and what people answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.text.confirmation import ASKING, SAY_AGAIN, Reply, asked_back, reply, without_no
from assistant.text.sentences import split_sentences

QUESTION = "What is the capital of Poland?"


@pytest.mark.parametrize(
    ("question", "language", "words"),
    [
        (QUESTION, "en", "Did you say: What is the capital of Poland?"),
        ("Set a timer for nine minutes.", "en", "Did you say: Set a timer for nine minutes?"),
        ("louder", "en", "Did you say: louder?"),
        ("Wie spät ist es?", "de", "Haben Sie gesagt: Wie spät ist es?"),
        ("¿Qué hora es?", "es", "¿Ha dicho: Qué hora es?"),
        ("Która godzina?", "pl", "Did you say: Która godzina?"),
    ],
)
def test_asked_back(question: str, language: str, words: str) -> None:
    assert asked_back(question, language) == words


def test_each_language_has_both_sentences() -> None:
    assert set(ASKING) == set(SAY_AGAIN)
    assert all(split_sentences(words) == [words] for words in SAY_AGAIN.values())


YES = {
    "en": "Yes. | yes | Yeah. | Yes, please. | Yes, yes. | Yep! | That's right. | Yes, that\u2019s right."
    " | Correct. | Uh-huh. | Yes, I did. | Okay. | YES | Yes, thank you.",
    "de": "Ja. | Ja, genau. | Stimmt. | Das ist richtig. | Ja, bitte. | Jawohl.",
    "fr": "Oui. | Oui, c'est ça. | Exactement. | D\u2019accord. | Oui, s'il vous plaît.",
    "es": "Sí. | Sí, claro. | Eso es. | Sí, por favor.",
    "it": "Sì. | Sì, esatto. | Va bene. | È giusto.",
    "nl": "Ja. | Ja, dat klopt. | Klopt. | Precies.",
}
NO = {
    "en": "No. | No, no. | Nope. | No, that's wrong. | I didn't. | No, I did not. | No, thanks. | "
    "That is not right.",
    "de": "Nein. | Nee. | Nein, das stimmt nicht. | Falsch. | Das habe ich nicht gesagt.",
    "fr": "Non. | Non, c'est faux. | Non, pas du tout. | Non merci.",
    "es": "No. | No, no es eso. | Incorrecto.",
    "it": "No. | No, è sbagliato. | Non è così.",
    "nl": "Nee. | Nee, dat klopt niet. | Fout.",
}
OTHER = {
    "en": "What is the capital of Spain? | Yes we can is a slogan of whom? | No one knows. | Stop. | "
    "Is it right? | "
    "Right or left? | Please. | Nobody. | Yesterday. | ... | ",
    "de": "Wie spät ist es? | Bitte? | Ja oder nein? | Jahr.",
    "fr": "Quelle heure est-il ? | Non plus.",
}


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        (text.strip(), language, expected)
        for expected, tables in ((Reply.YES, YES), (Reply.NO, NO), (Reply.OTHER, OTHER))
        for language, texts in tables.items()
        for text in texts.split("|")
    ],
)
def test_reply(text: str, language: str, expected: Reply) -> None:
    assert reply(text, QUESTION, language) is expected


def test_in_a_language_that_is_not_known_english_is_understood() -> None:
    assert reply("Yes.", QUESTION, "pl") is Reply.YES


@pytest.mark.parametrize(
    "again", [QUESTION, "what is the capital of poland", "What is... the capital of Poland!"]
)
def test_who_says_it_again_says_yes(again: str) -> None:
    assert reply(again, QUESTION, "en") is Reply.YES


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("No, what is the capital of Spain?", "what is the capital of Spain?"),
        ("No. Tell me a joke.", "Tell me a joke."),
        ("No, no, the moon.", "no, the moon."),
        ("No one knows.", "No one knows."),
        ("No,", "No,"),
        ("What, no moon?", "What, no moon?"),
        ("No, ...", "No, ..."),
    ],
)
def test_without_no(text: str, rest: str) -> None:
    assert without_no(text, "en") == rest


@given(st.text(max_size=40), st.sampled_from([*ASKING, "xx"]))
def test_any_text_is_one_of_the_three(text: str, language: str) -> None:
    assert isinstance(reply(text, QUESTION, language), Reply)
    assert text.endswith(without_no(text, language).rstrip() or "") or without_no(text, language) in text
    assert asked_back(text, language).endswith("?")
