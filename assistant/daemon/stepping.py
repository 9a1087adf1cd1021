"""Stepping down before the kernel kills anything, and up again when there is room.  Pure: no clock, no files.

The plan is chosen anew with what there is: a smaller context, then a smaller model, then no voice.
"""

from __future__ import annotations

import msgspec

from assistant.messages import Stage
from assistant.plan.planner import reserve_bytes
from assistant.plan.selection import Plan, order, select
from assistant.plan.sets import Facts

LOW_PART = 0.6
VERY_LOW_PART = 0.3
"""Of the reserve: with less room than this beside the plan, it steps down; with less available, at once."""

LOOKS_BEFORE_DOWN = 2
"""Looks in a row that must find it low: a program that starts takes memory for a moment."""

ROOM_BEFORE_UP_S = 30.0
LONGEST_BEFORE_UP_S = 600.0
"""How long there must be room for a better plan; doubled whenever a step up was followed by one down."""

SETTLES_WITHIN_S = 1.0
"""After a change nothing is concluded for so long: what a process held is not free at once when it ends."""

DEATHS_BEFORE_DOWN = 2
DEATHS_WITHIN_S = 600.0


class Look(msgspec.Struct, frozen=True):
    """What the memory is like at a moment: what is still to be had, and what the assistant holds of it."""

    available_bytes: int
    held_bytes: int
    now_s: float


class Stepper:
    """The plan in force, and when to leave it for another of the same `facts`.

    `memory_bytes` is what the board, or the group that the assistant runs in, has in all.
    """

    def __init__(self, facts: Facts, plan: Plan, memory_bytes: int) -> None:
        self.plan = plan
        self._facts = facts
        self._reserve_bytes = reserve_bytes(memory_bytes)
        self._least_bytes = self._select(0).total_bytes
        self._low_looks = 0
        self._room_since_s: float | None = None
        self._wait_up_s = ROOM_BEFORE_UP_S
        self._last_up_s = float("-inf")
        self._settled_s = float("-inf")
        self._deaths: dict[Stage, list[float]] = {}
        self._most_bytes = 0  # until `_most_until_s` nothing larger: workers died of it
        self._most_until_s = float("-inf")
        self._hopeless_bytes = -1  # with a budget up to this there is nothing better: to look it up is dear

    def look(self, look: Look, idle: bool) -> Plan | None:
        """The plan to go over to now, None to stay.  Steps up are taken only while nothing is being made."""
        if look.now_s < self._settled_s:
            return None
        # What the plan has not taken yet, its peaks among it, is not room for others.
        room_bytes = look.available_bytes - max(0, self.plan.total_bytes - look.held_bytes)
        if room_bytes < self._reserve_bytes * LOW_PART:
            self._room_since_s = None
            self._low_looks += 1
            very_low = look.available_bytes < self._reserve_bytes * VERY_LOW_PART
            if very_low or self._low_looks >= LOOKS_BEFORE_DOWN:
                # More held than was predicted is not the plan's to keep.
                held_bytes = min(look.held_bytes, self.plan.total_bytes)
                budget_bytes = max(0, held_bytes + look.available_bytes - self._reserve_bytes)
                return self._down(budget_bytes, look.now_s)
            return None
        self._low_looks = 0
        better = self._better(look)
        if better is None:
            self._room_since_s = None
            return None
        if self._room_since_s is None:
            self._room_since_s = look.now_s
        if not idle or look.now_s - self._room_since_s < self._wait_up_s:
            return None
        self._last_up_s = look.now_s
        return self._go_over_to(better, look.now_s)

    def died(self, stage: Stage, now_s: float) -> Plan | None:
        """A worker died of want of memory: after the second time in a while, a smaller plan."""
        recent = [at_s for at_s in self._deaths.get(stage, []) if now_s - at_s < DEATHS_WITHIN_S]
        self._deaths[stage] = [*recent, now_s]
        if len(self._deaths[stage]) < DEATHS_BEFORE_DOWN:
            return None
        self._deaths.clear()
        self._most_bytes, self._most_until_s = self.plan.total_bytes - 1, now_s + LONGEST_BEFORE_UP_S
        return self._down(self._most_bytes, now_s)

    def crashes(self, stage: Stage, now_s: float) -> Plan | None:
        """The stage's workers die again and again: a plan without its model, none larger than this one."""
        model = getattr(self.plan, stage, None)  # vad has none
        if model is None:
            return None
        others = tuple(other for other in getattr(self._facts, stage) if other.name != model.name)
        facts = msgspec.structs.replace(
            self._facts,
            **{stage: others},
            budget_bytes=self.plan.total_bytes,
            second_opinion=self.plan.has_second_opinion,
        )
        if not others or not (plan := select(facts)).fits or plan.has_voice != self.plan.has_voice:
            return None
        self._facts = msgspec.structs.replace(self._facts, **{stage: others})
        self._least_bytes = self._select(0).total_bytes
        return self._go_over_to(plan, now_s)

    def _down(self, budget_bytes: int, now_s: float) -> Plan | None:
        if self.plan.total_bytes <= self._least_bytes:
            return None
        # Smaller in any case: it is too large now, whatever was predicted.  And with nothing better in it:
        # without a voice a larger language model might fit, but to load it now would take the last there is.
        budget_bytes = min(budget_bytes, self.plan.total_bytes - 1)
        facts = msgspec.structs.replace(self._facts, budget_bytes=budget_bytes)
        plan = select(facts, no_better_than=self.plan)
        if plan.total_bytes >= self.plan.total_bytes:
            return None  # there is nothing smaller
        if now_s - self._last_up_s < LONGEST_BEFORE_UP_S:
            self._wait_up_s = min(2 * self._wait_up_s, LONGEST_BEFORE_UP_S)
            self._last_up_s = float("-inf")  # the steps that follow are not because of it
        return self._go_over_to(plan, now_s)

    def _better(self, look: Look) -> Plan | None:
        """A better plan that there is room for, and a quarter of the reserve more."""
        budget_bytes = max(0, look.held_bytes + look.available_bytes - self._reserve_bytes * 5 // 4)
        if look.now_s < self._most_until_s:
            budget_bytes = min(budget_bytes, self._most_bytes)
        if budget_bytes <= self._hopeless_bytes:
            return None
        plan = self._select(budget_bytes)
        if plan.fits and order(self._facts, plan) < order(self._facts, self.plan):
            return plan
        self._hopeless_bytes = budget_bytes
        return None

    def _go_over_to(self, plan: Plan, now_s: float) -> Plan:
        self._low_looks, self._room_since_s, self._hopeless_bytes = 0, None, -1
        self._settled_s = now_s + SETTLES_WITHIN_S
        self.plan = plan
        return plan

    def _select(self, budget_bytes: int) -> Plan:
        return select(msgspec.structs.replace(self._facts, budget_bytes=budget_bytes))


def sentence(old: Plan, new: Plan, crashed: bool = False) -> str:
    """What the person is told of the change, "" for nothing; `crashed` is not for want of memory."""
    if crashed:
        return "One of my models keeps failing. I go on with another."
    if old.has_voice and not new.has_voice:
        return "Memory is short. I have to stop listening for now; please type instead."
    if new.has_voice and not old.has_voice:
        return "There is room again. I am listening."
    if _models(old) == _models(new):  # a second opinion on what is a voice comes or goes
        return ""
    down = new.total_bytes < old.total_bytes
    why = "Memory is short." if down else "There is room again."
    if old.llm != new.llm:
        return f"{why} I go on with a {'smaller' if down else 'larger'} language model."
    if new.context_tokens < old.context_tokens:
        return f"{why} I will remember less of what we said."
    if new.context_tokens > old.context_tokens:
        return f"{why} I can remember more of what we say."
    return f"{why} I go on with {'less' if down else 'more'} of it."


def _models(plan: Plan) -> tuple[object, ...]:
    return plan.llm, plan.stt, plan.tts, plan.context_tokens, plan.kv_type
