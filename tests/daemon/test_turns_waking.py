"""Which spoken turns are meant for the assistant, as the turn state machine sees it."""

from __future__ import annotations

from math import inf
from typing import Literal

import pytest
from turn_room import Room, utterance

from assistant.audio.waking import LISTEN_S
from assistant.config import Config, Stt, Wake
from assistant.daemon.answers import APOLOGY
from assistant.daemon.turn import CancelWork, Notify
from assistant.daemon.turns import Turns
from assistant.messages import (
    Awake,
    Failure,
    Interrupted,
    NextTurn,
    Prefill,
    Question,
    Sentence,
    SpeechDropped,
    SpeechStarted,
    Transcript,
    TurnEnded,
    TurnFinished,
    Woken,
)

FOLLOW_UP_S = 8.0


def room_with(wake: Wake) -> Room:
    room = Room()
    room.turns = Turns(Config(wake=wake))
    room.turns.stage_joined("vad")
    return room


@pytest.fixture
def room() -> Room:
    return room_with(Wake(mode="phrase", phrase="computer", follow_up_s=int(FOLLOW_UP_S)))


def says(room: Room, text: str, turn: int = 1) -> list[str]:
    """Somebody says this; what the language model is asked."""
    asked: list[str] = []
    room.starts(turn)
    room.pauses(turn)
    room.is_understood(turn, text=text)
    asked += [q.text for q in room.work(Question) if isinstance(q, Question)]
    room.ends(turn)
    asked += [q.text for q in room.work(Question) if isinstance(q, Question)]
    return asked


def is_answered(room: Room, turn: int = 1) -> None:
    room.answers("It is so.", turn=turn)
    room.is_heard(0, turn=turn)


def shown(room: Room) -> list[str]:
    return [m.text for m in room.published if isinstance(m, Transcript) and m.text]


def test_what_is_not_meant_for_it_is_over_without_a_sound_and_shown_to_nobody(room: Room) -> None:
    assert says(room, "It will rain tomorrow.") == []
    assert room.finished() == [(1, "nothing")]
    assert shown(room) == []
    assert not room.turns.turn_log.recent, "nor is it among the last turns"


@pytest.mark.parametrize(
    ("said", "asked"),
    [
        ("Computer, what time is it?", "What time is it?"),
        ("Hey computer, what time is it?", "What time is it?"),
        ("What time is it, computer?", "What time is it?"),
    ],
)
def test_what_is_said_to_it_is_asked_without_its_name(room: Room, said: str, asked: str) -> None:
    assert says(room, said) == [asked]
    is_answered(room)
    assert room.finished() == [(1, "answered")]
    assert shown(room) == [asked]
    assert [exchange.question for exchange in room.history()] == [asked]


def test_its_name_alone_calls_it_and_is_answered_by_a_sign(room: Room) -> None:
    assert says(room, "Computer!") == []
    assert [m for m in room.published if isinstance(m, Woken)] == [Woken("phrase", room.now_s)]
    assert room.turns.waking.is_sign_due(room.now_s)
    assert not room.turns.waking.is_sign_due(room.now_s), "once"
    room.now_s += LISTEN_S - 1
    assert says(room, "What time is it?", turn=2) == ["What time is it?"]


def test_the_call_is_forgotten_after_a_while(room: Room) -> None:
    says(room, "Computer!")
    room.now_s += LISTEN_S
    assert says(room, "What time is it?", turn=2) == []


def test_a_name_that_the_person_goes_on_from_is_no_call(room: Room) -> None:
    room.starts()
    room.pauses()
    room.is_understood(text="Computer")
    room.resumes()
    room.pauses(revision=1)
    room.is_understood(revision=1, text="Computers are expensive.")
    room.ends(revision=1)
    assert room.finished() == [(1, "nothing")]
    assert not [m for m in room.published if isinstance(m, Woken)]


def test_a_name_behind_a_pause_makes_it_a_question(room: Room) -> None:
    room.starts()
    room.pauses()
    room.is_understood(text="What time is it")
    assert room.work(Question) == []
    room.resumes()
    room.pauses(revision=1)
    room.is_understood(revision=1, text="What time is it, computer?")
    (question,) = room.work(Question)
    assert isinstance(question, Question)
    assert question.text == "What time is it?"


@pytest.mark.parametrize(("after_s", "asked"), [(FOLLOW_UP_S - 1, ["And why?"]), (FOLLOW_UP_S, [])])
def test_after_an_answer_no_name_is_needed_for_a_while(room: Room, after_s: float, asked: list[str]) -> None:
    says(room, "Computer, is it so?")
    is_answered(room)
    room.now_s += after_s
    assert says(room, "And why?", turn=2) == asked


def test_while_it_answers_no_name_is_needed(room: Room) -> None:
    says(room, "Computer, is it so?")
    room.now_s += 100
    says(room, "And why?", turn=2)
    room.answers("It is so.")
    room.is_heard(0)
    assert room.work(Question) == [Question(2, 0, "And why?", room.history(), hurry=True)]


@pytest.mark.parametrize(
    ("so_far", "begun"),
    [
        ("It will rain tomorrow", None),
        ("Computer what is the", "What is"),
        ("Com", None),
        ("Computer what", ""),
    ],
)
def test_only_the_beginning_of_a_question_is_read_ahead(room: Room, so_far: str, begun: str | None) -> None:
    room.starts()
    room.fact("stt", Transcript(1, 0, so_far, "en", 0.9, 1.0, so_far=True))
    read = [p.begun for p in room.work(Prefill) if isinstance(p, Prefill)]
    assert read == ([begun] if begun else [])


@pytest.mark.parametrize("called", [True, False])
def test_only_who_asked_hears_an_apology(room: Room, called: bool) -> None:
    if called:
        says(room, "Computer!", turn=1)
    turn = 2 if called else 1
    room.starts(turn)
    room.pauses(turn)
    room.ends(turn)
    room.fact("stt", Failure("stt", turn, 0, "It broke."))
    apologies = [m for m in room.published if isinstance(m, Sentence) and m.text == APOLOGY]
    assert bool(apologies) is called
    if not called:
        assert room.finished() == [(1, "nothing")]


def test_nobody_is_told_that_a_part_of_somebody_elses_talk_was_not_heard(room: Room) -> None:
    room.note(room.turns.stage_left("vad", room.now_s))
    room.note(room.turns.stage_ready("vad", room.now_s))
    room.starts()
    room.fact("vad", SpeechDropped(1))
    assert room.finished() == [(1, "nothing")]


def test_who_is_asked_back_need_not_call_to_answer() -> None:
    """Even where nothing else may follow an answer."""
    room = Room()
    room.turns = Turns(Config(wake=Wake(mode="phrase", follow_up_s=0), stt=Stt(confirm=True)))
    room.starts()
    room.pauses()
    room.fact("stt", Transcript(1, 0, "Computer, why is it so?", "en", 0.3, 2.0))
    assert room.work(Question) == [], "it is unsure"
    room.ends()
    room.is_heard(0)
    assert [m.asks for m in room.published if isinstance(m, TurnFinished)] == [True]
    room.now_s += LISTEN_S - 1
    assert says(room, "Yes.", turn=2) == ["Why is it so?"]
    is_answered(room, turn=2)
    assert [m.asks for m in room.published if isinstance(m, TurnFinished)] == [True, False]
    assert says(room, "And why not?", turn=3) == []


def test_what_is_lost_of_somebody_elses_talk_is_lost_in_silence(room: Room) -> None:
    room.starts()
    room.pauses()
    room.ends()
    assert not room.turns.is_waited_for(utterance())
    room.note(room.turns.lost("stt", utterance(), "it waited too long", room.now_s))
    assert room.finished() == [(1, "nothing")]


# ---------------------------------------------------------------- the other modes


def test_what_is_left_of_a_wake_word_is_taken_out_behind_it_and_nowhere_else() -> None:
    room = room_with(Wake(mode="word", word="hey_jarvis"))
    room.fact("vad", Woken("word", room.now_s))
    assert says(room, "Jarvis, what time is it?") == ["What time is it?"]
    is_answered(room)
    assert says(room, "Jarvis, is it so?", turn=2) == ["Jarvis, is it so?"], "it was not heard as one"
    is_answered(room, turn=2)
    room.fact("vad", Woken("button", room.now_s))
    assert says(room, "Jarvis, is it so?", turn=3) == ["Jarvis, is it so?"]


def awake(room: Room) -> list[float]:
    """Until when vad was told to listen, by the last fact."""
    return [
        action.message.until_s
        for action in room.actions
        if isinstance(action, Notify) and isinstance(action.message, Awake)
    ]


def rejoined(room: Room) -> Room:
    """vad died, and its successor joined."""
    room.note(room.turns.stage_left("vad", room.now_s))
    room.note(room.turns.stage_joined("vad"))
    return room


def test_vad_is_told_until_when_it_is_to_listen_with_every_change() -> None:
    room = room_with(Wake(mode="word", follow_up_s=5))
    room.fact("vad", Woken("word", 99.0))
    assert awake(room) == [99.0 + LISTEN_S]
    room.starts()
    assert awake(room) == [inf]
    room.pauses()
    room.is_understood(text="Is it so?")
    room.ends()
    room.answers("It is so.")
    assert awake(room) == []
    room.is_heard(0)
    assert awake(room) == [room.now_s + 5]
    room.note(room.turns.muted(room.now_s))
    assert awake(room) == [-inf]


@pytest.mark.parametrize("mode", ["open", "phrase"])
def test_where_vad_hears_everything_it_is_told_nothing(mode: Literal["open", "phrase"]) -> None:
    room = room_with(Wake(mode=mode, button_gpio=17))
    room.fact("vad", Woken("button", room.now_s))
    said = awake(room)
    room.starts()
    said += awake(room)
    assert said + awake(rejoined(room)) == []


def test_a_successor_of_vad_is_as_awake_as_the_daemon_knows() -> None:
    """In whatever it was killed: asleep, called, in speech, while thinking, asked back, in the follow-up."""
    room = room_with(Wake(mode="word"))
    room.turns = Turns(Config(wake=Wake(mode="word", follow_up_s=5), stt=Stt(confirm=True)))
    room.turns.stage_joined("vad")
    assert awake(rejoined(room)) == [], "it sleeps"
    room.fact("vad", Woken("word", room.now_s))
    assert awake(rejoined(room)) == [room.now_s + LISTEN_S]
    room.starts()
    assert awake(rejoined(room)) == [inf]
    room.starts()
    room.pauses()
    room.is_understood(text="Is it so?", confidence=0.1)
    room.ends()
    assert awake(rejoined(room)) == [inf]
    room.is_heard(0)
    assert awake(rejoined(room)) == [room.now_s + LISTEN_S], "asked back"
    assert isinstance(room.actions[0], Notify)
    assert isinstance(room.actions[0].message, Awake), "before it is given a turn"
    assert says(room, "Yes.", turn=2) == ["Is it so?"]
    is_answered(room, turn=2)
    assert awake(rejoined(room)) == [room.now_s + 5]
    room.note(room.turns.muted(room.now_s))
    assert awake(rejoined(room)) == []


def test_a_call_whose_transcript_takes_long_holds_for_what_was_said_meanwhile(room: Room) -> None:
    room.starts(1)
    room.pauses(1)
    room.ends(1)
    room.now_s += 1.0
    room.starts(2)
    room.pauses(2)
    room.now_s += 0.5
    room.is_understood(1, text="Computer!")
    assert not room.turns.waking.is_sign_due(room.now_s + 10), "the person has spoken on"
    room.is_understood(2, text="What time is it?")
    assert [q.text for q in room.work(Question) if isinstance(q, Question)] == ["What time is it?"]
    room.ends(2)
    is_answered(room, turn=2)
    assert room.finished() == [(1, "nothing"), (2, "answered")]


def test_a_question_that_is_read_otherwise_when_it_goes_on_is_not_meant_for_it(room: Room) -> None:
    room.starts()
    room.pauses()
    room.is_understood(text="We bought a desk, computer")
    assert room.work(Question)
    room.resumes()
    room.pauses(revision=1)
    room.is_understood(revision=1, text="We bought a desk, computers and two chairs yesterday.")
    room.ends(revision=1)
    assert room.finished() == [(1, "nothing")]
    assert says(room, "And a table.", turn=2) == [], "nor does it listen on"


def test_a_call_that_is_no_longer_all_that_was_said_is_none(room: Room) -> None:
    room.starts()
    room.pauses()
    room.is_understood(text="Computer")
    room.resumes()
    room.pauses(revision=1)
    room.ends(revision=1)
    room.fact("stt", Failure("stt", 1, 1, "broke"))
    assert room.finished() == [(1, "nothing")]
    assert not [m for m in room.published if isinstance(m, Woken)]


def test_who_calls_vads_successor_after_it_died_in_mid_question_is_heard() -> None:
    """vad may begin the new turn under the old one's number, before it knows better."""
    room = room_with(Wake(mode="word"))
    room.starts()
    room.pauses()
    rejoined(room)
    (again,) = (a.message for a in room.actions if isinstance(a, Notify) and isinstance(a.message, NextTurn))
    assert (again.turn, again.revision) == (1, 1)
    room.note(room.turns.stage_ready("vad", room.now_s))
    actions = room.fact("vad", Woken("word", room.now_s))
    assert [a for a in actions if isinstance(a, CancelWork)] == [CancelWork(1, 0)]
    told = [a.message for a in actions if isinstance(a, Notify) and isinstance(a.message, NextTurn)]
    assert [(m.turn, m.revision) for m in told] == [(2, 0)]
    room.fact("vad", SpeechStarted(1, room.now_s))
    room.pauses(1, revision=1)
    room.is_understood(1, revision=1, text="Is it so?")
    assert [q.text for q in room.work(Question) if isinstance(q, Question)] == ["Is it so?"]


def test_muting_ends_a_call_and_its_sign() -> None:
    room = room_with(Wake(mode="word"))
    room.fact("vad", Woken("word", room.now_s))
    room.note(room.turns.muted(room.now_s + 0.1))
    assert not room.turns.waking.is_sign_due(room.now_s + 1)
    room = room_with(Wake(mode="phrase"))
    says(room, "Computer!")
    room.note(room.turns.muted(room.now_s + 0.1))
    room.now_s += 3
    assert says(room, "What time is it?", turn=2) == []


@pytest.mark.parametrize("mode", ["open", "word", "phrase", "button"])
@pytest.mark.parametrize("by", ["word", "button"])
@pytest.mark.parametrize("is_heard", [True, False])
def test_who_calls_wants_nothing_more_of_what_was_asked_before(
    mode: Literal["open", "word", "phrase", "button"], by: Literal["word", "button"], is_heard: bool
) -> None:
    """Whether it is thought about or answered; the next question has the floor at once, in every mode."""
    room = room_with(Wake(mode=mode, button_gpio=17))
    room.fact("vad", Woken("button", room.now_s))
    says(room, "Is it so?")
    says(room, "And why?", turn=2)
    if is_heard:
        room.answers("It is so.", "Or not.")
        room.is_heard(0)
    room.fact("vad", Woken(by, room.now_s))
    assert sorted(room.finished()) == [(1, "cancelled"), (2, "cancelled")]
    assert says(room, "What time is it?", turn=3) == ["What time is it?"]


def test_news_that_wait_for_the_speaker_are_still_told_to_who_calls() -> None:
    room = room_with(Wake(mode="word"))
    room.fact("vad", Woken("word", room.now_s))
    says(room, "Is it so?")
    _, actions = room.turns.announce("It is getting too hot.", room.now_s)
    room.note(actions)
    room.fact("vad", Woken("word", room.now_s))
    assert [m.text for m in room.work(Sentence) if isinstance(m, Sentence)] == ["It is getting too hot."]


@pytest.mark.parametrize("is_given", [True, False])
def test_a_sign_that_may_still_sound_is_taken_back_when_somebody_speaks(is_given: bool) -> None:
    room = room_with(Wake(mode="word"))
    room.fact("vad", Woken("word", room.now_s))
    if is_given:
        assert room.turns.waking.is_sign_due(room.now_s + 1)
    room.starts()
    assert (Notify("tts", SpeechStarted(1, room.now_s)) in room.actions) is is_given


def test_in_the_open_every_word_is_the_question() -> None:
    room = room_with(Wake())
    assert says(room, "Computer, what time is it?") == ["Computer, what time is it?"]


def test_a_call_is_shown_and_answered_by_a_sign_unless_the_person_speaks_on() -> None:
    room = room_with(Wake(mode="word"))
    waking = room.turns.waking
    call = Woken("word", room.now_s)
    room.fact("vad", call)
    assert room.published == [call]
    assert not waking.is_sign_due(room.now_s + 0.1)
    room.starts()
    assert not waking.is_sign_due(room.now_s + 1.0)
    room.fact("vad", Woken("word", room.now_s + 5))
    assert waking.is_sign_due(room.now_s + 6)


@pytest.mark.parametrize(("by", "is_void"), [("word", True), ("button", False)])
def test_what_was_said_before_a_wake_word_is_void(by: Literal["word", "button"], is_void: bool) -> None:
    room = room_with(Wake(mode="word", button_gpio=17))
    room.starts()
    room.pauses()
    room.fact("vad", Woken(by, room.now_s))
    assert room.finished() == ([(1, "nothing")] if is_void else [])


def test_who_calls_from_a_button_where_a_phrase_wakes_is_heard() -> None:
    room = room_with(Wake(mode="phrase", button_gpio=17))
    room.fact("vad", Woken("button", room.now_s))
    assert says(room, "What time is it?") == ["What time is it?"]


def test_an_answer_that_is_interrupted_is_over(room: Room) -> None:
    says(room, "Computer, is it so?")
    room.answers("It is so.", "Or not.")
    room.is_heard(0)
    room.fact("vad", Interrupted(1, room.now_s))
    assert room.finished() == [(1, "cancelled")]
    assert [(e.answer, e.cut_off) for e in room.history()] == [("It is so.", True)]


def test_what_somebody_was_saying_when_it_was_muted_is_void_and_what_was_asked_is_answered() -> None:
    room = room_with(Wake())
    says(room, "Is it so?")
    room.starts(2)
    room.pauses(2)
    room.note(room.turns.stage_left("vad", room.now_s))
    room.note(room.turns.muted(room.now_s))
    assert room.finished() == [(2, "cancelled")]
    (told,) = (a.message for a in room.actions if isinstance(a, Notify) and isinstance(a.message, NextTurn))
    assert told.turn == 3, "a successor does not take it up"
    assert told.revision == 0
    room.fact("vad", SpeechDropped(2))
    room.fact("vad", TurnEnded(2, 0, room.now_s, room.now_s))
    is_answered(room)
    assert [m for m in room.published if isinstance(m, TurnFinished)][-1].outcome == "answered"
