"""Choosing what runs on a board: facts in, a plan with its reasons out.  Pure.

All sets of models that the memory admits are put in one order that does not depend on the memory, and the
first is taken.  Hence more memory never gives a worse plan.  A set with a voice stands before one without;
then count, in this order, the language model, the recogniser, the voice, the context and its precision.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import msgspec

from assistant.board.speed import Speed, tokens_per_s
from assistant.catalogue.shapes import LlmShape, SttShape, TtsShape
from assistant.config import Prefer
from assistant.plan.candidates import Candidate
from assistant.plan.prediction import (
    DAEMON,
    MIB,
    VAD,
    KvType,
    Need,
    holds,
    kv_bytes,
    llm_need,
    stt_need,
    stt_operations,
    total_bytes,
    tts_need,
)

TOKENS_PER_S: dict[Prefer, float] = {"speed": 8.0, "balanced": 4.0, "quality": 0.5}
"""How fast a language model must write at least.

People speak 150 to 180 words a minute, and English has 1.3 tokens a word: 4 tokens a second are spoken
without a gap.
"""

READ_WITHIN_S: dict[Prefer, float] = {"speed": 0.8, "balanced": 1.6, "quality": 4.0}
"""How long the recogniser may take for an utterance."""

RECOGNISER_PART = 0.4
"""What part of the board's speed in 32-bit numbers CTranslate2 reaches with 8-bit ones; measured, low."""

CONTEXTS = (8192, 4096, 2048, 1024, 512)


class Facts(msgspec.Struct, frozen=True):
    """What a plan rests on.  The candidates stand from the best to the least.

    `budget_bytes` is what the whole assistant may take, `context_tokens` the most that is wanted and
    `least_context_tokens` what there must be.  Without a `speed` none is asked for: nothing is to choose.
    """

    budget_bytes: int
    cores: int
    repacked: frozenset[str]
    stt: tuple[Candidate, ...]
    llm: tuple[Candidate, ...]
    tts: tuple[Candidate, ...]
    language: str = "en"
    prefer: Prefer = "balanced"
    speed: Speed | None = None
    context_tokens: int = 2048
    least_context_tokens: int = 512
    kv_types: tuple[KvType, ...] = ("f16", "q8_0")


class Plan(msgspec.Struct, frozen=True):
    """What runs.  Without `stt` and `tts` there is no voice: questions are typed, answers read.

    `processes` has what each is predicted to take.  A plan that does not fit is the
    smallest there is.
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

    @property
    def total_bytes(self) -> int:
        return total_bytes(self.processes.values())

    @property
    def has_voice(self) -> bool:
        return self.stt is not None


class _Part(msgspec.Struct, frozen=True):
    """A candidate as it would run: its place in the order, the lower the better, and its memory."""

    candidate: Candidate | None
    place: tuple[Any, ...]
    need: Need
    context_tokens: int = 0
    kv_type: KvType = "f16"


NO_VOICE = _Part(None, (), Need(0, 0))


def select(facts: Facts, no_better_than: Plan | None = None) -> Plan:
    """The best set that fits the budget, else the smallest.

    With `no_better_than`, none of its models stands before that plan's of its kind.  Raises `ValueError`
    without a language model.
    """
    if not facts.llm:
        raise ValueError("a plan needs a language model")
    sets = sorted(_sets(facts), key=_order)
    allowed = [parts for parts in sets if no_better_than is None or _no_better(facts, parts, no_better_than)]
    fitting = [parts for parts in allowed if _total(parts) <= facts.budget_bytes]
    chosen = fitting[0] if fitting else min(allowed, key=_total)
    llm, stt, tts = chosen
    assert llm.candidate is not None
    return Plan(
        llm.candidate,
        stt.candidate,
        tts.candidate,
        llm.context_tokens,
        llm.kv_type,
        _processes(chosen),
        facts.budget_bytes,
        bool(fitting),
        tuple(_reasons(facts, chosen, sets, bool(fitting))),
        _why_no_voice(facts, chosen, sets),
    )


def order(facts: Facts, plan: Plan) -> tuple[Any, ...]:
    """Where `plan` stands among all that `facts` offer; the lower the better, whatever the budget."""
    for parts in _sets(facts):
        llm, stt, tts = parts
        same = (llm.candidate, stt.candidate, tts.candidate) == (plan.llm, plan.stt, plan.tts)
        if same and (llm.context_tokens, llm.kv_type) == (plan.context_tokens, plan.kv_type):
            return _order(parts)
    raise ValueError("the plan is of other facts")


def _sets(facts: Facts) -> Iterator[tuple[_Part, _Part, _Part]]:
    llms = list(_llm_parts(facts))
    voiced = product(llms, _stt_parts(facts), _tts_parts(facts))
    yield from voiced
    yield from ((llm, NO_VOICE, NO_VOICE) for llm in llms)


def _order(parts: tuple[_Part, _Part, _Part]) -> tuple[Any, ...]:
    llm, stt, tts = parts
    return (stt.candidate is None, llm.place[:2], stt.place, tts.place, llm.place[2:])


def _no_better(facts: Facts, parts: tuple[_Part, _Part, _Part], plan: Plan) -> bool:
    offered = (facts.llm, facts.stt, facts.tts)
    for part, models, planned in zip(parts, offered, (plan.llm, plan.stt, plan.tts), strict=True):
        better = part.candidate is not None and (
            planned is None or models.index(part.candidate) < models.index(planned)
        )
        if better:
            return False
    return True


def _processes(parts: tuple[_Part, _Part, _Part]) -> dict[str, Need]:
    llm, stt, tts = parts
    if stt.candidate is None:
        return {"daemon": DAEMON, "llm": llm.need}
    return {"daemon": DAEMON, "vad": VAD, "stt": stt.need, "llm": llm.need, "tts": tts.need}


def _total(parts: tuple[_Part, _Part, _Part]) -> int:
    return total_bytes(_processes(parts).values())


def _llm_parts(facts: Facts) -> Iterator[_Part]:
    for number, candidate in enumerate(facts.llm):
        shape = candidate.shape
        assert isinstance(shape, LlmShape)
        place = _place(number, written_per_s(facts, candidate), TOKENS_PER_S[facts.prefer])
        for context in contexts(facts, shape):
            for kv_type in _kv_types(facts, shape):
                need = llm_need(shape, candidate.llm_weights, context, kv_type, facts.repacked)
                order = (*place, -context, kv_type != "f16")
                yield _Part(candidate, order, need, context, kv_type)


def _kv_types(facts: Facts, shape: LlmShape) -> tuple[KvType, ...]:
    return tuple(kv_type for kv_type in facts.kv_types if holds(shape, kv_type)) or ("f16",)


def contexts(facts: Facts, shape: LlmShape) -> list[int]:
    """The contexts to choose from: what is wanted or the model was trained for, and what is left of it."""
    most = min(facts.context_tokens, shape.trained_context or facts.context_tokens)
    least = min(most, facts.least_context_tokens)
    return [most, *(context for context in CONTEXTS if least <= context < most)]


def _stt_parts(facts: Facts) -> Iterator[_Part]:
    for number, candidate in enumerate(facts.stt):
        assert isinstance(candidate.shape, SttShape)
        pace = 1 / read_s(facts, candidate) if facts.speed else 0.0
        yield _Part(
            candidate,
            _place(number, pace if facts.speed else None, 1 / READ_WITHIN_S[facts.prefer]),
            stt_need(candidate.shape),
        )


def _tts_parts(facts: Facts) -> Iterator[_Part]:
    for number, candidate in enumerate(facts.tts):
        assert isinstance(candidate.shape, TtsShape)
        yield _Part(candidate, (0, number), tts_need(candidate.shape, candidate.weights_bytes))


def _place(number: int, pace: float | None, least: float) -> tuple[Any, ...]:
    """Those that are fast enough in the order of the list, then the others, the fastest first."""
    if pace is None or pace >= least:
        return (0, number)
    return (1, -pace)


def written_per_s(facts: Facts, candidate: Candidate) -> float | None:
    """Tokens a second that a language model will write with a conversation half the context long."""
    if facts.speed is None:
        return None
    shape = candidate.shape
    assert isinstance(shape, LlmShape)
    read_bytes = candidate.weights_bytes - (0 if shape.tied else candidate.embedding_bytes)
    return tokens_per_s(facts.speed, read_bytes + kv_bytes(shape, contexts(facts, shape)[0] // 2, "f16"))


def read_s(facts: Facts, candidate: Candidate) -> float:
    """Seconds that the recogniser will take for an utterance."""
    assert facts.speed is not None
    assert isinstance(candidate.shape, SttShape)
    return stt_operations(candidate.shape) / (RECOGNISER_PART * facts.speed.flops)


def verdict(facts: Facts, candidate: Candidate) -> str:
    """Whether `candidate` can run here, in a few words: "yes", "slow: …", "without a voice", "no: …"."""
    plan = select(msgspec.structs.replace(facts, **{candidate.kind: (candidate,)}))
    can_speak = bool(facts.stt and facts.tts)
    if not plan.fits or (candidate.kind != "llm" and can_speak and not plan.has_voice):
        return f"no: {_mib(facts.budget_bytes)} MiB are there"
    if facts.speed is not None and candidate.kind != "tts":
        if candidate.kind == "llm":
            pace = written_per_s(facts, candidate) or 0.0
            slow = f"slow: {pace:.1f} tokens/s" if pace < TOKENS_PER_S[facts.prefer] else ""
        else:
            seconds = read_s(facts, candidate)
            slow = f"slow: {seconds:.1f} s" if seconds > READ_WITHIN_S[facts.prefer] else ""
        if slow:
            return slow
    return "yes" if plan.has_voice or not can_speak else "without a voice"


def need_of(facts: Facts, candidate: Candidate) -> Need:
    """The memory of `candidate`'s process, a language model's with as much context as is wanted."""
    alone = msgspec.structs.replace(facts, **{candidate.kind: (candidate,)})
    parts = {"llm": _llm_parts, "stt": _stt_parts, "tts": _tts_parts}[candidate.kind]
    return next(parts(alone)).need


def summary(plan: Plan) -> str:
    """The plan in a few words, for a log line."""
    names = [part.name for part in (plan.stt, plan.llm, plan.tts) if part is not None]
    return f"{', '.join(names)} with {plan.context_tokens} tokens, {_mib(plan.total_bytes)} MiB"


# ---------------------------------------------------------------- reasons


def _reasons(
    facts: Facts,
    chosen: tuple[_Part, _Part, _Part],
    sets: list[tuple[_Part, _Part, _Part]],
    fits: bool,
) -> Iterator[str]:
    """Why it is this plan and not a better one, a sentence each."""
    if not fits:
        yield (
            f"Nothing fits: even the smallest set needs {_mib(_total(chosen))} MiB, and "
            f"{_mib(facts.budget_bytes)} are there."
        )
    llm = chosen[0]
    assert llm.candidate is not None
    for part, all_of_kind in zip(chosen, (facts.llm, facts.stt, facts.tts), strict=True):
        if part.candidate is not None:
            for candidate in all_of_kind[: all_of_kind.index(part.candidate)]:
                yield _why_not(facts, candidate, chosen, sets)
    if why := _why_no_voice(facts, chosen, sets):
        yield why
    if llm.context_tokens < contexts(facts, _shape(llm.candidate))[0]:
        yield f"The context is cut to {llm.context_tokens} tokens to save memory."
    if llm.kv_type not in facts.kv_types:
        yield f"{llm.candidate.name} can keep the conversation as {llm.kv_type} alone."
    elif llm.kv_type != facts.kv_types[0]:
        yield "The conversation is kept in 8-bit numbers to save memory."


def _why_no_voice(
    facts: Facts, chosen: tuple[_Part, _Part, _Part], sets: list[tuple[_Part, _Part, _Part]]
) -> str:
    if chosen[1].candidate is not None:
        return ""
    if facts.stt and facts.tts:
        least = min(_total(parts) for parts in sets if parts[1].candidate is not None)
        return (
            f"There is no room for speech: with it at least {_mib(least)} MiB are needed; "
            "questions are typed and answers read."
        )
    kind, what = ("tts", "voice") if facts.stt else ("stt", "recogniser")
    return (
        f'"auto" has no {what} for the language "{facts.language}": '
        f"questions are typed and answers read; name one in {kind}.model."
    )


def _why_not(
    facts: Facts,
    candidate: Candidate,
    chosen: tuple[_Part, _Part, _Part],
    sets: list[tuple[_Part, _Part, _Part]],
) -> str:
    """Why `candidate`, which stands before the chosen one of its kind, was not taken."""
    place = {"llm": 0, "stt": 1, "tts": 2}[candidate.kind]
    own_place = next(parts[place].place for parts in sets if parts[place].candidate == candidate)
    if own_place[:2] > chosen[place].place[:2]:
        return _slowness(facts, candidate)
    before = [part.candidate for part in chosen[:place]]
    least = min(
        _total(parts)
        for parts in sets
        if [part.candidate for part in parts[: place + 1]] == [*before, candidate]
        and (parts[1].candidate is None) == (chosen[1].candidate is None)
    )
    company = " and ".join([each.name for each in before if each is not None] + ["the rest"])
    return (
        f"{candidate.name} with {company} needs {_mib(least)} MiB at least; "
        f"{_mib(facts.budget_bytes)} are there."
    )


def _slowness(facts: Facts, candidate: Candidate) -> str:
    """How slow `candidate` would be, in a sentence."""
    asked = f'(plan.prefer = "{facts.prefer}")'
    if candidate.kind == "llm":
        pace, least = written_per_s(facts, candidate), TOKENS_PER_S[facts.prefer]
        return f"{candidate.name} would write {pace:.1f} tokens a second; {least:g} are asked for {asked}."
    seconds, most = read_s(facts, candidate), READ_WITHIN_S[facts.prefer]
    return f"{candidate.name} would take {seconds:.1f} s for an utterance; {most:g} are allowed {asked}."


def _shape(candidate: Candidate) -> LlmShape:
    assert isinstance(candidate.shape, LlmShape)
    return candidate.shape


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / MIB:,.0f}"
