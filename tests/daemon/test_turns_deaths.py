"""What becomes of turns whose workers die."""

from __future__ import annotations

import msgspec
import pytest
from turn_room import Room, sentence, utterance

from assistant.daemon.answers import APOLOGY
from assistant.daemon.turn import CancelWork, Notify
from assistant.daemon.vad_worker import BACK_WITHIN_S, RESUMES_WITHIN_S, TORN_WITHIN_S
from assistant.messages import (
    AnyMessage,
    Exchange,
    ForgetConversation,
    NextTurn,
    PlaybackStarted,
    Question,
    Sentence,
    SpeechDropped,
    SpeechStarted,
    Stage,
    Token,
    Transcript,
    TurnEnded,
)


@pytest.fixture
def room() -> Room:
    return Room()


def test_a_new_worker_goes_on_with_the_answer_behind_what_was_made(room: Room) -> None:
    room.speaks()
    question = Question(1, 0, "Why?")
    assert room.turns.again(question) == question
    room.fact("llm", Token(1, 0, "One. Tw", 0.0))
    room.fact("llm", Sentence(1, 0, 0, "One.", last=False))
    renewed = room.turns.again(question)
    assert renewed == msgspec.structs.replace(question, answer_so_far="One. Tw", next_sentence=1)
    room.fact("llm", Sentence(1, 0, 0, "One.", last=False))
    assert room.actions == []  # said already
    room.fact("llm", Token(1, 0, "o.", 0.0))
    room.fact("llm", Sentence(1, 0, 1, "Two.", last=True))
    assert room.turns.again(question) is None  # died between its last word and the acknowledgement
    room.is_heard(0)
    room.is_heard(1)
    assert room.history() == (Exchange("Why?", "One. Two."),)


def test_a_new_worker_goes_on_in_mid_sentence(room: Room) -> None:
    room.speaks()
    room.answers("One two.", "Three four.")
    room.is_heard(0)
    room.is_heard(1, 0.4)
    first, second = sentence(0, "One two.", last=False), sentence(1, "Three four.", last=True)
    assert room.turns.again(first) is None
    assert room.turns.again(second) == msgspec.structs.replace(second, heard_fraction=0.4)
    room.note(room.turns.stage_joined("tts"))
    assert room.actions == [Notify("tts", TurnEnded(1, 0, 100.0, 100.0))]
    room.fact("tts", PlaybackStarted(1, 105.0))
    assert room.actions == []  # the answer sounded before
    room.is_heard(1)
    assert room.finished() == [(1, "answered")]
    assert room.turns.again(second) is None


def test_what_is_stale_or_understood_is_not_worked_on_again(room: Room) -> None:
    room.starts()
    room.pauses()
    assert room.turns.again(utterance()) == utterance()
    room.is_understood()
    assert room.turns.again(utterance()) is None
    room.pauses(revision=1)
    assert room.turns.again(utterance()) is None
    assert room.turns.again(Question(1, 0, "Why?")) is None
    assert room.turns.again(utterance(1, 1)) == utterance(1, 1)
    assert room.turns.again(utterance(9)) is None


def test_a_release_is_not_given_for_a_turn_that_still_goes_on(room: Room) -> None:
    room.starts()
    room.pauses()
    assert room.turns.stage_joined("tts") == []


@pytest.mark.parametrize(
    ("stage", "message"),
    [("stt", utterance()), ("llm", Question(1, 0, "Why?")), ("tts", sentence(0, "One.", last=False))],
)
@pytest.mark.parametrize("before_the_end", [True, False])
def test_what_is_set_aside_is_apologised_for(
    room: Room, stage: Stage, message: AnyMessage, before_the_end: bool
) -> None:
    room.starts()
    room.pauses()
    if not before_the_end:
        room.ends()
    if stage != "stt":
        room.is_understood()
    if stage == "tts":
        room.answers("One.", "Two.", last=False)
    room.note(room.turns.set_aside(stage, message, room.now_s))
    if before_the_end:
        assert room.work(Sentence) == []  # the person may still say something that works
        room.ends()
    assert CancelWork(1, 0) in room.actions
    assert room.work(Sentence) == [sentence(0, APOLOGY, last=True, revision=1)]
    assert Notify("tts", TurnEnded(1, 1, 100.0, 100.0)) in room.actions
    room.is_heard(0, revision=1)
    assert room.finished() == [(1, "failed")]
    assert room.history() == ()


def test_an_apology_that_is_set_aside_too_is_the_end_of_it(room: Room) -> None:
    room.speaks()
    room.turns.set_aside("llm", Question(1, 0, "Why?"), room.now_s)
    apology = sentence(0, APOLOGY, last=True, revision=1)
    room.note(room.turns.set_aside("tts", apology, room.now_s))
    assert room.finished() == [(1, "failed")]
    assert room.work(Sentence) == []
    assert room.turns.turns() == []


def test_setting_aside_work_whose_effect_has_happened_is_no_failure(room: Room) -> None:
    room.speaks()
    room.answers("One.")
    assert room.turns.set_aside("stt", utterance(), room.now_s) == []
    assert room.turns.set_aside("llm", Question(1, 0, "Why?"), room.now_s) == []
    room.is_heard(0)
    assert room.finished() == [(1, "answered")]
    assert room.turns.set_aside("tts", sentence(0, "One.", last=True), room.now_s) == []


def test_a_person_who_goes_on_makes_good_what_was_set_aside(room: Room) -> None:
    room.starts()
    room.pauses()
    room.turns.set_aside("stt", utterance(), room.now_s)
    room.resumes()
    room.pauses(revision=1)
    room.is_understood(revision=1)
    room.ends(revision=1)
    room.answers("One.", revision=1)
    room.is_heard(0, revision=1)
    assert room.finished() == [(1, "answered")]


def test_an_answer_cut_off_leaves_what_was_heard_in_the_history(room: Room) -> None:
    room.speaks()
    room.answers("One two three four.", "Five six seven eight.", "Nine.", last=False)
    room.is_heard(0)
    room.is_heard(1, 0.5)
    room.note(room.turns.set_aside("tts", sentence(1, "Five six seven eight.", last=False), room.now_s))
    assert room.history() == (Exchange("Why?", "One two three four. Five six", cut_off=True),)
    room.is_heard(0, revision=1)
    assert room.finished() == [(1, "failed")]
    assert len(room.history()) == 1


# ---------------------------------------------------------------- vad dies in mid-turn


def test_vads_successor_takes_the_open_turn_up(room: Room) -> None:
    room.starts()
    room.pauses()
    room.is_understood(text="What is")
    assert room.turns.stage_left("vad", room.now_s) == []
    assert room.turns.stage_joined("vad") == [Notify("vad", NextTurn(1, revision=1))]
    room.turns.stage_ready("vad", room.now_s)
    room.starts(1)
    assert room.actions == [Notify("vad", NextTurn(2))]
    assert room.turns.tick(room.now_s + 100) == []  # it goes on as long as the person speaks
    room.pauses(revision=1)
    assert room.actions[0] == CancelWork(1, 0)
    room.is_understood(revision=1, text="What is the moon?")
    room.ends(revision=1)
    assert [m.text for m in room.published if isinstance(m, Transcript)] == ["What is the moon?"]
    assert len([m for m in room.published if isinstance(m, SpeechStarted)]) == 1


@pytest.mark.parametrize("paused", [True, False])
@pytest.mark.parametrize("comes_back", [True, False])
def test_an_orphaned_turn_ends_by_itself(room: Room, paused: bool, comes_back: bool) -> None:
    room.starts()
    if paused:
        room.pauses()
        room.is_understood()
    room.turns.stage_left("vad", room.now_s)
    patience_s = BACK_WITHIN_S
    if comes_back:
        room.turns.stage_joined("vad")
        room.turns.stage_ready("vad", room.now_s)
        patience_s = RESUMES_WITHIN_S
    assert room.turns.tick(room.now_s + patience_s - 0.1) == []
    room.note(room.turns.tick(room.now_s + patience_s))
    assert Notify("vad", NextTurn(2)) in room.actions
    if paused:
        assert isinstance(room.published[-2], TurnEnded)
        room.answers("Because.")
        room.is_heard(0)
    else:  # nobody knows what was said
        assert room.work(Sentence) == [sentence(0, APOLOGY, last=True, revision=1)]
        room.is_heard(0, revision=1)
    assert room.finished() == [(1, "answered" if paused else "failed")]
    room.speaks(2)
    assert room.work(Question) == []
    assert len(room.turns.turns()) == 1


def test_a_noise_after_the_question_does_not_lose_it(room: Room) -> None:
    """Vad died behind the tentative pause; its successor takes a noise for the turn's continuation."""
    room.starts()
    room.pauses()
    room.is_understood()
    room.turns.stage_left("vad", room.now_s)
    room.turns.stage_joined("vad")
    room.starts(1)
    room.fact("vad", SpeechDropped(1))
    assert room.finished() == []
    room.answers("Because.")
    room.is_heard(0)
    assert room.finished() == [(1, "answered")]


@pytest.mark.parametrize("open_before", [True, False])
@pytest.mark.parametrize("then", ["dropped", "read as nothing", "read as nothing late", "understood"])
def test_half_a_question_is_answered_or_apologised_for(room: Room, open_before: bool, then: str) -> None:
    """Vad died while somebody spoke, perhaps before it had said so; its successor hears the rest."""
    if open_before:
        room.starts()
    room.turns.stage_left("vad", room.now_s)
    room.turns.stage_joined("vad")
    room.turns.stage_ready("vad", room.now_s)
    revision = 1 if open_before else 0
    room.starts()
    if then == "dropped":
        room.fact("vad", SpeechDropped(1))
    else:
        room.pauses(revision=revision)
        if then == "read as nothing late":
            room.ends(revision=revision)
        room.is_understood(revision=revision, text="Why?" if then == "understood" else "")
        if then != "read as nothing late":
            room.ends(revision=revision)
    if then == "understood":
        room.answers("Because.", revision=revision)
        room.is_heard(0, revision=revision)
    else:
        revision = 1 if then == "dropped" else revision + 1
        assert room.work(Sentence) == [sentence(0, APOLOGY, last=True, revision=revision)]
        room.is_heard(0, revision=revision)
    assert room.finished() == [(1, "answered" if then == "understood" else "failed")]


def test_a_noise_later_than_that_is_one(room: Room) -> None:
    room.turns.stage_left("vad", room.now_s)
    room.turns.stage_ready("vad", room.now_s)
    room.now_s += TORN_WITHIN_S
    room.starts()
    room.fact("vad", SpeechDropped(1))
    assert room.finished() == [(1, "nothing")]


def test_the_successor_knows_what_is_settled_and_what_sounds(room: Room) -> None:
    room.speaks(1)
    room.answers("One.")
    room.is_heard(0, 0.5)
    room.turns.stage_left("vad", room.now_s)
    assert room.turns.stage_joined("vad") == [
        Notify("vad", NextTurn(2, 0, settled=1000)),
        Notify("vad", PlaybackStarted(1, 100.0)),
    ]
    room.fact("vad", SpeechDropped(99, settled=5000))  # of a turn that is over: heard all the same
    assert room.turns.stage_joined("vad")[0] == Notify("vad", NextTurn(2, 0, settled=5000))


def test_a_turn_that_failed_while_open_does_not_come_back_to_life(room: Room) -> None:
    room.starts()
    room.asks(7, ForgetConversation())
    room.note(room.turns.lost("stt", utterance(), "it was pushed out", room.now_s))
    assert room.finished() == []
    room.turns.stage_left("vad", room.now_s)
    room.note(room.turns.tick(room.now_s + BACK_WITHIN_S))
    room.is_heard(0, revision=1)  # the apology
    assert room.finished() == [(1, "failed")]
    assert room.turns.tick(room.now_s + 2 * BACK_WITHIN_S) == []


def test_speech_that_crosses_the_end_of_an_orphaned_turn_is_a_turn_of_its_own(room: Room) -> None:
    """vad's successor begins the open turn anew just when the daemon has given it up."""
    room.starts()
    room.note(room.turns.stage_left("vad", room.now_s))
    room.note(room.turns.tick(room.now_s + 60))
    room.is_heard(0, revision=1)  # the apology
    assert room.finished() == [(1, "failed")]
    room.starts()
    room.pauses()
    room.ends()
    room.is_understood()
    assert room.work(Question) == [Question(1, 0, "Why?")]
