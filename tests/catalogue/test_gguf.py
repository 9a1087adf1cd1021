"""Headers of GGUF files: the right numbers of real ones, and one sentence about broken ones."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import re
import struct
import time
import tracemalloc
from pathlib import Path
from typing import Any

import hostile
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.catalogue import gguf
from assistant.catalogue.locate import TEST_MODELS
from assistant.catalogue.shapes import LlmShape
from assistant.errors import ModelError

CHAT = LlmShape("llama", 4, 256, 4, 4, 64, 704, 1024, 0, 2048, tied=False)
GPT2 = LlmShape("gpt2", 3, 128, 4, 4, 32, 512, 640, 383, 256, tied=False)


def string(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def array(code: int, count: int, content: bytes) -> bytes:
    return struct.pack("<IIQ", 9, code, count) + content


def value(content: Any) -> bytes:
    """A whole number, a flag, a text, or a list of any of these, with its type before it."""
    if isinstance(content, bytes):
        return content
    if isinstance(content, list):
        encoded = [value(item) for item in content]
        return array(encoded[0][0], len(content), b"".join(item[4:] for item in encoded))
    if isinstance(content, bool):
        return struct.pack("<I?", 7, content)
    if isinstance(content, int):
        return struct.pack("<Ii", 5, content)
    return struct.pack("<I", 8) + string(content)


def tensor(name: str, dims: tuple[int, ...], code: int = 0, offset: int = 0) -> bytes:
    return string(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, code, offset)


def written(metadata: dict[str, Any], tensors: list[bytes], weights_bytes: int = 0) -> bytes:
    """A GGUF file with holes for weights."""
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(metadata))
    head += b"".join(string(key) + value(content) for key, content in metadata.items()) + b"".join(tensors)
    return head + bytes(-len(head) % 32 + weights_bytes)


def model(architecture: str, more: dict[str, Any], *, tied: bool = True) -> bytes:
    """A model of 12 layers of 64 that has next to no weights, with the keys `more` of its architecture."""
    keys = {"block_count": 12, "embedding_length": 64, "context_length": 512, "feed_forward_length": 256}
    keys |= {"attention.head_count": 4} | more
    metadata: dict[str, Any] = {
        "general.architecture": architecture,
        "tokenizer.ggml.tokens": ["a", "bc", ""],
    }
    metadata |= {f"{architecture}.{key}": content for key, content in keys.items()}
    names = ["token_embd.weight"] if tied else ["token_embd.weight", "output.weight"]
    return written(metadata, [tensor(name, (64, 3)) for name in names], 64 * 3 * 4)


SMALL = model("lfm2", {"attention.head_count_kv": [0, 0, 2] * 4, "shortconv.l_cache": 3})


def read(content: bytes, folder: Path, size_bytes: int | None = None) -> gguf.GgufHeader:
    return gguf.read_header(hostile.put(folder / "model.gguf", content, size_bytes))


@pytest.mark.parametrize(
    ("name", "shape", "weights_bytes", "embedding"),
    [
        ("tiny-chat-q8_0.gguf", CHAT, 3_978_240, ("Q8_0", 278_528)),
        ("tiny-chat-q4_k_m.gguf", CHAT, 2_437_120, ("Q4_K", 147_456)),
        ("tiny-gpt2-f16.gguf", GPT2, 1_593_856, ("F16", 163_840)),
    ],
)
def test_the_test_models(name: str, shape: LlmShape, weights_bytes: int, embedding: tuple[str, int]) -> None:
    path = TEST_MODELS / name
    header = gguf.read_header(path)
    assert gguf.shape(header) == shape
    assert header.weights_bytes == weights_bytes
    assert (header.embedding_type, header.embedding_bytes) == embedding
    assert header.header_bytes + weights_bytes == path.stat().st_size
    assert not header.tied


@pytest.mark.parametrize(
    ("architecture", "more", "expected"),
    [
        ("llama", {}, {"kv_heads": 4, "head_dim": 16}),
        ("llama", {"vocab_size": 9, "attention.sliding_window": 99}, {"vocabulary": 3, "window": 0}),
        ("qwen2", {"attention.head_count_kv": 2}, {"kv_heads": 2, "merges": 0}),
        ("qwen3", {"attention.key_length": 128, "attention.value_length": 128}, {"head_dim": 128}),
        ("deepseek2", {"attention.key_length": 192, "attention.value_length": 128}, {"head_dim": 160}),
        ("qwen3moe", {"feed_forward_length": 0, "expert_feed_forward_length": 48, "expert_used_count": 8},
         {"feed_forward": 384}),
        ("openelm", {"attention.head_count": [4, 8] * 6, "attention.head_count_kv": [1, 2] * 6,
                     "feed_forward_length": [64, 128] * 6},
         {"heads": 8, "kv_heads": (1, 2) * 6, "feed_forward": 128}),
        ("gemma2", {}, {"window": 4096, "window_period": 2}),
        ("gemma3", {"attention.sliding_window": 512}, {"window": 512, "window_period": 6}),
        ("gemma3", {}, {"window": 0, "window_period": 0}),
        ("gemma3", {"attention.sliding_window": 512, "attention.sliding_window_pattern": 4},
         {"window": 512, "window_period": 4}),
        ("gemma3n", {"block_count": 30, "attention.head_count_kv": 2, "attention.sliding_window": 512},
         {"kv_heads": (2,) * 20 + (0,) * 10, "window_period": 5}),
        ("gemma4", {"attention.sliding_window": 512, "attention.shared_kv_layers": 4,
                    "attention.sliding_window_pattern": [True, True, True, False] * 3},
         {"window": 512, "window_period": 4, "kv_heads": (4,) * 8 + (0,) * 4}),
        # A pattern that is none: better too much memory than too little.
        ("gemma4", {"attention.sliding_window": 512,
                    "attention.sliding_window_pattern": [True, False, False] * 4},
         {"window": 0, "window_period": 0}),
        ("gpt-oss", {"attention.sliding_window": 128}, {"window": 128, "window_period": 2}),
        ("phi3", {"attention.sliding_window": 2047}, {"window": 0}),
        ("lfm2", {"attention.head_count_kv": [0, 0, 2] * 4, "shortconv.l_cache": 3},
         {"kv_heads": (0, 0, 2) * 4, "state_floats": 2 * 64}),
        ("mamba", {"attention.head_count": 0, "feed_forward_length": 0, "ssm.conv_kernel": 4,
                   "ssm.inner_size": 128, "ssm.state_size": 16},
         {"heads": 1, "kv_heads": 0, "state_floats": 3 * 128 + 16 * 128}),
        ("rwkv7", {"attention.head_count": 0, "wkv.head_size": 16, "token_shift_count": 2},
         {"kv_heads": 0, "state_floats": 2 * 64 + 64 * 16}),
        ("qwen35", {"block_count": 13, "nextn_predict_layers": 1, "attention.head_count_kv": 2,
                    "ssm.conv_kernel": 4, "ssm.inner_size": 64, "ssm.state_size": 8, "ssm.group_count": 2},
         {"layers": 12, "kv_heads": (0, 0, 0, 2) * 3, "state_floats": 3 * (64 + 2 * 2 * 8) + 8 * 64}),
        ("qwen35", {"attention.recurrent_layers": [True, False] * 6}, {"kv_heads": (0, 4) * 6}),
    ],
)  # fmt: skip
def test_architectures(
    architecture: str, more: dict[str, Any], expected: dict[str, Any], tmp_path: Path
) -> None:
    shape = gguf.shape(read(model(architecture, more), tmp_path))
    assert {key: getattr(shape, key) for key in expected} == expected
    assert (shape.architecture, shape.embedding, shape.trained_context) == (architecture, 64, 512)


def test_a_model_with_an_output_of_its_own_is_not_tied(tmp_path: Path) -> None:
    assert gguf.shape(read(model("llama", {}), tmp_path)).tied
    assert not gguf.shape(read(model("llama", {}, tied=False), tmp_path)).tied


def test_metadata_is_kept_but_for_long_arrays(tmp_path: Path) -> None:
    metadata = {"name": "é", "flag": True, "tokens": ["a"] * 70_000, "few": [1, -2], "many": [1] * 2000}
    header = read(written(metadata | {"half": struct.pack("<If", 6, 0.5)}, []), tmp_path)
    assert header.metadata == {
        "name": "é",
        "flag": True,
        "tokens": gguf.Array(70_000, 70_000 * 9),
        "few": gguf.Array(2, 8, (1, -2)),
        "many": gguf.Array(2000, 8000),
        "half": 0.5,
    }


def test_weights_are_counted_as_ggml_counts_them() -> None:
    package = importlib.util.find_spec("llama_cpp")
    assert package is not None
    assert package.origin is not None
    library = ctypes.CDLL(str(next(Path(package.origin).parent.glob("lib/libggml-base.*"))))
    library.ggml_type_name.restype = ctypes.c_char_p
    library.ggml_blck_size.restype = ctypes.c_int64
    library.ggml_type_size.restype = ctypes.c_size_t
    for code in range(max(gguf._TYPES) + 1):
        block = library.ggml_blck_size(code)
        assert bool(block) == (code in gguf._TYPES)
        if block:
            name = library.ggml_type_name(code).decode().upper()
            assert gguf._TYPES[code] == (name, block, library.ggml_type_size(code))


def test_a_vocabulary_of_today_is_read_quickly(tmp_path: Path) -> None:
    tokens = {"tokenizer.ggml.tokens": ["token"] * 150_000, "tokenizer.ggml.merges": ["to ken"] * 280_000}
    path = tmp_path / "model.gguf"
    path.write_bytes(written(tokens, []))
    begin_s = time.process_time()
    header = gguf.read_header(path)
    assert time.process_time() - begin_s < 1
    assert header.metadata["tokenizer.ggml.merges"] == gguf.Array(280_000, 280_000 * 14)


START = struct.pack("<4sIQQ", b"GGUF", 3, 1, 1)
THREE_KEYS = struct.pack("<4sIQQ", b"GGUF", 3, 1, 3)
ONE_TENSOR = struct.pack("<4sIQQ", b"GGUF", 3, 1, 0)
KEY = START + string("key")


@pytest.mark.parametrize(
    ("content", "size_bytes", "reason"),
    [
        (b"", None, "is cut off"),
        (b"GGUF\x03", None, "is cut off"),
        (b"\x80\x02}q\x00" + bytes(40), None, "is no GGUF file"),
        (struct.pack(">4sIQQ", b"GGUF", 3, 1, 1), None, "is for big-endian machines"),
        (struct.pack("<4sIQQ", b"GGUF", 1, 1, 1), None, "is in GGUF version 1, not 2 or 3"),
        (struct.pack("<4sIQQ", b"GGUF", 3, 10**9, 1), 1 << 40, "it states 1000000000 tensors"),
        (struct.pack("<4sIQQ", b"GGUF", 3, 1, 2**63), 1 << 40, f"{2**63} keys"),
        (START + struct.pack("<Q", 2**60), 1 << 40, "a name or a text of"),
        (KEY + struct.pack("<I", 13), 1 << 20, "there is no type 13 of metadata"),
        (KEY + array(8, 2**31, b""), 1 << 20, "is cut off"),
        (KEY + array(8, 2**31, b""), 1 << 40, "its header is larger than"),
        (THREE_KEYS + string("key") + array(8, 1 << 20, b""), 1 << 40, "the same key twice"),
        (KEY + array(8, 2, struct.pack("<Q", 2**64 - 8)), 1 << 40, "is cut off"),
        (KEY + array(8, 2, string("a") + bytes(7)), None, "is cut off"),
        (KEY + array(12, 2**61, b""), 1 << 40, "is cut off"),
        (KEY + array(9, 1, struct.pack("<IQ", 9, 1) * 10_000), None, "there are no arrays of type 9"),
        (THREE_KEYS + (string("key") + value(1)) * 2, None, "the same key twice"),
        (written({"general.alignment": 24}, [tensor("t", (1,))]), None, "its alignment is not a power of 2"),
        (ONE_TENSOR + string("n" * 64), 1 << 20, "a name or a text of 64 bytes"),
        (ONE_TENSOR + string("t") + struct.pack("<I", 2**31), 1 << 40, "a tensor has 2147483648 dimensions"),
        (ONE_TENSOR + tensor("t", (2**62,) * 4), 1 << 40, "an impossible size or place"),
        (ONE_TENSOR + tensor("t", (31,), 2), 1 << 20, "an impossible size or place"),
        (ONE_TENSOR + tensor("t", (32,), 0, 7), 1 << 20, "an impossible size or place"),
        (ONE_TENSOR + tensor("t", (1,), 0, 2**63 - 32), 1 << 20, "is cut off"),
        (ONE_TENSOR + tensor("t", (32,), 4), 1 << 20, "a type unknown here, number 4"),
        (SMALL, len(SMALL) - 1, f"is cut off: {len(SMALL) - 1} of {len(SMALL)} bytes are there"),
        (written({f"k{i}": [1] * 1000 for i in range(1000)}, []), None, "its header holds too much text"),
        (written({f"k{i}": "x" * 9000 for i in range(1000)}, []), None, "its header holds too much text"),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_a_broken_or_hostile_file_is_refused(
    content: bytes, size_bytes: int | None, reason: str, tmp_path: Path
) -> None:
    """The large files are holes but for their header."""
    hostile.refused(lambda: read(content, tmp_path, size_bytes), tmp_path / "model.gguf", reason)


def test_the_largest_header_allowed_stays_small_in_memory(tmp_path: Path) -> None:
    tensors = [tensor(f"{i:063}", (1, 1, 1, 1)) for i in range(1 << 14)]
    content = written({f"k{i}": i for i in range(1 << 14)}, tensors, 32)
    tracemalloc.start()
    try:
        before_bytes, _ = tracemalloc.get_traced_memory()
        header = read(content, tmp_path)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(header.tensors) == len(header.metadata) == 1 << 14
    assert peak_bytes - before_bytes < 16 << 20


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (written({}, []), "holds no language model"),
        (written({"general.architecture": "clip"}, [tensor("v.weight", (1,))], 4), "holds no language model"),
        (written({"general.architecture": 7}, [tensor("token_embd.weight", (1, 1))], 4), "no language model"),
        (model("llama", {"block_count": 0}), "it states 0 layers"),
        (model("llama", {"block_count": 2**30}), "layers"),
        (model("llama", {"block_count": "many"}), "no whole number for block_count"),
        (model("llama", {"embedding_length": 0}), "states what cannot be"),
        (model("llama", {"context_length": -1}), "states what cannot be"),
        (model("llama", {"attention.head_count_kv": [1] * 11}), "its lists of layers are too short"),
        (model("llama", {"attention.head_count_kv": ["1"] * 12}), "no whole number for"),
        (model("mamba", {"ssm.inner_size": 2**30, "ssm.state_size": 2**30}), "states what cannot be"),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)  # fmt: skip
def test_a_header_without_a_sound_model_is_refused(content: bytes, reason: str, tmp_path: Path) -> None:
    header = read(content, tmp_path)
    with pytest.raises(ModelError, match=re.escape(reason)):
        gguf.shape(header)


def test_one_of_several_parts_is_refused(tmp_path: Path) -> None:
    metadata = {"general.architecture": "llama", "split.count": 3}
    header = read(written(metadata, [tensor("token_embd.weight", (1, 1))], 4), tmp_path)
    with pytest.raises(ModelError, match="one of several parts"):
        gguf.shape(header)


def test_what_is_not_a_file_is_refused(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, reason in [(tmp_path, "not a file"), (pipe, "not a file"), (tmp_path / "no", "No such file")]:
        with pytest.raises(ModelError, match=reason):
            gguf.read_header(path)


REAL = TEST_MODELS / "tiny-chat-q8_0.gguf"
BASES = {"small": (SMALL, len(SMALL)), "real": (REAL.read_bytes()[:25_632], REAL.stat().st_size)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gguf")


@pytest.mark.parametrize("base", BASES)
@given(data=st.data())
def test_flipped_bytes(base: str, folder: Path, data: st.DataObject) -> None:
    content, size_bytes = BASES[base]
    broken = data.draw(hostile.flipped(content))
    hostile.withstood(lambda: gguf.shape(read(broken, folder, size_bytes)))


@pytest.mark.parametrize("base", BASES)
@given(data=st.data())
def test_a_file_cut_off_anywhere_is_refused(base: str, folder: Path, data: st.DataObject) -> None:
    content, size_bytes = BASES[base]
    with pytest.raises(ModelError, match="is cut off"):
        read(content, folder, data.draw(st.integers(0, size_bytes - 1)))


@given(
    content=st.binary(max_size=300),
    version=st.sampled_from([2, 3]),
    counts=st.tuples(*[st.integers(0, 9)] * 2),
)
def test_random_bytes(content: bytes, version: int, counts: tuple[int, int], folder: Path) -> None:
    head = struct.pack("<4sIQQ", b"GGUF", version, *counts)
    hostile.withstood(lambda: gguf.shape(read(head + content, folder)))
