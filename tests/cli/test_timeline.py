from __future__ import annotations

from collections.abc import Sequence

from assistant.cli.timeline import Timeline
from assistant.messages import (
    AnyMessage,
    Gap,
    MicrophoneEnded,
    PlaybackStarted,
    Sentence,
    SpeechPaused,
    SpeechResumed,
    SpeechStarted,
    Token,
    Transcript,
    TurnEnded,
    TurnFinished,
    Worked,
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


def test_what_the_stages_did_and_when_it_was_silent_inside_an_answer() -> None:
    timeline = Timeline()
    timeline.feed(SpeechStarted(7, 1.0))
    shown = [
        *timeline.feed(SpeechPaused(7, 2, speech_end_s=2.0, at_s=2.1)),
        *timeline.feed(Worked("llm", 7, 2, began_s=2.3, first_s=2.4, ended_s=2.9)),
        *timeline.feed(Gap(7, 2, 120, at_s=3.5)),
    ]
    about = {"turn": 7, "text": ""}
    assert shown == [
        {"event": "pause", "t": 2.1, **about, "revision": 2},
        {"event": "worked", "t": 2.9, **about, "text": "llm", "revision": 2, "began": 2.3, "first": 2.4},
        {"event": "gap", "t": 3.5, **about, "ms": 120},
    ]
    assert timeline.feed(SpeechPaused(8, 0, 2.0, 2.1)) == []  # of a turn whose beginning nobody saw


def test_work_that_began_early_is_counted_by_what_became_of_it() -> None:
    timeline = Timeline()

    def turn(number: int, pauses: list[float], ended_s: float) -> None:
        timeline.feed(SpeechStarted(number, 0.5))
        for revision, at_s in enumerate(pauses):
            timeline.feed(SpeechPaused(number, revision, at_s - 0.1, at_s))
            timeline.feed(Worked("stt", number, revision, at_s, at_s + 0.25, at_s + 0.25))
        timeline.feed(TurnEnded(number, len(pauses) - 1, ended_s - 0.7, ended_s))
        timeline.feed(TurnFinished(number, 9.0, "answered"))

    turn(1, [1.0], 1.6)
    turn(2, [1.0, 2.0, 3.0], 3.6)
    turn(3, [1.6], 1.6)  # not early
    timeline.feed(TurnFinished(4, 9.0, "answered"))  # typed
    counted = timeline.speculation
    assert (counted.hits, counted.misses, counted.wasted_s) == (2, 2, 0.5)
