"""What the daemon makes of people who speak while the assistant does."""

from __future__ import annotations

from typing import Literal

import pytest
from turn_room import Room

from assistant.audio.waking import LISTEN_S
from assistant.config import Audio, Config, Wake
from assistant.daemon.meanwhile import ECHOES_FOR_S
from assistant.daemon.turn import CancelWork, Notify
from assistant.daemon.turns import Turns
from assistant.messages import (
    Exchange,
    Interrupted,
    Question,
    Say,
    SpeechDropped,
    SpeechStarted,
    TurnFinished,
    Woken,
)

ANSWER = ("The capital of Germany is Berlin.", "It has four million people.")
CUT_OFF = Exchange("Why?", "The capital of Germany is Berlin. It has", cut_off=True)


def speaking(barge_in: Literal["off", "word", "voice"], **wake: str) -> Room:
    """A room in which the second sentence of an answer is in the air."""
    room = Room()
    room.turns = Turns(Config(audio=Audio(barge_in=barge_in), wake=Wake(**wake)))  # type: ignore[arg-type] # words
    room.turns.stage_joined("vad")
    if wake.get("mode") == "word":
        room.fact("vad", Woken("word", room.now_s))
    room.starts()
    room.pauses()
    room.is_understood(text="Computer, why?" if wake.get("mode") == "phrase" else "Why?")
    room.ends()
    room.answers(*ANSWER)
    room.is_heard(0)
    room.is_heard(1, 0.4)
    return room


def says(room: Room, text: str, turn: int = 2) -> None:
    room.starts(turn)
    room.pauses(turn)
    room.is_understood(turn, text=text)


# ---------------------------------------------------------------- voice


def test_who_is_interrupted_falls_silent_and_what_was_heard_is_kept() -> None:
    room = speaking("voice")
    actions = room.fact("vad", Interrupted(1, room.now_s))
    assert any(isinstance(action, CancelWork) and action.turn == 1 for action in actions)
    assert Notify("vad", TurnFinished(1, room.now_s, "cancelled")) in actions
    assert room.history() == (CUT_OFF,)
    says(room, "And who is its mayor?")
    assert room.work(Question) == [Question(2, 0, "And who is its mayor?", (CUT_OFF,))]


@pytest.mark.parametrize("mode", ["open", "word", "phrase"])
def test_who_breaks_in_need_not_call_first(mode: str) -> None:
    """They began to speak while the answer was in the air, though that becomes known when it is over."""
    room = speaking("voice", mode=mode)
    room.now_s += 2 * LISTEN_S
    room.fact("vad", Interrupted(1, room.now_s))
    room.fact("vad", SpeechStarted(2, room.now_s - 0.1))
    room.pauses(2)
    room.is_understood(2, text="And who is its mayor?")
    assert room.work(Question) == [Question(2, 0, "And who is its mayor?", room.history())]


@pytest.mark.parametrize("mode", ["open", "word", "phrase"])
def test_who_speaks_when_an_answer_was_broken_off_has_to_call(mode: str) -> None:
    room = speaking("voice", mode=mode)
    room.now_s += 2 * LISTEN_S
    room.fact("vad", Interrupted(1, room.now_s))
    says(room, "And who is its mayor?")
    assert bool(room.work(Question)) is (mode == "open")


def test_an_announcement_can_be_interrupted_too() -> None:
    room = speaking("voice")
    room.fact("vad", Interrupted(1, room.now_s))
    room.asks(7, Say("Dinner is ready.", to_client=False))
    room.fact("vad", Interrupted(3, room.now_s))
    assert room.finished() == [(1, "cancelled"), (3, "cancelled")]


def test_an_interruption_that_comes_too_late_is_none() -> None:
    room = speaking("voice")
    room.is_heard(1)
    assert room.fact("vad", Interrupted(1, room.now_s)) == []
    assert room.finished() == [(1, "answered")]


@pytest.mark.parametrize(
    ("text", "waits_s", "is_asked"),
    [
        ("The capital of Germany is", 0.0, False),
        ("four million people", ECHOES_FOR_S, False),
        ("four million people", ECHOES_FOR_S + 0.1, True),
        ("Who is its mayor?", 0.0, True),
        ("Stop.", 0.0, False),
    ],
)
def test_its_own_words_are_no_question(text: str, waits_s: float, is_asked: bool) -> None:
    room = speaking("voice")
    room.fact("vad", Interrupted(1, room.now_s))
    room.now_s += waits_s
    says(room, text)
    assert bool(room.work(Question)) is is_asked
    room.ends(2)
    assert (2, "nothing") in room.finished() or is_asked


def test_its_own_words_are_no_question_however_late_vad_tells_of_them() -> None:
    """It may be seconds behind where something else keeps the board busy."""
    room = speaking("voice")
    room.is_heard(1)
    over_s = room.now_s
    room.now_s += 2.0
    room.fact("vad", SpeechStarted(2, over_s - 0.5))
    room.pauses(2)
    room.is_understood(2, text="four million people")
    assert room.work(Question) == []


# ---------------------------------------------------------------- word


@pytest.mark.parametrize("has_ended", [False, True])
def test_stop_ends_the_answer_and_is_no_question(has_ended: bool) -> None:
    room = speaking("word")
    room.starts(2)
    room.pauses(2)
    if has_ended:
        room.ends(2)
    room.is_understood(2, text="Stop!")
    assert (1, "cancelled") in room.finished()
    assert room.history() == (CUT_OFF,)
    room.ends(2)
    assert (2, "nothing") in room.finished()
    assert room.work(Question) == []


def test_stop_ends_an_answer_that_is_still_thought_about() -> None:
    room = Room()
    room.turns = Turns(Config(audio=Audio(barge_in="word")))
    room.turns.stage_joined("vad")
    room.speaks()
    says(room, "Stop.")
    assert room.finished() == [(1, "cancelled")]


@pytest.mark.parametrize(
    ("mode", "phrase", "text", "question"),
    [
        ("open", "computer", "Computer, who is its mayor?", "Who is its mayor?"),
        ("open", "computer", "Komputer, who is its mayor?", "Who is its mayor?"),
        ("open", "marvin", "Computer, who is its mayor?", None),
        ("word", "computer", "Computer, who is its mayor?", None),
        ("open", "computer", "Who is its mayor?", None),
    ],
)
def test_the_name_ends_the_answer_and_the_rest_is_asked(
    mode: str, phrase: str, text: str, question: str | None
) -> None:
    room = speaking("word", mode=mode, phrase=phrase)
    says(room, text)
    assert room.work(Question) == ([Question(2, 0, question, (CUT_OFF,))] if question else [])
    room.ends(2)
    assert room.finished() == ([(1, "cancelled")] if question else [(2, "nothing")])


def test_who_presses_the_button_while_they_speak_over_the_answer_is_asked_no_name() -> None:
    room = speaking("word")
    room.starts(2)
    room.fact("vad", Interrupted(1, room.now_s))
    room.fact("vad", Woken("button", room.now_s))
    assert room.finished() == [(1, "cancelled")]
    room.pauses(2)
    room.is_understood(2, text="Who is its mayor?")
    assert room.work(Question) == [Question(2, 0, "Who is its mayor?", (CUT_OFF,))]


def test_what_is_said_to_others_during_an_answer_is_never_asked() -> None:
    room = speaking("word")
    says(room, "Did you feed the cat?")
    assert room.work(Question) == []
    room.ends(2)
    assert room.finished() == [(2, "nothing")]
    room.is_heard(1)
    assert room.work(Question) == []
    assert room.finished() == [(2, "nothing"), (1, "answered")]


def test_nor_when_the_answer_is_over_before_it_is() -> None:
    room = speaking("word")
    says(room, "Did you feed the cat?")
    room.is_heard(1)
    assert room.work(Question) == []
    room.ends(2)
    assert room.finished() == [(1, "answered"), (2, "nothing")]


def test_who_speaks_right_behind_the_answer_is_answered() -> None:
    room = speaking("word")
    room.is_heard(1)
    says(room, "Who is its mayor?")
    assert len(room.work(Question)) == 1


def test_a_question_that_was_asked_before_the_answer_began_stays_one() -> None:
    room = Room()
    room.turns = Turns(Config(audio=Audio(barge_in="word")))
    room.turns.stage_joined("vad")
    room.speaks()
    room.starts(2)
    room.answers(*ANSWER)
    room.is_heard(0)
    room.pauses(2)
    room.is_understood(2, text="And where is it?")
    room.ends(2)
    room.is_heard(1)
    assert len(room.work(Question)) == 1


def test_a_word_that_goes_on_is_judged_anew() -> None:
    room = speaking("word")
    says(room, "Computer")
    assert room.finished() == [(1, "cancelled")]
    room.resumes(2)
    room.pauses(2, revision=1)
    room.is_understood(2, revision=1, text="Computer, who is its mayor?")
    assert [question.text for question in room.work(Question) if isinstance(question, Question)] == [
        "Who is its mayor?"
    ]


# ---------------------------------------------------------------- off


def test_where_nothing_interrupts_a_recordings_words_are_questions_as_ever() -> None:
    room = speaking("off")
    says(room, "Stop.")
    room.ends(2)
    room.is_heard(1)
    assert room.finished() == [(1, "answered")]
    assert len(room.work(Question)) == 1


def test_a_noise_during_an_answer_is_nothing() -> None:
    room = speaking("voice")
    room.starts(2)
    room.fact("vad", SpeechDropped(2))
    assert room.finished() == [(2, "nothing")]
