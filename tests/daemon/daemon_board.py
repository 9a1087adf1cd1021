"""The real daemon on a board where systemd starts the workers."""

from __future__ import annotations

from pathlib import Path

import msgspec

from assistant.board.memory import MemoryGauge
from assistant.config import Config
from assistant.daemon.daemon import TICK_S, Daemon
from assistant.daemon.memory_watch import MemoryWatch
from assistant.messages import (
    STAGES,
    AnyMessage,
    PlayEarcon,
    Sentence,
    Spoken,
    Stage,
    StageState,
    StageStatus,
    Status,
    StatusWanted,
)
from assistant.plan.candidates import of_path
from assistant.plan.selection import Plan, select
from assistant.plan.sets import Facts
from assistant.queues import memory
from assistant.queues.link import Dismissed, Link

MIB = 2**20
MODELS = Path(__file__).parents[1] / "models"
FACTS = Facts(
    1 << 50,
    2,
    frozenset(),
    (of_path("stt", MODELS / "whisper-tiny-test"),),
    tuple(of_path("llm", MODELS / f"tiny-chat-{kind}.gguf") for kind in ("q8_0", "q4_k_m")),
    (of_path("tts", MODELS / "en_US-tiny-medium.onnx"),),
)
WANTING = msgspec.structs.replace(FACTS, second_opinion=True)
BEST, MUTE = select(FACTS), select(msgspec.structs.replace(FACTS, budget_bytes=0))
MEMORY_BYTES = 64 * 2**30


class Board:
    """A daemon whose workers others start, and the memory that its board has."""

    def __init__(
        self,
        folder: Path,
        plan: Plan = BEST,
        config: Config = Config(),  # noqa: B008 - frozen
        facts: Facts = FACTS,
    ) -> None:
        self.folder = folder
        self._root = folder / "root"
        (self._root / "proc").mkdir(parents=True)
        self.has(MEMORY_BYTES // 2)
        self.watch = MemoryWatch(config, facts, plan, MemoryGauge(self._root))
        self.now_s = 1000.0
        self.daemon = Daemon(
            config, folder / "unused.sock", None, clock=lambda: self.now_s, memory=self.watch
        )
        self.client = memory.connect(self.daemon.broker, "client")
        self.links: dict[Stage, Link] = {}
        self.heard: dict[Stage, list[AnyMessage]] = {stage: [] for stage in STAGES}

    def has(self, available_bytes: int) -> None:
        lines = {"MemTotal": MEMORY_BYTES, "MemFree": MIB, "MemAvailable": available_bytes}
        text = "".join(f"{name}: {value // 1024} kB\n" for name, value in lines.items())
        (self._root / "proc/meminfo").write_text(text)

    def start(self, *stages: Stage) -> None:
        """What systemd does; a worker that need not wait is ready at once."""
        for stage in stages:
            link = self.links[stage] = memory.connect(self.daemon.broker, stage)
            link.on_notice(self.heard[stage].append)
            if not link.pause_s:
                link.post(StageState(stage, "ready"))

    def die(self, stage: Stage) -> None:
        self.links.pop(stage).close()

    def fate(self, stage: Stage) -> str:
        """Why the daemon let the stage's worker go; empty if it did not."""
        try:
            while self.links[stage].receive(0) is not None:
                pass
        except Dismissed as dismissed:
            return str(dismissed)
        return ""

    def passes(self, seconds: float) -> None:
        for _ in range(round(seconds / TICK_S)):
            self.now_s += TICK_S
            for peer in self.daemon.broker.peers():
                peer.last_seen_s = self.now_s
            self.daemon.tick()

    def status(self) -> dict[Stage, StageStatus]:
        self.client.post(StatusWanted())
        while not isinstance(found := self.client.notice(0), Status):
            assert found is not None
        return {stage.stage: stage for stage in found.stages}

    def says(self) -> list[str]:
        """The sentences that tts is given, all of which are heard."""
        said = []
        while (delivery := self.links["tts"].receive(0)) is not None:
            sentence = delivery.message
            assert isinstance(sentence, Sentence)
            said.append(sentence.text)
            self.links["tts"].post(Spoken(sentence.turn, sentence.revision, sentence.index, 1.0))
            delivery.done()
        return said

    def earcons(self) -> list[str]:
        self.fate("tts")  # reads what has come
        return [message.name for message in self.heard["tts"] if isinstance(message, PlayEarcon)]
