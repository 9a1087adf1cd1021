"""The status of a real daemon, whose stages are links that the test holds."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from assistant import __version__
from assistant.board.memory import MemoryGauge
from assistant.config import Config
from assistant.daemon.daemon import Daemon
from assistant.daemon.memory_watch import MemoryWatch
from assistant.daemon.status import Doing, doing
from assistant.daemon.turn import Kind, Turn
from assistant.messages import (
    STAGES,
    Ask,
    MicrophoneLevel,
    Sentence,
    SetMute,
    Stage,
    StageState,
    StageStatus,
    Status,
    StatusWanted,
)
from assistant.plan.candidates import of_path
from assistant.plan.selection import select
from assistant.plan.sets import Facts
from assistant.queues import memory
from assistant.queues.link import Link

TINY = Path(__file__).parents[1] / "models"
FACTS = Facts(
    1 << 50,
    2,
    frozenset(),
    (of_path("stt", TINY / "whisper-tiny-test"),),
    (of_path("llm", TINY / "tiny-chat-q8_0.gguf"),),
    (of_path("tts", TINY / "en_US-tiny-medium.onnx"),),
)


class World:
    """A daemon, a client, and the workers that have joined."""

    def __init__(self, watch: MemoryWatch | None = None) -> None:
        self.now_s = 1000.0
        self.daemon = Daemon(Config(), Path("unused.sock"), None, clock=lambda: self.now_s, memory=watch)
        self.client = memory.connect(self.daemon.broker, "client")
        self.workers: dict[Stage, Link] = {}

    def joins(self, stage: Stage, detail: str = "") -> None:
        link = self.workers[stage] = memory.connect(self.daemon.broker, stage)
        link.post(StageState(stage, "gone" if detail else "ready", detail))

    def dies(self, stage: Stage) -> None:
        self.workers.pop(stage).close()

    def status(self, link: Link | None = None) -> Status:
        link = link or self.client
        link.post(StatusWanted())
        while (message := link.notice(0)) is not None:
            if isinstance(message, Status):
                return message
        raise AssertionError("no status came")

    def stage(self, stage: Stage) -> StageStatus:
        return next(found for found in self.status().stages if found.stage == stage)


@pytest.fixture
def world() -> World:
    return World()


def test_the_daemon_itself(world: World) -> None:
    world.now_s += 61.5
    status = world.status()
    assert (status.version, status.pid) == (__version__, os.getpid())
    assert (status.started_at_s, status.at_s) == (1000.0, 1061.5)
    assert [stage.stage for stage in status.stages] == list(STAGES)
    assert (status.plan, status.microphone, status.turns) == (None, None, ())


def test_a_watcher_may_ask_too(world: World) -> None:
    watcher = memory.connect(world.daemon.broker, "watcher")
    told, asked = world.status(watcher), world.status()
    free = {"held_bytes": 0, "available_bytes": 0}  # of the whole computer, where others work meanwhile
    assert msgspec.structs.replace(told, **free) == msgspec.structs.replace(asked, **free)


def test_stages_come_and_go(world: World) -> None:
    before = world.stage("llm")
    assert (before.state, before.wanted, before.hinders, before.pid) == ("gone", True, True, 0)
    memory.connect(world.daemon.broker, "llm")
    assert world.stage("llm").state == "starting"
    world.joins("llm")
    ready = world.stage("llm")
    assert (ready.state, ready.hinders, ready.pid) == ("ready", False, os.getpid())
    assert ready.held_bytes > 10 * 2**20
    world.joins("vad", "There is no microphone.")
    deaf = world.stage("vad")
    assert (deaf.state, deaf.detail, deaf.hinders) == ("gone", "There is no microphone.", True)


def test_only_deaths_are_restarts(world: World) -> None:
    for _ in range(3):
        world.joins("tts")
        world.dies("tts")
    world.joins("tts")
    for _ in range(5):
        world.joins("vad", "There is no microphone.")
        world.dies("vad")
    assert {stage.stage: stage.restarts for stage in world.status().stages} == {
        "vad": 0,
        "stt": 0,
        "llm": 0,
        "tts": 3,
    }


def test_queues_and_turns(world: World) -> None:
    for _ in range(3):
        world.client.post(Ask("Why?"))
    waiting = world.stage("llm")
    assert (waiting.waiting, waiting.in_work) == (3, 0)
    world.joins("llm")
    working = world.stage("llm")
    assert (working.waiting, working.in_work) == (2, 1)
    assert world.status().state == "thinking"
    delivery = world.workers["llm"].receive(0)
    assert delivery is not None
    world.now_s += 2.0
    world.workers["llm"].post(Sentence(delivery.message.turn, 0, 0, "So.", True))  # type: ignore[union-attr] # a question
    (turn,) = world.status().turns
    assert (turn.outcome, turn.done_s, turn.finished_at_s) == ("answered", 2.0, 1002.0)


def test_the_microphones_last_second(world: World) -> None:
    world.joins("vad")
    for at_s in (1001.0, 1002.0):
        world.workers["vad"].post(MicrophoneLevel(-50.0, -30.0, 50, 0, at_s))
    assert world.status().microphone == MicrophoneLevel(-50.0, -30.0, 50, 0, 1002.0)
    world.dies("vad")
    assert world.status().microphone is not None, "when it was last heard is worth knowing"


def test_a_muted_microphone_may_be_silent(world: World) -> None:
    """Who switches it off, too, has nothing to mend."""
    world.joins("vad")
    for trouble in ("silent", "hum"):
        world.workers["vad"].post(MicrophoneLevel(-100.0, -100.0, 50, 0, 1001.0, 0.0, trouble))
        shown = []
        for muted in (False, True):
            world.client.post(SetMute(muted))
            level = world.status().microphone
            assert level is not None
            shown.append(level.trouble)
        assert shown == [trouble, None if trouble == "silent" else trouble]


def test_plan_and_memory(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 8000000 kB\nMemAvailable: 4000000 kB\n")
    plan = select(FACTS)
    world = World(MemoryWatch(Config(), FACTS, plan, MemoryGauge(tmp_path)))
    world.joins("llm")
    status = world.status()
    assert status.plan is not None
    assert (status.plan.has_voice, status.plan.fits) == (True, True)
    assert (status.plan.context_tokens, status.plan.kv_type) == (2048, "f16")
    assert (status.plan.predicted_bytes, status.plan.budget_bytes) == (plan.total_bytes, 1 << 50)
    assert [stage.model for stage in status.stages] == [
        "",
        "whisper-tiny-test",
        "tiny-chat-q8_0.gguf",
        "en_US-tiny-medium.onnx",
    ]
    for stage in status.stages:
        assert stage.predicted_bytes == plan.processes[stage.stage].peak_bytes
    assert status.held_bytes > sum(stage.held_bytes for stage in status.stages) > 0
    assert status.available_bytes > 0


def stage_is(name: Stage, state: str, detail: str = "", wanted: bool = True) -> StageStatus:
    return StageStatus(name, state, detail, None, wanted, 0, 0, 0, 0, 0, 0, "")  # type: ignore[arg-type] # a word


def ready(*others: StageStatus) -> list[StageStatus]:
    """All stages, ready but for the others."""
    named = {stage.stage: stage for stage in others}
    return [named.get(stage, stage_is(stage, "ready")) for stage in STAGES]


def spoken(**how: bool) -> Turn:
    return Turn(1, Kind.SPEECH, 0, **how)  # type: ignore[arg-type] # only flags


@pytest.mark.parametrize(
    ("turns", "stages", "expected"),
    [
        ([], ready(), "idle"),
        ([spoken(ended=False)], ready(), "listening"),
        ([spoken()], ready(), "thinking"),
        ([spoken(sounding=True)], ready(), "speaking"),
        ([spoken(sounding=True), spoken(ended=False)], ready(), "speaking"),
        ([spoken(), spoken(ended=False)], ready(), "thinking"),
        ([], ready(stage_is("llm", "starting")), "starting"),
        ([], ready(stage_is("llm", "gone")), "starting"),
        ([], ready(stage_is("llm", "gone", wanted=False)), "idle"),
        ([], ready(stage_is("llm", "gone", "No model.", wanted=False)), "faulty"),
        ([], ready(stage_is("llm", "gone", "No model."), stage_is("stt", "starting")), "faulty"),
        ([], ready(stage_is("llm", "gone", "No model."), stage_is("vad", "gone", "No card.")), "deaf"),
        ([], ready(stage_is("tts", "ready", "No speaker.")), "faulty"),
        ([], ready(stage_is("tts", "ready", "No speaker.", wanted=False)), "idle"),
        ([], ready(stage_is("vad", "ready", "No button.")), "idle"),
        ([spoken()], ready(stage_is("vad", "gone", "No card.")), "thinking"),
    ],
)
def test_what_it_does(turns: list[Turn], stages: list[StageStatus], expected: Doing) -> None:
    assert doing(iter(turns), stages) == expected
