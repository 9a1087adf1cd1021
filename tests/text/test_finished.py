from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.text.finished import Ending, hangover_ms, reads_as

FINISHED, UNFINISHED, UNCLEAR = Ending.FINISHED, Ending.UNFINISHED, Ending.UNCLEAR


@pytest.mark.parametrize(
    ("transcript", "language", "ending"),
    [
        ("What is the capital of Germany?", "en", FINISHED),
        ("Louder.", "en", FINISHED),
        ("Who is it for?", "en", UNCLEAR),
        ('He said "no."', "en", FINISHED),
        ("It is ten o'clock!", "en", FINISHED),
        ("What is the capital of?", "en", UNFINISHED),
        ("What is the capital of the", "en", UNFINISHED),
        ("What is the capital of the?", "en", UNFINISHED),  # a recogniser likes to put a mark
        ("I would like to know,", "en", UNFINISHED),
        ("I would like to know...", "en", UNFINISHED),
        ("I would like to know…", "en", UNFINISHED),
        ("Set a timer for", "en", UNFINISHED),
        ("Turn on the light and", "en", UNFINISHED),
        ("Um", "en", UNFINISHED),
        ("Which planet is?", "en", UNFINISHED),
        ("How much is two plus?", "en", UNFINISHED),
        ("I know who he is.", "en", UNCLEAR),
        ("Do you know where my keys are?", "en", UNCLEAR),
        ("Set an alarm for 7.", "en", UNCLEAR),
        ("Tell me what it's.", "en", UNCLEAR),
        ("Schalte das Licht ein.", "de", UNCLEAR),
        ("Welcher Planet ist?", "de", UNFINISHED),
        ("A la una.", "es", UNCLEAR),
        ("What is the capital?", "en", UNCLEAR),  # of Germany, perhaps
        ("Tell me the capital.", "en", UNCLEAR),
        ("What's the time?", "en", UNCLEAR),
        ("What is the capital city?", "en", FINISHED),
        ("What?", "en", UNFINISHED),
        ("What.", "en", UNFINISHED),
        ("How many?", "en", UNFINISHED),
        ("How many legs?", "en", UNCLEAR),
        ("What is two?", "en", UNCLEAR),  # plus three, perhaps
        ("How much is zero.", "en", UNCLEAR),
        ("What is twelve?", "en", UNCLEAR),
        ("What's two hundred and forty-five?", "en", UNCLEAR),
        ("How much is two plus three?", "en", FINISHED),
        ("How many legs has a spider?", "en", FINISHED),
        ("Set a timer for five minutes", "en", UNFINISHED),  # no mark: it went on
        ("42", "en", UNCLEAR),
        ("", "en", UNCLEAR),
        ("   ", "en", UNCLEAR),
        ("Was ist die Hauptstadt von Polen?", "de", FINISHED),
        ("Was ist die Hauptstadt von", "de", UNFINISHED),
        ("Ich hätte gern, weil.", "de", UNFINISHED),
        ("How die.", "en", FINISHED),  # a German article is an English word
        ("今何時ですか。", "ja", FINISHED),
        ("今何時ですか", "ja", UNCLEAR),
    ],
)
def test_how_a_transcript_reads(transcript: str, language: str, ending: Ending) -> None:
    assert reads_as(transcript, language) is ending


@pytest.mark.parametrize(
    ("usual", "finished", "unfinished"),
    [(700, 280, 1050), (500, 260, 900), (1500, 600, 2250), (300, 260, 900), (100, 100, 900)],
)
def test_the_silence_that_ends_it(usual: int, finished: int, unfinished: int) -> None:
    assert hangover_ms(FINISHED, usual) == finished
    assert hangover_ms(UNCLEAR, usual) == usual
    assert hangover_ms(UNFINISHED, usual) == unfinished


@given(st.text(), st.sampled_from(["en", "de", "fr", "es", "it", "ja"]), st.integers(100, 60_000))
def test_any_text_reads_as_something_and_only_the_unfinished_waits_longer(
    text: str, language: str, usual: int
) -> None:
    ending = reads_as(text, language)
    assert (hangover_ms(ending, usual) > usual) <= (ending is UNFINISHED)
    assert reads_as(text + " the", "en") is UNFINISHED
