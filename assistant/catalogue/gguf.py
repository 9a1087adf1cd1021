"""The header of a GGUF file: what a language model consists of, read without its weights.

The format is described in ggml/include/gguf.h of llama.cpp.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path

import msgspec

from assistant.catalogue.bounded import AGAIN, Bounded, opened
from assistant.catalogue.shapes import LlmShape
from assistant.errors import ModelError

# Name, weights per block, bytes per block: `type_traits` in ggml/src/ggml.c, blocks in ggml/src/ggml-common.h
_TYPES = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    9: ("Q8_1", 32, 36),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1),
    25: ("I16", 1, 2),
    26: ("I32", 1, 4),
    27: ("I64", 1, 8),
    28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
    40: ("NVFP4", 64, 36),
    41: ("Q1_0", 128, 18),
    42: ("Q2_0", 64, 18),
}

# `enum gguf_type`
_SCALARS = {code: struct.Struct("<" + letter) for code, letter in enumerate("BbHhIif?")}
_SCALARS |= {10: struct.Struct("<Q"), 11: struct.Struct("<q"), 12: struct.Struct("<d")}
_FLOATS = (6, 12)
_STRING, _ARRAY = 8, 9

_U32, _U64, _ARRAY_START = struct.Struct("<I"), struct.Struct("<Q"), struct.Struct("<IQ")
_START = struct.Struct("<4sIQQ")
_HEADER_LIMIT_BYTES = 32 << 20  # vocabularies of 262 144 tokens take 7 MiB, with merges twice that
_STRING_LIMIT_BYTES = 1 << 20
_NAME_LIMIT_BYTES = 63  # GGML_MAX_NAME, less the zero at its end
_DIMS_LIMIT = 4  # GGML_MAX_DIMS
_COUNT_LIMIT = 1 << 14  # of keys and of tensors; the largest models have a few thousand
_LAYERS_LIMIT = 512  # LLAMA_MAX_LAYERS
_VALUES_LIMIT = 1024
_CHUNK_BYTES = 1 << 16

# The architectures whose sliding window counts, and every how many layers one sees everything unless the file
# says otherwise (0: none, or the file lists them): `load_swa_pattern` in src/models/*.cpp of llama.cpp.
# The others count as if they had none; some do have one (and take less memory than is thought then).
_WINDOW_PERIODS = {
    "afmoe": 4,
    "cohere2": 4,
    "gemma2": 2,
    "gemma3": 6,
    "gemma3n": 5,
    "gemma4": 0,
    "gpt-oss": 2,
    "lfm2": 0,
    "olmo2": 4,
    "plamo3": 8,
    "smallthinker": 4,
}
_WINDOWS = {"gemma2": 4096}
"""The windows of those whose files need not state it."""
_GEMMA3N_OWN_KEYS = 20
"""Layers of gemma3n with keys and values of their own; the others share theirs: src/models/gemma3n.cpp."""
_ATTENTION_INTERVALS = {"qwen3next": 4, "qwen35": 4, "qwen35moe": 4}
"""Every how many layers one has attention, unless the file says otherwise: src/models/qwen35.cpp."""


class Array(msgspec.Struct, frozen=True):
    """An array of `length` elements; `values` has them if they are few and whole numbers, else nothing."""

    length: int
    size_bytes: int
    values: tuple[int, ...] = ()


class Tensor(msgspec.Struct, frozen=True):
    """`dims` as GGUF has them: the length of a row first."""

    name: str
    type: str
    dims: tuple[int, ...]
    size_bytes: int


class GgufHeader(msgspec.Struct, frozen=True):
    """All before the weights, which begin at byte `header_bytes`."""

    path: Path
    metadata: dict[str, bool | int | float | str | Array]
    tensors: tuple[Tensor, ...]
    header_bytes: int

    @property
    def weights_bytes(self) -> int:
        return sum(tensor.size_bytes for tensor in self.tensors)

    @property
    def embedding_bytes(self) -> int:
        """Of the table of the tokens' vectors; 0 if there is none."""
        return embedding.size_bytes if (embedding := self.tensor("token_embd.weight")) else 0

    @property
    def embedding_type(self) -> str:
        """Such as "Q6_K"; "" without an embedding."""
        return embedding.type if (embedding := self.tensor("token_embd.weight")) else ""

    @property
    def tied(self) -> bool:
        """Whether the embedding is the output as well."""
        return self.tensor("output.weight") is None

    def tensor(self, name: str) -> Tensor | None:
        return next((tensor for tensor in self.tensors if tensor.name == name), None)


def read_header(path: Path) -> GgufHeader:
    """The header of the GGUF file at `path`.  Raises `ModelError` if it is cut off, damaged or hostile."""
    with opened(path) as file:
        file.limit_bytes = _HEADER_LIMIT_BYTES
        magic, version, tensor_count, key_count = file.unpack(_START)
        if magic != b"GGUF":
            raise file.flaw("is no GGUF file", "choose another")
        if version and version & 0xFFFF == 0:
            raise file.flaw("is for big-endian machines", "choose one for little-endian machines")
        if version not in (2, 3):
            raise file.flaw(f"is in GGUF version {version}, not 2 or 3", "choose another")
        if max(tensor_count, key_count) > _COUNT_LIMIT:
            raise file.flaw(f"is not plausible: it states {tensor_count} tensors and {key_count} keys")
        metadata: dict[str, bool | int | float | str | Array] = {}
        for _ in range(key_count):
            key = _text(file, _STRING_LIMIT_BYTES)
            if key in metadata:
                raise file.flaw("is damaged: it states the same key twice")
            metadata[key] = _value(file, file.unpack(_U32)[0])
        alignment = metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or alignment <= 0 or alignment & (alignment - 1):
            raise file.flaw("is damaged: its alignment is not a power of 2")
        placed = [_tensor(file, alignment) for _ in range(tensor_count)]
        header_bytes = file.at + -file.at % alignment
        whole_bytes = max((header_bytes + end for _, end in placed), default=0)
        if whole_bytes > file.size_bytes:
            raise file.flaw(f"is cut off: {file.size_bytes} of {whole_bytes} bytes are there", AGAIN)
        return GgufHeader(path, metadata, tuple(tensor for tensor, _ in placed), header_bytes)


def _text(file: Bounded, limit_bytes: int) -> str:
    length = file.unpack(_U64)[0]
    if length > limit_bytes:
        raise file.flaw(f"is not plausible: it has a name or a text of {length} bytes")
    return file.text(length)


def _value(file: Bounded, code: int) -> bool | int | float | str | Array:
    if code == _STRING:
        return _text(file, _STRING_LIMIT_BYTES)
    if code == _ARRAY:
        return _array(file)
    if code not in _SCALARS:
        raise file.flaw(f"is damaged: there is no type {code} of metadata")
    value: bool | int | float = file.unpack(_SCALARS[code])[0]
    return value


def _array(file: Bounded) -> Array:
    code, length = file.unpack(_ARRAY_START)
    begin = file.at
    if code == _STRING:
        _skip_strings(file, length)
        return Array(length, file.at - begin)
    if code not in _SCALARS:  # an array of arrays, which llama.cpp refuses, is among them
        raise file.flaw(f"is damaged: there are no arrays of type {code}")
    size_bytes = length * _SCALARS[code].size
    if length > _VALUES_LIMIT or code in _FLOATS:
        file.skip(size_bytes)
        return Array(length, size_bytes)
    file.keep(32 * length)  # a number takes so much in Python
    values = (value for (value,) in _SCALARS[code].iter_unpack(file.take(size_bytes)))
    return Array(length, size_bytes, tuple(map(int, values)))


def _skip_strings(file: Bounded, count: int) -> None:
    """Walk over `count` strings: their lengths must be read, and there are hundreds of thousands."""
    file.need(8 * count)
    unpack = _U64.unpack_from
    while count:
        chunk = file.peek(_CHUNK_BYTES)
        at, last = 0, len(chunk) - 8
        while at <= last and count:
            at += 8 + unpack(chunk, at)[0]
            count -= 1
        file.skip(max(at, 8))  # fewer than 8 bytes are left: the file is cut off


def _tensor(file: Bounded, alignment: int) -> tuple[Tensor, int]:
    """The description of a tensor, and where it ends, in bytes from the begin of the weights."""
    name = _text(file, _NAME_LIMIT_BYTES)
    rank = file.unpack(_U32)[0]
    if rank > _DIMS_LIMIT:
        raise file.flaw(f"is damaged: a tensor has {rank} dimensions")
    dims = file.unpack(struct.Struct(f"<{rank}Q"))
    code, offset = file.unpack(_ARRAY_START)
    if code not in _TYPES:
        raise file.flaw(
            f"has weights of a type unknown here, number {code}",
            "choose another with Q4_K_M or Q8_0 in its name",
        )
    type_name, block, block_bytes = _TYPES[code]
    size_bytes = math.prod(dims) // block * block_bytes
    if (dims[0] if dims else 1) % block or offset % alignment or max(size_bytes, offset, *dims, 0) >= 2**63:
        raise file.flaw("is damaged: a tensor has an impossible size or place")
    return Tensor(name, type_name, dims, size_bytes), offset + size_bytes


def shape(header: GgufHeader) -> LlmShape:
    """What the language model of that header consists of.  Raises `ModelError` if it is none.

    The keys are those of src/llama-arch.cpp, their defaults those of src/llama-model.cpp in llama.cpp.
    Models with larger heads in some layers count as if all layers had them.
    """
    metadata = header.metadata
    architecture = metadata.get("general.architecture")
    table = header.tensor("token_embd.weight")
    if not isinstance(architecture, str) or not table or len(table.dims) != 2:
        raise _flaw(header, "holds no language model")
    if metadata.get("split.count", 0) not in (0, 1):
        raise _flaw(header, "is one of several parts of a model")
    keys = _Keys(header, architecture)
    layers = keys.number("block_count") - keys.number("nextn_predict_layers")
    if not 1 <= layers <= _LAYERS_LIMIT:
        raise _flaw(header, f"is damaged: it states {layers} layers")
    embedding = keys.number("embedding_length")
    heads = max(keys.number("attention.head_count"), 1)
    head_floats = sum(keys.number(f"attention.{of}_length", embedding // heads) for of in ("key", "value"))
    window, window_period = _window(keys, layers)
    fields = {
        "architecture": architecture,
        "layers": layers,
        "embedding": embedding,
        "heads": heads,
        "kv_heads": _kv_heads(keys, layers),
        "head_dim": (head_floats + 1) // 2,
        "feed_forward": keys.number("feed_forward_length")
        or keys.number("expert_feed_forward_length") * keys.number("expert_used_count"),
        "vocabulary": _length(header, "tokenizer.ggml.tokens") or keys.number("vocab_size", table.dims[1]),
        "merges": _length(header, "tokenizer.ggml.merges"),
        "trained_context": keys.number("context_length"),
        "tied": header.tied,
        "window": window,
        "window_period": window_period,
        "state_floats": _state_floats(keys, embedding),
    }
    try:
        return msgspec.convert(fields, LlmShape)
    except msgspec.ValidationError as error:
        raise _flaw(header, f"states what cannot be ({error})") from None


class _Keys:
    """The metadata whose keys begin with the architecture's name."""

    def __init__(self, header: GgufHeader, architecture: str) -> None:
        self.header = header
        self.architecture = architecture

    def find(self, key: str) -> bool | int | float | str | Array | None:
        return self.header.metadata.get(f"{self.architecture}.{key}")

    def numbers(self, key: str) -> tuple[int, ...]:
        """One for all layers or one for each; none if the key is absent."""
        value = self.find(key)
        if value is None:
            return ()
        numbers = value.values if isinstance(value, Array) else (value,)
        if not numbers or not all(isinstance(number, int) for number in numbers):
            raise _flaw(self.header, f"is damaged: it states no whole number for {key}")
        return numbers  # type: ignore[return-value]  # `all` has looked at each

    def number(self, key: str, default: int = 0) -> int:
        """The largest of them."""
        return max(self.numbers(key), default=default)


def _kv_heads(keys: _Keys, layers: int) -> int | tuple[int, ...]:
    heads = keys.numbers("attention.head_count_kv") or keys.numbers("attention.head_count") or (0,)
    recurrent = keys.numbers("attention.recurrent_layers")
    interval = keys.number("full_attention_interval", _ATTENTION_INTERVALS.get(keys.architecture, 0))
    own = layers - keys.number("attention.shared_kv_layers")
    if keys.architecture == "gemma3n":
        own = _GEMMA3N_OWN_KEYS
    if len(heads) == 1:
        if not recurrent and not interval and own >= layers:
            return heads[0]
        heads *= layers
    if not recurrent:
        recurrent = tuple(interval and (layer + 1) % interval for layer in range(layers))
    if min(len(heads), len(recurrent)) < layers:
        raise _flaw(keys.header, "is damaged: its lists of layers are too short")
    return tuple(0 if recurrent[layer] or layer >= own else heads[layer] for layer in range(layers))


def _window(keys: _Keys, layers: int) -> tuple[int, int]:
    """The sliding window in tokens (0: none), and every how many layers one sees all (0: none does)."""
    if keys.architecture not in _WINDOW_PERIODS:
        return 0, 0
    window = keys.number("attention.sliding_window", _WINDOWS.get(keys.architecture, 0))
    pattern = "attention.sliding_window_pattern"
    period = keys.number(pattern, _WINDOW_PERIODS[keys.architecture])
    if isinstance(keys.find(pattern), Array):
        slides = tuple(map(bool, keys.numbers(pattern)[:layers]))
        period = next((n for n in range(layers + 1) if slides == _pattern(n, layers)), 1)
    return (window, period) if window and period != 1 else (0, 0)


def _pattern(period: int, layers: int) -> tuple[bool, ...]:
    """Which layers slide: `set_swa_pattern` in src/llama-hparams.cpp."""
    return tuple(period == 0 or layer % period < period - 1 for layer in range(layers))


def _state_floats(keys: _Keys, embedding: int) -> int:
    """`n_embd_r` + `n_embd_s` in src/llama-hparams.cpp."""
    if convolution := keys.number("shortconv.l_cache"):
        return embedding * (convolution - 1)
    if head_dim := keys.number("wkv.head_size"):
        return embedding * (keys.number("token_shift_count", 2) + head_dim)
    inner, state = keys.number("ssm.inner_size"), keys.number("ssm.state_size")
    kept = max(keys.number("ssm.conv_kernel") - 1, 0)
    return kept * (inner + 2 * keys.number("ssm.group_count") * state) + state * inner


def _length(header: GgufHeader, key: str) -> int:
    value = header.metadata.get(key)
    return value.length if isinstance(value, Array) else 0


def _flaw(header: GgufHeader, what: str) -> ModelError:
    return ModelError(f"The model file {header.path} {what}; choose another.")
