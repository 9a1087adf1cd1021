"""Choosing what runs on a board: facts in, a plan with its reasons out.  Pure.

Of all sets of models that the memory admits, the first in their order is taken.  That order knows nothing of
memory; hence more memory never gives a worse plan.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from assistant.plan.candidates import Candidate
from assistant.plan.prediction import KvType, Need, total_bytes, with_second_opinion
from assistant.plan.reasons import mib, reasons, why_no_voice
from assistant.plan.sets import Facts, Set, all_sets, order_of, part_of, processes, total

Verdict = Literal["yes", "slow", "text", "no"]


class Plan(msgspec.Struct, frozen=True):
    """What runs.  Without `stt` and `tts` there is no voice: questions are typed, answers read.

    `processes` has what each is predicted to take.  A plan that does not fit is the smallest there is.
    """

    llm: Candidate
    stt: Candidate | None
    tts: Candidate | None
    context_tokens: int
    kv_type: KvType
    processes: dict[str, Need]
    budget_bytes: int
    fits: bool
    reasons: tuple[str, ...] = ()
    why_no_voice: str = ""
    has_second_opinion: bool = False

    @property
    def total_bytes(self) -> int:
        return total_bytes(self.processes.values())

    @property
    def has_voice(self) -> bool:
        return self.stt is not None


def select(facts: Facts, no_better_than: Plan | None = None) -> Plan:
    """The best set that fits the budget, else the smallest.

    With `no_better_than`, none of its models stands before that plan's of its kind, and it has a second
    opinion only if that has.  Raises `ValueError` without a language model.
    """
    if not facts.llm:
        raise ValueError("a plan needs a language model")
    sets = sorted(all_sets(facts), key=order_of)
    allowed = [parts for parts in sets if no_better_than is None or _no_better(facts, parts, no_better_than)]
    fitting = [parts for parts in allowed if total(facts, parts) <= facts.budget_bytes]
    chosen = fitting[0] if fitting else min(allowed, key=lambda parts: total(facts, parts))
    llm, stt, tts = chosen
    assert llm.candidate is not None
    needs = processes(facts, chosen)
    # of what is left: never in place of a better model
    more = needs | {"vad": with_second_opinion(facts.vad)}
    may_have_second = facts.second_opinion and (no_better_than is None or no_better_than.has_second_opinion)
    second = may_have_second and "vad" in needs and total_bytes(more.values()) <= facts.budget_bytes
    return Plan(
        llm.candidate,
        stt.candidate,
        tts.candidate,
        llm.context_tokens,
        llm.kv_type,
        more if second else needs,
        facts.budget_bytes,
        bool(fitting),
        tuple(reasons(facts, chosen, sets, bool(fitting))),
        why_no_voice(facts, chosen, sets),
        second,
    )


def order(facts: Facts, plan: Plan) -> tuple[Any, ...]:
    """Where `plan` stands among all that `facts` offer; the lower the better, whatever the budget."""
    for parts in all_sets(facts):
        llm, stt, tts = parts
        same = (llm.candidate, stt.candidate, tts.candidate) == (plan.llm, plan.stt, plan.tts)
        if same and (llm.context_tokens, llm.kv_type) == (plan.context_tokens, plan.kv_type):
            return (*order_of(parts), not plan.has_second_opinion)
    raise ValueError("the plan is of other facts")


def _no_better(facts: Facts, parts: Set, plan: Plan) -> bool:
    offered = (facts.llm, facts.stt, facts.tts)
    for part, models, planned in zip(parts, offered, (plan.llm, plan.stt, plan.tts), strict=True):
        better = part.candidate is not None and (
            planned is None or models.index(part.candidate) < models.index(planned)
        )
        if better:
            return False
    return True


def verdict(facts: Facts, candidate: Candidate) -> Verdict:
    """Whether `candidate` can run here: "slow" is slower than is asked for, "text" is without speech."""
    plan = select(msgspec.structs.replace(facts, **{candidate.kind: (candidate,)}))
    can_speak = bool(facts.stt and facts.tts)
    if not plan.fits or (candidate.kind != "llm" and can_speak and not plan.has_voice):
        return "no"
    if part_of(facts, candidate).is_slow:
        return "slow"
    return "yes" if plan.has_voice or not can_speak else "text"


def summary(plan: Plan) -> str:
    """The plan in a few words, for a log line."""
    names = [part.name for part in (plan.stt, plan.llm, plan.tts) if part is not None]
    return f"{', '.join(names)} with {plan.context_tokens} tokens, {mib(plan.total_bytes)} MiB"
