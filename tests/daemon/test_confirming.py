"""Asking back: by itself, and in the turn state machine with its room."""

from __future__ import annotations

from typing import Literal

import pytest
from turn_room import Room, sentence

from assistant.config import Audio, Config, Stt
from assistant.daemon.answers import APOLOGY
from assistant.daemon.confirming import ANSWER_WITHIN_S, UNSURE, Confirming, Step
from assistant.daemon.turn import CancelWork, Notify
from assistant.messages import (
    Ask,
    Exchange,
    Failure,
    Prefill,
    Question,
    Say,
    Sentence,
    SpeechStarted,
    TurnEnded,
)

POLAND = "What is the capital of Poland?"
SPAIN = "What is the capital of Spain?"
DID_YOU_SAY = f"Did you say: {POLAND}"
SURE, DOUBT = 0.9, 0.5


# ---------------------------------------------------------------- by itself


@pytest.mark.parametrize(
    ("confidence", "step"), [(1.0, Step.ANSWER), (UNSURE, Step.ANSWER), (UNSURE - 0.01, Step.ASK_BACK)]
)
def test_what_is_unsure_is_asked_back(confidence: float, step: Step) -> None:
    assert Confirming(True, "en").step(POLAND, confidence, 1.0) == (step, POLAND)
    assert Confirming(False, "en").step(POLAND, confidence, 1.0) == (Step.ANSWER, POLAND)


HEARD_S = 100.0


@pytest.mark.parametrize(
    ("text", "confidence", "after_s", "expected"),
    [
        ("Yes.", SURE, 2.0, (Step.ANSWER, POLAND)),
        ("Yes.", DOUBT, 2.0, (Step.ANSWER, POLAND)),  # a yes is a yes, however it was mumbled
        ("Yes.", SURE, -0.5, (Step.ANSWER, POLAND)),  # who knows the rest need not hear it
        ("Yes.", SURE, ANSWER_WITHIN_S, (Step.ANSWER, POLAND)),
        ("Yes.", SURE, ANSWER_WITHIN_S + 0.1, (Step.ANSWER, "Yes.")),
        ("Yes.", DOUBT, ANSWER_WITHIN_S + 0.1, (Step.ASK_BACK, "Yes.")),
        (POLAND, DOUBT, 2.0, (Step.ANSWER, POLAND)),  # said, and understood, a second time
        ("No.", SURE, 2.0, (Step.SAY_AGAIN, "No.")),
        ("No.", DOUBT, 2.0, (Step.SAY_AGAIN, "No.")),
        ("No.", SURE, ANSWER_WITHIN_S + 0.1, (Step.ANSWER, "No.")),
        (SPAIN, SURE, 2.0, (Step.ANSWER, SPAIN)),
        (SPAIN, DOUBT, 2.0, (Step.ASK_BACK, SPAIN)),
        (f"No, {SPAIN}", SURE, 2.0, (Step.ANSWER, SPAIN)),
    ],
)
def test_what_follows_decides(
    text: str, confidence: float, after_s: float, expected: tuple[Step, str]
) -> None:
    confirming = Confirming(True, "en")
    confirming.over(Step.ASK_BACK, POLAND, HEARD_S)
    assert confirming.step(text, confidence, HEARD_S + after_s) == expected
    assert confirming.step(text, confidence, HEARD_S + after_s) == expected, "nothing is used up by looking"


@pytest.mark.parametrize("step", [Step.ANSWER, Step.SAY_AGAIN])
def test_what_else_was_heard_settles_it(step: Step) -> None:
    confirming = Confirming(True, "en")
    confirming.over(Step.ASK_BACK, POLAND, HEARD_S)
    confirming.over(step, "", HEARD_S + 1)
    assert confirming.step("Yes.", SURE, HEARD_S + 2) == (Step.ANSWER, "Yes.")


# ---------------------------------------------------------------- in the room


@pytest.fixture
def room() -> Room:
    return Room(Config(stt=Stt(confirm=True)))


def says(room: Room, turn: int, text: str, confidence: float = SURE) -> None:
    room.starts(turn)
    room.pauses(turn)
    room.is_understood(turn, text=text, confidence=confidence)
    room.ends(turn)


def is_asked_back(room: Room, turn: int = 1) -> None:
    """The room has heard it."""
    says(room, turn, POLAND, DOUBT)
    room.is_heard(0, turn=turn)


def test_an_unsure_question_is_asked_back_and_a_yes_has_it_answered(room: Room) -> None:
    room.starts()
    room.pauses()
    room.is_understood(text=POLAND, confidence=DOUBT)
    assert room.work(Question) == []
    assert room.work(Sentence) == [sentence(0, DID_YOU_SAY, last=True)], "made, and held by tts"
    assert not [m for m in room.published if isinstance(m, Sentence)], "nobody is shown it yet"
    room.ends()
    assert Notify("tts", TurnEnded(1, 0, room.now_s, room.now_s)) in room.actions
    assert [m.text for m in room.published if isinstance(m, Sentence)] == [DID_YOU_SAY]
    room.is_heard(0)
    assert room.finished() == [(1, "answered")]
    assert room.history() == ()
    assert room.work(Prefill) == [Prefill((), POLAND, 1)], "it is likely to be asked"
    says(room, 2, "Yes.")
    room.answers("Warsaw.", turn=2)
    room.is_heard(0, turn=2)
    assert room.history() == (Exchange(POLAND, "Warsaw."),)


@pytest.mark.parametrize("barge_in", ["off", "word", "voice"])
@pytest.mark.parametrize(
    ("text", "after_s", "sound_s", "is_asked"),
    [
        (POLAND, 0.01, 0.4, True),
        (POLAND, 5.0, 0.4, True),
        (POLAND, 0.01, 1.2, False),  # what it reached back to may be the whole echo
        ("of Poland?", 0.01, 0.4, False),  # the last word, which was still in the room
    ],
)
def test_who_answers_with_the_same_words_is_no_echo(
    barge_in: Literal["off", "word", "voice"], text: str, after_s: float, sound_s: float, is_asked: bool
) -> None:
    room = Room(Config(stt=Stt(confirm=True), audio=Audio(barge_in=barge_in)))
    is_asked_back(room)
    room.now_s += after_s
    room.starts(2)
    room.pauses(2, sound_s=sound_s)
    room.is_understood(2, text=text)
    wanted = [Question(2, 0, text)]
    assert room.work(Question) == (wanted if is_asked or barge_in == "off" else [])


def test_an_echo_that_vad_tells_of_late_is_one_all_the_same() -> None:
    """It begins with the question that is asked back, and ends 0.2 s behind that."""
    room = Room(Config(stt=Stt(confirm=True), audio=Audio(barge_in="voice")))
    is_asked_back(room)
    over_s = room.now_s
    room.now_s += 1.2
    room.fact("vad", SpeechStarted(2, over_s - 1.2))
    room.pauses(2, sound_s=1.8, late_s=1.0)
    room.is_understood(2, text=POLAND)
    assert room.work(Question) == []


def test_of_a_short_question_an_echo_may_be_all_that_was_heard() -> None:
    """Its sound would be in the room, and before where the speech was found to begin, for as long as that."""
    asked = []
    for after_s in (0.1, 0.3):
        room = Room(Config(stt=Stt(confirm=True), audio=Audio(barge_in="voice")))
        says(room, 1, "Turn on the lamp.", DOUBT)
        room.is_heard(0)
        room.now_s += after_s
        room.starts(2)
        room.pauses(2, sound_s=0.4)
        room.is_understood(2, text="Turn on the lamp.")
        asked.append(room.work(Question))
    assert asked == [[], [Question(2, 0, "Turn on the lamp.")]]


def test_nor_is_what_was_said_while_it_was_asked_an_answer() -> None:
    room = Room(Config(stt=Stt(confirm=True), audio=Audio(barge_in="voice")))
    says(room, 1, POLAND, DOUBT)
    room.is_heard(0, 0.9)
    room.starts(2)
    room.pauses(2)
    room.now_s += 0.1
    room.is_heard(0)
    room.is_understood(2, text=POLAND)
    assert room.work(Question) == []


def test_the_question_that_was_meant_is_asked(room: Room) -> None:
    is_asked_back(room)
    room.starts(2)
    room.pauses(2)
    room.is_understood(2, text="Yes, please.")
    assert room.work(Question) == [Question(2, 0, POLAND)]


def test_a_no_is_asked_to_say_it_again(room: Room) -> None:
    is_asked_back(room)
    room.starts(2)
    room.pauses(2)
    room.is_understood(2, text="No.")
    assert room.work(Sentence) == [sentence(0, "Please say it again.", last=True, turn=2)]
    room.ends(2)
    room.is_heard(0, turn=2)
    assert room.history() == ()
    says(room, 3, "Yes.")
    room.answers("Fine.", turn=3)
    room.is_heard(0, turn=3)
    assert room.history() == (Exchange("Yes.", "Fine."),), "nothing is asked any more"


def test_anything_else_is_the_new_question(room: Room) -> None:
    is_asked_back(room)
    says(room, 2, SPAIN)
    room.answers("Madrid.", turn=2)
    room.is_heard(0, turn=2)
    assert room.history() == (Exchange(SPAIN, "Madrid."),)


def test_who_goes_on_speaking_is_not_asked(room: Room) -> None:
    room.starts()
    room.pauses()
    room.is_understood(text="What is the", confidence=DOUBT)
    room.resumes()
    assert CancelWork(1, 0) in room.actions
    room.pauses(revision=1)
    room.is_understood(revision=1, text=POLAND)
    assert room.work(Question) == [Question(1, 1, POLAND)]


def test_a_yes_that_goes_on_is_decided_anew(room: Room) -> None:
    is_asked_back(room)
    room.starts(2)
    room.pauses(2)
    room.is_understood(2, text="Yes.")
    room.resumes(2)
    room.pauses(2, revision=1)
    room.is_understood(2, revision=1, text="Yes, that's right.")
    assert room.work(Question) == [Question(2, 1, POLAND)]


def test_a_noise_in_between_changes_nothing(room: Room) -> None:
    is_asked_back(room)
    says(room, 2, "")
    assert room.finished()[-1] == (2, "nothing")
    room.starts(3)
    room.pauses(3)
    room.is_understood(3, text="Yes.")
    assert room.work(Question) == [Question(3, 0, POLAND)]


def test_silence_makes_it_forgotten(room: Room) -> None:
    is_asked_back(room)
    room.now_s += ANSWER_WITHIN_S + 1
    room.starts(2)
    room.pauses(2)
    room.is_understood(2, text="Yes.")
    assert room.work(Question) == [Question(2, 0, "Yes.")]


def test_an_announcement_in_between_settles_nothing(room: Room) -> None:
    is_asked_back(room)
    _, actions = room.turns.announce("I am too hot.", room.now_s)
    room.note(actions)
    room.is_heard(0, turn=3)
    says(room, 2, "Yes.")
    room.answers("Yes what?", turn=2)
    room.is_heard(0, turn=2)
    assert room.history() == (Exchange("What is the capital of Poland?", "Yes what?"),)


def test_what_could_not_be_asked_is_not_waited_for(room: Room) -> None:
    room.starts()
    room.pauses()
    room.is_understood(text=POLAND, confidence=DOUBT)
    room.fact("tts", Failure("tts", 1, 0, "There is no speaker."))
    room.ends()
    assert room.finished() == [(1, "failed")]
    room.starts(2)
    room.pauses(2)
    room.is_understood(2, text="Yes.")
    assert room.work(Question) == [Question(2, 0, "Yes.")]


def test_an_apology_is_not_a_question(room: Room) -> None:
    says(room, 1, POLAND, DOUBT)
    stuck = sentence(0, DID_YOU_SAY, last=True)
    room.note(room.turns.set_aside("tts", stuck, room.now_s))
    assert [m.text for m in room.work(Sentence) if isinstance(m, Sentence)] == [APOLOGY]
    room.is_heard(0, revision=1)
    says(room, 2, "Yes.")
    room.answers("Yes what?", turn=2)
    room.is_heard(0, turn=2)
    assert room.history() == (Exchange("Yes.", "Yes what?"),)


def test_what_is_typed_is_never_asked_back(room: Room) -> None:
    room.asks(7, Ask(POLAND))
    assert room.work(Question) == [Question(1 + 1, 0, POLAND)]
    room.asks(7, Say("Hello.", to_client=False))
    assert [m.text for m in room.work(Sentence) if isinstance(m, Sentence)] == ["Hello."]


def test_by_default_nothing_is_asked_back() -> None:
    room = Room()
    room.starts()
    room.pauses()
    room.is_understood(text=POLAND, confidence=0.01)
    assert room.work(Question) == [Question(1, 0, POLAND)]
