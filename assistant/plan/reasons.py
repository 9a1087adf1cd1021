"""Why it is this plan and not a better one, in sentences for a person.  Pure."""

from __future__ import annotations

from collections.abc import Iterator

from assistant.catalogue.shapes import LlmShape
from assistant.plan.candidates import Candidate
from assistant.plan.prediction import MIB
from assistant.plan.sets import (
    READ_WITHIN_S,
    TOKENS_PER_S,
    Facts,
    Set,
    contexts,
    read_s,
    total,
    written_per_s,
)


def reasons(
    facts: Facts,
    chosen: Set,
    sets: list[Set],
    fits: bool,
) -> Iterator[str]:
    """Why it is this plan and not a better one, a sentence each."""
    if not fits:
        yield (
            f"Nothing fits: even the smallest set needs {mib(total(facts, chosen))} MiB, and "
            f"{mib(facts.budget_bytes)} are there."
        )
    llm = chosen[0]
    assert llm.candidate is not None
    for part, all_of_kind in zip(chosen, (facts.llm, facts.stt, facts.tts), strict=True):
        if part.candidate is not None:
            for candidate in all_of_kind[: all_of_kind.index(part.candidate)]:
                yield _why_not(facts, candidate, chosen, sets)
    if why := why_no_voice(facts, chosen, sets):
        yield why
    shape = _shape(llm.candidate)
    most = contexts(facts, shape)[0]
    if most < facts.context_tokens:
        yield f"The context ends at {most} tokens: {llm.candidate.name} was trained with no more."
    if llm.context_tokens < most:
        yield f"The context is cut to {llm.context_tokens} tokens to save memory."
    if llm.kv_type not in facts.kv_types:
        yield f"{llm.candidate.name} can keep the conversation as {llm.kv_type} alone."
    elif llm.kv_type != facts.kv_types[0]:
        yield "The conversation is kept in 8-bit numbers to save memory."


def why_no_voice(facts: Facts, chosen: Set, sets: list[Set]) -> str:
    if chosen[1].candidate is not None:
        return ""
    if facts.stt and facts.tts:
        least = min(total(facts, parts) for parts in sets if parts[1].candidate is not None)
        return (
            f"There is no room for speech: with it at least {mib(least)} MiB are needed; "
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
    chosen: Set,
    sets: list[Set],
) -> str:
    """Why `candidate`, which stands before the chosen one of its kind, was not taken."""
    place = {"llm": 0, "stt": 1, "tts": 2}[candidate.kind]
    own_place = next(parts[place].place for parts in sets if parts[place].candidate == candidate)
    if own_place[:2] > chosen[place].place[:2]:
        return _slowness(facts, candidate)
    before = [part.candidate for part in chosen[:place]]
    least = min(
        total(facts, parts)
        for parts in sets
        if [part.candidate for part in parts[: place + 1]] == [*before, candidate]
        and (parts[1].candidate is None) == (chosen[1].candidate is None)
    )
    company = " and ".join([each.name for each in before if each is not None] + ["the rest"])
    return (
        f"{candidate.name} with {company} needs {mib(least)} MiB at least; "
        f"{mib(facts.budget_bytes)} are there."
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


def mib(size_bytes: int) -> str:
    """A size in whole MiB, for a person."""
    return f"{size_bytes / MIB:,.0f}"
