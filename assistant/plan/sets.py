"""All sets of models that a plan may be, in one order that does not depend on the memory.  Pure.

A set with a voice stands before one without; then count, in this order, the language model, the recogniser,
the voice, the context and its precision.
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

FAST_ENOUGH, TOO_SLOW = 0, 1
"""What stands first in the place of a part."""

CONTEXTS = (8192, 4096, 2048, 1024, 512)


class Facts(msgspec.Struct, frozen=True):
    """What a plan rests on.  The candidates stand from the best to the least.

    `budget_bytes` is what the whole assistant may take, `context_tokens` the most that is wanted and
    `least_context_tokens` what there must be, `vad` what the microphone's process needs, `second_opinion`
    whether it may have one.  Without a `speed` none is asked for: nothing is to choose.
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
    vad: Need = VAD
    second_opinion: bool = False


class Part(msgspec.Struct, frozen=True):
    """A candidate as it would run: its place in the order, the lower the better, and its memory."""

    candidate: Candidate | None
    place: tuple[Any, ...]
    need: Need
    context_tokens: int = 0
    kv_type: KvType = "f16"

    @property
    def is_slow(self) -> bool:
        """Slower than is asked for; those stand behind all others."""
        return self.place[:1] == (TOO_SLOW,)


NO_VOICE = Part(None, (), Need(0, 0))


Set = tuple[Part, Part, Part]
"""A language model, a recogniser and a voice; the latter two may be `NO_VOICE`."""


def all_sets(facts: Facts) -> Iterator[Set]:
    llms = list(_llm_parts(facts))
    voiced = product(llms, _stt_parts(facts), _tts_parts(facts))
    yield from voiced
    yield from ((llm, NO_VOICE, NO_VOICE) for llm in llms)


def order_of(parts: Set) -> tuple[Any, ...]:
    llm, stt, tts = parts
    return (stt.candidate is None, llm.place[:2], stt.place, tts.place, llm.place[2:])


def processes(facts: Facts, parts: Set) -> dict[str, Need]:
    llm, stt, tts = parts
    if stt.candidate is None:
        return {"daemon": DAEMON, "llm": llm.need}
    return {"daemon": DAEMON, "vad": facts.vad, "stt": stt.need, "llm": llm.need, "tts": tts.need}


def total(facts: Facts, parts: Set) -> int:
    return total_bytes(processes(facts, parts).values())


def _llm_parts(facts: Facts) -> Iterator[Part]:
    for number, candidate in enumerate(facts.llm):
        shape = candidate.shape
        assert isinstance(shape, LlmShape)
        place = _place(number, written_per_s(facts, candidate), TOKENS_PER_S[facts.prefer])
        for context in contexts(facts, shape):
            for kv_type in _kv_types(facts, shape):
                need = llm_need(shape, candidate.llm_weights, context, kv_type, facts.repacked)
                order = (*place, -context, kv_type != "f16")
                yield Part(candidate, order, need, context, kv_type)


def _kv_types(facts: Facts, shape: LlmShape) -> tuple[KvType, ...]:
    return tuple(kv_type for kv_type in facts.kv_types if holds(shape, kv_type)) or ("f16",)


def contexts(facts: Facts, shape: LlmShape) -> list[int]:
    """The contexts to choose from: what is wanted or the model was trained for, and what is left of it."""
    most = min(facts.context_tokens, shape.trained_context or facts.context_tokens)
    least = min(most, facts.least_context_tokens)
    return [most, *(context for context in CONTEXTS if least <= context < most)]


def _stt_parts(facts: Facts) -> Iterator[Part]:
    for number, candidate in enumerate(facts.stt):
        assert isinstance(candidate.shape, SttShape)
        pace = 1 / read_s(facts, candidate) if facts.speed else 0.0
        yield Part(
            candidate,
            _place(number, pace if facts.speed else None, 1 / READ_WITHIN_S[facts.prefer]),
            stt_need(candidate.shape),
        )


def _tts_parts(facts: Facts) -> Iterator[Part]:
    for number, candidate in enumerate(facts.tts):
        assert isinstance(candidate.shape, TtsShape)
        yield Part(candidate, (FAST_ENOUGH, number), tts_need(candidate.shape, candidate.weights_bytes))


def _place(number: int, pace: float | None, least: float) -> tuple[Any, ...]:
    """Those that are fast enough in the order of the list, then the others, the fastest first."""
    if pace is None or pace >= least:
        return (FAST_ENOUGH, number)
    return (TOO_SLOW, -pace)


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


def part_of(facts: Facts, candidate: Candidate) -> Part:
    """`candidate` as it would run, a language model with as much context as is wanted."""
    alone = msgspec.structs.replace(facts, **{candidate.kind: (candidate,)})
    parts = {"llm": _llm_parts, "stt": _stt_parts, "tts": _tts_parts}[candidate.kind]
    return next(parts(alone))
