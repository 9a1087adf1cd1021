"""The loop of a worker, in a thread of the test, for a daemon behind a real socket."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
import sys
import threading
import time
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
from assistant.errors import AudioError, ConfigError, DaemonError, ModelError, NoRoomError
from assistant.messages import (
    AnyMessage,
    Cancel,
    Failure,
    Fault,
    MicrophoneEnded,
    NextTurn,
    Question,
    Sentence,
    Speech,
    SpeechDropped,
    SpeechStarted,
    Stage,
    StageState,
    Token,
    Transcript,
    Utterance,
)
from assistant.queues import socket as queues
from assistant.queues.link import Link
from assistant.service import EXIT_UNUSABLE, Systemd, systemd
from assistant.stages import loop, vad
from assistant.stages import microphone as stage_microphone
from assistant.stages.loop import Handler, Listener, work

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

    def __init__(self, daemon: SocketDaemon, stage: Stage, exit_code: Future[int]) -> None:
        self.daemon = daemon
        self.stage = stage
        self.exit_code = exit_code

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
    """`employ(stage, config)`: a worker, which is gone at the end of the test.

    With `before` it is that post's worker, which a new daemon awaits.
    """
    with contextlib.ExitStack() as leaves, ThreadPoolExecutor() as pool:
        daemons: list[SocketDaemon] = []

        def connect(path: Path, stage: Stage) -> Link:
            return leaves.enter_context(contextlib.closing(queues.connect(path, stage)))

        def open_microphone(name: str, look_again: bool, _channel: int) -> Microphone:
            return leaves.enter_context(contextlib.closing(microphone.open_microphone(name, look_again)))

        # what a worker opens, the end of its process closes
        monkeypatch.setattr(loop, "connect", connect)
        monkeypatch.setattr(stage_microphone, "open_microphone", open_microphone)
        monkeypatch.setattr(vad, "RESTART_AFTER_S", 0.0)
        monkeypatch.setattr(vad, "LOOK_FOR_S", 0.0)

        def begin(
            stage: Stage, config: Config = CONFIG, before: Post | None = None, waits_s: float = 0
        ) -> Post:
            daemon = SocketDaemon(tmp_path / "daemon.sock", config)
            daemon.owner.worker_waits_s = waits_s
            daemons.append(daemon.__enter__())
            return Post(daemon, stage, before.exit_code if before else pool.submit(work, stage, daemon.path))

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
    assert state.fault == ("microphone" if stage == "vad" else "model")
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
    until(lambda: len(post.states()) == 3)
    assert [(state.state, state.fault) for state in post.states()[1:]] == [("gone", "microphone")] * 2
    assert "went away" in post.states()[1].detail
    assert "cannot be reached" in post.states()[2].detail
    assert [message.turn for message in posted(post.daemon, SpeechDropped)] == [1]


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


# ---------------------------------------------------------------- the daemon dies, and another comes

WORK: dict[Stage, AnyMessage] = {
    "stt": Utterance(2, 0, recording("q00.wav").tobytes(), RATE_HZ, 1500, 0.0),
    "llm": Question(2, 0, "What is the capital of Germany?"),
}
GERMANY = {"stt": "What is the capital of Germany?", "llm": "The capital of Germany is Berlin."}


@pytest.fixture
def passed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As systemd does, somebody listens for the daemon whether there is one or not."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "daemon.sock"))
        listening.listen()
        monkeypatch.setattr(systemd, "sockets", lambda: [listening.dup()])
        yield


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When a stage was loaded, each time."""
    times: list[float] = []
    build = loop._build

    def counted(stage: Stage) -> Callable[[Link], Handler | Listener]:
        times.append(time.monotonic())
        return build(stage)

    monkeypatch.setattr(loop, "_build", counted)
    return times


def results(post: Post) -> list[str]:
    return [message.text for message in posted(post.daemon, Transcript) + posted(post.daemon, Sentence)]


@pytest.mark.parametrize("stage", ["stt", "llm"])
@pytest.mark.usefixtures("passed")
def test_a_loaded_model_outlives_the_daemon(employ: Employ, loaded: list[float], stage: Stage) -> None:
    post = employ(stage)
    post.until_ready()
    for _ in range(3):
        post.daemon.die()
        post = employ(stage, before=post)
        post.until_ready()
        post.offer(WORK[stage])
        assert results(post) == [GERMANY[stage]]
    assert len(loaded) == 1
    assert post.leave() == 0, "a daemon that says goodbye is not waited for, though somebody listens"


@pytest.mark.usefixtures("passed")
def test_a_daemon_that_dies_in_mid_answer_is_forgotten(employ: Employ, loaded: list[float]) -> None:
    """The next one knows nothing of the turn: not a word of it may come."""
    first = employ("llm")
    first.until_ready()
    first.daemon.notify("llm", Cancel(2, 0))  # of the first daemon's turns
    first.daemon.offer("llm", Question(1, 0, "Tell me a story."))
    until(lambda: bool(posted(first.daemon, Token)))
    first.daemon.die()
    assert not posted(first.daemon, Sentence), "it is still in the middle of it"
    second = employ("llm", before=first)
    second.until_ready()
    second.offer(WORK["llm"])
    assert results(second) == [GERMANY["llm"]]
    assert {token.turn for token in posted(second.daemon, Token)} == {2}
    assert len(loaded) == 1


@pytest.mark.parametrize(
    "changed",
    [
        Config(llm=Llm(model="another.gguf")),
        msgspec.structs.replace(CONFIG, log=Log(level="debug")),
    ],
)
@pytest.mark.usefixtures("passed")
def test_a_daemon_of_other_settings_gets_another_worker(
    employ: Employ, loaded: list[float], changed: Config
) -> None:
    post = employ("llm")
    post.until_ready()
    post.daemon.die()
    successor = employ("llm", changed, before=post)
    assert post.exit_code.result(PATIENCE_S) == 0
    assert successor.states() == []
    assert len(loaded) == 1


@pytest.mark.usefixtures("passed")
def test_what_is_in_the_air_ends_with_the_daemon(employ: Employ) -> None:
    """tts has an effect in hand of which the next daemon knows nothing."""
    post = employ("tts")
    post.until_ready()
    post.daemon.die()
    assert post.exit_code.result(PATIENCE_S) == 0


@pytest.mark.parametrize("stage", ["stt", "llm"])
def test_without_another_daemon_the_worker_ends(employ: Employ, stage: Stage) -> None:
    post = employ(stage)
    post.until_ready()
    post.daemon.die()
    assert post.exit_code.result(PATIENCE_S) == 0


# ---------------------------------------------------------------- how it begins, and why it cannot


def test_a_worker_waits_as_long_as_it_is_told_before_it_loads(employ: Employ, loaded: list[float]) -> None:
    began_s = time.monotonic()
    employ("llm", waits_s=0.3).until_ready()
    assert 0.3 <= loaded[0] - began_s < 5.0


def test_a_worker_that_waits_still_ends_with_the_daemon(employ: Employ, loaded: list[float]) -> None:
    post = employ("llm", waits_s=1000.0)
    until(lambda: post.daemon.owner.peers == 1)
    assert post.leave() == 0
    assert loaded == []


@pytest.mark.parametrize(
    ("stage", "error", "fault"),
    [
        ("llm", ModelError("There is no model."), "model"),
        ("llm", NoRoomError("There is no room."), "memory"),
        ("stt", MemoryError(), "memory"),
        ("vad", AudioError("There is no microphone."), "microphone"),
        ("tts", AudioError("There is no speaker."), None),
        ("tts", ConfigError("That is no speed."), None),
        ("stt", ModuleNotFoundError("No module named 'x'", name="x"), None),
        ("stt", RuntimeError("no"), None),
    ],
)
def test_a_stage_that_cannot_work_says_of_what_kind_it_is(
    employ: Employ, monkeypatch: pytest.MonkeyPatch, stage: Stage, error: Exception, fault: Fault | None
) -> None:
    def fail(_link: Link) -> Handler:
        raise error

    monkeypatch.setattr(loop, "_build", lambda _stage: fail)
    post = employ(stage)
    assert post.exit_code.result(PATIENCE_S) == EXIT_UNUSABLE
    until(lambda: bool(post.states()))
    (state,) = post.states()
    assert (state.stage, state.state, state.fault) == (stage, "gone", fault)
    assert re.fullmatch(r"[A-Z].*[^.]\.", state.detail), "a sentence"


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """What systemd is told."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.settimeout(PATIENCE_S)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "4")
        monkeypatch.delenv("WATCHDOG_PID", raising=False)
        monkeypatch.setattr(loop, "systemd", Systemd())
        yield receiver


def test_systemd_is_told_what_the_worker_does(employ: Employ, manager: socket.socket) -> None:
    employ("llm", waits_s=0.2).until_ready()
    waiting, extended, *told = [manager.recv(1000).decode() for _ in range(7)]
    assert waiting.startswith("STATUS=waiting for ")
    assert extended.startswith("EXTEND_TIMEOUT_USEC=")
    assert told == ["STATUS=loading", "READY=1", "STATUS=ready", "WATCHDOG=1", "WATCHDOG=1"]


def test_systemd_is_told_why_a_worker_cannot_work(
    employ: Employ, manager: socket.socket, tmp_path: Path
) -> None:
    post = employ("llm", unusable("llm", tmp_path))
    assert post.exit_code.result(PATIENCE_S) == EXIT_UNUSABLE
    until(lambda: bool(post.states()))
    told = [manager.recv(1000).decode() for _ in range(2)]
    assert told == ["STATUS=loading", f"STATUS={post.states()[0].detail}"]


# ---------------------------------------------------------------- surroundings


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_the_daemons_configuration_says_what_is_logged(employ: Employ, level: str, tmp_path: Path) -> None:
    config = msgspec.structs.replace(unusable("llm", tmp_path), log=Log(level=level))  # type: ignore[arg-type] # any of the levels
    assert employ("llm", config).exit_code.result(PATIENCE_S) == EXIT_UNUSABLE
    least = logging.getLevelNamesMapping()[level.upper()]
    assert logging.getLogger("assistant.stages.loop").getEffectiveLevel() == least
    assert logging.getLogger("a.library").getEffectiveLevel() == max(least, logging.WARNING)


def test_without_a_daemon_there_is_nothing_to_do(tmp_path: Path) -> None:
    with pytest.raises(DaemonError, match="No daemon listens"):
        work("llm", tmp_path / "daemon.sock")
