"""The stages' health: what state each is in, how its workers died, how long the next one waits.  Pure."""

from __future__ import annotations

import logging
from collections import deque

from assistant.daemon.supervision import IMMEDIATE_RESTARTS, restart_pause_s
from assistant.messages import STAGES, Stage, StageState
from assistant.service import EXIT_UNUSABLE

log = logging.getLogger(__name__)

CRASHES = 5
CRASHES_WITHIN_S = 300.0
"""A stage whose workers die so often in that time will not mend by itself."""

LONGEST_PAUSE_S = 120.0
"""Before a stage that lacks something is tried again; the installer, which may bring it, restarts it."""

QUICK_S = 10.0
"""Workers that could work, and died so soon after each other, are replaced ever more slowly."""

STUCK_WITHIN_S = 30.0
"""So are those that gave their microphone up so soon after each other: it is stuck, and each one has only
waited 10 s for sound.  Where it is away, each has looked for it longer."""


class StagesHealth:
    """Of all four stages; `now_s` is in seconds of CLOCK_MONOTONIC."""

    def __init__(self) -> None:
        self.states: dict[Stage, StageState] = {stage: StageState(stage, "gone") for stage in STAGES}
        self.deaths: dict[Stage, int] = dict.fromkeys(STAGES, 0)
        """Workers that went without having been told to, since the daemon began."""
        self._failures: dict[Stage, int] = dict.fromkeys(STAGES, 0)
        self._recent: dict[Stage, deque[float]] = {stage: deque(maxlen=CRASHES) for stage in STAGES}
        self._crashed_s: dict[Stage, float] = dict.fromkeys(STAGES, float("-inf"))
        self._quick: dict[Stage, list[float]] = {stage: [] for stage in STAGES}
        self._gave_up_s = float("-inf")  # when the last vad worker gave its microphone up
        self._given_up = 0  # how many did so in a row
        self._said: dict[Stage, str] = {}  # why a stage cannot work, as far as it has been logged

    def pause_s(self, stage: Stage, now_s: float) -> float:
        """How long the stage's next worker waits before it loads, by how its predecessors ended."""
        if self.states[stage].fault == "microphone":
            return restart_pause_s(self._given_up, 0)  # the last one may have waited long enough itself
        failures = self._failures[stage]
        if failures and self.states[stage].detail:  # it cannot work: each start is a few lines of the journal
            return min(LONGEST_PAUSE_S, restart_pause_s(failures, EXIT_UNUSABLE) * 2.0 ** (failures - 1))
        if failures:
            return restart_pause_s(failures, 0)
        quick = sum(now_s - died_s < QUICK_S for died_s in self._quick[stage])
        return restart_pause_s(quick, 0)

    def set(self, state: StageState) -> None:
        """The stage is in this state now; logged once, however often the next worker finds the same."""
        stage = state.stage
        if state.state == "starting":
            self._failures[stage] += 1  # until it says that it is ready
        elif state.state == "ready":
            self._failures[stage] = 0
        self.states[stage] = state
        if not state.detail:
            level = logging.INFO if state.state == "ready" else logging.DEBUG
            log.log(level, "%s is %s", stage, state.state)
        elif state.detail != self._said.get(stage):
            how = "lacks something" if state.state == "ready" else "cannot work"
            log.warning("%s %s: %s", stage, how, state.detail)
        if state.detail or state.state == "ready":
            self._said[stage] = state.detail

    def why(self, stage: Stage) -> str:
        """Why the stage does not work, or why its last worker could not while the next one starts."""
        state = self.states[stage]
        return self._said.get(stage, "") if state.state == "starting" else state.detail

    def line(self) -> str:
        """All of it in one line, for `systemctl status`."""
        missing = [state for state in self.states.values() if state.state != "ready"]
        details = [f"{state.stage}: {state.detail}" for state in missing if state.detail]
        if details:
            return " ".join(details)
        names = ", ".join(state.stage for state in missing)
        return f"waiting for {names}" if missing else "all stages are ready"

    def fails_to_start(self, stage: Stage) -> bool:
        """Whether the stage's workers keep dying before they are ready, so that it makes no sense to wait."""
        return self._failures[stage] > IMMEDIATE_RESTARTS

    def let_go(self, stage: Stage) -> None:
        """The stage's worker was told to go: not a death, and not a failure to start."""
        self._failures[stage] = 0
        self.states[stage] = StageState(stage, "gone")

    def gave_up(self, now_s: float) -> None:
        """A vad worker ended for want of a microphone that works."""
        self._given_up = self._given_up + 1 if now_s - self._gave_up_s < STUCK_WITHIN_S else 1
        self._gave_up_s = now_s

    def died(self, stage: Stage, now_s: float) -> bool:
        """A worker went without having been told to; whether that was once too often in a while."""
        self.deaths[stage] += 1
        recent = self._recent[stage]
        recent.append(now_s)
        self._quick[stage] = [died_s for died_s in self._quick[stage] if now_s - died_s < QUICK_S] + [now_s]
        if len(recent) < CRASHES or now_s - recent[0] > CRASHES_WITHIN_S:
            # a stage that is known to keep dying goes on to be one until it has lived for a while
            if now_s - self._crashed_s[stage] < CRASHES_WITHIN_S:
                self._crashed_s[stage] = now_s
            return False
        recent.clear()
        self._crashed_s[stage] = now_s
        return True

    def keeps_dying(self, now_s: float) -> bool:
        """Whether the workers of any stage died again and again, the last one not long ago."""
        return any(now_s - died_s < CRASHES_WITHIN_S for died_s in self._crashed_s.values())
