"""Memory gets short while the assistant works: real workers and models, on a machine that the test describes.

The daemon lives in a thread of the test; the last test has a real control group, where the kernel kills.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
import soundfile

from assistant.audio.card import SoundCard
from assistant.board.cgroups import Group, field, groups_of, read
from assistant.board.memory import MemoryGauge
from assistant.config import Audio, Config, Llm, Tts
from assistant.daemon import stepping, supervision
from assistant.daemon.daemon import Daemon
from assistant.daemon.memory_watch import MemoryWatch
from assistant.daemon.plan_changes import NO_VOICE
from assistant.daemon.stepping import sentence
from assistant.errors import QueueFull
from assistant.messages import (
    STAGES,
    AnyMessage,
    Ask,
    Recognise,
    Say,
    Spoken,
    Stage,
    StageState,
    Token,
    Transcript,
    TurnFinished,
)
from assistant.plan.candidates import Candidate, of_path
from assistant.plan.selection import select
from assistant.plan.sets import Facts
from assistant.queues.link import Link
from assistant.queues.socket import connect
from assistant.queues.wire import Role

MIB = 2**20
TINY = Path(__file__).parent / "models"
TOTAL = 64 * 2**30
"""So much that with a low memory there is room for the smallest plan alone."""

PATIENCE_S = 30.0
PAUSE_S = 2.0
"""Before another worker is started for a stage that cannot work."""

QUESTION, ANSWER = "What is the capital of Germany?", "The capital of Germany is Berlin."
QUESTION_WAV = Path(__file__).parent / "audio" / "q00.wav"
CONFIG = Config(llm=Llm(temperature=0))

LLMS = tuple(of_path("llm", TINY / f"tiny-chat-{kind}.gguf") for kind in ("q8_0", "q4_k_m"))
STT = (of_path("stt", TINY / "whisper-tiny-test"),)
TTS = (of_path("tts", TINY / "en_US-tiny-medium.onnx"),)


def until(reached: Callable[[], bool]) -> None:
    give_up_s = time.monotonic() + PATIENCE_S
    while not reached():
        assert time.monotonic() < give_up_s
        threading.Event().wait(0.01)


def facts_of(*llms: Candidate, voice: bool = False, context_tokens: int = 2048) -> Facts:
    voices = (STT, TTS) if voice else ((), ())
    return Facts(1 << 50, 2, frozenset(), voices[0], llms, voices[1], context_tokens=context_tokens)


class Chain:
    """The daemon with its workers in a thread, on a machine with much memory."""

    def __init__(
        self, folder: Path, facts: Facts, workers: tuple[Stage, ...], config: Config = CONFIG
    ) -> None:
        self.root = folder / "root"
        (self.root / "proc").mkdir(parents=True, exist_ok=True)
        self.is_there(TOTAL // 2)
        self.socket = folder / "daemon.sock"
        self.watch = MemoryWatch(config, facts, select(facts), MemoryGauge(self.root))
        self.daemon = Daemon(config, self.socket, workers, memory=self.watch)
        self._stop = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run)
        self._links: list[Link] = []

    def __enter__(self) -> Chain:
        self._thread.start()
        until(self.socket.exists)
        self.watcher = self.connect("watcher")
        self.states: dict[Stage, list[StageState]] = {stage: [] for stage in STAGES}
        self.seen: list[AnyMessage] = []
        return self

    def __exit__(self, *_: object) -> None:
        for link in self._links:
            link.close()
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        with contextlib.closing(self._loop):
            self._loop.run_until_complete(self.daemon.run(self._stop))

    def is_there(self, available_bytes: int) -> None:
        lines = f"MemTotal: {TOTAL >> 10} kB\nMemFree: 1 kB\nMemAvailable: {available_bytes >> 10} kB\n"
        new = self.root / "proc/new"
        new.write_text(lines)
        new.rename(self.root / "proc/meminfo")

    def connect(self, role: Role) -> Link:
        link = connect(self.socket, role)
        self._links.append(link)
        return link

    def look(self) -> None:
        """Read what the watcher was told."""
        while (message := self.watcher.notice(0)) is not None:
            if isinstance(message, StageState):
                self.states[message.stage].append(message)
            self.seen.append(message)

    def until(self, reached: Callable[[], bool]) -> None:
        def looked() -> bool:
            self.look()
            assert self._thread.is_alive()
            return reached()

        until(looked)

    def is_ready(self, *stages: Stage) -> bool:
        self.look()
        return all(self.states[stage] and self.states[stage][-1].state == "ready" for stage in stages)

    def pid(self, stage: Stage) -> int:
        worker = self.daemon.broker.worker(stage)
        assert worker is not None
        return worker.pid

    def deliveries(self) -> list[int]:
        return [item.deliveries for stage in STAGES for item in self.daemon.broker.queues[stage]]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stepping, "ROOM_BEFORE_UP_S", 1.0)
    monkeypatch.setattr(supervision, "LONGEST_PAUSE_S", PAUSE_S)


def finished(link: Link) -> tuple[str, TurnFinished]:
    """The rest of an answer, and how it ended."""
    text = ""
    while True:
        message = link.notice(PATIENCE_S)
        assert message is not None
        if isinstance(message, Token):
            text += message.text
        elif isinstance(message, TurnFinished):
            return text, message


def ask(link: Link) -> str:
    link.post(Ask(QUESTION), confirm=True)
    text, end = finished(link)
    assert end.outcome == "answered", end.failure
    return text


def first_token(link: Link) -> str:
    while True:
        message = link.notice(PATIENCE_S)
        assert message is not None
        assert not isinstance(message, TurnFinished)
        if isinstance(message, Token):
            return message.text


# ---------------------------------------------------------------- in the middle of an answer


def test_the_answer_goes_on_with_a_smaller_model(tmp_path: Path) -> None:
    with Chain(tmp_path, facts_of(*LLMS), ("llm",)) as chain:
        chain.until(lambda: chain.is_ready("llm"))
        client = chain.connect("client")
        assert ask(client) == ANSWER
        client.post(Ask(QUESTION), confirm=True)
        said = first_token(client)
        first = chain.pid("llm")
        os.kill(first, signal.SIGSTOP)  # in the middle of its answer
        chain.is_there(0)
        chain.until(lambda: chain.watch.plan.llm == LLMS[1])
        assert chain.deliveries() == [0]
        rest, end = finished(client)
        assert (said + rest, end.outcome) == (ANSWER, "answered")
        assert not Path(f"/proc/{first}").exists()
        assert chain.pid("llm") != first
        until(lambda: chain.deliveries() == [])
        given = chain.connect("client").config.llm
        assert (given.model, given.context_tokens, given.kv_type) == (LLMS[1].wanted, 512, "q8_0")
        second = chain.pid("llm")

        chain.is_there(TOTAL // 2)
        chain.until(lambda: chain.watch.plan.llm == LLMS[0])
        chain.until(lambda: chain.daemon.broker.worker("llm") is not None and chain.pid("llm") != second)
        assert ask(client) == ANSWER
        given = chain.connect("client").config.llm
        assert (given.model, given.context_tokens, given.kv_type) == (LLMS[0].wanted, 2048, "f16")


# ---------------------------------------------------------------- no voice


def test_without_room_for_speech_questions_are_typed(tmp_path: Path) -> None:
    microphone, speaker = tmp_path / "in.wav", tmp_path / "out.wav"
    soundfile.write(microphone, np.zeros(16_000 * 60, np.int16), 16_000)
    card = SoundCard(str(microphone), str(speaker), 22_050, 4.0, folder=tmp_path / "card")
    audio = Audio(card.microphone_name, speaker=card.speaker_name)
    config = msgspec.structs.replace(CONFIG, audio=audio)
    voice: tuple[Stage, ...] = ("vad", "stt", "tts")
    with contextlib.closing(card), Chain(tmp_path, facts_of(*LLMS, voice=True), STAGES, config) as chain:
        card.start()
        chain.until(lambda: chain.is_ready(*STAGES))
        pids = [chain.pid(stage) for stage in voice]
        best = chain.watch.plan
        chain.is_there(0)
        chain.until(lambda: not chain.watch.plan.has_voice)
        said = sentence(best, chain.watch.plan)
        assert said.endswith("please type instead.")
        chain.until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))
        heard = [message for message in chain.seen if isinstance(message, Spoken)]
        assert [message.index for message in heard if message.fraction == 1.0] == [0, 1]
        told = {stage: chain.states[stage][-1] for stage in voice}
        assert told == {stage: StageState(stage, "gone", NO_VOICE) for stage in voice}

        client = chain.connect("client")
        with pytest.raises(QueueFull, match=re.escape(NO_VOICE)):
            client.post(Say("Berlin.", to_client=False), confirm=True)
        assert ask(client) == ANSWER
        assert chain.daemon.broker.worker("tts") is None

        seen = len(chain.seen)
        chain.is_there(TOTAL // 2)
        chain.until(lambda: chain.is_ready(*STAGES))
        assert chain.watch.plan.has_voice
        client.post(Say("Berlin.", to_client=False), confirm=True)
        _, end = finished(client)
        assert end.outcome == "answered"
        chain.look()
        heard = [message for message in chain.seen[seen:] if isinstance(message, Spoken)]
        assert len([message for message in heard if message.fraction == 1.0]) == 3
    samples, _ = soundfile.read(speaker, dtype="int16")
    assert np.abs(samples).max() > 1000


def test_when_the_voice_cannot_work_nobody_is_told_aloud(tmp_path: Path) -> None:
    """The steps are taken all the same."""
    microphone = tmp_path / "in.wav"
    soundfile.write(microphone, np.zeros(16_000 * 60, np.int16), 16_000)
    card = SoundCard(str(microphone), "", 22_050, folder=tmp_path / "card")
    audio, missing = (
        Audio(card.microphone_name, speaker=card.speaker_name),
        Tts(model=str(tmp_path / "missing.onnx")),
    )
    config = msgspec.structs.replace(CONFIG, audio=audio, tts=missing)
    with contextlib.closing(card), Chain(tmp_path, facts_of(*LLMS, voice=True), STAGES, config) as chain:
        card.start()
        chain.until(
            lambda: chain.is_ready("vad", "stt", "llm") and "missing" in chain.states["tts"][-1].detail
        )
        chain.is_there(0)
        chain.until(lambda: chain.states["stt"][-1].detail == NO_VOICE and chain.is_ready("llm"))
        chain.is_there(TOTAL // 2)
        chain.until(lambda: chain.is_ready("vad", "stt", "llm"))
        assert chain.watch.plan.has_voice
        assert ask(chain.connect("client")) == ANSWER


def test_what_a_command_asked_for_is_still_done_when_memory_gets_short(tmp_path: Path) -> None:
    """Nobody listens; a recording waits for the recogniser when the plan does without one."""
    samples, rate_hz = soundfile.read(QUESTION_WAV, dtype="int16")
    sound = Recognise(samples.tobytes(), rate_hz, 1000)
    with Chain(tmp_path, facts_of(*LLMS, voice=True), ()) as chain:
        client = chain.connect("client")
        client.post(sound, confirm=True)
        until(lambda: chain.daemon.broker.worker("stt") is not None)
        os.kill(chain.pid("stt"), signal.SIGSTOP)
        chain.is_there(0)
        chain.until(lambda: not chain.watch.plan.has_voice)
        os.kill(chain.pid("stt"), signal.SIGCONT)
        heard = []
        while not isinstance(message := client.notice(PATIENCE_S), TurnFinished):
            assert message is not None
            heard += [message.text] if isinstance(message, Transcript) else []
        assert (heard, message.outcome) == ([QUESTION], "answered")


# ---------------------------------------------------------------- no room


def with_long_context(path: Path, context_tokens: int) -> Candidate:
    """The tiny model, as if it were trained for so many tokens: its cache then needs much memory."""
    content = bytearray((TINY / "tiny-chat-q8_0.gguf").read_bytes())
    key = b"llama.context_length"
    at = content.index(key) + len(key)
    assert content[at : at + 8] == (4).to_bytes(4, "little") + (2048).to_bytes(4, "little")
    content[at + 4 : at + 8] = context_tokens.to_bytes(4, "little")
    path.write_bytes(content)
    return of_path("llm", path)


def start_with(monkeypatch: pytest.MonkeyPatch, folder: Path, shell: str) -> None:
    """Have workers started by the end of this line of shell from now on."""
    script = folder / "python"
    script.write_text(f'#!/bin/sh\n{shell} "$@"\n')
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))


LONG = 65_536
LONG_CONFIG = msgspec.structs.replace(CONFIG, llm=msgspec.structs.replace(CONFIG.llm, context_tokens=LONG))
NO_ROOM = re.compile(r"There is no room for the model .* choose a smaller model\.")


def long_facts(folder: Path) -> Facts:
    """A model whose longest context takes 256 MiB."""
    model = with_long_context(folder / "long.gguf", LONG)
    return msgspec.structs.replace(facts_of(model, context_tokens=LONG), kv_types=("f16",))


@pytest.fixture
def confined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Facts:
    """Such a model, and workers that may have too little memory for it."""
    prlimit = shutil.which("prlimit")
    if prlimit is None:
        pytest.skip("there is no prlimit command (util-linux)")
    facts = long_facts(tmp_path)
    with Chain(tmp_path / "first", facts_of(*facts.llm), ("llm",)) as chain:
        chain.until(lambda: chain.is_ready("llm"))
        status = Path(f"/proc/{chain.pid('llm')}/status").read_text()
    with_short_context_kib = field(status, "VmPeak")
    assert with_short_context_kib is not None
    most_bytes = with_short_context_kib * 1024 + 64 * MIB
    start_with(monkeypatch, tmp_path, f"exec {prlimit} --as={most_bytes} {sys.executable}")
    return facts


def refusals(chain: Chain) -> list[StageState]:
    chain.look()
    return [state for state in chain.states["llm"] if state.fault == "memory"]


def test_a_worker_that_finds_no_room_gets_a_smaller_plan(tmp_path: Path, confined: Facts) -> None:
    with Chain(tmp_path, confined, ("llm",), LONG_CONFIG) as chain:
        best = chain.watch.plan
        chain.until(lambda: len(refusals(chain)) == 1)
        client = chain.connect("client")
        with pytest.raises(QueueFull, match=NO_ROOM):
            client.post(Ask(QUESTION), confirm=True)
        chain.until(lambda: chain.is_ready("llm"))
        assert len(refusals(chain)) == 2
        assert chain.watch.plan.total_bytes < best.total_bytes
        assert chain.watch.plan.context_tokens == 8192
        assert ask(client) == ANSWER


def test_where_there_is_nothing_smaller_it_is_said_and_tried_now_and_then(
    tmp_path: Path, confined: Facts
) -> None:
    facts = msgspec.structs.replace(confined, least_context_tokens=LONG)
    with Chain(tmp_path, facts, ("llm",), LONG_CONFIG) as chain:
        only = chain.watch.plan
        client = chain.connect("client")
        client.post(Ask(QUESTION), confirm=True)  # before it is known
        _, end = finished(client)
        assert end.outcome == "failed"
        assert NO_ROOM.fullmatch(end.failure)
        chain.until(lambda: len(refusals(chain)) == 1)
        began_s = time.monotonic()
        chain.until(lambda: len(refusals(chain)) == 3)
        assert time.monotonic() - began_s > 2 * PAUSE_S
        assert chain.watch.plan is only
        with pytest.raises(QueueFull, match=NO_ROOM):
            client.post(Ask(QUESTION), confirm=True)


# ---------------------------------------------------------------- the kernel kills


@pytest.fixture
def group() -> Iterator[Group]:
    """A control group of one's own, below the one that this process is in."""
    parents = groups_of("memory", Path("/"))
    if not parents:
        pytest.skip("there is no memory controller here")
    parent = parents[0]
    folder = parent.folder / f"assistant-test-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"{parent.folder} takes no group of ours: {error.strerror}")
    made = Group(folder, folder.name, parent.is_v2)
    try:
        if not (folder / limit_of(made)).exists():
            pytest.skip(f"{parent.folder} gives its groups no memory controller")
        yield made
    finally:

        def is_removed() -> bool:  # not while the last process is being taken away
            with contextlib.suppress(OSError):
                folder.rmdir()
            return not folder.exists()

        until(is_removed)


def limit_of(group: Group) -> str:
    return "memory.max" if group.is_v2 else "memory.limit_in_bytes"


def kills(group: Group) -> int:
    return field(group.read("memory.events" if group.is_v2 else "memory.oom_control"), "oom_kill") or 0


def test_workers_that_the_kernel_kills_get_a_smaller_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: Group
) -> None:
    """The workers alone are in the group, so that no look at the memory sees it coming."""
    if field(read(Path("/proc/vmstat")), "oom_kill") is None:
        pytest.skip("this kernel does not count the processes that it kills")
    (group.folder / limit_of(group)).write_text(str(200 * MIB))
    start_with(monkeypatch, tmp_path, f"echo $$ > {group.folder}/cgroup.procs && exec {sys.executable}")
    facts = long_facts(tmp_path)
    (tmp_path / "root/proc").mkdir(parents=True)
    (tmp_path / "root/proc/vmstat").symlink_to("/proc/vmstat")
    with Chain(tmp_path, facts, ("llm",), LONG_CONFIG) as chain:
        assert chain.watch.plan.context_tokens == LONG
        client = chain.connect("client")
        assert ask(client) == ANSWER
        assert chain.watch.plan.context_tokens == 8192
        assert kills(group) == 2
