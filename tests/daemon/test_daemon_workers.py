"""Workers that come, hang and die again and again, as the daemon sees them."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from daemon_board import FACTS, Board

from assistant.audio.fault_sounds import FAULT_SENTENCES
from assistant.config import Config, Llm
from assistant.daemon.daemon import Daemon
from assistant.daemon.hanging import LOADING_S, SILENT_S
from assistant.daemon.health import CRASHES, LONGEST_PAUSE_S
from assistant.daemon.supervision import IMMEDIATE_RESTARTS, Supervisor
from assistant.errors import QueueFull
from assistant.messages import STAGES, Ask, StageState
from assistant.queues import memory


def test_a_worker_that_hangs_is_replaced(tmp_path: Path) -> None:
    now_s = [0.0]
    daemon = Daemon(Config(), tmp_path / "unused.sock", None, clock=lambda: now_s[0])
    link = memory.connect(daemon.broker, "llm")
    now_s[0] = LOADING_S
    daemon.tick()
    link.post(StageState("llm", "ready"))
    now_s[0] += SILENT_S["llm"]
    daemon.tick()
    assert daemon.broker.worker("llm") is not None
    now_s[0] += 0.1
    daemon.tick()
    assert daemon.broker.worker("llm") is None


def test_everybody_is_told_of_the_stages(tmp_path: Path) -> None:
    daemon = Daemon(Config(), tmp_path / "unused.sock", None)
    early = memory.connect(daemon.broker, "watcher")
    assert [early.notice(0) for _ in range(4)] == [StageState(stage, "gone") for stage in STAGES]
    worker = memory.connect(daemon.broker, "llm")
    worker.post(StageState("llm", "ready"))
    late = memory.connect(daemon.broker, "client")
    worker.close()
    states = [StageState("llm", "starting"), StageState("llm", "ready"), StageState("llm", "gone")]
    assert [early.notice(0) for _ in range(4)] == [*states, None]
    assert [late.notice(0) for _ in range(5)][2:] == [states[1], StageState("tts", "gone"), states[2]]


@pytest.mark.parametrize("deaths", [CRASHES - 1, CRASHES, 3 * CRASHES])
def test_a_stage_that_dies_again_and_again_is_said_and_gets_another_model(
    tmp_path: Path, deaths: int
) -> None:
    board = Board(tmp_path)
    board.start("tts", "stt", "vad")
    for _ in range(deaths):
        board.start("llm")
        board.die("llm")
        board.passes(5.0)
    crash = FAULT_SENTENCES["crash"]
    said = board.says()
    assert said.count(crash.split(". ")[0] + ".") == (deaths >= CRASHES)
    assert board.watch.plan.llm == FACTS.llm[deaths >= CRASHES]
    assert board.status()["llm"].restarts == deaths


def test_the_next_worker_waits_when_the_others_could_not_load(tmp_path: Path) -> None:
    board = Board(tmp_path)
    pauses = []
    for _ in range(6):
        link = memory.connect(board.daemon.broker, "llm")
        pauses.append(link.pause_s)
        link.close()
    assert pauses[: IMMEDIATE_RESTARTS + 1] == [0.0] * (IMMEDIATE_RESTARTS + 1)
    assert all(0.0 < pause_s <= LONGEST_PAUSE_S for pause_s in pauses[IMMEDIATE_RESTARTS + 1 :])
    link = memory.connect(board.daemon.broker, "llm")
    link.post(StageState("llm", "gone", "There is no model.", "model"))
    link.close()
    assert memory.connect(board.daemon.broker, "llm").pause_s == LONGEST_PAUSE_S


@pytest.mark.parametrize("deaths", [IMMEDIATE_RESTARTS, IMMEDIATE_RESTARTS + 1])
def test_nobody_waits_for_a_stage_that_does_not_get_ready(tmp_path: Path, deaths: int) -> None:
    """A model that kills its worker is named, and a question apologised for at once."""
    board = Board(tmp_path, config=Config(llm=Llm(model="/own/evil.gguf")))
    board.start("tts", "stt", "vad")
    for _ in range(deaths):
        memory.connect(board.daemon.broker, "llm").close()
    given_up = deaths > IMMEDIATE_RESTARTS
    assert ("/own/evil.gguf" in board.status()["llm"].detail) is given_up
    refused = pytest.raises(QueueFull, match="ends again and again while it starts")
    with refused if given_up else contextlib.nullcontext():
        board.client.post(Ask("What is two plus two?"), confirm=True)
    memory.connect(board.daemon.broker, "llm").post(StageState("llm", "ready"))
    assert board.status()["llm"].detail == ""
    board.client.post(Ask("What is two plus two?"), confirm=True)


def test_our_own_workers_are_not_made_to_wait(tmp_path: Path) -> None:
    """The one that starts them has waited already."""
    daemon = Daemon(Config(), tmp_path / "unused.sock", ())
    for _ in range(20):
        link = memory.connect(daemon.broker, "llm")
        assert link.pause_s == 0.0
        link.close()


STUCK = StageState("vad", "gone", "The microphone stopped working.", "microphone")


def test_a_microphone_that_is_stuck_for_good_does_not_keep_the_board_busy(tmp_path: Path) -> None:
    board = Board(tmp_path)
    pauses = []
    for _ in range(IMMEDIATE_RESTARTS + 3):
        link = memory.connect(board.daemon.broker, "vad")
        pauses.append(link.pause_s)
        link.post(STUCK)
        link.close()
        board.passes(5.0)
    assert pauses == [0.0] * (IMMEDIATE_RESTARTS + 1) + [0.5, 1.0]


def test_nor_where_the_workers_are_our_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(Supervisor, "restart", lambda _self, _stage, pause_s: pauses.append(pause_s))
    daemon = Daemon(Config(), tmp_path / "unused.sock", ("vad",), clock=lambda: 5.0 * len(pauses))
    for _ in range(IMMEDIATE_RESTARTS + 2):
        link = memory.connect(daemon.broker, "vad")
        link.post(STUCK)
        link.close()
    assert pauses == [0.0] * IMMEDIATE_RESTARTS + [0.5, 1.0]


def test_a_worker_of_systemds_that_hangs_is_killed(tmp_path: Path) -> None:
    """As systemd would not, before its own watchdog does."""
    now_s = [0.0]
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"]) as hanging:
        daemon = Daemon(Config(), tmp_path / "unused.sock", None, clock=lambda: now_s[0])
        memory.connect(daemon.broker, "llm").post(StageState("llm", "ready"))
        worker = daemon.broker.worker("llm")
        assert worker is not None
        worker.pid = hanging.pid
        now_s[0] = SILENT_S["llm"] + 1
        daemon.tick()
        assert hanging.wait(10.0) == -signal.SIGKILL
