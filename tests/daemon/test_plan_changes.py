"""The daemon's workers as the plan changes with the memory that there is."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Literal

import pytest
from daemon_board import BEST, MODELS, MUTE, WANTING, Board

from assistant.cli.limits import read as read_limits
from assistant.daemon.daemon import TICK_S
from assistant.daemon.limits import NAME as LIMITS
from assistant.daemon.limits import limits
from assistant.daemon.plan_changes import NO_VOICE, SAY_WITHIN_S
from assistant.daemon.stepping import ROOM_BEFORE_UP_S
from assistant.errors import QueueFull
from assistant.messages import (
    STAGES,
    Ask,
    Question,
    Recognise,
    SpeechDropped,
    SpeechStarted,
    Stage,
    StageState,
)

VOICE: tuple[Stage, ...] = ("vad", "stt", "tts")


def test_a_plan_without_a_voice_has_no_place_for_its_workers(tmp_path: Path) -> None:
    board = Board(tmp_path, MUTE)
    board.start("llm")
    assert board.links["llm"].pause_s == 0.0
    for _ in range(10):  # whatever becomes of those that wait
        board.start(*VOICE)
        for stage in VOICE:
            assert board.links[stage].pause_s == math.inf
            assert board.fate(stage) == "", "it waits, and holds no model"
            board.die(stage)
    states = board.status()
    assert {stage: states[stage].detail for stage in STAGES} == dict.fromkeys(VOICE, NO_VOICE) | {"llm": ""}
    assert {stage: states[stage].restarts for stage in VOICE} == dict.fromkeys(VOICE, 0), "nobody died"
    board.client.post(Ask("Why?"), confirm=True)
    delivery = board.links["llm"].receive(0)
    assert delivery is not None
    with pytest.raises(QueueFull, match=re.escape(NO_VOICE)):
        board.client.post(Recognise(bytes(20), 16_000, 100), confirm=True)


def test_when_there_is_room_the_voice_comes_back(tmp_path: Path) -> None:
    board = Board(tmp_path, MUTE)
    board.start(*STAGES)
    board.passes(ROOM_BEFORE_UP_S + 1.0)
    assert board.watch.plan.has_voice
    assert all(board.fate(stage) for stage in VOICE)
    board.start(*VOICE)
    for stage in VOICE:
        assert (board.links[stage].pause_s, board.fate(stage)) == (0.0, "")
    assert board.links["stt"].config.stt.model == str(MODELS / "whisper-tiny-test")
    states = board.status()
    assert {states[stage].state for stage in VOICE} == {"ready"}
    assert {states[stage].restarts for stage in VOICE} == {0}


def test_a_second_opinion_comes_and_goes_unsaid_and_only_between_utterances(tmp_path: Path) -> None:
    """Its worker may hold the beginning of a question."""
    board = Board(tmp_path, facts=WANTING)
    board.start(*STAGES)
    board.passes(ROOM_BEFORE_UP_S + 1.0)
    assert board.watch.plan.has_second_opinion
    assert [board.fate(stage) for stage in STAGES] == ["The plan has changed.", "", "", ""]
    board.start("vad")
    assert board.links["vad"].config.vad.second_opinion
    board.passes(10.0)

    board.links["vad"].post(SpeechStarted(1, board.now_s))
    states: tuple[Literal["gone", "ready"], ...] = ("gone", "ready")
    for state in 2 * states:
        board.links["llm"].post(StageState("llm", state, fault="memory" if state == "gone" else None))
    board.passes(4 * TICK_S)
    assert [board.fate(stage) for stage in STAGES] == [""] * 4
    board.links["vad"].post(SpeechDropped(1))
    board.passes(2 * TICK_S)
    assert [board.fate(stage) for stage in STAGES] == ["The plan has changed.", "", "", ""]
    board.start("vad")
    board.passes(2 * TICK_S)
    assert (board.fate("vad"), board.links["vad"].config.vad.second_opinion) == ("", False)
    assert board.says() == []


@pytest.mark.parametrize("is_said", [True, False])
def test_when_there_is_none_the_voice_goes_when_it_has_said_so(tmp_path: Path, is_said: bool) -> None:
    board = Board(tmp_path)
    board.start(*STAGES)
    board.has(0)
    board.passes(2 * TICK_S)
    assert not board.watch.plan.has_voice
    assert [board.fate(stage) for stage in ("stt", "llm")] == ["The plan has changed."] * 2
    if is_said:
        assert " ".join(board.says()).endswith("please type instead.")
        board.passes(2 * TICK_S)
    else:
        board.passes(SAY_WITHIN_S / 2)
        assert board.fate("tts") == ""
        board.passes(SAY_WITHIN_S / 2 + TICK_S)
    assert board.fate("tts") == board.fate("vad") == NO_VOICE
    board.start(*STAGES)
    assert [board.links[stage].pause_s for stage in STAGES] == [math.inf, math.inf, 0.0, math.inf]
    states = board.status()
    assert {stage: states[stage].restarts for stage in STAGES} == dict.fromkeys(STAGES, 0)
    assert states["llm"].state == "ready"


def test_work_that_a_dismissed_worker_held_is_not_to_blame(tmp_path: Path) -> None:
    """Two workers that die of it are too many; one that is let go in between does not count."""
    board = Board(tmp_path)
    board.start("llm")
    board.client.post(Ask("Why?"), confirm=True)
    assert board.links["llm"].receive(0) is not None
    board.die("llm")
    board.start("llm")
    assert board.links["llm"].receive(0) is not None
    board.has(0)
    board.passes(2 * TICK_S)
    assert board.fate("llm") == "The plan has changed."
    board.passes(SAY_WITHIN_S)  # until then the voice says that it goes, and nothing is loaded beside it
    board.start("llm")
    delivery = board.links["llm"].receive(0)
    assert delivery is not None
    assert isinstance(delivery.message, Question)


def test_the_limits_follow_the_plan(tmp_path: Path) -> None:
    board = Board(tmp_path)
    board.passes(TICK_S)
    assert read_limits(tmp_path / LIMITS) == limits(BEST)
    board.has(0)
    board.passes(2 * TICK_S)
    assert read_limits(tmp_path / LIMITS) == limits(board.watch.plan) != limits(BEST)
