"""The turns that clients ask for."""

from __future__ import annotations

import pytest
from turn_room import PCM, Room, sentence, transcript, utterance

from assistant.daemon.answers import EVERY_REVISION
from assistant.daemon.turn import CancelWork, Enqueue, Tell
from assistant.daemon.turns import MOST_TURNS
from assistant.errors import AnswerError, QueueFull
from assistant.messages import (
    AnyMessage,
    Ask,
    Exchange,
    ForgetConversation,
    Prefill,
    Question,
    Recognise,
    Say,
    Sentence,
    Speech,
    Stage,
    StopTurn,
    Token,
    TurnAccepted,
    TurnFinished,
    Utterance,
)


@pytest.fixture
def room() -> Room:
    return Room()


def test_a_typed_question(room: Room) -> None:
    room.asks(7, Ask(" Why?\x00 "))
    assert room.actions == [Tell(7, TurnAccepted(2)), Enqueue("llm", Question(2, 0, "Why?"))]
    token, last = Token(2, 0, "Because.", 1.0), Sentence(2, 0, 0, "Because.", last=True)
    assert room.fact("llm", token) == [Tell(7, token)]
    talk = (Exchange("Why?", "Because."),)
    finished = Tell(7, TurnFinished(2, 100.0, "answered"))
    assert room.fact("llm", last) == [Tell(7, last), finished, Enqueue("llm", Prefill(talk, "", 1))]
    room.asks(7, Ask("And?"))
    assert room.work(Question) == [Question(3, 0, "And?", talk)]
    room.asks(8, Ask("And?"))
    assert room.work(Question) == [Question(4, 0, "And?")]  # a conversation of its own
    room.asks(7, ForgetConversation())
    room.asks(7, Ask("And?"))
    assert room.work(Question) == [Question(5, 0, "And?")]
    assert room.published == []


def test_text_spoken_to_a_client(room: Room) -> None:
    room.asks(7, Say("One is here. Two is here.", to_client=True))
    parts = room.work(Sentence)
    assert [getattr(part, "text", "") for part in parts] == ["One is here.", "Two is here."]
    assert all(isinstance(part, Sentence) and part.to_client for part in parts)
    sounds = [Speech(2, index, PCM, 22_050, index == 1) for index in range(2)]
    assert room.fact("tts", sounds[0]) == [Tell(7, sounds[0])]
    assert room.fact("tts", sounds[0]) == []  # again, by a successor
    assert room.turns.again(parts[0]) is None
    assert room.fact("tts", sounds[1]) == [Tell(7, sounds[1]), Tell(7, TurnFinished(2, 100.0, "answered"))]


def test_a_recording(room: Room) -> None:
    room.asks(7, Recognise(PCM, 16_000, 100))
    sound = Utterance(2, 0, PCM, 16_000, 100, 100.0)
    assert room.actions == [Tell(7, TurnAccepted(2)), Enqueue("stt", sound)]
    heard = transcript(2, text="Words.")
    assert room.fact("stt", heard) == [Tell(7, heard), Tell(7, TurnFinished(2, 100.0, "answered"))]
    assert room.turns.again(sound) is None


@pytest.mark.parametrize(
    "request_",
    [
        Ask(""),
        Ask(" \x00\u200b\n"),
        Say("", to_client=False),
        Say("  ", to_client=True),
        Say("\x00", to_client=False),
    ],
)
def test_a_request_without_words_is_over_at_once(room: Room, request_: AnyMessage) -> None:
    room.asks(7, request_)
    assert room.told(7) == [TurnAccepted(2), TurnFinished(2, 100.0, "nothing")]
    assert room.turns.turns() == []
    room.asks(7, Say("And then?", to_client=False))
    assert len(room.work(Sentence)) == 1


def test_a_client_stops_its_own_turn_and_no_other(room: Room) -> None:
    room.asks(7, Ask("Why?"))
    room.answers("One two.", turn=2, last=False)
    assert room.asks(8, StopTurn(2)) == []
    room.asks(7, StopTurn(2))
    assert room.actions == [
        CancelWork(2, EVERY_REVISION),
        Tell(7, TurnFinished(2, 100.0, "cancelled")),
    ]
    assert room.turns.histories.of(7) == (Exchange("Why?", "One two. ", cut_off=True),)
    assert room.asks(7, StopTurn(2)) == []
    room.speaks(1)
    assert room.asks(7, StopTurn(1)) == []


def test_what_a_client_asked_for_goes_with_it(room: Room) -> None:
    room.asks(7, Ask("Why?"))
    room.asks(7, Say("Hello.", to_client=False))
    room.asks(8, Say("After you.", to_client=False))
    room.now_s += 5
    room.note(room.turns.client_left(7, room.now_s))
    over = [message for message in room.published if isinstance(message, TurnFinished)]
    assert [(turn.turn, turn.at_s) for turn in over] == [(3, 105.0)]
    assert CancelWork(2, EVERY_REVISION) in room.actions
    assert CancelWork(3, EVERY_REVISION) in room.actions
    assert room.work(Sentence) == [sentence(0, "After you.", last=True, turn=4)]
    assert [turn.client for turn in room.turns.turns()] == [8]
    assert room.turns.histories.of(7) == ()


@pytest.mark.parametrize(
    ("stage", "request_"),
    [("llm", Ask("Why?")), ("tts", Say("Hello.", to_client=True)), ("stt", Recognise(PCM, 16_000, 100))],
)
def test_an_unusable_stage_refuses_at_once(room: Room, stage: Stage, request_: AnyMessage) -> None:
    room.asks(7, request_)
    room.note(room.turns.stage_unusable(stage, "There is no model.", room.now_s))
    assert room.told(7) == [TurnFinished(2, 100.0, "failed", "There is no model.")]
    with pytest.raises(AnswerError, match=r"There is no model\."):
        room.asks(7, request_)
    room.turns.stage_ready(stage, room.now_s)
    room.asks(7, request_)
    assert room.told(7) == [TurnAccepted(3)]


@pytest.mark.parametrize("stage", ["llm", "tts", "stt"])
def test_a_clients_turn_fails_with_its_stage(room: Room, stage: Stage) -> None:
    requests: dict[Stage, tuple[AnyMessage, AnyMessage]] = {
        "llm": (Ask("Why?"), Question(2, 0, "Why?")),
        "tts": (Say("Hello.", to_client=True), sentence(0, "Hello.", last=True, turn=2)),
        "stt": (Recognise(PCM, 16_000, 100), utterance(2)),
    }
    asked, work = requests[stage]
    room.asks(7, asked)
    room.note(room.turns.set_aside(stage, work, room.now_s))
    (finished,) = room.told(7)
    assert finished == TurnFinished(
        2, 100.0, "failed", f"The {stage} stage failed twice on this; try it in other words."
    )
    assert room.turns.turns() == []


def test_too_many_turns_are_refused(room: Room) -> None:
    for _ in range(MOST_TURNS):
        room.asks(7, Ask("Why?"))
    with pytest.raises(QueueFull, match=f"{MOST_TURNS} questions wait already"):
        room.asks(8, Ask("Why?"))
    room.asks(7, StopTurn(2))
    room.asks(8, Ask("Why?"))
    assert len(room.work(Question)) == 1


def test_a_client_cannot_play_a_stage(room: Room) -> None:
    with pytest.raises(AnswerError, match="A client cannot send Transcript"):
        room.asks(7, transcript())
    assert room.turns.tick(room.now_s) == []
