"""What a person hears of the daemon: earcons, and what becomes of a question when something goes away."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from daemon_board import Board

from assistant.config import Config, Sounds
from assistant.daemon.answers import APOLOGY
from assistant.daemon.daemon import Daemon
from assistant.messages import (
    STAGES,
    EarconStarted,
    NextTurn,
    Played,
    Sentence,
    SpeechDropped,
    SpeechResumed,
    SpeechStarted,
    StageState,
    TurnEnded,
    TurnFinished,
    Utterance,
)
from assistant.queues import memory


def test_that_it_listens_is_heard_and_vad_told_of_the_sound(tmp_path: Path) -> None:
    board = Board(tmp_path)
    board.start("vad", "stt", "llm")
    board.passes(1.0)
    board.start("tts")
    board.passes(1.0)
    assert board.earcons() == ["ready"]
    board.links["tts"].post(EarconStarted(board.now_s, 300))
    board.fate("vad")
    assert [m for m in board.heard["vad"] if isinstance(m, EarconStarted)] == [EarconStarted(1002.0, 300)]
    board.links["tts"].post(Played(b"\1\0", 16_000, board.now_s))
    board.fate("vad")
    assert [m for m in board.heard["vad"] if isinstance(m, Played)] == [Played(b"\1\0", 16_000, 1002.0)]
    board.links["vad"].post(StageState("vad", "gone", "There is no microphone.", "microphone"))
    board.passes(1.0)
    board.links["vad"].post(StageState("vad", "ready"))
    board.passes(1.0)
    assert board.earcons() == ["ready", "listening"]


def test_a_long_silence_after_a_question_is_filled_once(tmp_path: Path) -> None:
    board = Board(tmp_path)
    board.start(*STAGES)
    board.passes(1.0)
    vad = board.links["vad"]
    vad.post(SpeechStarted(1, board.now_s))
    board.passes(10.0)
    assert board.earcons() == ["ready"], "the person still speaks"
    vad.post(Utterance(1, 0, bytes(20), 16_000, 100, board.now_s))
    vad.post(TurnEnded(1, 0, board.now_s, board.now_s))
    board.passes(1.0)
    assert board.earcons() == ["ready"]
    board.passes(10.0)
    assert board.earcons() == ["ready", "thinking"]


@pytest.mark.parametrize(("paused", "resumed"), [(False, False), (True, True), (True, False)])
def test_a_question_whose_microphone_went_away_counts_as_far_as_it_was_whole(
    tmp_path: Path, paused: bool, resumed: bool
) -> None:
    """After a pause it may have been all of it, and is answered; in mid-speech it is forgotten."""
    board = Board(tmp_path)
    board.start(*STAGES)
    watcher = memory.connect(board.daemon.broker, "watcher")
    vad = board.links["vad"]
    vad.post(SpeechStarted(1, board.now_s))
    if paused:
        vad.post(Utterance(1, 0, bytes(20), 16_000, 100, board.now_s))
        assert board.links["stt"].receive(0) is not None
    if resumed:
        vad.post(SpeechResumed(1, 1))
    vad.post(SpeechDropped(1))
    vad.post(StageState("vad", "gone", "The microphone went away.", "microphone"))
    is_whole = paused and not resumed
    assert board.links["stt"].cancelled(1, 0) is not is_whole
    events = []
    while (event := watcher.notice(0)) is not None:
        events.append(event)
    finished = [(m.turn, m.outcome) for m in events if isinstance(m, TurnFinished)]
    assert finished == ([] if is_whole else [(1, "nothing")])
    assert [m.revision for m in events if isinstance(m, TurnEnded)] == [0] * is_whole
    vad.post(StageState("vad", "ready"))
    vad.post(SpeechStarted(2, board.now_s))
    board.fate("vad")
    assert [m.turn for m in board.heard["vad"] if isinstance(m, NextTurn)][-2:] == [2, 3]


@pytest.mark.parametrize("earcons", [True, False])
def test_earcons_can_be_left_out(tmp_path: Path, earcons: bool) -> None:
    board = Board(tmp_path, config=Config(sounds=Sounds(earcons=earcons)))
    board.start(*STAGES)
    board.passes(1.0)
    assert board.earcons() == ["ready"] * earcons


def test_an_interrupted_answer_is_apologised_for_by_the_next_daemon(tmp_path: Path) -> None:
    first = Board(tmp_path / "first")
    first.start(*STAGES)
    vad = first.links["vad"]
    vad.post(SpeechStarted(1, first.now_s))
    vad.post(Utterance(1, 0, bytes(20), 16_000, 100, first.now_s))
    vad.post(TurnEnded(1, 0, first.now_s, first.now_s))
    first.passes(1.0)
    said = []
    for folder in (tmp_path / "first", tmp_path / "third"):  # the same place, and one of another board
        second = Daemon(Config(), folder / "unused.sock", None)
        stop = asyncio.Event()
        stop.set()
        asyncio.run(second.run(stop))
        tts = memory.connect(second.broker, "tts")
        tts.post(StageState("tts", "ready"))
        second.tick()
        delivery = tts.receive(0)
        said.append(delivery.message.text if delivery and isinstance(delivery.message, Sentence) else "")
    assert APOLOGY.startswith(said[0])
    assert said[0]
    assert said[1] == ""
