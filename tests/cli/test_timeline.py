from __future__ import annotations

from collections.abc import Sequence

from assistant.cli.timeline import Timeline
from assistant.messages import (
    AnyMessage,
    MicrophoneEnded,
    PlaybackStarted,
    Sentence,
    SpeechResumed,
    SpeechStarted,
    Token,
    Transcript,
    TurnEnded,
    TurnFinished,
)

TURN: list[AnyMessage] = [
    SpeechStarted(7, 1.0),
    TurnEnded(7, 0, speech_end_s=2.0, at_s=2.7),
    Transcript(7, 0, "Hello?", "en", 0.9, at_s=2.75),
    Token(7, 0, " One", at_s=2.8),
    Token(7, 0, ". Two.", at_s=2.9),
    Sentence(7, 0, 0, "One.", last=False, at_s=2.85),
    Sentence(7, 0, 1, "Two.", last=True, at_s=2.95),
    PlaybackStarted(7, 3.0),
    TurnFinished(7, 4.0, "answered"),
]


def fed(timeline: Timeline, messages: Sequence[AnyMessage]) -> list[tuple[object, ...]]:
    events = [event for message in messages for event in timeline.feed(message)]
    return [(event["event"], event["t"], event["turn"], event["text"]) for event in events]


def test_a_turn_is_told_once_step_by_step() -> None:
    timeline = Timeline()
    assert fed(timeline, TURN) == [
        ("speech_start", 1.0, 7, ""),
        ("end_of_turn", 2.7, 7, ""),
        ("transcript", 2.75, 7, "Hello?"),
        ("first_token", 2.8, 7, " One"),
        ("answer", 2.95, 7, "One. Two."),
        ("first_sound", 3.0, 7, ""),
        ("done", 4.0, 7, ""),
    ]
    assert (timeline.started, timeline.finished) == (1, 1)
    assert timeline.lines(7) == [
        "      700 ms  end of turn",
        "      750 ms  transcript",
        "      800 ms  first token",
        "      850 ms  first sentence",
        "     1000 ms  first sound",
        "     2000 ms  done",
    ]
    timeline.forget(7)
    assert timeline.lines(7) == []


def test_the_end_of_speech_goes_with_the_end_of_the_turn() -> None:
    timeline = Timeline()
    timeline.feed(TURN[0])
    assert timeline.feed(TURN[1])[0]["speech_end"] == 2.0


def test_what_killed_workers_repeat_is_told_once() -> None:
    timeline = Timeline()
    doubled = [message for message in TURN[:-1] if not isinstance(message, Token) for _ in range(2)]
    doubled = [message for n, message in enumerate(doubled) if n != 1]  # one start
    names = [name for name, *_ in fed(timeline, doubled)]
    assert [name for name in names if name != "answer"] == [
        "speech_start", "end_of_turn", "transcript", "first_sound",
    ]  # fmt: skip


def test_an_apology_replaces_the_answer_that_was_begun() -> None:
    timeline = Timeline()
    begun = [
        *TURN[:4],
        Sentence(7, 1, 0, "Sorry.", last=True, at_s=5.0),
        TurnFinished(7, 6.0, "failed", "Why."),
    ]
    assert fed(timeline, begun)[-2:] == [("answer", 5.0, 7, "Sorry."), ("done", 6.0, 7, "Why.")]


def test_turns_that_overlap_are_kept_apart_and_strange_ones_ignored() -> None:
    timeline = Timeline()
    other: list[AnyMessage] = [SpeechStarted(8, 3.1), Token(8, 0, "Other.", 3.2)]
    strange: list[AnyMessage] = [
        Token(9, 0, "No.", 1.0),
        TurnFinished(9, 1.0, "answered"),
        PlaybackStarted(9, 1.0),
        SpeechResumed(7, 1),
        MicrophoneEnded(),
    ]
    events = fed(timeline, [*TURN[:4], *other, *strange, *TURN[4:]])
    assert ("answer", 2.95, 7, "One. Two.") in events
    assert [turn for _, _, turn, _ in events] == [7, 7, 7, 7, 8, 8, 7, 7, 7]
    assert (timeline.started, timeline.finished) == (2, 1)
    assert timeline.lines(8) == []
