"""What becomes of turns that cannot be answered: too old, a stage unusable or failing."""

from __future__ import annotations

import pytest
from turn_room import Room, sentence, utterance

from assistant.daemon.answers import APOLOGY, EVERY_REVISION
from assistant.daemon.turn import CancelWork, Publish
from assistant.messages import Failure, Question, Sentence, Stage, TurnFinished


@pytest.fixture
def room() -> Room:
    return Room()


def test_a_question_that_is_too_old_fails_in_silence(room: Room) -> None:
    room.speaks()
    room.note(room.turns.lost("llm", Question(1, 0, "Why?"), "it waited.", room.now_s))
    assert CancelWork(1, EVERY_REVISION) in room.actions
    assert room.work(Sentence) == []
    reason = "The llm stage did not get to it: it waited."
    assert Publish(TurnFinished(1, 100.0, "failed", reason)) in room.actions


def test_losing_what_is_stale_changes_nothing(room: Room) -> None:
    room.starts()
    room.pauses()
    room.pauses(revision=1)
    assert room.turns.lost("stt", utterance(), "it waited", room.now_s) == []
    assert room.turns.lost("stt", utterance(9), "it waited", room.now_s) == []


def test_sound_that_was_lost_while_the_person_speaks_is_apologised_for(room: Room) -> None:
    room.starts()
    room.pauses()
    assert room.turns.lost("stt", utterance(), "newer sound took its place", room.now_s) == []
    room.ends()
    assert room.work(Sentence) == [sentence(0, APOLOGY, last=True, revision=1)]


@pytest.mark.parametrize("stage", ["stt", "llm"])
def test_an_unusable_stage_is_apologised_for_once(room: Room, stage: Stage) -> None:
    room.starts()
    room.pauses()
    if stage == "llm":
        room.is_understood()
    room.note(room.turns.stage_unusable(stage, "There is no model.", room.now_s))
    assert room.actions == []
    room.ends()
    assert room.work(Sentence) == [sentence(0, APOLOGY, last=True, revision=1)]
    for _ in range(3):
        assert room.turns.tick(room.now_s) == []  # nor does the apology begin again and again
    room.is_heard(0, revision=1)
    assert room.published[-1] == TurnFinished(1, 100.0, "failed", "There is no model.")


def test_where_nothing_works_the_turn_ends_all_the_same(room: Room) -> None:
    room.turns.stage_unusable("stt", "There is no model.", room.now_s)
    room.turns.stage_unusable("tts", "There is no speaker.", room.now_s)
    room.starts()
    room.pauses()
    room.ends()
    for _ in range(3):
        room.note(room.turns.tick(room.now_s))
    assert room.finished() == [(1, "failed")]


def test_without_a_voice_the_answer_can_still_be_read(room: Room) -> None:
    room.turns.stage_unusable("tts", "There is no speaker.", room.now_s)
    room.speaks()
    room.answers("One.", last=False)
    assert room.turns.tick(room.now_s) == []
    room.answers("Two.", first=1)
    room.note(room.turns.tick(room.now_s))
    assert room.published[-1] == TurnFinished(1, 100.0, "failed", "There is no speaker.")
    assert [m.text for m in room.published if isinstance(m, Sentence)] == ["One.", "Two."]
    room.turns.stage_ready("tts", room.now_s)
    room.speaks(2)
    room.answers("Three.", turn=2)
    room.is_heard(0, turn=2)
    assert room.finished() == [(1, "failed"), (2, "answered")]


@pytest.mark.parametrize("stages", [("tts", "llm"), ("tts",)])
def test_a_voice_that_fails_before_the_end_never_leaves_the_turn_hanging(
    room: Room, stages: tuple[Stage, ...]
) -> None:
    room.starts()
    room.pauses()
    room.is_understood()
    room.answers("One.", last="llm" not in stages)
    for stage in stages:
        room.fact(stage, Failure(stage, 1, 0, "It broke."))
    room.ends()
    if "llm" in stages:
        assert room.work(Sentence) == [sentence(0, APOLOGY, last=True, revision=1)]
        room.fact("tts", Failure("tts", 1, 1, "It is still broken."))
    assert room.finished() == [(1, "failed")]


def test_a_voice_that_failed_for_a_stale_revision_speaks_the_next(room: Room) -> None:
    room.starts()
    room.pauses()
    room.is_understood()
    room.answers("One.")
    room.fact("tts", Failure("tts", 1, 0, "It broke."))
    room.resumes()
    room.pauses(revision=1)
    room.is_understood(revision=1)
    room.answers("Two.", revision=1)
    assert room.work(Sentence) == [sentence(0, "Two.", last=True, revision=1)]


def test_a_late_failure_of_a_stale_revision_is_ignored(room: Room) -> None:
    room.starts()
    room.pauses()
    room.is_understood()
    room.resumes()
    room.fact("llm", Failure("llm", 1, 0, "It broke."))
    room.pauses(revision=1)
    room.ends(revision=1)
    room.is_understood(revision=1)
    room.answers("Two.", revision=1)
    assert room.work(Sentence) == [sentence(0, "Two.", last=True, revision=1)]


@pytest.mark.parametrize("stage", ["stt", "llm"])
def test_a_failure_is_apologised_for(room: Room, stage: Stage) -> None:
    room.starts()
    room.pauses()
    room.ends()
    if stage == "llm":
        room.is_understood()
    room.fact(stage, Failure(stage, 1, 0, "A defect."))
    assert room.work(Sentence) == [sentence(0, APOLOGY, last=True, revision=1)]
    room.fact(stage, Failure(stage, 1, 0, "Another defect."))
    assert room.actions == []  # of the answer that was given up already
    room.is_heard(0, revision=1)
    assert room.published[-1] == TurnFinished(1, 100.0, "failed", "A defect.")


def test_a_failing_voice_ends_the_apology(room: Room) -> None:
    room.speaks()
    room.fact("llm", Failure("llm", 1, 0, "A defect."))
    room.fact("tts", Failure("tts", 1, 1, "No speaker."))
    assert room.finished() == [(1, "failed")]
