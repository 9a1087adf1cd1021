"""How much memory each process will take at most, from the shape of its model.  Pure.

All figures are of proportional set size (PSS: pages that processes share count by their share), at the peak
of an answer.  `benchmarks/memory.py` compares them with what is measured; constants without another source
were fitted to its measurements, on x86-64 under Debian 12.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

import msgspec

from assistant.catalogue.shapes import LlmShape, SttShape, TtsShape
from assistant.config import Wake

MIB = 1024 * 1024

KvType = Literal["f16", "q8_0"]
KV_BYTES: dict[KvType, float] = {"f16": 2.0, "q8_0": 34 / 32}
"""Of one number in llama.cpp's cache of keys and values; q8_0 has blocks of 32 with a scale of 16 bits."""

PROMPT_STEP_TOKENS = 128
"""Tokens that the language model reads in one step: its compute buffer grows with them.  A 7B model ends each
of a step's operations within a second on a Pi, after which it can be stopped.
"""

DAEMON_BYTES = 21 * MIB
VAD_BYTES = 36 * MIB
WAKE_WORD_BYTES = 3 * MIB
BUTTON_BYTES = 3 * MIB
SECOND_OPINION_BYTES = 24 * MIB
STT_BASE_BYTES = 49 * MIB
LLM_BASE_BYTES = 46 * MIB
TTS_BASE_BYTES = 42 * MIB
"""Of each process without its model: Python, the libraries, what they keep; with the others running.
The second opinion is onnxruntime and Silero's network: 20 MiB in a process that has numpy already."""

LONGEST_PIECE_S = 8
"""Of speech that is made in one go: a sentence of `text.sentences.LONGEST_CHARS`, or where that takes long to
say, a piece of it of `engines.piper.MOST_PHONEMES`.
"""


class Need(msgspec.Struct, frozen=True):
    """What a process takes while it waits for work, once it has done some, and for a moment at its peak."""

    resting_bytes: int
    peak_bytes: int


DAEMON = Need(DAEMON_BYTES, DAEMON_BYTES)
VAD = Need(VAD_BYTES, VAD_BYTES)


def vad_need(wake: Wake) -> Need:
    """The process of the microphone, with what wakes it."""
    word = WAKE_WORD_BYTES if wake.mode == "word" else 0
    button = BUTTON_BYTES if wake.button_gpio >= 0 else 0
    return Need(VAD_BYTES + word + button, VAD_BYTES + word + button)


def with_second_opinion(vad: Need) -> Need:
    """The same process, which asks a neural network, too, what is a voice."""
    return Need(vad.resting_bytes + SECOND_OPINION_BYTES, vad.peak_bytes + SECOND_OPINION_BYTES)


def total_bytes(needs: Iterable[Need]) -> int:
    """What they take together: one of them is at its peak at a time, the others rest.

    The recogniser loads, reads an utterance and the voice makes a piece of speech in turn; should two meet,
    there is the plan's reserve.
    """
    needs = tuple(needs)
    rise = max((need.peak_bytes - need.resting_bytes for need in needs), default=0)
    return sum(need.resting_bytes for need in needs) + rise


class LlmWeights(msgspec.Struct, frozen=True):
    """The weights of a language model, as they stand in its file."""

    size_bytes: int
    embedding_bytes: int
    embedding_type: str


def kv_bytes(shape: LlmShape, context_tokens: int, kv_type: KvType) -> int:
    """The conversation's keys and values, and what recurrent layers remember.

    llama.cpp keeps for each token and each layer with attention a key and a value per head
    (src/llama-kv-cache.cpp); layers with a sliding window keep the window and one step of the prompt,
    rounded up to 256 tokens (src/llama-kv-cache-iswa.cpp).  The context is rounded up to 256 as well.
    """
    whole = _rounded(context_tokens, 256)
    windowed = min(whole, _rounded(min(whole, shape.window + PROMPT_STEP_TOKENS), 256))
    numbers = 0
    states = 0
    for layer, heads in enumerate(shape.kv_heads_by_layer()):
        slides = shape.window > 0 and not (shape.window_period and (layer + 1) % shape.window_period == 0)
        numbers += 2 * heads * shape.head_dim * (windowed if slides else whole)
        states += shape.state_floats if heads == 0 else 0
    return math.ceil(numbers * KV_BYTES[kv_type]) + 4 * states


def holds(shape: LlmShape, kv_type: KvType) -> bool:
    """Whether the cache can be kept so: blocks of 32 numbers must divide a head."""
    return kv_type == "f16" or shape.head_dim % 32 == 0


def llm_need(
    shape: LlmShape, weights: LlmWeights, context_tokens: int, kv_type: KvType, repacked: frozenset[str]
) -> Need:
    """The language model's process, which takes all it needs at once and keeps it.

    `repacked` are the types of weights that llama.cpp rearranges on this processor
    (ggml/src/ggml-cpu/repack.cpp).  It does so in place, as the file is not mapped; but a matrix that serves
    both as embedding and as output is then needed in both forms.

    The compute buffer holds, for a step of the prompt, the feed-forward network's widest layer three and a
    half times over in 32-bit numbers, and the attention's mask of 16-bit ones.  The vocabulary takes 173
    bytes a token and 114 a merge rule.
    """
    twice = weights.embedding_bytes if shape.tied and weights.embedding_type in repacked else 0
    compute = PROMPT_STEP_TOKENS * (14 * shape.feed_forward + 2 * context_tokens)
    vocabulary = 173 * shape.vocabulary + 114 * shape.merges
    cache = kv_bytes(shape, context_tokens, kv_type)
    size_bytes = LLM_BASE_BYTES + weights.size_bytes + twice + cache + compute + vocabulary
    return Need(size_bytes, size_bytes)


def stt_need(shape: SttShape) -> Need:
    """The recogniser's process.

    It peaks while it loads, when 16-bit weights become 8-bit ones (fitted to tiny.en, base.en and small.en),
    or while it reads a window of 30 s: then the attention's scores, a square of the positions for each head,
    and what the layers hand on stand beside the weights.
    """
    weights = stt_weights(shape)
    words = 400 * shape.vocabulary
    loading = 1.09 * weights + 8.5 * shape.vocabulary * shape.state - 12 * MIB
    scores = 4 * shape.heads * shape.audio_context**2
    reading = weights + words + scores + 64 * shape.audio_context * shape.state + 20 * MIB
    resting = weights + words + 70 * MIB
    return Need(STT_BASE_BYTES + resting, STT_BASE_BYTES + int(max(loading, reading, resting)))


def stt_weights(shape: SttShape) -> int:
    """The weights of a Whisper model, one byte each (Radford et al. 2022, section 2.2)."""
    own = 4 * shape.state**2 + 2 * shape.state * shape.feed_forward
    encoder = shape.encoder_layers * own + 3 * shape.state * (shape.mels + shape.state)
    decoder = shape.decoder_layers * (own + 4 * shape.state**2)
    tables = shape.state * (shape.vocabulary + shape.text_context + shape.audio_context)
    return encoder + decoder + tables


def stt_operations(shape: SttShape) -> float:
    """Multiplications and additions to read one window: the encoder's, which are nearly all."""
    positions = shape.audio_context
    own = 4 * shape.state**2 + 2 * shape.state * shape.feed_forward
    return 2.0 * shape.encoder_layers * positions * (own + 2 * positions * shape.state)


def tts_need(shape: TtsShape, weights_bytes: int) -> Need:
    """The voice's process: 1.6 times its weights, and 560 bytes for each sample of the longest piece.

    That is for a voice that makes a piece in one go.  One that `engines.piper_cut` can cut takes half of it;
    which voices these are is only known when they are loaded.
    """
    resting = TTS_BASE_BYTES + int(1.6 * weights_bytes)
    return Need(resting, resting + 560 * LONGEST_PIECE_S * shape.rate_hz)


def repacked_types(machine: str, features: frozenset[str]) -> frozenset[str]:
    """Which types of weights llama.cpp rearranges, for the processor's `features` in Linux's words.

    `ggml_repack_get_optimal_repack_type` in ggml/src/ggml-cpu/repack.cpp.
    """
    types: set[str] = set()
    if "avx2" in features:
        types |= {"Q4_0", "Q4_K", "IQ4_NL", "MXFP4"}
    if "avx512f" in features:
        types |= {"Q2_K"}
    if machine == "aarch64" and "asimddp" in features:
        types |= {"Q4_0", "Q4_K", "Q5_K", "Q6_K", "Q8_0", "IQ4_NL", "MXFP4"}
    return frozenset(types)


def _rounded(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
