"""What the turn state machine has done before it is known that the person has finished, or asks at all."""

from __future__ import annotations

import msgspec
import pytest
from turn_room import PCM, TTL_S, Room, transcript, utterance

from assistant.daemon.turn import CancelWork, Enqueue, Notify, Tell
from assistant.messages import (
    Ask,
    Exchange,
    Failure,
    NextTurn,
    Prefill,
    Question,
    Recognise,
    SpeechPaused,
    SpeechResumed,
    SpeechStarted,
    Token,
    TurnAccepted,
    TurnEnded,
    Worked,
)


@pytest.fixture
def room() -> Room:
    return Room()


def test_vad_is_told_when_it_no_longer_pays_to_begin_early(room: Room) -> None:
    room.turns.speculation.pays = False
    room.starts()
    assert Notify("vad", NextTurn(2, speculate=False)) in room.actions


def test_what_was_said_is_read_when_nobody_asks(room: Room) -> None:
    room.speaks()
    room.answers("Because.")
    room.asks(7, Ask("And?"))
    room.is_heard(0)
    assert room.work(Prefill) == []  # a question is being answered
    room.answers("So.", turn=3)
    assert room.work(Prefill) == [Prefill((Exchange("And?", "So. "),), "", 1)]
    room.note(room.turns.client_left(7, room.now_s))
    assert room.actions == [
        CancelWork(0, 1),
        Enqueue("llm", Prefill((Exchange("Why?", "Because."),), "", 2)),
    ]
    room.note(room.turns.client_left(8, room.now_s))
    assert room.actions == []  # it had not asked anything
    room.note(room.turns.stage_left("llm", room.now_s))
    room.asks(8, Ask("Now?"))
    assert room.work(Question) == [Question(4, 0, "Now?")]
    room.answers("Yes.", turn=4)
    assert room.work(Prefill) == []  # there is no worker that could
    room.note(room.turns.stage_ready("llm", room.now_s))
    assert room.work(Prefill) == [Prefill((Exchange("Why?", "Because."),), "", 3)]
    assert room.turns.again(room.work(Prefill)[0]) is None


def test_the_language_model_reads_how_the_question_begins(room: Room) -> None:
    so_far = msgspec.structs.replace(utterance(), so_far=True)
    room.starts()
    assert room.fact("vad", so_far) == [Enqueue("stt", so_far)]
    begun = msgspec.structs.replace(transcript(text="What is the cap"), so_far=True)
    assert room.fact("stt", begun) == [Enqueue("llm", Prefill((), "What is the", 1))]
    assert room.fact("stt", msgspec.structs.replace(begun, text="What")) == []
    room.pauses()
    room.is_understood(text="What is the moon?")
    assert room.actions == [CancelWork(0, 1), Enqueue("llm", Question(1, 0, "What is the moon?"), TTL_S)]
    assert room.fact("stt", begun) == [], "the whole is known already"
    room.resumes()
    room.fact("vad", msgspec.structs.replace(so_far, revision=1))
    assert room.fact("stt", begun) == [], "stale"
    room.ends(revision=1)
    assert room.fact("vad", msgspec.structs.replace(so_far, revision=1)) == []
    assert [type(message) for message in room.published] == [
        SpeechStarted,
        SpeechPaused,
        SpeechResumed,
        TurnEnded,
    ]


def test_one_beginning_is_read_at_a_time_and_only_while_nothing_else_is(room: Room) -> None:
    so_far = msgspec.structs.replace(utterance(), so_far=True)
    begun = msgspec.structs.replace(transcript(text="What is the cap"), so_far=True)
    read = [Enqueue("stt", so_far)]
    room.starts()
    assert room.fact("vad", so_far) == read
    assert room.fact("vad", so_far) == [], "one is being read"
    room.fact("stt", begun)
    assert room.fact("vad", so_far) == read
    room.fact("stt", Failure("stt", 1, 0, "A defect."))
    assert not room.turns.turns()[0].failure, "the whole may yet be read"
    assert room.fact("vad", so_far) == read
    room.note(room.turns.stage_left("stt", room.now_s))
    assert room.fact("vad", so_far) == [], "nobody could"
    room.note(room.turns.stage_ready("stt", room.now_s))
    room.asks(7, Recognise(PCM, 16_000, 100))
    assert room.fact("vad", so_far) == [], "a client waits"
    room.fact("stt", transcript(3, text="Words."))
    assert room.fact("vad", so_far) == read
    room.pauses()
    assert room.fact("vad", so_far) == [], "the whole is to be read"


@pytest.mark.parametrize(("took_s", "hurry"), [(0.5, True), (2.0, False)])
def test_a_slow_model_is_not_asked_to_hurry(room: Room, took_s: float, hurry: bool) -> None:
    room.speaks()
    for _ in range(8):
        room.fact("llm", Token(1, 0, "word ", room.now_s))
    room.fact("llm", Worked("llm", 1, 0, 1.0, 2.0, 2.0 + took_s))
    room.answers("Because.")
    room.is_heard(0)
    room.speaks(2)
    room.starts(3)
    room.pauses(3)
    room.is_understood(3)
    asked = [q for q in room.work(Question) if isinstance(q, Question)]
    room.note(room.turns.stage_left("llm", room.now_s))
    room.answers("So.", turn=2)
    room.is_heard(0, turn=2)
    asked += [q for q in room.work(Question) if isinstance(q, Question)]
    assert [q.hurry for q in asked] == [hurry]
    again = room.turns.again(asked[0])
    assert isinstance(again, Question)
    assert again.hurry is hurry, "a successor cuts the answer at the same places"


def test_prefilling_that_is_over_needs_no_cancelling(room: Room) -> None:
    room.speaks()
    room.answers("Because.")
    room.is_heard(0)
    assert len(room.work(Prefill)) == 1
    room.fact("llm", Worked("llm", 0, 1, 1.0, 2.0, 2.0))
    room.asks(7, Ask("And?"))
    assert room.actions == [Tell(7, TurnAccepted(3)), Enqueue("llm", Question(3, 0, "And?"))]


def test_nobody_waits_for_what_was_said_so_far(room: Room) -> None:
    room.starts()
    so_far = msgspec.structs.replace(utterance(), so_far=True)
    assert room.turns.again(so_far) is None
    assert room.note(room.turns.set_aside("stt", so_far, room.now_s)) == []
    assert room.note(room.turns.lost("stt", so_far, "The queue is full.", room.now_s)) == []
    room.pauses()
    room.is_understood()
    room.ends()
    assert not room.turns.turns()[0].failure


def test_how_a_question_begins_matters_only_to_who_has_the_floor(room: Room) -> None:
    room.speaks()
    room.starts(2)
    begun = msgspec.structs.replace(transcript(2, text="What is the cap"), so_far=True)
    assert room.fact("stt", begun) == []


def test_vad_is_told_how_often_to_look_once_it_is_known_how_long_reading_takes(room: Room) -> None:
    assert room.fact("stt", Worked("stt", 0, 0, 1.0, 1.0625, 1.0625)) == [
        Notify("vad", NextTurn(1, look_every_ms=500))
    ]
    room.starts()
    room.pauses()
    room.fact("stt", Worked("stt", 1, 0, 1.0, 1.25, 1.25))
    room.is_understood()
    room.ends()
    assert Notify("vad", NextTurn(2, settled=1000, look_every_ms=1250)) in room.actions
