"""How long the steps of a turn took: of the state machine's turns, and the line in the log."""

from __future__ import annotations

import logging

import pytest

from assistant.config import Config
from assistant.daemon.times import in_words
from assistant.daemon.turns import Turns
from assistant.messages import (
    AnyMessage,
    Ask,
    Failure,
    PlaybackStarted,
    Sentence,
    SpeechDropped,
    SpeechResumed,
    SpeechStarted,
    Spoken,
    Stage,
    Token,
    Transcript,
    TurnEnded,
    TurnStatus,
    Utterance,
)

Facts = list[tuple[float, Stage, AnyMessage]]

SPOKEN: Facts = [
    (10.0, "vad", SpeechStarted(1, 10.0)),
    (11.2, "vad", Utterance(1, 0, bytes(2), 16_000, 900, 11.0)),
    (11.3, "stt", Transcript(1, 0, "Why", "en", 0.9, 11.3)),
    (11.4, "llm", Token(1, 0, "Stale.", 11.4)),
    (11.5, "vad", SpeechResumed(1, 1)),
    (12.5, "vad", Utterance(1, 1, bytes(2), 16_000, 1_900, 12.3)),
    (12.6, "stt", Transcript(1, 1, "Why me?", "en", 0.9, 12.6)),
    (12.8, "llm", Token(1, 1, "Because", 12.8)),
    (12.9, "llm", Token(1, 1, " so.", 12.9)),
    (12.9, "llm", Sentence(1, 1, 0, "Because so.", True, 12.9)),
    (13.0, "vad", TurnEnded(1, 1, 12.3, 13.0)),
    (13.2, "tts", PlaybackStarted(1, 13.2)),
    (16.4, "tts", Spoken(1, 1, 0, 1.0)),
]
"""A question with a false pause, and its answer."""


def play(facts: Facts) -> Turns:
    turns = Turns(Config())
    turns.stage_joined("vad")
    for now_s, stage, message in facts:
        turns.from_stage(stage, message, now_s)
    return turns


def test_a_spoken_turn() -> None:
    (turn,) = play(SPOKEN).turn_log.recent
    assert (turn.turn, turn.outcome, turn.finished_at_s) == (1, "answered", 16.4)
    assert turn.speech_s == pytest.approx(2.3)
    assert turn.transcript_s == pytest.approx(0.3)
    assert turn.first_token_s == pytest.approx(0.5), "of the last revision"
    assert turn.first_sound_s == pytest.approx(0.9)
    assert turn.done_s == pytest.approx(4.1)


def test_a_typed_turn_counts_from_its_request() -> None:
    turns = Turns(Config())
    turns.from_client(7, Ask("Why?"), 50.0)
    turns.from_stage("llm", Token(2, 0, "Because.", 50.5), 50.6)
    turns.from_stage("llm", Sentence(2, 0, 0, "Because.", True, 50.7), 50.7)
    (turn,) = turns.turn_log.recent
    assert turn.done_s == pytest.approx(0.7)
    assert turn == TurnStatus(2, "answered", 50.7, None, None, 0.5, None, turn.done_s)


def test_a_step_before_the_end_of_speech_took_no_time() -> None:
    """A dead vad worker's turn ends when it is given up, long after its transcript."""
    (turn,) = play([*SPOKEN[:10], (30.0, "vad", TurnEnded(1, 1, 30.0, 30.0)), *SPOKEN[11:]]).turn_log.recent
    assert (turn.transcript_s, turn.first_token_s, turn.done_s) == (0.0, 0.0, 0.0)


FAILED: Facts = [
    *SPOKEN[:6],
    (13.0, "vad", TurnEnded(1, 1, 12.3, 13.0)),
    (13.1, "stt", Failure("stt", 1, 1, "The stt stage met a defect.")),
    (13.5, "tts", PlaybackStarted(1, 13.5)),
    (15.0, "tts", Spoken(1, 2, 0, 1.0)),
]


@pytest.mark.parametrize(
    ("facts", "level", "line"),
    [
        (
            SPOKEN,
            logging.INFO,
            "turn 1 answered: 2.3 s of speech, transcript after 0.3 s, first token after 0.5 s, first sound "
            "after 0.9 s, 4.1 s in all",
        ),
        (
            FAILED,
            logging.WARNING,
            "turn 1 failed (The stt stage met a defect): 2.3 s of speech, first sound after 1.2 s, "
            "2.7 s in all",
        ),
        (
            [
                *SPOKEN[:2],
                (11.3, "stt", Transcript(1, 0, "", "en", 0.1, 11.3)),
                (11.7, "vad", TurnEnded(1, 0, 11.0, 11.7)),
            ],
            logging.INFO,
            "turn 1 had nothing to answer: 1.0 s of speech, transcript after 0.3 s, 0.7 s in all",
        ),
    ],
    ids=["answered", "failed", "nothing"],
)
def test_one_line_a_turn(facts: Facts, level: int, line: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    play(facts)
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [(level, line)]


def test_a_noise_is_no_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    play([SPOKEN[0], (10.2, "vad", SpeechDropped(1))])
    assert not caplog.records


def test_what_did_not_happen_is_left_out() -> None:
    assert in_words(TurnStatus(1, "cancelled", 1.0, None, None, None, None, 0.04)) == "0.0 s in all"
