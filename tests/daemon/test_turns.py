"""The turn state machine: facts in, actions out.

Most cases are conversations with a `Room`, which holds the machine, a clock, and what the actions led to.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from turn_room import TTL_S, Room, sentence, transcript, utterance

from assistant.config import Config, Log, Vad
from assistant.daemon.answers import APOLOGY, SENTENCES_AHEAD
from assistant.daemon.turn import Action, CancelWork, Enqueue, Notify, Publish
from assistant.daemon.turns import Turns
from assistant.messages import (
    AnyMessage,
    Ask,
    Exchange,
    Gap,
    Hangover,
    MicrophoneEnded,
    NextTurn,
    PlaybackStarted,
    Prefill,
    Question,
    Say,
    Sentence,
    SoundReady,
    SpeechDropped,
    SpeechPaused,
    SpeechResumed,
    SpeechStarted,
    Spoken,
    Stage,
    Token,
    Transcript,
    TurnAccepted,
    TurnEnded,
    TurnFinished,
    Worked,
)


@pytest.fixture
def room() -> Room:
    return Room()


# ---------------------------------------------------------------- a spoken turn


def test_the_whole_spoken_turn_in_order(room: Room) -> None:
    started = SpeechStarted(1, 99.0)
    ended = TurnEnded(1, 0, 100.5, 101.2, settled=32_000)
    token = Token(1, 0, "Because. ", 102.0)
    made = Sentence(1, 0, 0, "Because.", last=True, at_s=102.1)
    steps: list[tuple[Stage, AnyMessage, list[Action]]] = [
        ("vad", started, [Publish(started), Notify("vad", NextTurn(2))]),
        ("vad", utterance(), [Enqueue("stt", utterance(), TTL_S)]),
        ("stt", transcript(), [Enqueue("llm", Question(1, 0, "Why?"), TTL_S)]),
        (
            "vad",
            ended,
            [Publish(ended), Publish(transcript()), Notify("tts", TurnEnded(1, 0, 100.0, 100.0))],
        ),
        ("llm", token, [Publish(token)]),
        ("llm", made, [Publish(made), Enqueue("tts", sentence(0, "Because.", last=True))]),
        (
            "tts",
            PlaybackStarted(1, 103.0),
            [Publish(PlaybackStarted(1, 103.0)), Notify("vad", PlaybackStarted(1, 103.0))],
        ),
        ("tts", Spoken(1, 0, 0, 0.5), [Publish(Spoken(1, 0, 0, 0.5))]),
        (
            "tts",
            Spoken(1, 0, 0, 1.0),
            [
                Publish(Spoken(1, 0, 0, 1.0)),
                Publish(TurnFinished(1, 100.0, "answered")),
                Notify("vad", TurnFinished(1, 100.0, "answered")),
                Enqueue("llm", Prefill((Exchange("Why?", "Because."),), "", 1)),
            ],
        ),
    ]
    for stage, message, actions in steps:
        assert room.fact(stage, message) == actions, message
    assert room.turns.turns() == []
    assert room.history() == (Exchange("Why?", "Because."),)


def test_the_answer_is_begun_before_the_turn_ends_and_shown_after(room: Room) -> None:
    room.starts()
    room.pauses()
    room.is_understood()
    room.answers("One.", "Two.")
    assert room.work(Sentence) == [sentence(1, "Two.", last=True)]
    assert [type(message) for message in room.published] == [SpeechStarted, SpeechPaused]
    room.ends()
    kinds = [type(message).__name__ for message in room.published[2:]]
    assert kinds == ["TurnEnded", "Transcript", *["Token", "Sentence"] * 2]
    assert Notify("tts", TurnEnded(1, 0, 100.0, 100.0)) in room.actions


def test_going_on_after_a_pause_makes_all_before_it_stale(room: Room) -> None:
    room.starts()
    room.pauses()
    room.is_understood(text="What is")
    room.answers("Half an answer.", last=False)
    room.resumes()
    assert room.actions == [CancelWork(1, 0), Publish(SpeechResumed(1, 1))]
    room.fact("stt", transcript(1, 0, "What is"))
    room.answers("More of it.", first=1)
    room.fact("tts", Spoken(1, 0, 0, 1.0))
    assert room.actions == []
    room.pauses(revision=1)
    room.is_understood(revision=1, text="What is the moon?")
    assert room.work(Question) == [Question(1, 1, "What is the moon?")]
    room.answers("A rock.", revision=1)
    room.ends(revision=1)
    room.is_heard(0, revision=1)
    shown = [m for m in room.published if isinstance(m, Transcript | Token | Sentence)]
    assert [m.revision for m in shown] == [1, 1, 1]
    assert room.history() == (Exchange("What is the moon?", "A rock."),)


def test_watchers_see_pauses_and_work_of_stale_revisions_too(room: Room) -> None:
    room.starts()
    room.fact("vad", msgspec.structs.replace(utterance(), at_s=1.1))
    room.resumes()
    work = Worked("stt", 1, 0, 1.1, 1.3, 1.3)
    room.fact("stt", work)
    gap = Gap(1, 1, 40, 3.0)
    room.fact("tts", gap)
    assert room.published[1:] == [SpeechPaused(1, 0, 1.0, 1.1), SpeechResumed(1, 1), work, gap]
    room.asks(7, Ask("Why?"))
    room.fact("llm", Worked("llm", 2, 0, 1.0, 2.0, 3.0))
    assert len(room.published) == 5  # of a client's work nobody else is told


@pytest.mark.parametrize(
    ("said", "at_once", "with_sound"),
    [
        ("Where is the moon?", None, 280),  # whole: as soon as there is an answer, and not before
        ("What is the", 1050, None),  # they will go on
        ("Set a timer", 1050, None),  # without a mark it went on
        ("How many legs?", None, None),  # one cannot tell
        ("", None, None),
    ],
)
def test_how_a_transcript_reads_decides_how_long_a_silence_ends_the_turn(
    room: Room, said: str, at_once: int | None, with_sound: int | None
) -> None:
    def wanted_ms() -> list[int]:
        notices = [action.message for action in room.actions if isinstance(action, Notify)]
        return [message.duration_ms for message in notices if isinstance(message, Hangover)]

    room.starts()
    room.pauses()
    room.is_understood(text=said)
    assert wanted_ms() == ([at_once] if at_once else [])
    room.fact("tts", SoundReady(1, 0))
    assert wanted_ms() == ([with_sound] if with_sound else [])
    room.resumes()
    room.fact("tts", SoundReady(1, 0))
    assert wanted_ms() == []
    room.pauses(revision=1)
    room.fact("tts", SoundReady(1, 1))  # of words that are not known yet: it cannot be
    assert wanted_ms() == []
    room.ends(revision=1)
    room.is_understood(revision=1, text="What is the")
    assert wanted_ms() == []  # it is over


@pytest.mark.parametrize(
    ("said", "wanted_ms"), [("What is the moon", 1050), ("How many legs?", 700), ("Where is the moon?", 700)]
)
def test_what_was_waited_for_is_not_once_its_weak_last_word_has_been_read(
    room: Room, said: str, wanted_ms: int
) -> None:
    """vad goes on waiting until it knows better: what was weak may have been noise."""
    room.starts()
    room.pauses()
    room.is_understood(text="What is the")
    room.resumes()
    room.pauses(revision=1)
    room.is_understood(revision=1, text=said)
    assert Notify("vad", Hangover(1, 1, wanted_ms)) in room.actions


def test_the_hangover_is_what_the_settings_say() -> None:
    room = Room()
    room.turns = Turns(Config(vad=Vad(hangover_ms=2100)))
    room.turns.stage_joined("vad")
    room.starts()
    room.pauses()
    room.is_understood(text="What is the")
    assert Notify("vad", Hangover(1, 0, 3150)) in room.actions


def test_an_utterance_alone_moves_the_revision(room: Room) -> None:
    """The news that the person went on may have died with vad."""
    room.starts()
    room.pauses()
    room.pauses(revision=1)
    assert room.actions == [CancelWork(1, 0), Enqueue("stt", utterance(1, 1), TTL_S)]
    room.pauses(revision=0)
    assert room.actions == []


def test_a_transcript_may_come_after_the_end(room: Room) -> None:
    room.starts()
    room.pauses()
    room.ends()
    room.is_understood()
    assert room.actions == [Publish(transcript()), Enqueue("llm", Question(1, 0, "Why?"), TTL_S)]


@pytest.mark.parametrize("text", ["", "   ", "\x00\u200b"])
@pytest.mark.parametrize("before_the_end", [True, False])
def test_nothing_understood_is_nothing_asked(room: Room, text: str, before_the_end: bool) -> None:
    room.starts()
    room.pauses()
    steps: list[Callable[[], None]] = [lambda: room.is_understood(text=text), room.ends]
    for step in steps if before_the_end else reversed(steps):
        assert room.finished() == []
        step()
    assert room.finished() == [(1, "nothing")]
    assert room.turns.turns() == []
    assert room.history() == ()


def test_a_noise_is_forgotten(room: Room) -> None:
    room.starts()
    room.fact("vad", SpeechDropped(1, settled=500))
    assert room.finished() == [(1, "nothing")]
    assert room.turns.turns() == []


@pytest.mark.parametrize("words", [False, True])
def test_the_log_has_words_only_where_wanted(words: bool, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    room = Room()
    room.turns = Turns(Config(log=Log(words=words)))
    room.turns.stage_joined("vad")
    room.speaks()
    room.answers("Because.")
    room.is_heard(0)
    assert room.finished() == [(1, "answered")]
    assert "turn 1 answered" in caplog.text
    assert ("Why?" in caplog.text, "Because." in caplog.text) == (words, words)


def test_only_the_number_given_out_begins_a_turn(room: Room) -> None:
    room.starts(5)
    assert room.actions == []
    room.starts(1)
    room.starts(1)
    assert room.actions == []
    assert len(room.turns.turns()) == 1


def test_a_second_transcript_of_a_revision_is_ignored(room: Room) -> None:
    room.speaks()
    room.is_understood(text="Something else?")
    assert room.actions == []


def test_tts_gets_a_few_sentences_at_a_time(room: Room) -> None:
    room.speaks()
    texts = [f"Sentence {number}." for number in range(6)]
    room.answers(*texts)
    offered = SENTENCES_AHEAD
    for index in range(6):
        room.is_heard(index)
        expected = [sentence(offered, texts[offered], offered == 5)] if offered < 6 else []
        assert room.work(Sentence) == expected
        offered += len(expected)
    assert room.finished() == [(1, "answered")]


def test_the_end_may_be_told_by_an_empty_sentence(room: Room) -> None:
    room.speaks()
    room.answers("One.", last=False)
    room.is_heard(0)
    assert room.finished() == []
    room.fact("llm", Sentence(1, 0, 1, "", last=True))
    assert room.finished() == [(1, "answered")]


def test_no_answer_at_all_is_apologised_for(room: Room) -> None:
    room.speaks()
    room.fact("llm", Sentence(1, 0, 0, "", last=True))
    assert room.work(Sentence) == [sentence(0, APOLOGY, last=True, revision=1)]
    room.is_heard(0, revision=1)
    assert room.finished() == [(1, "failed")]


def test_what_was_heard_of_a_sentence_never_goes_back(room: Room) -> None:
    room.speaks()
    room.answers("One two three four.")
    for fraction in (0.5, 0.25):
        room.is_heard(0, fraction)
    (turn,) = room.turns.turns()
    assert turn.fraction == 0.5
    room.is_heard(3)  # a sentence that was never made
    assert turn.finished_sentences == 0


def test_the_microphones_end_is_an_event(room: Room) -> None:
    assert room.fact("vad", MicrophoneEnded()) == [Publish(MicrophoneEnded())]


# ---------------------------------------------------------------- turns in line


def test_the_second_turn_is_asked_when_the_first_is_over_and_knows_of_it(room: Room) -> None:
    room.speaks(1)
    room.answers("One.", "Two.")
    room.speaks(2)
    assert room.work(Question) == []
    room.is_heard(0)
    room.is_heard(1)
    assert room.work(Question) == [Question(2, 0, "Why?", (Exchange("Why?", "One. Two."),))]
    assert room.finished() == [(1, "answered")]


def test_a_turn_without_words_does_not_hold_up_the_line(room: Room) -> None:
    room.starts(1)
    room.pauses(1)
    room.ends(1)
    room.speaks(2)
    room.is_understood(1, text="")
    assert room.work(Question) == [Question(2, 0, "Why?")]


def test_a_question_that_waited_too_long_in_line_is_not_answered(room: Room) -> None:
    room.speaks(1)
    room.answers("One.")
    room.speaks(2)
    room.now_s += TTL_S + 1
    room.speaks(3)
    room.is_heard(0)
    assert room.finished() == [(1, "answered"), (2, "failed")]
    assert room.work(Question) == [Question(3, 0, "Why?", (Exchange("Why?", "One."),))]


def test_spoken_requests_stand_in_the_same_line(room: Room) -> None:
    room.speaks(1)
    room.answers("One.")
    room.asks(7, Say("Announcement.", to_client=False))
    assert room.told(7) == [TurnAccepted(3)]
    assert room.work(Sentence) == []
    room.is_heard(0)
    assert room.work(Sentence) == [sentence(0, "Announcement.", last=True, turn=3)]
    room.is_heard(0, turn=3)
    assert room.told(7) == [TurnFinished(3, 100.0, "answered")]
    assert room.history() == (Exchange("Why?", "One."),)
