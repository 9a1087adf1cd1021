"""Stepping the plan: hand-made cases, then what holds after any sequence of looks and deaths."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistant.catalogue.shapes import LlmShape
from assistant.daemon.stepping import (
    DEATHS_WITHIN_S,
    LONGEST_BEFORE_UP_S,
    LOW_PART,
    ROOM_BEFORE_UP_S,
    SETTLES_WITHIN_S,
    VERY_LOW_PART,
    Look,
    Stepper,
    sentence,
)
from assistant.messages import STAGES, Stage
from assistant.plan.candidates import Candidate, of_path
from assistant.plan.planner import reserve_bytes
from assistant.plan.selection import Plan, order, select
from assistant.plan.sets import Facts

MIB = 2**20
TINY = Path(__file__).parents[1] / "models"
MEMORY = 1024 * MIB
RESERVE = reserve_bytes(MEMORY)
PLENTY = 1 << 50
LOW, VERY_LOW = int(RESERVE * LOW_PART) - 1, int(RESERVE * VERY_LOW_PART) - 1
TICK_S = 0.25


def llm(name: str, weights_mib: int) -> Candidate:
    """A language model of TinyLlama's shape."""
    shape = LlmShape("llama", 22, 2048, 32, 4, 64, 5632, 32_000, 0, 2048, tied=False)
    return Candidate("llm", name, name, shape, weights_mib * MIB)


LARGE, SMALL = llm("large", 1000), llm("small", 500)
STT = of_path("stt", TINY / "whisper-tiny-test")
VOICES = tuple(of_path("tts", TINY / f"en_US-tiny-{quality}.onnx") for quality in ("medium", "low"))
FACTS = Facts(PLENTY, 4, frozenset(), (STT,), (LARGE, SMALL), VOICES)
PINNED = msgspec.structs.replace(FACTS, llm=(LARGE,), stt=(), tts=())


def at_most(budget_bytes: int, facts: Facts = FACTS) -> Plan:
    return select(msgspec.structs.replace(facts, budget_bytes=budget_bytes))


BEST, LEAST = at_most(PLENTY), at_most(0)


def ladder(facts: Facts) -> list[Plan]:
    """All plans that steps down lead through, each just a little smaller than the one before."""
    plans = [at_most(PLENTY, facts)]
    while True:
        less = msgspec.structs.replace(facts, budget_bytes=plans[-1].total_bytes - 1)
        below = select(less, no_better_than=plans[-1])
        if below.total_bytes >= plans[-1].total_bytes:
            return plans
        plans.append(below)


def runs(plan: Plan | None) -> object:
    """What of a plan is in force; its budget and its reasons tell how it came about."""
    return plan and (plan.llm, plan.stt, plan.tts, plan.context_tokens, plan.kv_type)


class Board:
    """A stepper and a clock; unless told otherwise, the assistant holds what its plan predicts."""

    def __init__(self, facts: Facts = FACTS, plan: Plan | None = None) -> None:
        self.stepper = Stepper(facts, plan or at_most(PLENTY, facts), MEMORY)
        self.now_s = 1000.0
        self.changes: list[tuple[float, Plan]] = []

    @property
    def plan(self) -> Plan:
        return self.stepper.plan

    def look(self, available_bytes: int, held_bytes: int | None = None, idle: bool = True) -> Plan | None:
        self.now_s += TICK_S
        held_bytes = self.plan.total_bytes if held_bytes is None else held_bytes
        changed = self.stepper.look(Look(available_bytes, held_bytes, self.now_s), idle)
        if changed is not None:
            assert changed is self.plan
            self.changes.append((self.now_s, changed))
        return changed

    def looks(self, available_bytes: int, seconds: float, idle: bool = True) -> list[Plan]:
        """The same for a while; the plans gone over to."""
        found = [self.look(available_bytes, idle=idle) for _ in range(round(seconds / TICK_S))]
        return [plan for plan in found if plan is not None]

    def waits_up_s(self) -> float:
        """How long there is room before the plan steps up."""
        began_s = self.now_s + TICK_S
        while not self.look(PLENTY):
            assert self.now_s - began_s < 2 * LONGEST_BEFORE_UP_S
        return self.now_s - began_s

    def settle(self) -> None:
        self.now_s += SETTLES_WITHIN_S


def test_low_for_a_moment_changes_nothing() -> None:
    board = Board()
    for _ in range(20):
        assert board.look(LOW) is None
        assert board.look(RESERVE) is None


def test_low_for_two_looks_steps_down() -> None:
    board = Board()
    assert board.look(LOW) is None
    assert runs(board.look(LOW)) == runs(at_most(BEST.total_bytes + LOW - RESERVE))
    assert board.plan.fits


def test_what_the_plan_has_not_taken_yet_is_not_room() -> None:
    """A worker that is about to load its model will need what is free now."""
    board = Board()
    half = BEST.total_bytes // 2
    assert board.looks(RESERVE + half, 1.0) == []
    assert board.look(RESERVE + half, held_bytes=half) is None
    assert board.look(LOW + half, held_bytes=half) is None
    assert board.look(LOW + half, held_bytes=half) is not None


def test_very_low_steps_down_at_once() -> None:
    board = Board()
    assert runs(board.look(VERY_LOW)) == runs(at_most(BEST.total_bytes + VERY_LOW - RESERVE))


def test_what_has_just_ended_may_still_hold_its_memory() -> None:
    """The replaced worker is gone from the daemon's list, and its memory is not free yet."""
    board = Board()
    plan = board.look(VERY_LOW)
    assert board.look(VERY_LOW, held_bytes=20 * MIB) is None
    assert board.plan == plan
    board.settle()
    assert runs(board.look(VERY_LOW, held_bytes=20 * MIB)) == runs(LEAST)


def test_more_held_than_was_predicted_is_no_reason_to_stay() -> None:
    board = Board()
    plan = board.look(VERY_LOW, held_bytes=2 * BEST.total_bytes)
    assert runs(plan) == runs(at_most(BEST.total_bytes + VERY_LOW - RESERVE))


@pytest.mark.parametrize("facts", [FACTS, PINNED])
def test_nothing_smaller_stays_and_is_not_repeated(facts: Facts) -> None:
    board = Board(facts)
    assert runs(board.look(0, held_bytes=0)) == runs(at_most(0, facts))
    assert board.looks(0, 60.0) == []
    assert all(board.stepper.died("llm", board.now_s) is None for _ in range(10))


def test_where_only_a_better_model_is_smaller_it_stays() -> None:
    """The order of the models need not be that of their sizes."""
    facts = msgspec.structs.replace(PINNED, llm=(SMALL, LARGE))
    board = Board(facts, at_most(0, PINNED))
    assert board.looks(0, 60.0) == []


def test_a_plan_that_does_not_fit_gives_way_to_the_smallest() -> None:
    assert not LEAST.fits
    board = Board()
    assert runs(board.look(0, held_bytes=0)) == runs(LEAST)
    assert Board(plan=LEAST).looks(0, 10.0) == []


def test_the_steps_are_context_then_model_then_voice() -> None:
    board = Board()
    steps = [board.plan]
    while plan := [board.stepper.died("llm", board.now_s) for _ in range(2)][1]:  # each just a little smaller
        steps.append(plan)
    kinds = [(plan.has_voice, plan.llm.name) for plan in steps]
    assert list(dict.fromkeys(kinds)) == [(True, "large"), (True, "small"), (False, "small")]
    assert len(set(map(runs, steps))) == len(steps)
    assert runs(steps[-1]) == runs(LEAST)
    for name in ("large", "small"):
        contexts = [plan.context_tokens for plan in steps if plan.has_voice and plan.llm.name == name]
        assert contexts[0] == 2048
        assert contexts[-1] == 512


def test_a_pinned_model_keeps_its_place_and_its_context_shrinks() -> None:
    steps = ladder(PINNED)
    assert {plan.llm for plan in steps} == {LARGE}
    shapes = {(plan.context_tokens, plan.kv_type) for plan in steps}
    assert shapes == {(context, kv) for context in (2048, 1024, 512) for kv in ("f16", "q8_0")}


def test_up_after_a_while_of_room() -> None:
    board = Board(plan=LEAST)
    assert board.waits_up_s() == ROOM_BEFORE_UP_S
    assert board.plan == at_most(board.plan.budget_bytes)
    assert order(FACTS, board.plan) == order(FACTS, BEST)
    assert board.looks(PLENTY, 2 * LONGEST_BEFORE_UP_S) == []


@pytest.mark.parametrize("interruption", [RESERVE, LOW, VERY_LOW])
@pytest.mark.parametrize("plan", [LEAST, at_most(LEAST.total_bytes + MIB)])
def test_room_must_last(interruption: int, plan: Plan) -> None:
    board = Board(plan=plan)
    assert board.looks(PLENTY, ROOM_BEFORE_UP_S - 1) == []
    for _ in range(3):  # nothing smaller: it stays, but that was no room
        if changed := board.look(interruption):
            assert changed.total_bytes < plan.total_bytes
    board.settle()
    assert board.waits_up_s() == ROOM_BEFORE_UP_S


def test_up_only_while_nothing_is_made() -> None:
    board = Board(plan=LEAST)
    assert board.looks(PLENTY, 10 * ROOM_BEFORE_UP_S, idle=False) == []
    assert board.look(PLENTY) is not None


def test_down_while_something_is_made() -> None:
    board = Board()
    assert board.look(VERY_LOW, idle=False) is not None


def test_up_only_to_what_fits_with_the_margin() -> None:
    """What a plan needs, the reserve, and a quarter of that again: else the next look would find it low."""
    upper = BEST
    while (lower := at_most(upper.total_bytes - 1)).fits:
        enough = upper.total_bytes - lower.total_bytes + RESERVE * 5 // 4
        for available_bytes, steps in ((enough - 1, 0), (enough, 1)):
            board = Board(plan=lower)
            assert len(board.looks(available_bytes, ROOM_BEFORE_UP_S + TICK_S)) == steps
        assert order(FACTS, board.plan) == order(FACTS, upper)
        assert board.looks(enough - (upper.total_bytes - lower.total_bytes), 60.0) == []
        upper = lower


def test_the_wait_doubles_when_a_step_up_was_taken_back() -> None:
    board = Board(plan=LEAST)
    waits = []
    for _ in range(8):
        waits.append(board.waits_up_s())
        for _ in range(2):  # a second step down belongs to the first
            board.settle()
            assert board.look(VERY_LOW, held_bytes=PLENTY) is not None
        board.settle()
    assert waits == [30.0, 60.0, 120.0, 240.0, 480.0, 600.0, 600.0, 600.0]


def test_the_wait_stays_when_a_step_up_lasted() -> None:
    board = Board(plan=LEAST)
    board.waits_up_s()
    board.looks(PLENTY, LONGEST_BEFORE_UP_S)
    assert board.look(VERY_LOW) is not None
    board.settle()
    assert board.waits_up_s() == ROOM_BEFORE_UP_S


def test_two_deaths_in_a_while_step_down_and_not_soon_up_again() -> None:
    board = Board()
    assert board.stepper.died("llm", board.now_s) is None
    died_s = board.now_s + DEATHS_WITHIN_S - 1
    assert runs(board.stepper.died("llm", died_s)) == runs(at_most(BEST.total_bytes - 1))
    board.now_s = died_s
    assert board.waits_up_s() == LONGEST_BEFORE_UP_S + ROOM_BEFORE_UP_S - TICK_S
    assert order(FACTS, board.plan) == order(FACTS, BEST)


def test_after_deaths_it_steps_up_to_what_is_smaller_than_what_they_died_of() -> None:
    plans = ladder(FACTS)
    board = Board(plan=plans[3])
    board.stepper.died("llm", board.now_s)
    board.stepper.died("llm", board.now_s)
    board.settle()
    assert runs(board.look(0, held_bytes=0)) == runs(LEAST)
    board.settle()
    assert board.waits_up_s() == ROOM_BEFORE_UP_S
    assert order(FACTS, board.plan) == order(FACTS, plans[4])


@pytest.mark.parametrize(
    "deaths",
    [
        [],
        [("llm", 0.0)],
        [("llm", 0.0), ("stt", 1.0), ("tts", 2.0), ("vad", 3.0)],
        [("llm", 0.0), ("llm", DEATHS_WITHIN_S), ("llm", 2 * DEATHS_WITHIN_S)],
    ],
)
def test_deaths_that_do_not_add_up(deaths: list[tuple[Stage, float]]) -> None:
    stepper = Stepper(FACTS, BEST, MEMORY)
    for stage, at_s in deaths:
        assert stepper.died(stage, at_s) is None
    assert stepper.plan is BEST


def test_deaths_that_stepped_down_are_not_counted_again() -> None:
    stepper = Stepper(FACTS, BEST, MEMORY)
    steps = [stepper.died("llm", at_s) is not None for at_s in range(8)]
    assert steps == [False, True] * 4


# ---------------------------------------------------------------- a second opinion on what is a voice

WANTING = msgspec.structs.replace(FACTS, second_opinion=True)


def test_a_second_opinion_that_went_comes_back_when_there_is_room() -> None:
    board = Board(WANTING)
    best = board.plan
    steps = [board.stepper.died("vad", board.now_s) for _ in range(2)]
    assert [plan and plan.has_second_opinion for plan in steps] == [None, False]
    assert runs(board.plan) == runs(best)
    board.settle()
    up = board.looks(PLENTY, LONGEST_BEFORE_UP_S + ROOM_BEFORE_UP_S)
    assert [plan.has_second_opinion for plan in (best, *up)] == [True, True]


def test_no_step_down_and_no_crash_brings_a_second_opinion() -> None:
    """Where a smaller model leaves room for one, it would take the last there is, and vad begin anew."""
    plain = [plan for plan in ladder(FACTS) if plan.has_voice]
    for plan, below in pairwise(plain):
        board = Board(WANTING, plan)
        assert [board.stepper.died("llm", board.now_s) is None for _ in range(2)] == [True, False]
        assert not board.plan.has_second_opinion
        assert runs(board.plan) == runs(below)
        board = Board(WANTING, plan)
        changed = board.stepper.crashes("llm", board.now_s)
        assert changed is None or not changed.has_second_opinion


# ---------------------------------------------------------------- workers that die again and again


def models(plan: Plan) -> dict[Stage, object]:
    return {"stt": plan.stt, "llm": plan.llm, "tts": plan.tts}


@pytest.mark.parametrize(
    ("stage", "without"),
    [("llm", {"llm": SMALL}), ("tts", {"tts": VOICES[1]}), ("stt", None), ("vad", None)],
)
def test_a_model_whose_workers_crash_is_done_without(stage: Stage, without: dict[str, object] | None) -> None:
    """Where there is another: a voice that crashes is better than none."""
    board = Board()
    plan = board.stepper.crashes(stage, board.now_s)
    if without is None:
        assert plan is None
        assert board.plan == BEST
    else:
        assert plan is board.plan
        assert models(plan) == models(BEST) | without
        assert plan.total_bytes <= BEST.total_bytes


@pytest.mark.parametrize("stage", STAGES)
def test_without_any_other_model_the_plan_stays(stage: Stage) -> None:
    board = Board(PINNED)
    before = board.plan
    assert board.stepper.crashes(stage, board.now_s) is None
    assert board.plan is before


def test_a_model_that_crashed_does_not_come_back() -> None:
    board = Board()
    board.stepper.crashes("llm", board.now_s)
    board.settle()
    assert board.looks(PLENTY, 3 * LONGEST_BEFORE_UP_S) == []
    board.look(0, held_bytes=0)
    board.settle()
    board.waits_up_s()
    assert board.plan.llm == SMALL


def test_only_a_larger_model_is_none_in_its_place() -> None:
    """Where the small one crashes and the large one does not fit what it takes."""
    board = Board(plan=LEAST)
    assert LEAST.llm == SMALL
    assert board.stepper.crashes("llm", board.now_s) is None
    assert board.plan is LEAST


def test_only_a_larger_voice_is_none_in_the_place_of_one_that_crashes() -> None:
    """It does not fit what the plan takes, and to do without a voice is no remedy."""

    def only(*voices: Candidate) -> Facts:
        return msgspec.structs.replace(
            FACTS, llm=(SMALL,), tts=voices, context_tokens=512, kv_types=("q8_0",)
        )

    smaller, larger = sorted(VOICES, key=lambda voice: at_most(PLENTY, only(voice)).total_bytes)
    board = Board(only(smaller, larger))
    assert board.plan.tts == smaller
    assert board.stepper.crashes("tts", board.now_s) is None
    assert board.plan.tts == smaller


def test_after_a_crash_nothing_is_concluded_for_a_moment() -> None:
    board = Board()
    plan = board.stepper.crashes("llm", board.now_s)
    assert board.look(VERY_LOW, held_bytes=0) is None
    assert board.plan is plan


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2000 * MIB),
    st.lists(
        st.one_of(
            st.tuples(st.just("crash"), st.sampled_from(STAGES)),
            st.tuples(st.just("death"), st.sampled_from(STAGES)),
            st.tuples(st.just("low"), st.integers(0, 2 * RESERVE)),
            st.tuples(st.just("room"), st.integers(1, 400)),
        ),
        max_size=15,
    ),
)
def test_whatever_crashes(budget_bytes: int, happenings: list[tuple[str, Any]]) -> None:
    """Never to a larger plan, never without a voice that there was, and never back to what crashed."""
    board = Board(FACTS, at_most(budget_bytes))
    crashed: set[str] = set()
    for what, how in happenings:
        old = board.plan
        if what == "crash":
            new = board.stepper.crashes(how, board.now_s)
            if new is not None:
                assert new is board.plan
                assert new.fits
                assert new.total_bytes <= old.total_bytes
                assert new.has_voice == old.has_voice
                gone = models(old)[how]
                assert isinstance(gone, Candidate)
                crashed.add(gone.name)
            else:
                assert board.plan is old
        elif what == "death":
            board.stepper.died(how, board.now_s)
        elif what == "low":
            board.look(how)
        else:
            for _ in range(how):
                board.look(PLENTY)
        names = {part.name for part in models(board.plan).values() if isinstance(part, Candidate)}
        assert not names & crashed
        board.settle()


# ---------------------------------------------------------------- all together


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from([FACTS, WANTING, PINNED]),
    st.integers(0, 2000 * MIB),
    st.lists(
        st.one_of(
            st.tuples(st.integers(0, 3 * RESERVE), st.integers(0, 2000 * MIB), st.integers(1, 20)),
            st.tuples(st.just(PLENTY), st.integers(0, 2000 * MIB), st.integers(1, 400)),
            st.sampled_from(STAGES),
        ),
        max_size=20,
    ),
    st.booleans(),
)
def test_whatever_happens(
    facts: Facts, budget_bytes: int, happenings: list[tuple[int, int, int] | Stage], idle: bool
) -> None:
    board = Board(facts, at_most(budget_bytes, facts))
    changed_s = float("-inf")
    for happening in happenings:
        for _ in range(1 if isinstance(happening, str) else happening[2]):
            old = board.plan
            if isinstance(happening, str):
                new = board.stepper.died(happening, board.now_s)
            else:
                new = board.look(happening[0], happening[1], idle)
            if new is None:
                assert board.plan is old
                continue
            order(facts, new)  # raises where it is none of the facts' sets
            if new.total_bytes > old.total_bytes:
                assert idle
                assert new.fits
                assert order(facts, new) < order(facts, old)
                assert board.now_s - changed_s >= ROOM_BEFORE_UP_S
            else:
                assert new.total_bytes < old.total_bytes
            changed_s = board.now_s


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ({}, {"context_tokens": 512}, "Memory is short. I will remember less of what we said."),
        ({}, {"llm": SMALL}, "Memory is short. I go on with a smaller language model."),
        (
            {},
            {"llm": SMALL, "context_tokens": 512},
            "Memory is short. I go on with a smaller language model.",
        ),
        ({}, {"tts": VOICES[1]}, "Memory is short. I go on with less of it."),
        ({}, {"kv_type": "q8_0"}, "Memory is short. I go on with less of it."),
        (
            {},
            {"stt": None, "tts": None},
            "Memory is short. I have to stop listening for now; please type instead.",
        ),
        (
            {"llm": SMALL},
            {"llm": LARGE, "stt": None, "tts": None},
            "Memory is short. I have to stop listening for now; please type instead.",
        ),
        ({"stt": None, "tts": None}, {}, "There is room again. I am listening."),
        ({"stt": None, "tts": None}, {"llm": SMALL}, "There is room again. I am listening."),
        ({"context_tokens": 512}, {}, "There is room again. I can remember more of what we say."),
        ({"llm": SMALL}, {}, "There is room again. I go on with a larger language model."),
        ({"tts": VOICES[1]}, {}, "There is room again. I go on with more of it."),
        (
            {"stt": None, "tts": None, "llm": SMALL},
            {"stt": None, "tts": None},
            "There is room again. I go on with a larger language model.",
        ),
    ],
)
def test_what_is_said(old: dict[str, object], new: dict[str, object], said: str) -> None:

    def plan(**differences: object) -> Plan:
        wanted = msgspec.structs.replace(BEST, **differences)
        facts = msgspec.structs.replace(
            FACTS,
            llm=(wanted.llm,),
            stt=() if wanted.stt is None else (wanted.stt,),
            tts=() if wanted.tts is None else (wanted.tts,),
            context_tokens=wanted.context_tokens,
            kv_types=(wanted.kv_type,),
        )
        return at_most(PLENTY, facts)

    assert sentence(plan(**old), plan(**new)) == said


def test_of_a_second_opinion_nothing_is_said() -> None:
    without, with_it = at_most(PLENTY), at_most(PLENTY, WANTING)
    assert without.total_bytes < with_it.total_bytes
    assert sentence(with_it, without) == sentence(without, with_it) == ""
