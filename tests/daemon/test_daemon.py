"""The real daemon, broker and links, with simple honest stages that die at any point.

The stages make nothing of sound and words, but obey the queue's rules: they work message by message, post
what they make, ask whether it is stale, and acknowledge.  A worker's death forgets all that it knew.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
import signal
import subprocess
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistant.audio.fault_sounds import FAULT_SENTENCES
from assistant.board.memory import MemoryGauge
from assistant.cli.limits import read as read_limits
from assistant.config import Config, Llm, Sounds
from assistant.daemon.answers import APOLOGY
from assistant.daemon.daemon import TICK_S, Daemon
from assistant.daemon.hanging import LOADING_S, SILENT_S
from assistant.daemon.health import CRASHES, LONGEST_PAUSE_S
from assistant.daemon.limits import NAME as LIMITS
from assistant.daemon.limits import limits
from assistant.daemon.memory_watch import MemoryWatch
from assistant.daemon.plan_changes import NO_VOICE, SAY_WITHIN_S
from assistant.daemon.stepping import ROOM_BEFORE_UP_S
from assistant.daemon.supervision import IMMEDIATE_RESTARTS
from assistant.errors import QueueFull
from assistant.messages import (
    STAGES,
    AnyMessage,
    Ask,
    EarconStarted,
    Failure,
    NextTurn,
    PlaybackStarted,
    PlayEarcon,
    Played,
    Question,
    Recognise,
    Say,
    Sentence,
    Speech,
    SpeechDropped,
    SpeechResumed,
    SpeechStarted,
    Spoken,
    Stage,
    StageState,
    StageStatus,
    Status,
    StatusWanted,
    StopTurn,
    Token,
    Transcript,
    TurnAccepted,
    TurnEnded,
    TurnFinished,
    Utterance,
)
from assistant.plan.candidates import of_path
from assistant.plan.selection import Plan, select
from assistant.plan.sets import Facts
from assistant.queues import memory
from assistant.queues.link import Delivery, Dismissed, Link
from assistant.queues.wire import Role

SENTENCES = ("One is here.", "Two is there.", "Three follows.", "Four comes next.", "Five is last.")
NOISE = -1
"""In a script: what vad takes for speech and is none.  0 and more: a question with so many false pauses."""

NOWHERE = Path("/nowhere/unused.sock")
"""Nothing is left there: no mark, no limits."""

Steps = Iterator[None]


class World:
    """A daemon and all that is around it, step by step."""

    def __init__(self, script: tuple[int, ...], sentences: int = len(SENTENCES)) -> None:
        self.now_s = 1000.0
        self.daemon = Daemon(Config(), NOWHERE, None, clock=lambda: self.now_s)
        self.script = script
        self.answer = SENTENCES[:sentences]
        self.wordless: set[int] = set()
        self.broken: set[Stage] = set()
        self.played: list[tuple[int, int, int, float]] = []
        self.links: dict[Stage, Link] = {}
        self.working: dict[Stage, Steps] = {}
        self.watcher = memory.connect(self.daemon.broker, "watcher")
        self.events: list[AnyMessage] = []
        self.clients: list[Link] = []
        self.answers: list[list[AnyMessage]] = []

    def connect(self, role: Role) -> Link:
        return memory.connect(self.daemon.broker, role)

    def step(self, stage: Stage) -> None:
        """One small piece of work; a dead worker is replaced first."""
        if stage not in self.links:
            link = self.links[stage] = self.connect(stage)
            if stage in self.broken:
                link.post(StageState(stage, "gone", f"There is no {stage}."))
                self.kill(stage)
                return
            stages: dict[Stage, Callable[[Link], Steps]] = {
                "vad": self.vad,
                "stt": self.stt,
                "llm": self.llm,
                "tts": self.tts,
            }
            self.working[stage] = stages[stage](link)
        next(self.working[stage])
        self.look()

    def kill(self, stage: Stage) -> None:
        if (link := self.links.pop(stage, None)) is not None:
            self.working.pop(stage, None)
            link.close()
            self.look()

    def look(self) -> None:
        while (event := self.watcher.notice(0)) is not None:
            self.events.append(event)
        for link, answers in zip(self.clients, self.answers, strict=True):
            while (answer := link.notice(0)) is not None:
                answers.append(answer)

    def asks(self, request: AnyMessage) -> None:
        link = self.connect("client")
        self.clients.append(link)
        self.answers.append([])
        link.post(request)
        self.look()

    def stops_last(self) -> None:
        turns = [m.turn for m in self.answers[-1] if isinstance(m, TurnAccepted)] if self.answers else []
        if turns:
            self.clients[-1].post(StopTurn(turns[-1]))
            self.look()

    def passes(self, seconds: float) -> None:
        """Time in which nobody hangs."""
        self.now_s += seconds
        for peer in self.daemon.broker.peers():
            peer.last_seen_s = self.now_s
        self.daemon.tick()
        self.look()

    def run_dry(self, rounds: int = 400) -> None:
        """Everybody works on, and nobody dies any more, until nothing is left to do."""
        quiet = 0
        for _ in range(rounds):
            before = len(self.events) + sum(map(len, self.answers))
            for stage in STAGES:
                self.step(stage)
            self.passes(0.5)
            quiet = 0 if len(self.events) + sum(map(len, self.answers)) > before else quiet + 1
            if quiet > 50:
                return
        raise AssertionError("it never comes to an end")

    # ------------------------------------------------------------ the stages

    def vad(self, link: Link) -> Steps:
        """Hears a recorded microphone: what is not settled is heard again by a successor."""
        given: deque[NextTurn] = deque(maxlen=1)
        link.on_notice(lambda m: given.append(m) if isinstance(m, NextTurn) else None)
        link.post(StageState("vad", "ready"))
        yield
        while not given:
            link.receive(0)
            yield
        for at in range(given[0].settled, len(self.script)):
            while not given:
                link.receive(0)
                yield
            next_turn = given.pop()
            turn, revision, pauses = next_turn.turn, next_turn.revision, self.script[at]
            link.post(SpeechStarted(turn, self.now_s))
            yield
            if pauses == NOISE:
                link.post(SpeechDropped(turn, settled=at + 1))
                yield
                continue
            for false_pause in range(pauses):
                link.post(Utterance(turn, revision, bytes(20), 16_000, 100, self.now_s))
                yield
                link.receive(0)
                revision += 1
                link.post(SpeechResumed(turn, revision))
                del false_pause
                yield
            link.post(Utterance(turn, revision, bytes(20), 16_000, 100, self.now_s))
            yield
            link.post(TurnEnded(turn, revision, self.now_s, self.now_s, settled=at + 1))
            yield
        while True:
            link.receive(0)
            yield

    def stt(self, link: Link) -> Steps:
        for sound in self.deliveries("stt", link):
            if sound is not None and isinstance(message := sound.message, Utterance):
                yield
                text = "" if message.turn in self.wordless else f"Question {message.turn}.{message.revision}?"
                link.post(Transcript(message.turn, message.revision, text, "en", 0.9, self.now_s))
                yield
                sound.done()
            yield

    def llm(self, link: Link) -> Steps:
        for delivery in self.deliveries("llm", link):
            if delivery is not None:
                if isinstance(question := delivery.message, Question):
                    yield from self.answering(link, question)
                yield
                delivery.done()
            yield

    def answering(self, link: Link, question: Question) -> Steps:
        turn, revision = question.turn, question.revision
        said = question.answer_so_far
        for index, text in enumerate(self.answer):
            so_far = " ".join(self.answer[: index + 1])
            while len(said) < len(so_far):
                if link.cancelled(turn, revision):
                    return
                piece = so_far[len(said) : len(said) + 6]
                said += piece
                link.post(Token(turn, revision, piece, self.now_s))
                yield
            if index >= question.next_sentence:
                last = index == len(self.answer) - 1
                link.post(Sentence(turn, revision, index, text, last, self.now_s))
                yield

    def tts(self, link: Link) -> Steps:
        released: dict[int, int] = {}

        def hear(message: AnyMessage) -> None:
            if isinstance(message, TurnEnded):
                released[message.turn] = message.revision

        link.on_notice(hear)
        for delivery in self.deliveries("tts", link):
            if delivery is not None and isinstance(sentence := delivery.message, Sentence):
                if sentence.to_client:
                    link.post(Speech(sentence.turn, sentence.index, bytes(4), 22_050, sentence.last))
                else:
                    yield from self.playing(link, sentence, released)
                yield
                delivery.done()
            yield

    def playing(self, link: Link, sentence: Sentence, released: dict[int, int]) -> Steps:
        turn, revision = sentence.turn, sentence.revision
        while released.get(turn, -1) < revision:
            if link.cancelled(turn, revision):
                return
            yield
        link.post(PlaybackStarted(turn, self.now_s))
        yield
        for fraction in (0.5, 1.0):
            if link.cancelled(turn, revision):
                return
            if fraction > sentence.heard_fraction:
                self.played.append((turn, revision, sentence.index, fraction))
                link.post(Spoken(turn, revision, sentence.index, fraction))
                yield

    def deliveries(self, stage: Stage, link: Link) -> Iterator[Delivery | None]:
        link.post(StageState(stage, "ready"))
        while True:
            yield link.receive(0)

    # ------------------------------------------------------------ what came of it

    def outcomes(self) -> list[str]:
        """Of the spoken turns, in the order in which they began."""
        finished = sorted((m.turn, m.outcome) for m in self.events if isinstance(m, TurnFinished))
        return [outcome for _, outcome in finished]

    def check_everything_is_over(self) -> None:
        """What holds however it went."""
        started = Counter(m.turn for m in self.events if isinstance(m, SpeechStarted))
        finished = Counter(m.turn for m in self.events if isinstance(m, TurnFinished))
        assert set(started.values()) <= {1}
        assert set(finished.values()) <= {1}
        assert set(started) <= set(finished)
        for answers in self.answers:
            taken = [m.turn for m in answers if isinstance(m, TurnAccepted)]
            assert [m.turn for m in answers if isinstance(m, TurnFinished)] == taken
        final = {m.turn: m.revision for m in self.events if isinstance(m, TurnEnded)}
        for shown in self.events:
            if isinstance(shown, Transcript | Token):
                assert shown.revision == final[shown.turn]
            elif isinstance(shown, Sentence):
                assert shown.revision == final[shown.turn] + (shown.text == APOLOGY)
        for queue in self.daemon.broker.queues.values():
            assert len(queue) == queue.size_bytes == queue.in_flight == 0


def test_a_conversation_without_deaths() -> None:
    world = World((0, NOISE, 2))
    world.run_dry()
    world.check_everything_is_over()
    assert world.outcomes() == ["answered", "nothing", "answered"]
    assert [m.text for m in world.events if isinstance(m, Transcript)] == ["Question 1.0?", "Question 3.2?"]
    for turn in (1, 3):
        tokens = "".join(m.text for m in world.events if isinstance(m, Token) and m.turn == turn)
        assert tokens == " ".join(SENTENCES)
    assert [m.index for m in world.events if isinstance(m, Spoken) and m.fraction == 1.0] == [*range(5)] * 2
    assert len(world.played) == 20  # nothing twice, nothing of a revision that was not heard out


@pytest.mark.parametrize("victim", STAGES)
def test_one_death_at_any_moment_still_gives_the_whole_answer(victim: Stage) -> None:
    """The worker dies after its first step, its second, and so on to its last."""
    for moment in range(1, 200):
        world = World((1,), sentences=2)
        survived = False
        for step in range(200):
            for stage in STAGES:
                world.step(stage)
                if stage == victim and step == moment:
                    survived = not world.outcomes()
                    world.kill(stage)
            world.passes(0.1)
        world.check_everything_is_over()
        assert world.outcomes() == ["answered"], moment
        (text,) = (m.text for m in world.events if isinstance(m, Transcript))
        assert text.startswith("Question 1."), moment
        tokens = "".join(m.text for m in world.events if isinstance(m, Token))
        assert tokens == " ".join(SENTENCES[:2]), moment
        assert [m.index for m in world.events if isinstance(m, Spoken) and m.fraction == 1.0] == [0, 1], (
            moment
        )
        if not survived:  # it was over before
            assert moment > 3
            return
    raise AssertionError("the turn never ended before the death")


@pytest.mark.parametrize("victim", ["stt", "llm", "tts"])
def test_two_deaths_on_the_same_message_are_apologised_for(victim: Stage) -> None:
    world = World((0,))
    deaths = 0
    for _ in range(400):
        for stage in STAGES:
            if stage == victim and deaths < 2 and world.daemon.broker.queues[stage].in_flight:
                world.kill(stage)
                deaths += 1
            else:
                world.step(stage)
        world.passes(0.1)
    world.check_everything_is_over()
    assert deaths == 2
    assert world.outcomes() == ["failed"]
    assert [m.text for m in world.events if isinstance(m, Sentence)][-1] == APOLOGY
    spoken = [m.revision for m in world.events if isinstance(m, Spoken) and m.fraction == 1.0]
    assert spoken[-1] == 1


@pytest.mark.parametrize("broken", STAGES[1:])
def test_a_stage_that_cannot_work_never_leaves_anybody_waiting(broken: Stage) -> None:
    world = World((0, 1))
    world.broken.add(broken)
    requests: dict[Stage, AnyMessage] = {
        "stt": Recognise(bytes(20), 16_000, 100),
        "llm": Ask("Why?"),
        "tts": Say("One is. Two is.", to_client=True),
    }
    for request in requests.values():
        world.asks(request)
    for _ in range(100):
        for stage in STAGES:
            world.step(stage)
        world.passes(0.5)
    world.check_everything_is_over()
    assert world.outcomes() == ["failed", "failed"]
    failures = {
        stage: next(m.failure for m in answers if isinstance(m, TurnFinished))
        for stage, answers in zip(requests, world.answers, strict=True)
    }
    assert failures == {stage: f"There is no {stage}." if stage == broken else "" for stage in requests}


KILL, ASK, SAY, SYNTHESISE, RECOGNISE, STOP, LEAVE, TIME, FAILURE = range(4, 13)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.integers(NOISE, 2), max_size=3).map(tuple),
    st.sets(st.integers(1, 4)),
    st.integers(1, 5),
    st.lists(
        st.one_of(
            st.integers(0, 3), st.integers(0, 3), st.tuples(st.integers(KILL, FAILURE), st.integers(0, 3))
        ),
        max_size=120,
    ),
)
def test_whatever_happens_every_turn_ends_once(
    script: tuple[int, ...], wordless: set[int], sentences: int, happenings: list[int | tuple[int, int]]
) -> None:
    world = World(script, sentences)
    world.wordless = wordless
    for happening in happenings:
        if isinstance(happening, int):
            world.step(STAGES[happening])
            continue
        what, which = happening
        stage = STAGES[which]
        if what == KILL:
            world.kill(stage)
        elif what == ASK:
            world.asks(Ask("Why?" * which))
        elif what in (SAY, SYNTHESISE):
            world.asks(Say("One is here. Two is there." * which, to_client=what == SYNTHESISE))
        elif what == RECOGNISE:
            world.asks(Recognise(bytes(20), 16_000, 100))
        elif what == STOP:
            world.stops_last()
        elif what == LEAVE and world.clients:
            world.clients.pop(0).close()
            world.answers.pop(0)
        elif what == TIME:
            world.passes(float(which * which))
        elif what == FAILURE and stage in world.links:
            world.links[stage].post(Failure(stage, which, which % 2, "A defect."))
            world.look()
    world.run_dry()
    world.check_everything_is_over()


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


# ---------------------------------------------------------------- a board: systemd starts the workers

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


# ---------------------------------------------------------------- what a person hears of it


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


def test_the_limits_follow_the_plan(tmp_path: Path) -> None:
    board = Board(tmp_path)
    board.passes(TICK_S)
    assert read_limits(tmp_path / LIMITS) == limits(BEST)
    board.has(0)
    board.passes(2 * TICK_S)
    assert read_limits(tmp_path / LIMITS) == limits(board.watch.plan) != limits(BEST)


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
