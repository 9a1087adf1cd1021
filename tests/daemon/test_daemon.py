"""The real daemon, broker and links, with simple honest stages that die at any point.

The stages make nothing of sound and words, but obey the queue's rules: they work message by message, post
what they make, ask whether it is stale, and acknowledge.  A worker's death forgets all that it knew.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistant.config import Config
from assistant.daemon.answers import APOLOGY
from assistant.daemon.daemon import Daemon
from assistant.messages import (
    STAGES,
    AnyMessage,
    Ask,
    Failure,
    Interrupted,
    NextTurn,
    PlaybackStarted,
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
    StopTurn,
    Token,
    Transcript,
    TurnAccepted,
    TurnEnded,
    TurnFinished,
    Utterance,
    Woken,
)
from assistant.queues import memory
from assistant.queues.link import Delivery, Link
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


KILL, ASK, SAY, SYNTHESISE, RECOGNISE, STOP, LEAVE, TIME, FAILURE, BREAK_IN, PRESS = range(4, 15)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.integers(NOISE, 2), max_size=3).map(tuple),
    st.sets(st.integers(1, 4)),
    st.integers(1, 5),
    st.lists(
        st.one_of(
            st.integers(0, 3), st.integers(0, 3), st.tuples(st.integers(KILL, PRESS), st.integers(0, 3))
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
        elif what in (BREAK_IN, PRESS) and "vad" in world.links:
            call = Interrupted(which, world.now_s) if what == BREAK_IN else Woken("button", world.now_s)
            world.links["vad"].post(call)
            world.look()
    world.run_dry()
    world.check_everything_is_over()
