"""The stages' health: what is counted, how long the next worker waits, and what is said of it."""

from __future__ import annotations

import logging
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.daemon.health import CRASHES, CRASHES_WITHIN_S, QUICK_S, STUCK_WITHIN_S, StagesHealth
from assistant.daemon.health import LONGEST_PAUSE_S as LONGEST_WAIT_S
from assistant.daemon.supervision import IMMEDIATE_RESTARTS, LONGEST_PAUSE_S
from assistant.messages import STAGES, Fault, Stage, StageState

STARTING, READY, GONE = (StageState("llm", state) for state in ("starting", "ready", "gone"))
NO_MODEL = StageState("llm", "gone", "There is no model.", "model")
NO_ROOM = StageState("llm", "gone", "There is no room.", "memory")


def after(*states: StageState) -> StagesHealth:
    health = StagesHealth()
    for state in states:
        health.set(state)
    return health


@pytest.mark.parametrize(
    ("states", "pause_s"),
    [
        ([], 0.0),
        ([STARTING, READY], 0.0),
        ([STARTING, READY, GONE], 0.0),
        ([STARTING, READY, GONE] * 20, 0.0),  # deaths long ago
        ([STARTING, GONE], 0.0),
        ([STARTING, GONE] * IMMEDIATE_RESTARTS, 0.0),
        ([STARTING, GONE] * (IMMEDIATE_RESTARTS + 1), 0.5),
        ([STARTING, GONE] * (IMMEDIATE_RESTARTS + 3), 2.0),
        ([STARTING, GONE] * 100, LONGEST_PAUSE_S),
        ([STARTING, GONE] * 100 + [STARTING, READY], 0.0),
        ([STARTING, NO_MODEL], LONGEST_PAUSE_S),
        ([STARTING, NO_ROOM], LONGEST_PAUSE_S),
        ([STARTING, NO_MODEL] * 3, 4 * LONGEST_PAUSE_S),
        ([STARTING, NO_MODEL] * 100, LONGEST_WAIT_S),
        ([STARTING, READY, NO_MODEL], 0.0),
        ([STARTING, NO_MODEL, STARTING, READY, GONE], 0.0),
        ([STARTING, NO_MODEL, STARTING, GONE], 0.0),
    ],
)
def test_how_long_the_next_worker_waits(states: list[StageState], pause_s: float) -> None:
    health = after(*states)
    assert health.pause_s("llm", 0.0) == pause_s
    assert health.pause_s("stt", 0.0) == 0.0, "another stage's is its own"


@pytest.mark.parametrize(
    ("gaps_s", "pause_s"),
    [
        ([0.0], 0.0),
        ([STUCK_WITHIN_S] * 100, 0.0),  # each has looked for it, and waited long enough itself
        ([14.0] * IMMEDIATE_RESTARTS, 0.0),
        ([14.0] * (IMMEDIATE_RESTARTS + 1), 0.5),
        ([14.0] * (IMMEDIATE_RESTARTS + 3), 2.0),
        ([14.0 + LONGEST_PAUSE_S] * 100, LONGEST_PAUSE_S),
        ([14.0] * 100 + [STUCK_WITHIN_S], 0.0),
    ],
)
def test_one_whose_microphone_is_stuck_for_good_is_replaced_more_slowly(
    gaps_s: list[float], pause_s: float
) -> None:
    health = StagesHealth()
    for now_s in accumulate(gaps_s):
        health.set(StageState("vad", "starting"))
        health.set(StageState("vad", "gone", "There is no microphone.", "microphone"))
        health.gave_up(now_s)
    assert health.pause_s("vad", now_s) == pause_s


def test_one_that_was_told_to_go_is_not_to_blame() -> None:
    health = after(*[STARTING, GONE] * 10, STARTING)
    health.let_go("llm")
    assert health.states["llm"] == GONE
    assert health.pause_s("llm", 0.0) == 0.0
    assert health.deaths["llm"] == 0


@pytest.mark.parametrize(
    ("died_s", "now_s", "pause_s"),
    [
        ([0.0], 0.0, 0.0),
        ([0.0] * IMMEDIATE_RESTARTS, 0.0, 0.0),
        ([0.0] * (IMMEDIATE_RESTARTS + 1), QUICK_S - 0.1, 0.5),
        ([0.0] * (IMMEDIATE_RESTARTS + 1), QUICK_S, 0.0),
        ([0.0, 4.0, 8.0, 12.0], 12.0, 0.0),
    ],
)
def test_one_that_works_and_dies_at_once_is_replaced_more_slowly(
    died_s: list[float], now_s: float, pause_s: float
) -> None:
    health = StagesHealth()
    for at_s in died_s:
        health.set(STARTING)
        health.set(READY)
        health.set(GONE)
        health.died("llm", at_s)
    assert health.pause_s("llm", now_s) == pause_s


@pytest.mark.parametrize(
    ("gaps_s", "too_often"),
    [
        ([0.0] * (CRASHES - 1), []),
        ([0.0] * CRASHES, [CRASHES]),
        ([0.0] * 3 * CRASHES, [CRASHES, 2 * CRASHES, 3 * CRASHES]),
        ([CRASHES_WITHIN_S / (CRASHES - 1)] * CRASHES, [CRASHES]),
        ([CRASHES_WITHIN_S / (CRASHES - 1) + 0.1] * 50, []),
        ([1.0] * 4 + [CRASHES_WITHIN_S] + [1.0] * 4, [9]),
    ],
)
def test_too_many_deaths_in_a_while(gaps_s: list[float], too_often: list[int]) -> None:
    health = StagesHealth()
    times = enumerate(accumulate(gaps_s), 1)
    assert [number for number, now_s in times if health.died("llm", now_s)] == too_often
    assert health.deaths["llm"] == len(gaps_s)


@given(st.lists(st.tuples(st.sampled_from(STAGES), st.floats(0, 2 * CRASHES_WITHIN_S)), max_size=40))
def test_it_is_too_often_when_the_last_so_many_came_within_the_time(
    deaths: list[tuple[Stage, float]],
) -> None:
    health, now_s = StagesHealth(), 0.0
    since: dict[Stage, list[float]] = {stage: [] for stage in STAGES}
    for stage, gap_s in deaths:
        now_s += gap_s
        since[stage].append(now_s)
        last = since[stage][-CRASHES:]
        expected = len(last) == CRASHES and last[-1] - last[0] <= CRASHES_WITHIN_S
        assert health.died(stage, now_s) is expected
        if expected:
            since[stage].clear()


@pytest.mark.parametrize(
    ("states", "line"),
    [
        ([], "waiting for vad, stt, llm, tts"),
        ([StageState("vad", "ready"), StageState("stt", "starting"), READY], "waiting for stt, tts"),
        ([StageState(stage, "ready") for stage in STAGES], "all stages are ready"),
        ([NO_MODEL], "llm: There is no model."),
        (
            [StageState("vad", "gone", "There is no microphone.", "microphone"), NO_MODEL],
            "vad: There is no microphone. llm: There is no model.",
        ),
        ([NO_MODEL, STARTING], "waiting for vad, stt, llm, tts"),
    ],
)
def test_the_line_for_systemd(states: list[StageState], line: str) -> None:
    assert after(*states).line() == line


def test_what_each_worker_finds_anew_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    health = after(*[STARTING, NO_MODEL] * 5, *[STARTING, NO_ROOM] * 3, STARTING, NO_MODEL)
    warnings = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == [f"llm cannot work: There is no {lacks}." for lacks in ("model", "room", "model")]
    for state in (STARTING, READY, GONE, STARTING, NO_MODEL):
        health.set(state)
    infos = [record.message for record in caplog.records if record.levelno == logging.INFO]
    assert infos == ["llm is ready"]
    assert caplog.records[-1].message == warnings[0], "it had worked in between"


@pytest.mark.parametrize("fault", [None, "model", "memory"])
def test_the_state_has_the_fault(fault: Fault | None) -> None:
    state = StageState("llm", "gone", "It is broken.", fault)
    assert after(STARTING, state).states["llm"].fault == fault


@pytest.mark.parametrize(
    ("states", "why"),
    [
        ([], ""),
        ([NO_MODEL], "There is no model."),
        ([NO_MODEL, STARTING], "There is no model."),
        ([NO_MODEL, STARTING, NO_ROOM, STARTING], "There is no room."),
        ([NO_MODEL, STARTING, READY], ""),
        ([NO_MODEL, STARTING, READY, GONE, STARTING], ""),
    ],
)
def test_why_it_does_not_work_is_known_until_one_is_ready(states: list[StageState], why: str) -> None:
    assert after(*states).why("llm") == why


def test_a_stage_keeps_dying_until_it_has_lived_for_a_while() -> None:
    """One fault, however many deaths: else it would be said again and again."""
    health = StagesHealth()
    for number in range(CRASHES):
        assert not health.keeps_dying(float(number))
        health.died("llm", float(number))
    last_s = CRASHES + 0.9 * CRASHES_WITHIN_S
    assert health.keeps_dying(last_s)
    health.died("llm", last_s)
    assert health.keeps_dying(last_s + 0.9 * CRASHES_WITHIN_S)
    assert not health.keeps_dying(last_s + CRASHES_WITHIN_S)
