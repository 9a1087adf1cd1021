"""The loop of a worker, in a thread of the test, for a daemon behind a real socket."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
import soundfile
from stage_hub import CONFIG, PATIENCE_S, SocketDaemon, posted, recording, until

from assistant.audio import microphone
from assistant.audio.card import SoundCard
from assistant.audio.formats import RATE_HZ
from assistant.audio.microphone import Microphone
from assistant.config import Audio, Config, Llm, Log, Stt, Tts
from assistant.errors import DaemonError
from assistant.messages import (
    AnyMessage,
    Cancel,
    Failure,
    MicrophoneEnded,
    NextTurn,
    Question,
    Sentence,
    Speech,
    SpeechStarted,
    Stage,
    StageState,
    Transcript,
    Utterance,
)
from assistant.queues import socket as queues
from assistant.queues.link import Link
from assistant.service import EXIT_UNUSABLE
from assistant.stages import loop, vad
from assistant.stages.loop import work

TOO_LONG = "secret " * 3000


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a worker sets for its own process, it shall not leave to the tests."""
    monkeypatch.setenv("HF_HUB_OFFLINE", os.environ.get("HF_HUB_OFFLINE", "1"))
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    loggers = [logging.root, logging.getLogger("assistant")]
    levels = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


class Post:
    """A daemon, and a worker that runs its loop for it."""

    def __init__(self, daemon: SocketDaemon, stage: Stage, pool: ThreadPoolExecutor) -> None:
        self.daemon = daemon
        self.stage = stage
        self.exit_code: Future[int] = pool.submit(work, stage, daemon.path)

    def states(self) -> list[StageState]:
        return posted(self.daemon, StageState)

    def until_ready(self) -> None:
        until(lambda: bool(self.states()))
        assert self.states() == [StageState(self.stage, "ready")]

    def offer(self, message: AnyMessage) -> None:
        """Give the worker a message, and wait until it has acknowledged it."""
        self.daemon.offer(self.stage, message)
        until(lambda: self.daemon.unfinished(self.stage) == 0)

    def leave(self) -> int:
        self.daemon.stop()
        return self.exit_code.result(PATIENCE_S)


Employ = Callable[..., Post]


@pytest.fixture
def employ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Employ]:
    """`employ(stage, config)`: a worker, which is gone at the end of the test."""
    with contextlib.ExitStack() as leaves, ThreadPoolExecutor() as pool:
        daemons: list[SocketDaemon] = []

        def connect(socket: Path, stage: Stage) -> Link:
            return leaves.enter_context(contextlib.closing(queues.connect(socket, stage)))

        def open_microphone(name: str) -> Microphone:
            return leaves.enter_context(contextlib.closing(microphone.open_microphone(name)))

        # what a worker opens, the end of its process closes
        monkeypatch.setattr(loop, "connect", connect)
        monkeypatch.setattr(vad, "open_microphone", open_microphone)

        def begin(stage: Stage, config: Config = CONFIG) -> Post:
            daemons.append(SocketDaemon(tmp_path / "daemon.sock", config).__enter__())
            return Post(daemons[-1], stage, pool)

        yield begin
        for daemon in daemons:
            daemon.__exit__()


def unusable(stage: Stage, folder: Path) -> Config:
    """A configuration that names something which is not there for `stage`."""
    missing = str(folder / f"no-{stage}")
    return {
        "vad": Config(audio=Audio(microphone=f"card:{missing}")),
        "stt": Config(stt=Stt(model=missing)),
        "llm": Config(llm=Llm(model=missing)),
        "tts": Config(tts=Tts(model=missing)),
    }[stage]


@pytest.mark.parametrize("stage", ["vad", "stt", "llm", "tts"])
def test_a_stage_that_cannot_work_says_why_and_ends(employ: Employ, stage: Stage, tmp_path: Path) -> None:
    post = employ(stage, unusable(stage, tmp_path))
    assert post.exit_code.result(PATIENCE_S) == EXIT_UNUSABLE
    until(lambda: bool(post.states()))
    (state,) = post.states()
    assert (state.stage, state.state) == (stage, "gone")
    assert f"no-{stage}" in state.detail
    assert re.fullmatch(r"[A-Z].*[^.][.?]", state.detail), "a sentence"


def test_a_package_that_is_missing_is_named(employ: Employ, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "assistant.stages.tts", raising=False)
    monkeypatch.delitem(sys.modules, "assistant.engines.piper", raising=False)
    monkeypatch.setitem(sys.modules, "piper", None)
    post = employ("tts")
    assert post.exit_code.result(PATIENCE_S) == EXIT_UNUSABLE
    until(lambda: bool(post.states()))
    (state,) = post.states()
    assert state.state == "gone"
    assert "piper" in state.detail
    assert "install.sh" in state.detail


@pytest.mark.parametrize("stage", ["stt", "llm", "tts"])
def test_when_the_daemon_goes_the_worker_ends(employ: Employ, stage: Stage) -> None:
    post = employ(stage)
    post.until_ready()
    assert post.leave() == 0


def test_a_listener_posts_what_it_hears(employ: Employ, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "sound.wav", recording("q00.wav"), RATE_HZ)
    card = SoundCard(str(tmp_path / "sound.wav"), "", RATE_HZ, 20.0, folder=tmp_path / "card")
    card.start()
    post = employ("vad", Config(audio=Audio(microphone=card.microphone_name)))
    post.until_ready()
    post.daemon.notify("vad", NextTurn(1))
    until(lambda: bool(posted(post.daemon, MicrophoneEnded)))
    assert [message.turn for message in posted(post.daemon, SpeechStarted)] == [1]
    assert posted(post.daemon, Utterance)
    assert not post.exit_code.done(), "it stays, so that it is not started again"
    assert post.leave() == 0
    card.close()


def test_a_listener_whose_microphone_went_away_says_so(employ: Employ, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "sound.wav", recording("people/jfk.wav"), RATE_HZ)
    card = SoundCard(str(tmp_path / "sound.wav"), "", RATE_HZ, folder=tmp_path / "card")
    card.start()
    post = employ("vad", Config(audio=Audio(microphone=card.microphone_name)))
    post.until_ready()
    post.daemon.notify("vad", NextTurn(1))
    until(lambda: bool(posted(post.daemon, SpeechStarted)))
    card.close()
    assert post.exit_code.result(PATIENCE_S) == EXIT_UNUSABLE
    until(lambda: len(post.states()) == 2)
    assert post.states()[1].state == "gone"
    assert "went away" in post.states()[1].detail


def test_a_sentence_that_was_taken_is_not_heard_yet(employ: Employ) -> None:
    """tts acknowledges by itself; one behind it, for a client, shows that the loop has gone on."""
    post = employ("tts")
    post.until_ready()
    post.daemon.offer("tts", Sentence(1, 0, 0, "It waits for the end of its turn.", last=True))
    post.daemon.offer("tts", Sentence(2, 0, 0, "It does not.", last=True, to_client=True))
    until(lambda: post.daemon.unfinished("tts") < 2)
    assert [speech.turn for speech in posted(post.daemon, Speech)] == [2]
    assert post.daemon.unfinished("tts") == 1
    post.daemon.notify("tts", Cancel(1, 0))
    until(lambda: post.daemon.unfinished("tts") == 0)
    assert post.leave() == 0


# ---------------------------------------------------------------- one piece of work that fails


def odd_sound(turn: int) -> Utterance:
    """Half a sample too much: numpy refuses it, in words of its own."""
    return Utterance(turn, 1, b"\1\2\3", RATE_HZ, 500, 0.0)


@pytest.mark.parametrize(
    ("message", "kind", "words"),
    [
        (odd_sound(5), "ValueError at stt.py:", "multiple of"),
        (Question(5, 1, "What is my secret?"), "AssertionError at stt.py:", "secret"),
    ],
)
def test_a_defect_costs_one_piece_of_work(
    employ: Employ, caplog: pytest.LogCaptureFixture, message: AnyMessage, kind: str, words: str
) -> None:
    post = employ("stt", msgspec.structs.replace(CONFIG, log=Log(level="debug")))
    post.until_ready()
    post.offer(message)
    (failure,) = posted(post.daemon, Failure)
    assert (failure.stage, failure.turn, failure.revision) == ("stt", 5, 1)
    assert kind in failure.reason
    assert words not in failure.reason
    assert kind in caplog.text
    assert "in handle" in caplog.text, "debug shows where"
    assert words not in caplog.text
    # the worker lives on
    post.offer(Utterance(6, 0, recording("q00.wav").tobytes(), RATE_HZ, 1500, 0.0))
    (transcript,) = posted(post.daemon, Transcript)
    assert (transcript.turn, transcript.text) == (6, "What is the capital of Germany?")
    assert post.leave() == 0


def test_what_a_person_can_mend_is_said_as_it_is(employ: Employ) -> None:
    post = employ("llm")
    post.until_ready()
    post.offer(Question(2, 3, TOO_LONG))
    (failure,) = posted(post.daemon, Failure)
    assert (failure.stage, failure.turn, failure.revision) == ("llm", 2, 3)
    assert re.fullmatch(r"The question is too long .*\.", failure.reason)
    assert "secret" not in failure.reason
    post.offer(Question(3, 0, "What is the capital of France?"))
    (sentence,) = posted(post.daemon, Sentence)
    assert sentence.text == "The capital of France is Paris."
    assert post.leave() == 0


# ---------------------------------------------------------------- surroundings


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_the_daemons_configuration_says_what_is_logged(employ: Employ, level: str, tmp_path: Path) -> None:
    config = msgspec.structs.replace(unusable("llm", tmp_path), log=Log(level=level))  # type: ignore[arg-type]
    assert employ("llm", config).exit_code.result(PATIENCE_S) == EXIT_UNUSABLE
    least = logging.getLevelNamesMapping()[level.upper()]
    assert logging.getLogger("assistant.stages.loop").getEffectiveLevel() == least
    assert logging.getLogger("a.library").getEffectiveLevel() == max(least, logging.WARNING)


def test_without_a_daemon_there_is_nothing_to_do(tmp_path: Path) -> None:
    with pytest.raises(DaemonError, match="No daemon listens"):
        work("llm", tmp_path / "daemon.sock")
