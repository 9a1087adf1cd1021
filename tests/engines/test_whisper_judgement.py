"""When a reading is believed, and the judgement on what Whisper may have invented."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.engines.whisper_judgement import (
    Reading,
    compression_ratio,
    ends_twice,
    invented,
    is_final,
    is_sure,
    likeliest,
    most_tokens,
    repeats,
)

WORDS = st.lists(st.sampled_from(["what", "time", "is", "it", "now"]), min_size=1, max_size=8)


def reading(
    text: str = " What time is it?",
    tokens: int = 6,
    avg_logprob: float = -0.2,
    no_speech_prob: float = 0.1,
    compression_ratio: float = 0.8,
) -> Reading:
    return Reading(text, tokens, avg_logprob, no_speech_prob, compression_ratio)


@pytest.mark.parametrize(
    ("quick", "sure"),
    [
        (reading(), True),
        (reading(no_speech_prob=0.9), True),  # small models often doubt that it is speech
        (reading(avg_logprob=-0.59), True),
        (reading(avg_logprob=-0.61), False),
        (reading(compression_ratio=2.5), False),
        (reading(tokens=49), True),
        (reading(tokens=50), False),  # it had not come to an end
        (reading(" What time is it? What time is it?"), False),
        (reading(" What time is it? What time"), True),  # the limit of tokens finds it
        (reading(""), True),
    ],
)
def test_what_stands_after_a_quick_reading(quick: Reading, sure: bool) -> None:
    assert is_sure(quick, 50) is sure


@pytest.mark.parametrize(
    ("careful", "final"),
    [
        (reading(avg_logprob=-0.9), True),
        (reading(avg_logprob=-1.1), False),
        (reading(avg_logprob=-1.1, no_speech_prob=0.7), True),
        (reading(avg_logprob=-1.1, no_speech_prob=0.7, compression_ratio=3.0), True),
        (reading(compression_ratio=2.5), False),
        (reading(" Test test test."), True),
    ],
)
def test_what_needs_no_higher_temperature(careful: Reading, final: bool) -> None:
    assert is_final(careful) is final


def test_of_several_the_likeliest_that_does_not_repeat_itself() -> None:
    loop, poor, better = (
        reading(avg_logprob=-0.1, compression_ratio=5.0),
        reading(avg_logprob=-1.5),
        reading(avg_logprob=-1.2),
    )
    assert likeliest([loop, poor, better]) is better
    assert likeliest([loop]) is loop


@given(before=WORDS, said=WORDS)
def test_words_said_twice_at_the_end_are_found_however_they_are_written(
    before: list[str], said: list[str]
) -> None:
    assert ends_twice(" ".join([*before, *said]) + ", " + " ".join(said).capitalize() + ".")


@given(st.lists(st.sampled_from("abcdefghij"), unique=True))
def test_words_that_are_all_different_end_once(words: list[str]) -> None:
    assert not ends_twice(" ".join(words))


@pytest.mark.parametrize("text", ["", "...", "Is it what it is?", "No, no, I said ten minutes."])
def test_what_repeats_earlier_words_does_not_end_twice(text: str) -> None:
    assert not ends_twice(text)


@pytest.mark.parametrize(("duration_s", "tokens"), [(0.0, 25), (1.0, 50), (3.0, 100), (30.0, 222)])
def test_most_tokens(duration_s: float, tokens: int) -> None:
    assert most_tokens(duration_s) == tokens


def test_compression_ratio() -> None:
    assert compression_ratio("") == 0
    assert 0 < compression_ratio(" What time is it?") < 1
    assert compression_ratio(" I don't know." * 20) > 2.4


@pytest.mark.parametrize(
    ("text", "no_speech_prob", "avg_logprob", "compression_ratio", "voiced_ms", "verdict"),
    [
        # said by somebody
        (" Thank you.", 0.02, -0.15, 0.6, 520, False),
        (" Thank you very much.", 0.2, -0.5, 0.7, 900, False),
        (" Stop.", 0.25, -0.7, 0.4, 240, False),  # short, and not sure
        (" What time is it?", 0.65, -0.4, 0.7, 800, False),  # small models often doubt that it is speech
        (" What time is it?", 0.05, -1.2, 0.7, 800, False),  # mumbled
        (" Test test test test test test test test.", 0.1, -0.2, 2.6, 3000, False),  # a person testing it
        (" Bye.", 0.1, -0.3, 0.3, 300, False),
        (" What is the capital of Spain?", 0.0, -0.1, 0.8, 0, False),  # too faint for the voice detector
        (" 7", 0.1, -0.3, 0.1, 300, False),
        # stock phrases with any second sign
        (" Thank you.", 0.65, -0.3, 0.6, 2000, True),
        (" Thank you.", 0.4, -0.7, 0.6, 600, True),
        (" Thank you.", 0.1, -0.2, 0.6, 60, True),  # a click
        (" Thank you.", 0.35, -0.4, 0.6, 6000, True),  # two words in six seconds of hum
        (" Thanks for watching!", 0.2, -0.4, 0.7, 300, True),  # faster than anybody speaks
        (" Thank you. Thank you. Thank you.", 0.4, -0.65, 1.6, 900, True),
        (" Please like and subscribe!", 0.7, -0.5, 0.8, 1500, True),
        (" Subtitles by the Amara.org community", 0.7, -0.2, 0.8, 2000, True),
        (" you", 0.75, -0.9, 0.2, 400, True),
        # anything with two full signs
        (" And the trees were in the garden.", 0.7, -1.1, 0.9, 900, True),
        (" It was a dark night in the old town.", 0.7, -0.5, 0.9, 60, True),
        (" I don't know." * 20, 0.1, -0.1, 9.0, 1500, True),  # a loop, however sure
        (" No no no no no no no no no no no no.", 0.7, -0.2, 3.0, 1500, True),
        # in other languages, too
        (" Vielen Dank.", 0.05, -0.3, 0.6, 700, False),
        (" Vielen Dank.", 0.4, -0.7, 0.6, 700, True),
        (" Merci.", 0.1, -0.25, 0.4, 450, False),
        (" Merci.", 0.7, -0.25, 0.4, 450, True),
        (" Obrigado.", 0.1, -0.3, 0.5, 3000, False),  # one half sign beside it: drawn out
        (" Obrigado.", 0.4, -0.3, 0.5, 3000, True),
        (" Dziękuję za uwagę.", 0.1, -0.7, 0.7, 900, True),
        (" Tot de volgende keer!", 0.35, -0.3, 0.7, 900, True),
        (" Gracias por ver el video.", 0.05, -0.1, 0.7, 1200, False),  # nothing else speaks against it
        # what nobody says, however sure
        (" Untertitel im Auftrag des ZDF, 2017", 0.0, -0.1, 0.8, 1800, True),
        (" Sous-titrage ST' 501", 0.0, -0.1, 0.8, 1200, True),
        (" Napisy stworzone przez społeczność Amara.org", 0.0, -0.1, 0.8, 2000, True),
        (" Who pays for the subtitles of Amara.org?", 0.0, -0.1, 0.8, 2000, False),
        # said again and again
        (" Thank you. Thank you. Thank you.", 0.0, -0.1, 1.4, 1600, True),
        (" Thank you, thank you.", 0.0, -0.1, 1.1, 1100, False),
        (" Stop, stop, stop!", 0.25, -0.7, 0.9, 900, False),
        (" I don't know. I don't know. I don't know.", 0.2, -0.3, 1.9, 2500, False),
        (" I don't know. I don't know. I don't know.", 0.65, -0.7, 1.9, 2500, True),
        (" The. The. The. The. The.", 0.1, -0.2, 1.3, 1200, True),
        # no words at all
        (" [Music]", 0.0, -0.1, 0.5, 1500, True),
        (" (door closes) *sighs*", 0.0, -0.1, 0.8, 1500, True),
        ("", 0.0, 0.0, 0.0, 2000, True),
        (" ...", 0.0, 0.0, 0.1, 2000, True),
        (" \u266a\u266a", 0.0, 0.0, 0.1, 2000, True),
    ],
)
def test_invented(
    text: str,
    no_speech_prob: float,
    avg_logprob: float,
    compression_ratio: float,
    voiced_ms: int,
    verdict: bool,
) -> None:
    heard = reading(text, 6, avg_logprob, no_speech_prob, compression_ratio)
    assert invented(heard, voiced_ms) is verdict


@pytest.mark.parametrize(
    ("text", "times"),
    [
        ("", 1),
        ("Why?", 1),
        ("No, no.", 2),
        ("Thank you. Thank you. Thank you.", 3),
        ("Stop it. Stop it. Stop.", 1),
        ("ha ha ha ha", 4),
    ],
)
def test_repeats(text: str, times: int) -> None:
    assert repeats(text) == times


@given(said=WORDS, times=st.integers(1, 6))
def test_words_said_over_and_over_are_counted(said: list[str], times: int) -> None:
    """At least so many times, as the words may repeat themselves."""
    assert repeats(". ".join([" ".join(said)] * times)) % times == 0


@given(st.text(max_size=40), st.floats(0, 1), st.floats(-3, 0), st.floats(0, 5), st.integers(0, 9000))
def test_more_doubt_never_makes_it_more_believable(
    text: str, no_speech_prob: float, avg_logprob: float, compression_ratio: float, voiced_ms: int
) -> None:
    heard = reading(text, 6, avg_logprob, no_speech_prob, compression_ratio)
    if invented(heard, voiced_ms):
        assert invented(heard._replace(no_speech_prob=1.0), voiced_ms)
        assert invented(heard._replace(avg_logprob=-3.0), voiced_ms)
        assert invented(heard._replace(compression_ratio=9.0), voiced_ms)
