"""Which models run on which board and why; and what holds for every choice."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import msgspec
import pytest
from boards import PI_4, PI_5, TINY_CHAT, facts_of, in_folder
from hypothesis import example, given
from hypothesis import strategies as st

from assistant.board.recognise import GIB
from assistant.board.speed import Speed
from assistant.catalogue.read import read
from assistant.catalogue.shapes import LlmShape, SttShape, TtsShape
from assistant.config import Config, Llm, Prefer, Stt, Tts
from assistant.config import Plan as PlanSection
from assistant.plan.candidates import Candidate
from assistant.plan.prediction import (
    DAEMON,
    MIB,
    SECOND_OPINION_BYTES,
    VAD,
    holds,
    llm_need,
    stt_need,
    total_bytes,
    tts_need,
)
from assistant.plan.selection import Plan, order, select, summary, verdict
from assistant.plan.sets import READ_WITHIN_S, TOKENS_PER_S, Facts, contexts, part_of, read_s, written_per_s

CATALOGUE = read()
SIZES_GB = (0.5, 1, 2, 4, 8, 16)
PREFERENCES: tuple[Prefer, ...] = ("speed", "balanced", "quality")

SMOL_135, SMOL_360 = "smollm2-135m-instruct-", "smollm2-360m-instruct-q8_0"
TINYLLAMA_Q5, TINYLLAMA_Q8 = "tinyllama-1.1b-chat-q5_k_m", "tinyllama-1.1b-chat-q8_0"
LLAMA_2 = "llama-2-7b-chat-q5_k_m"
TINY_EN, BASE_EN, AMY = "whisper-tiny.en", "whisper-base.en", "en_US-amy-"


def english(prefer: Prefer, language: str = "en") -> Config:
    return Config(plan=PlanSection(prefer=prefer), stt=Stt(language=language))


def plan_of(
    config: Config, folder: Path, board: str, gb: float, speed: Speed | None = None
) -> tuple[Facts, Plan]:
    facts = facts_of(in_folder(config, folder), board, gb, speed)
    return facts, select(facts)


@pytest.mark.parametrize(
    ("board", "gb", "llms", "stts"),
    [
        # what "speed", "balanced" and "quality" take; names by how they begin
        (PI_4, 0.5, (SMOL_135, SMOL_135, SMOL_135), None),
        (PI_4, 1, (SMOL_135, SMOL_135, SMOL_135), (TINY_EN, TINY_EN, TINY_EN)),
        (PI_4, 2, (SMOL_360, TINYLLAMA_Q5, TINYLLAMA_Q5), (TINY_EN, TINY_EN, TINY_EN)),
        (PI_4, 4, (SMOL_360, TINYLLAMA_Q5, TINYLLAMA_Q8), (TINY_EN, TINY_EN, TINY_EN)),
        (PI_4, 8, (SMOL_360, TINYLLAMA_Q5, LLAMA_2), (TINY_EN, TINY_EN, TINY_EN)),
        (PI_4, 16, (SMOL_360, TINYLLAMA_Q5, LLAMA_2), (TINY_EN, TINY_EN, TINY_EN)),
        (PI_5, 0.5, (SMOL_135, SMOL_135, SMOL_135), None),
        (PI_5, 1, (SMOL_135, SMOL_135, SMOL_135), (TINY_EN, TINY_EN, TINY_EN)),
        (PI_5, 2, (TINYLLAMA_Q5, TINYLLAMA_Q5, TINYLLAMA_Q5), (TINY_EN, TINY_EN, BASE_EN)),
        (PI_5, 4, (TINYLLAMA_Q8, TINYLLAMA_Q8, TINYLLAMA_Q8), (TINY_EN, TINY_EN, BASE_EN)),
        (PI_5, 8, (TINYLLAMA_Q8, TINYLLAMA_Q8, LLAMA_2), (TINY_EN, TINY_EN, BASE_EN)),
        (PI_5, 16, (TINYLLAMA_Q8, TINYLLAMA_Q8, LLAMA_2), (TINY_EN, TINY_EN, BASE_EN)),
    ],
)
def test_what_runs_in_english(
    board: str, gb: float, llms: tuple[str, ...], stts: tuple[str, ...] | None, tmp_path: Path
) -> None:
    for number, prefer in enumerate(PREFERENCES):
        facts, plan = plan_of(english(prefer), tmp_path, board, gb)
        assert plan.llm.name.startswith(llms[number]), prefer
        assert (plan.stt and plan.stt.name) == (stts and stts[number]), prefer
        assert (
            plan.has_voice == (plan.tts is not None and plan.tts.name.startswith(AMY)) == (stts is not None)
        )
        if gb >= 2:
            assert plan.fits
            assert (plan.context_tokens, plan.kv_type) == (2048, "f16")
        check(facts, plan)


def test_half_a_gigabyte_is_for_typing(tmp_path: Path) -> None:
    _, plan = plan_of(english("balanced"), tmp_path, PI_4, 0.5)
    assert plan.fits
    assert plan.processes.keys() == {"daemon", "llm"}
    assert any(
        reason.startswith("There is no room for speech") and "typed" in reason for reason in plan.reasons
    )


@pytest.mark.parametrize("gb", SIZES_GB)
@pytest.mark.parametrize("prefer", PREFERENCES)
def test_a_7b_model_runs_where_it_fits_and_is_fast_enough(prefer: Prefer, gb: float, tmp_path: Path) -> None:
    for speed in (Speed(4.7e9, 25e9), Speed(12e9, 80e9), Speed(28e9, 200e9), Speed(60e9, 600e9)):
        facts, plan = plan_of(english(prefer), tmp_path, PI_5, gb, speed)
        paces = [written_per_s(facts, candidate) or 0 for candidate in facts.llm if "7b" in candidate.name]
        fast_enough = max(paces) >= {"speed": 8, "balanced": 4, "quality": 0.5}[prefer]
        assert ("7b" in plan.llm.name) == (gb >= 8 and fast_enough)


@pytest.mark.parametrize("language", ["en", "de", "fr", "es", "zh", "it"])
def test_nobody_gets_a_licence_or_a_file_that_was_not_looked_at(language: str, tmp_path: Path) -> None:
    for board, gb, prefer in product((PI_4, PI_5), SIZES_GB, PREFERENCES):
        facts, plan = plan_of(english(prefer, language), tmp_path, board, gb)
        for part in (plan.llm, plan.stt, plan.tts):
            if part is not None:
                entry = CATALOGUE.entry(part.name)
                assert entry.commercial
                assert entry.verifiable
                assert language in entry.languages
        check(facts, plan)


@pytest.mark.parametrize(
    ("language", "stt", "voice"),
    [("de", "whisper-tiny", "de_DE-"), ("fr", "whisper-tiny", "fr_FR-"), ("es", "whisper-tiny", "es_ES-")],
)
@pytest.mark.parametrize("board", [PI_4, PI_5])
def test_other_languages_have_a_voice_of_their_own(
    language: str, stt: str, voice: str, board: str, tmp_path: Path
) -> None:
    for gb in (2, 4, 8, 16):
        _, plan = plan_of(english("balanced", language), tmp_path, board, gb)
        assert plan.fits
        assert plan.stt is not None
        assert plan.tts is not None
        assert plan.stt.name == stt
        assert plan.tts.name.startswith(voice)
        assert language in CATALOGUE.entry(plan.llm.name).languages


@pytest.mark.parametrize("language", ["zh", "it"])
@pytest.mark.parametrize("gb", SIZES_GB)
def test_without_a_voice_for_the_language_one_types(language: str, gb: float, tmp_path: Path) -> None:
    _, plan = plan_of(english("balanced", language), tmp_path, PI_5, gb)
    assert not plan.has_voice
    assert (
        f'"auto" has no voice for the language "{language}": questions are typed and answers read; '
        "name one in tts.model." in plan.reasons
    )
    assert not any("no room" in reason for reason in plan.reasons)


def test_a_chinese_voice_that_is_named_speaks(tmp_path: Path) -> None:
    config = Config(stt=Stt(language="zh"), tts=Tts(model="zh_CN-huayan-medium"))
    _, plan = plan_of(config, tmp_path, PI_5, 4)
    assert plan.tts is not None
    assert plan.tts.name == "zh_CN-huayan-medium"


def test_a_model_that_is_named_is_taken_whatever_it_costs(tmp_path: Path) -> None:
    config = Config(llm=Llm(model="orca-mini-3b-q4_0"), stt=Stt(model="whisper-small.en"))
    for gb in (4, 8):
        facts, plan = plan_of(config, tmp_path, PI_4, gb)
        assert plan.stt is not None
        assert (plan.llm.name, plan.stt.name, plan.reasons) == ("orca-mini-3b-q4_0", "whisper-small.en", ())
        assert (written_per_s(facts, plan.llm) or 0) < TOKENS_PER_S["balanced"]
        assert read_s(facts, plan.stt) > READ_WITHIN_S["balanced"]
    _, plan = plan_of(config, tmp_path, PI_4, 1)
    assert (plan.llm.name, plan.fits) == ("orca-mini-3b-q4_0", False)
    assert plan.reasons[0].startswith("Nothing fits: even the smallest set needs ")


def test_a_path_is_taken(tmp_path: Path) -> None:
    _, plan = plan_of(Config(llm=Llm(model=str(TINY_CHAT))), tmp_path, PI_4, 1)
    assert (plan.llm.wanted, plan.fits, plan.has_voice) == (str(TINY_CHAT), True, True)
    assert plan.tts is not None
    assert summary(plan) == (
        f"whisper-tiny.en, tiny-chat-q8_0.gguf, {plan.tts.name} with 2048 tokens, "
        f"{plan.total_bytes / MIB:,.0f} MiB"
    )


def test_a_precision_that_the_model_cannot_keep_is_told(tmp_path: Path) -> None:
    config = Config(llm=Llm(model="orca-mini-3b-q4_0", kv_type="q8_0"))  # its heads have 100 numbers
    _, plan = plan_of(config, tmp_path, PI_5, 8)
    assert plan.kv_type == "f16"
    assert "orca-mini-3b-q4_0 can keep the conversation as f16 alone." in plan.reasons


def test_a_context_that_ends_where_the_training_did_is_told(tmp_path: Path) -> None:
    _, plan = plan_of(Config(llm=Llm(model="gpt2-q8_0")), tmp_path, PI_5, 8)
    assert plan.reasons[-1] == "The context ends at 1024 tokens: gpt2-q8_0 was trained with no more."
    _, plan = plan_of(Config(llm=Llm(model="gpt2-q8_0", context_tokens=1024)), tmp_path, PI_5, 8)
    assert not any("context" in reason for reason in plan.reasons)


def test_a_precision_that_the_user_asked_for_does_not_save_memory(tmp_path: Path) -> None:
    _, plan = plan_of(Config(llm=Llm(model=str(TINY_CHAT), kv_type="q8_0")), tmp_path, PI_5, 8)
    assert plan.kv_type == "q8_0"
    assert not any("8-bit" in reason for reason in plan.reasons)


def test_a_plan_needs_a_language_model(tmp_path: Path) -> None:
    facts = facts_of(in_folder(Config(), tmp_path), PI_5, 4)
    with pytest.raises(ValueError, match="language model"):
        select(msgspec.structs.replace(facts, llm=()))


@pytest.mark.parametrize(
    ("board", "gb", "name", "word"),
    [
        (PI_4, 0.5, "smollm2-135m-instruct-q4_k_m", "text"),
        (PI_4, 0.5, "tinyllama-1.1b-chat-q4_0", "no"),
        (PI_4, 0.5, "whisper-tiny.en", "no"),
        (PI_4, 4, "tinyllama-1.1b-chat-q4_k_m", "yes"),
        (PI_4, 4, "tinyllama-1.1b-chat-q8_0", "slow"),
        (PI_4, 4, "llama-2-7b-chat-q5_k_m", "no"),
        (PI_4, 8, "llama-2-7b-chat-q5_k_m", "slow"),
        (PI_5, 4, "tinyllama-1.1b-chat-q8_0", "yes"),
        (PI_5, 4, "whisper-tiny.en", "yes"),
        (PI_5, 4, "whisper-small.en", "slow"),
        (PI_5, 4, "en_US-amy-low", "yes"),
    ],
)
def test_what_is_said_of_one_model(board: str, gb: float, name: str, word: str, tmp_path: Path) -> None:
    facts = facts_of(in_folder(Config(), tmp_path), board, gb)
    (candidate,) = (found for found in (*facts.llm, *facts.stt, *facts.tts) if found.name == name)
    assert verdict(facts, candidate) == word


def test_a_recogniser_is_not_too_large_because_there_is_no_voice(tmp_path: Path) -> None:
    facts = facts_of(in_folder(Config(stt=Stt(language="zh")), tmp_path), PI_5, 16)
    assert facts.stt
    assert "no" not in {verdict(facts, found) for found in facts.stt}


@pytest.mark.parametrize("language", ["en", "de"])
def test_the_memory_of_one_model_is_that_of_its_process(language: str, tmp_path: Path) -> None:
    facts, plan = plan_of(english("balanced", language), tmp_path, PI_5, 16)
    assert plan.stt is not None
    assert plan.tts is not None
    for kind, candidate in (("llm", plan.llm), ("stt", plan.stt), ("tts", plan.tts)):
        assert part_of(facts, candidate).need == plan.processes[kind]


# ---------------------------------------------------------------- what holds for every choice


@st.composite
def llms(draw: st.DrawFn) -> Candidate:
    layers = draw(st.integers(1, 40))
    shape = LlmShape(
        architecture="any",
        layers=layers,
        embedding=draw(st.integers(64, 4096)),
        heads=32,
        kv_heads=draw(
            st.one_of(st.integers(0, 32), st.tuples(*[st.sampled_from((0, 4, 8))] * layers)),
        ),
        head_dim=draw(st.sampled_from((32, 64, 80, 100, 128, 256))),
        feed_forward=draw(st.integers(0, 12_000)),
        vocabulary=draw(st.integers(1, 260_000)),
        merges=draw(st.integers(0, 280_000)),
        trained_context=draw(st.sampled_from((0, 256, 1024, 2048, 32_768))),
        tied=draw(st.booleans()),
        window=draw(st.sampled_from((0, 512))),
        window_period=draw(st.sampled_from((0, 6))),
        state_floats=draw(st.integers(0, 5_000)),
    )
    weights = draw(st.integers(1_000_000, 5_000_000_000))
    type_name = draw(st.sampled_from(("Q8_0", "Q6_K", "F16")))
    return Candidate("llm", "", "", shape, weights, draw(st.integers(0, weights // 2)), type_name)


def stts() -> st.SearchStrategy[Candidate]:
    return st.builds(
        lambda shape: Candidate("stt", "", "", shape, 1),
        st.one_of(
            st.sampled_from(list(CATALOGUE.shapes.stt.values())),
            st.builds(
                SttShape,
                st.sampled_from((64, 512, 1280)),
                st.integers(1, 20),
                st.integers(1, 32),
                st.integers(1, 32),
                st.integers(64, 5_000),
                st.integers(100, 60_000),
                st.sampled_from((80, 128)),
                st.just(1500),
                st.just(448),
                st.booleans(),
            ),
        ),
    )


def voices() -> st.SearchStrategy[Candidate]:
    return st.builds(
        lambda rate_hz, weights: Candidate("tts", "", "", TtsShape(rate_hz), weights),
        st.sampled_from((16_000, 22_050)),
        st.integers(1_000_000, 100_000_000),
    )


def some(
    kind: str, one: st.SearchStrategy[Candidate], least: int = 0
) -> st.SearchStrategy[tuple[Candidate, ...]]:
    """Up to three of them, with names of their own."""

    def named(found: list[Candidate]) -> tuple[Candidate, ...]:
        return tuple(
            msgspec.structs.replace(candidate, name=f"{kind}-{number}", wanted=f"{kind}-{number}")
            for number, candidate in enumerate(found)
        )

    return st.lists(one, min_size=least, max_size=3).map(named)


ALL_FACTS = st.builds(
    Facts,
    budget_bytes=st.integers(0, 10 * GIB),
    cores=st.just(4),
    repacked=st.sampled_from((frozenset[str](), frozenset({"Q8_0", "Q6_K"}))),
    stt=some("stt", stts()),
    llm=some("llm", llms(), least=1),
    tts=some("tts", voices()),
    language=st.just("en"),
    prefer=st.sampled_from(PREFERENCES),
    speed=st.none() | st.builds(Speed, st.floats(1e8, 1e11), st.floats(1e9, 1e12)),
    context_tokens=st.sampled_from((128, 512, 2048, 3000, 16_384)),
    least_context_tokens=st.sampled_from((512, 700, 2048)),
    kv_types=st.sampled_from((("f16", "q8_0"), ("f16",))),
)


@st.composite
def close_facts(draw: st.DrawFn) -> Facts:
    """With a budget for which one of the sets just fits, or just does not."""
    facts = draw(ALL_FACTS)
    just = draw(st.sampled_from(sorted(set(totals(facts))))) + draw(st.sampled_from((-1, 0, 1)))
    return msgspec.structs.replace(facts, budget_bytes=just)


FACTS = ALL_FACTS | close_facts()


def shape_of(candidate: Candidate) -> LlmShape:
    assert isinstance(candidate.shape, LlmShape)
    return candidate.shape


def totals(facts: Facts) -> list[int]:
    """What each set takes that could run."""
    alone = [
        [DAEMON, llm_need(shape, candidate.llm_weights, tokens, kv_type, facts.repacked)]
        for candidate in facts.llm
        for shape in [shape_of(candidate)]
        for tokens in contexts(facts, shape)
        for kv_type in facts.kv_types
        if holds(shape, kv_type)
    ]
    speech = [
        [VAD, stt_need(stt.shape), tts_need(tts.shape, tts.weights_bytes)]
        for stt, tts in product(facts.stt, facts.tts)
        if isinstance(stt.shape, SttShape) and isinstance(tts.shape, TtsShape)
    ]
    return [total_bytes(needs + more) for needs in alone for more in [[], *speech]]


def check(facts: Facts, plan: Plan) -> None:
    """What every plan keeps."""
    assert plan.fits == (plan.total_bytes <= facts.budget_bytes)
    if not plan.fits:
        assert plan.total_bytes == min(totals(facts)) > facts.budget_bytes
    assert plan.total_bytes == total_bytes(plan.processes.values())
    assert plan.llm in facts.llm
    assert (plan.stt is None) == (plan.tts is None)
    if plan.stt is not None:
        assert plan.stt in facts.stt
        assert plan.tts in facts.tts
    assert plan.processes.keys() == (
        {"daemon", "vad", "stt", "llm", "tts"} if plan.has_voice else {"daemon", "llm"}
    )
    shape = shape_of(plan.llm)
    assert plan.context_tokens <= facts.context_tokens
    assert plan.context_tokens <= (shape.trained_context or plan.context_tokens)
    assert plan.context_tokens >= min(
        facts.least_context_tokens, facts.context_tokens, shape.trained_context or facts.context_tokens
    )
    assert plan.kv_type in facts.kv_types
    assert holds(shape, plan.kv_type)
    check_reasons(plan)


def check_reasons(plan: Plan) -> None:
    for reason in plan.reasons:
        assert re.fullmatch(r"\S.*[^\s.]\.", reason)
        assert "  " not in reason
    chosen = [part.name for part in (plan.llm, plan.stt, plan.tts) if part is not None]
    assert not [reason for reason in plan.reasons for name in chosen if reason.startswith(f"{name} ")]
    assert plan.fits != any(reason.startswith("Nothing fits") for reason in plan.reasons)
    assert len(set(plan.reasons)) == len(plan.reasons)


def check_sizes(plan: Plan) -> None:
    """Nothing is said to be too large that would fit."""
    for reason in plan.reasons:
        if found := re.search(r" needs ([\d,]+) MiB at least; ([\d,]+) are there", reason):
            needed, there = (int(number.replace(",", "")) for number in found.groups())
            assert needed >= there, reason


@given(FACTS)
def test_every_plan(facts: Facts) -> None:
    plan = select(facts)
    check(facts, plan)
    assert select(facts) == plan


@given(FACTS)
def test_a_second_opinion_takes_what_is_left_and_nothing_else(facts: Facts) -> None:
    plain = select(facts)
    assert not plain.has_second_opinion
    wanting = msgspec.structs.replace(facts, second_opinion=True)
    left = facts.budget_bytes - plain.total_bytes
    rich = select(wanting)
    assert rich.has_second_opinion == (plain.has_voice and left >= SECOND_OPINION_BYTES)
    assert (rich.llm, rich.stt, rich.tts, rich.context_tokens) == (
        plain.llm,
        plain.stt,
        plain.tts,
        plain.context_tokens,
    )
    check(wanting, rich)


@given(FACTS, st.integers(0, 10 * GIB))
def test_a_plan_no_better_than_another_has_no_second_opinion_that_the_other_has_not(
    facts: Facts, budget_bytes: int
) -> None:
    rich = msgspec.structs.replace(facts, second_opinion=True)
    plain, less = select(facts), msgspec.structs.replace(rich, budget_bytes=budget_bytes)
    assert not select(less, no_better_than=plain).has_second_opinion
    assert select(rich, no_better_than=select(rich)) == select(rich)


@given(FACTS)
def test_with_a_second_opinion_a_plan_is_better_than_without(facts: Facts) -> None:
    rich = msgspec.structs.replace(facts, second_opinion=True)
    if select(rich).has_second_opinion:
        assert order(rich, select(rich)) < order(rich, select(facts))


@given(FACTS, st.integers(0, 10 * GIB))
def test_more_memory_never_gives_a_worse_plan(facts: Facts, budget_bytes: int) -> None:
    small, large = sorted((facts.budget_bytes, budget_bytes))
    plans = [select(msgspec.structs.replace(facts, budget_bytes=budget)) for budget in (small, large)]
    places = [order(facts, plan) for plan in plans]
    assert places[1] <= places[0]
    assert plans[1].fits >= plans[0].fits
    assert plans[1].has_voice >= plans[0].has_voice


@given(FACTS)
def test_with_memory_without_end_the_first_that_is_fast_enough_is_taken(facts: Facts) -> None:
    facts = msgspec.structs.replace(facts, budget_bytes=1 << 62)
    plan = select(facts)
    fast = [
        candidate
        for candidate in facts.llm
        if (written_per_s(facts, candidate) or 1e9) >= TOKENS_PER_S[facts.prefer]
    ]
    fastest = max(facts.llm, key=lambda candidate: written_per_s(facts, candidate) or 0)
    assert written_per_s(facts, plan.llm) == written_per_s(facts, fast[0] if fast else fastest)
    assert not fast or plan.llm == fast[0]
    assert plan.has_voice == bool(facts.stt and facts.tts)
    assert plan.tts == (facts.tts[0] if plan.has_voice else None)
    assert plan.context_tokens == contexts(facts, shape_of(plan.llm))[0]
    assert plan.kv_type == "f16"


@given(FACTS)
def test_what_is_refused_for_its_size_does_not_fit(facts: Facts) -> None:
    check_sizes(select(facts))


@pytest.mark.parametrize("language", ["de", "fr", "es"])
def test_every_budget_at_which_the_plan_changes(language: str, tmp_path: Path) -> None:
    facts = facts_of(in_folder(english("quality", language), tmp_path), PI_5, 4)
    plans = [select(msgspec.structs.replace(facts, budget_bytes=budget)) for budget in sorted(totals(facts))]
    for plan in plans:
        check(msgspec.structs.replace(facts, budget_bytes=plan.budget_bytes), plan)
        check_sizes(plan)
    places = [order(facts, plan) for plan in plans]
    assert places == sorted(places, reverse=True)
    assert len({plan.llm.name for plan in plans}) == len(facts.llm)


def slow_and_without_room() -> Facts:
    """Two models that are too slow, of which only the slower one fits."""
    shape = msgspec.structs.replace(CATALOGUE.shapes.llm["tinyllama-1.1b"], trained_context=2048)
    without_cache = msgspec.structs.replace(shape, kv_heads=0)
    facts = Facts(
        budget_bytes=0,
        cores=4,
        repacked=frozenset(),
        stt=(),
        llm=(
            Candidate("llm", "llm-0", "llm-0", without_cache, 30_000_000),
            Candidate("llm", "llm-1", "llm-1", shape, 10_000_000),
        ),
        tts=(),
        speed=Speed(1e8, 1e12),
    )
    return msgspec.structs.replace(facts, budget_bytes=min(totals(facts)))


@example(slow_and_without_room())
@given(FACTS)
def test_what_is_refused_for_its_pace_is_slower_than_what_was_taken(facts: Facts) -> None:
    plan = select(facts)
    by_name = {candidate.name: candidate for candidate in (*facts.llm, *facts.stt)}
    for reason in plan.reasons:
        if found := re.match(r"(\S+) would (write|take)", reason):
            refused = by_name[found[1]]
            if refused.kind == "llm":
                assert (written_per_s(facts, refused) or 0) <= (written_per_s(facts, plan.llm) or 0), reason
            elif plan.stt is not None:
                assert read_s(facts, refused) >= read_s(facts, plan.stt), reason


def test_a_plan_of_other_facts_has_no_place(tmp_path: Path) -> None:
    config = in_folder(Config(), tmp_path)
    facts, plan = plan_of(Config(llm=Llm(model=str(TINY_CHAT))), tmp_path, PI_4, 4)
    assert order(facts, plan)[0] is False
    with pytest.raises(ValueError, match="other facts"):
        order(facts_of(config, PI_4, 4), plan)
