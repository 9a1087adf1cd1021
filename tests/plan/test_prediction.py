"""What is predicted follows from the shapes: compared with numbers worked out by hand."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.catalogue.read import read
from assistant.catalogue.shapes import LlmShape, SttShape, TtsShape
from assistant.plan.prediction import (
    KvType,
    LlmWeights,
    Need,
    holds,
    kv_bytes,
    llm_need,
    repacked_types,
    stt_need,
    stt_operations,
    stt_weights,
    total_bytes,
    tts_need,
)

SHAPES = read().shapes
KV_TYPES: tuple[KvType, ...] = ("f16", "q8_0")
PI_5_TYPES = repacked_types("aarch64", frozenset({"asimddp", "asimdhp"}))


@pytest.mark.parametrize(
    ("name", "context_tokens", "kv_type", "size_bytes"),
    [
        # two numbers of 2 bytes a head of 64 or 128, four, 32 or two heads, 22, 32 or 24 layers
        ("tinyllama-1.1b", 2048, "f16", 2048 * 22_528),
        ("llama-2-7b", 4096, "f16", 4096 * 524_288),
        ("qwen2.5-0.5b", 2048, "f16", 2048 * 12_288),
        # a block of 32 numbers takes 34 bytes in the place of 64
        ("tinyllama-1.1b", 2048, "q8_0", 2048 * 11_968),
        ("llama-2-7b", 4096, "q8_0", 4096 * 278_528),
        # 4 of 26 layers see all; the others the window of 512 and a step of 128, rounded up to 768
        ("gemma-3-1b", 4096, "f16", (4 * 4096 + 22 * 768) * 1024),
        ("gemma-3-1b", 4096, "q8_0", (4 * 4096 + 22 * 768) * 544),
        ("gemma-3-1b", 512, "f16", 26 * 512 * 1024),
        # 6 layers with attention; what the others remember stays in 32-bit numbers
        ("lfm2.5-230m", 2048, "f16", 2048 * 12_288 + 8 * 2048 * 4),
        ("lfm2.5-350m", 2048, "f16", 2048 * 12_288 + 10 * 2048 * 4),
        ("lfm2.5-1.2b", 2048, "q8_0", 2048 * 6_528 + 10 * 4096 * 4),
        # rounded up to 256
        ("tinyllama-1.1b", 1, "f16", 256 * 22_528),
        ("tinyllama-1.1b", 256, "f16", 256 * 22_528),
        ("tinyllama-1.1b", 257, "f16", 512 * 22_528),
        ("tinyllama-1.1b", 2000, "f16", 2048 * 22_528),
    ],
)
def test_the_conversation(name: str, context_tokens: int, kv_type: KvType, size_bytes: int) -> None:
    assert kv_bytes(SHAPES.llm[name], context_tokens, kv_type) == size_bytes


def test_without_a_period_all_layers_have_the_window() -> None:
    shape = msgspec.structs.replace(SHAPES.llm["gemma-3-1b"], window_period=0)
    assert kv_bytes(shape, 4096, "f16") == 26 * 768 * 1024


@pytest.mark.parametrize(
    ("head_dim", "held"), [(64, True), (96, True), (128, True), (80, False), (100, False)]
)
def test_only_whole_blocks_are_kept_in_8_bits(head_dim: int, held: bool) -> None:
    shape = msgspec.structs.replace(SHAPES.llm["tinyllama-1.1b"], head_dim=head_dim)
    assert holds(shape, "q8_0") is held
    assert holds(shape, "f16")


@given(
    shape=st.sampled_from(list(SHAPES.llm.values())),
    contexts=st.tuples(st.integers(1, 40_000), st.integers(1, 40_000)).map(sorted),
    sizes=st.tuples(st.integers(0, 2**33), st.integers(0, 2**33)).map(sorted),
    kv_type=st.sampled_from(KV_TYPES),
    repacked=st.sampled_from([frozenset[str](), PI_5_TYPES]),
)
def test_more_context_and_more_weights_never_take_less(
    shape: LlmShape, contexts: list[int], sizes: list[int], kv_type: KvType, repacked: frozenset[str]
) -> None:
    small, large = (
        llm_need(shape, LlmWeights(size, 10_000_000, "Q8_0"), context, kv_type, repacked)
        for size, context in zip(sizes, contexts, strict=True)
    )
    assert large.peak_bytes - small.peak_bytes >= sizes[1] - sizes[0]
    assert small.resting_bytes == small.peak_bytes > sizes[0]
    f16 = llm_need(shape, LlmWeights(sizes[0], 10_000_000, "Q8_0"), contexts[0], "f16", repacked)
    assert small.peak_bytes <= f16.peak_bytes


@pytest.mark.parametrize(
    ("tied", "type_name", "repacked", "times"),
    [
        (True, "Q8_0", PI_5_TYPES, 2),
        (True, "Q6_K", PI_5_TYPES, 2),
        (True, "F16", PI_5_TYPES, 1),
        (True, "Q8_0", frozenset(), 1),
        (True, "Q8_0", frozenset({"Q4_K"}), 1),
        (False, "Q8_0", PI_5_TYPES, 1),
    ],
)
def test_a_matrix_that_serves_twice_is_held_twice_where_it_is_rearranged(
    tied: bool, type_name: str, repacked: frozenset[str], times: int
) -> None:
    shape = msgspec.structs.replace(SHAPES.llm["qwen2.5-0.5b"], tied=tied)
    embedding_bytes = 144_643_072

    def need(size_bytes: int) -> int:
        weights = LlmWeights(400_000_000, size_bytes, type_name)
        return llm_need(shape, weights, 2048, "f16", repacked).peak_bytes

    assert need(embedding_bytes) - need(0) == (times - 1) * embedding_bytes


@pytest.mark.parametrize(
    ("machine", "features", "repacked"),
    [
        pytest.param("aarch64", set(), set(), id="Pi 4"),
        pytest.param(
            "aarch64",
            {"asimddp", "asimdhp"},
            {"Q4_0", "Q4_K", "Q5_K", "Q6_K", "Q8_0", "IQ4_NL", "MXFP4"},
            id="Pi 5",
        ),
        pytest.param("x86_64", {"f16c"}, set(), id="old x86"),
        pytest.param("x86_64", {"avx2", "fma"}, {"Q4_0", "Q4_K", "IQ4_NL", "MXFP4"}, id="avx2"),
        pytest.param("x86_64", {"avx2", "avx512f"}, {"Q4_0", "Q4_K", "IQ4_NL", "MXFP4", "Q2_K"}, id="avx512"),
        pytest.param("riscv64", {"asimddp"}, set(), id="another processor"),
    ],
)
def test_types_that_are_rearranged(machine: str, features: set[str], repacked: set[str]) -> None:
    assert repacked_types(machine, frozenset(features)) == repacked


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("whisper-tiny.en", 37.8e6),
        ("whisper-base.en", 72.6e6),
        ("whisper-small.en", 241.7e6),
        ("distil-whisper-small.en", 166.1e6),
    ],
)
def test_whisper_has_the_weights_that_were_published(name: str, parameters: float) -> None:
    assert stt_weights(SHAPES.stt[name]) == pytest.approx(parameters, rel=0.03)
    # The files hold them in 16 bits.
    assert stt_weights(SHAPES.stt[name]) == pytest.approx(
        read().entry(name).files[0].size_bytes / 2, rel=0.03
    )


def test_a_larger_recogniser_takes_more_memory_and_more_time() -> None:
    shapes = [SHAPES.stt[f"whisper-{size}.en"] for size in ("tiny", "base", "small")]
    needs = [stt_need(shape) for shape in shapes]
    assert all(
        need.peak_bytes >= need.resting_bytes > stt_weights(of)
        for need, of in zip(needs, shapes, strict=True)
    )
    assert needs[0].resting_bytes < needs[1].resting_bytes < needs[2].resting_bytes
    assert needs[0].peak_bytes < needs[1].peak_bytes < needs[2].peak_bytes
    assert stt_operations(shapes[0]) < stt_operations(shapes[1]) < stt_operations(shapes[2])


def test_what_tiny_whisper_computes() -> None:
    shape = SttShape(384, 6, 4, 4, 1536, 51864, 80, 1500, 448, multilingual=False)
    # a layer: four squares of 384, two matrices of 384 x 1536; and scores and sums over 1500 positions
    layer = 1500 * (4 * 384 * 384 + 2 * 384 * 1536) + 2 * 1500 * 1500 * 384
    assert stt_operations(shape) == 2 * 4 * layer


def test_a_voice_takes_more_while_it_speaks() -> None:
    low, medium = (tts_need(TtsShape(rate_hz), 63_000_000) for rate_hz in (16_000, 22_050))
    assert low.resting_bytes == medium.resting_bytes > 1.6 * 63_000_000
    assert low.resting_bytes < low.peak_bytes < medium.peak_bytes


@pytest.mark.parametrize(
    ("needs", "size_bytes"),
    [
        ([], 0),
        ([Need(5, 5)], 5),
        ([Need(5, 9)], 9),
        ([Need(10, 30), Need(5, 6), Need(7, 7)], 22 + 20),
        ([Need(10, 12), Need(10, 12)], 22),
    ],
)
def test_one_process_is_at_its_peak_at_a_time(needs: list[Need], size_bytes: int) -> None:
    assert total_bytes(needs) == size_bytes
    assert total_bytes(iter(reversed(needs))) == size_bytes


@given(st.lists(st.tuples(st.integers(0, 2**34), st.integers(0, 2**32)), min_size=1))
def test_the_total_lies_between_all_at_rest_and_all_at_their_peaks(sizes: list[tuple[int, int]]) -> None:
    needs = [Need(resting, resting + rise) for resting, rise in sizes]
    resting, peaks = (
        sum(sizes) for sizes in zip(*((n.resting_bytes, n.peak_bytes) for n in needs), strict=True)
    )
    assert resting <= total_bytes(needs) <= peaks
    assert total_bytes(needs) >= max(need.peak_bytes for need in needs)
