"""Write a GGUF of a real model's shape with random weights: its bytes and its cost, without its knowledge.

`python tests/models/recipes/llama/random_gguf.py smollm2-360m Q4_K_M OUT.gguf` takes seconds and downloads
nothing; the shapes are those of models/catalogue.toml. Memory and speed follow from the tensors' shapes and
types and from the vocabulary's size, not from what the weights say: only the text is nonsense.

Every tensor has the type that llama.cpp's quantizer gives it (`tensor_type`). Its data is one run of blocks,
drawn from a normal distribution, quantized by llama.cpp itself and repeated; norms are 1 and biases 0, so
that logits stay finite. The vocabulary has the real one's kind, number of tokens and number of merges, and
tokens of about the real length; the words of domain.py are whole tokens, so that a question takes about as
many as it really would. What changes neither memory nor speed (rotary bases, epsilons) is made up.
"""

from __future__ import annotations

import argparse
import ctypes
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import gguf
import numpy as np
import numpy.typing as npt
from gguf import GGMLQuantizationType as Type
from gguf import TokenType

HERE = Path(__file__).resolve().parent
WORDS = HERE.parent / "domain.py"
CATALOGUE = tomllib.loads((HERE.parents[3] / "models" / "catalogue.toml").read_text(encoding="utf-8"))

#: Blocks before the data of a tensor repeats; a prime, so that neighbouring rows differ.
PATTERN_BLOCKS = 4093
WEIGHT_DEVIATION = 0.02
CONVOLUTION = 3  # positions that a short convolution of LFM2 sees
BYTES = 256  # every vocabulary has a token for each
LLAMA_3_VOCABULARY = 128256
#: llama.cpp's name of how a tokenizer splits text before it merges, by the size of the vocabulary
SPLITS = {
    49152: "smollm",
    50257: "gpt-2",
    65536: "lfm2",
    LLAMA_3_VOCABULARY: "llama-bpe",
    151936: "qwen2",
}

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
ZEPHYR = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>\n' + message['content'] + eos_token + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)


@dataclass(frozen=True)
class Shape:
    """As `[shapes.llm]` of the catalogue states it, but `kv_heads` has a number for each layer."""

    architecture: str
    layers: int
    embedding: int
    heads: int
    kv_heads: tuple[int, ...]
    head_dim: int
    feed_forward: int
    vocabulary: int
    merges: int
    trained_context: int
    tied: bool
    window: int = 0
    window_period: int = 0
    state_floats: int = 0


def read_shape(name: str) -> Shape:
    stated = CATALOGUE["shapes"]["llm"][name]
    kv_heads = stated["kv_heads"]
    in_turn = kv_heads if isinstance(kv_heads, list) else [kv_heads] * stated["layers"]
    return Shape(**stated | {"kv_heads": tuple(in_turn)})


def published_bytes(shape: str, quantization: str) -> int | None:
    """The size of the file that the catalogue knows of that shape and quantization."""
    for entry in CATALOGUE["models"]:
        if (entry["kind"], entry["shape"], entry.get("quantisation")) == ("llm", shape, quantization):
            return int(entry["files"][0]["size_bytes"])
    return None


#: What most tensors become, and llama.cpp's llama_ftype
QUANTIZATIONS = {
    "F16": (Type.F16, 1),
    "Q4_0": (Type.Q4_0, 2),
    "Q8_0": (Type.Q8_0, 7),
    "Q4_K_M": (Type.Q4_K, 15),
    "Q6_K": (Type.Q6_K, 18),
}
#: Where rows are no multiple of a block's 256 elements.
_FALLBACK = {Type.Q4_K: Type.Q5_0, Type.Q5_K: Type.Q5_1, Type.Q6_K: Type.Q8_0}


def tensors(s: Shape) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and shape (rows, columns) of every tensor that llama.cpp wants of the architecture."""
    d, q, kv = s.embedding, s.heads * s.head_dim, s.head_dim * max(s.kv_heads)
    yield "token_embd.weight", (s.vocabulary, d)
    if not s.tied:
        yield "output.weight", (s.vocabulary, d)
    yield "token_embd_norm.weight" if s.architecture == "lfm2" else "output_norm.weight", (d,)
    if s.architecture == "gpt2":
        yield "output_norm.bias", (d,)
        yield "position_embd.weight", (s.trained_context, d)
    if s.vocabulary == LLAMA_3_VOCABULARY:
        yield "rope_freqs.weight", (s.head_dim // 2,)
    for i, kv_heads in enumerate(s.kv_heads):
        layer = [*_feed_forward(s), ("attn_norm.weight", (d,)), ("ffn_norm.weight", (d,))]
        if s.architecture == "gpt2":
            layer += [("attn_qkv.weight", (q + 2 * kv, d)), ("attn_qkv.bias", (q + 2 * kv,))]
            layer += [("attn_output.bias", (d,)), ("attn_norm.bias", (d,)), ("ffn_norm.bias", (d,))]
        elif kv_heads:
            layer += [("attn_q.weight", (q, d)), ("attn_k.weight", (kv, d)), ("attn_v.weight", (kv, d))]
        if kv_heads:
            layer += [("attn_output.weight", (d, q))]
        else:
            layer += [("shortconv.conv.weight", (d, CONVOLUTION)), ("shortconv.out_proj.weight", (d, d))]
            layer += [("shortconv.in_proj.weight", (3 * d, d))]
        if s.architecture == "qwen2":
            layer += [("attn_q.bias", (q,)), ("attn_k.bias", (kv,)), ("attn_v.bias", (kv,))]
        if s.architecture in ("qwen3", "gemma3", "lfm2") and kv_heads:
            layer += [("attn_q_norm.weight", (s.head_dim,)), ("attn_k_norm.weight", (s.head_dim,))]
        if s.architecture == "gemma3":
            layer += [("post_attention_norm.weight", (d,)), ("post_ffw_norm.weight", (d,))]
        for name, shape in layer:
            yield f"blk.{i}.{name}", shape


def _feed_forward(s: Shape) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield "ffn_up.weight", (s.feed_forward, s.embedding)
    yield "ffn_down.weight", (s.embedding, s.feed_forward)
    if s.architecture == "gpt2":
        yield "ffn_up.bias", (s.feed_forward,)
        yield "ffn_down.bias", (s.embedding,)
    else:
        yield "ffn_gate.weight", (s.feed_forward, s.embedding)


def _more_bits(layer: int, layers: int) -> bool:
    return layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2


def tensor_type(s: Shape, quantization: str, name: str, shape: tuple[int, ...]) -> Type:
    """As llama.cpp's llama-quant.cpp chooses without an importance matrix."""
    kind, default = name.removesuffix(".weight").split(".")[-1], QUANTIZATIONS[quantization][0]
    if len(shape) == 1 or kind in ("position_embd", "conv"):
        return Type.F32
    if default == Type.F16:
        return Type.F16
    block = gguf.GGML_QUANT_SIZES[default][0]
    chosen = default
    if kind == ("token_embd" if s.tied else "output"):
        chosen = Type.Q8_0 if default == Type.Q8_0 or shape[1] % block else Type.Q6_K
    elif quantization == "Q4_K_M" and kind in ("attn_v", "attn_qkv", "ffn_down"):
        layer = int(name.split(".")[1])
        # of the layers with attention alone, where not all have it
        attending = [i for i, kv_heads in enumerate(s.kv_heads) if kv_heads]
        counted = range(s.layers) if kind == "ffn_down" else attending
        if _more_bits(counted.index(layer), len(counted)):
            chosen = Type.Q6_K
    if shape[1] % gguf.GGML_QUANT_SIZES[chosen][0]:
        chosen = _FALLBACK[chosen]
    return chosen


def n_bytes(kind: Type, shape: tuple[int, ...]) -> int:
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    return int(np.prod(shape)) // elements * size


def pattern(kind: Type) -> npt.NDArray[np.uint8]:
    """`PATTERN_BLOCKS` blocks of random weights as bytes."""
    import llama_cpp

    elements, size = gguf.GGML_QUANT_SIZES[kind]
    elements, size = (elements, size) if elements > 1 else (BYTES, BYTES * size)
    weights = np.random.default_rng(0).normal(0, WEIGHT_DEVIATION, PATTERN_BLOCKS * elements)
    weights = weights.astype(np.float32)
    if kind in (Type.F32, Type.F16):
        return weights.astype(np.float16 if kind == Type.F16 else np.float32).view(np.uint8)
    out = np.empty(PATTERN_BLOCKS * size, np.uint8)
    quantize = llama_cpp.llama_cpp._lib.ggml_quantize_chunk
    quantize.restype = ctypes.c_size_t
    pointer, count = ctypes.c_void_p, ctypes.c_int64
    quantize.argtypes = [ctypes.c_int, pointer, pointer, count, count, count, pointer]
    quantize(int(kind), weights.ctypes.data, out.ctypes.data, 0, PATTERN_BLOCKS, elements, None)
    return out


def chains(space: str, count: int, taken: set[str]) -> list[tuple[str, str]]:
    """`count` pairs that each make a token not in `taken`: prefixes of known words, then of made-up ones.

    Every left side begins with `space` or a capital letter: words are put together from left to right.
    """
    rng = Random(0)
    words = list(dict.fromkeys(re.findall(r"[A-Za-z']+", WORDS.read_text())))
    merges: list[tuple[str, str]] = []

    def add(left: str, right: str) -> None:
        if left + right not in taken and len(merges) < count:
            taken.add(left + right)
            merges.append((left, right))

    for word in [space + w for w in words] + [w for w in words if w[0].isupper()]:
        for end in range(1, len(word)):
            add(word[:end], word[end])
    while len(merges) < count:
        add("".join(rng.choice(merges)), rng.choice("etaoinshrdlucmwfgypbvk"))
    return merges


def other_splits(merges: list[tuple[str, str]], count: int) -> list[tuple[str, str]]:
    """`count` more merges that end in the same tokens; Llama 3 has more merges than tokens."""
    rng, known = Random(1), set(merges)
    more: list[tuple[str, str]] = []
    while len(more) < count:
        token = "".join(rng.choice(merges))
        end = rng.randrange(1, len(token))
        if (pair := (token[:end], token[end:])) not in known:
            known.add(pair)
            more.append(pair)
    return more


def byte_letters() -> list[str]:
    """The letter that stands for each byte in GPT-2's kind of vocabulary: printable ones for themselves."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte if byte in printable else next(others)) for byte in range(BYTES)]


def add_bpe(writer: gguf.GGUFWriter, s: Shape) -> None:
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    letters = byte_letters()
    merges = chains(letters[32], min(s.merges, s.vocabulary - BYTES - len(special)), set(letters))
    tokens = letters + [a + b for a, b in merges]
    special += [f"<|reserved_{i}|>" for i in range(s.vocabulary - len(tokens) - len(special))]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(SPLITS[s.vocabulary])
    writer.add_token_list(tokens + special)
    writer.add_token_types([TokenType.NORMAL] * len(tokens) + [TokenType.CONTROL] * len(special))
    merges += other_splits(merges, s.merges - len(merges))
    writer.add_token_merges([f"{a} {b}" for a, b in merges])
    writer.add_bos_token_id(len(tokens))
    writer.add_eos_token_id(len(tokens) + (0 if s.architecture == "gpt2" else 2))
    if s.architecture != "gpt2":
        writer.add_chat_template(CHATML)


def add_sentencepiece(writer: gguf.GGUFWriter, s: Shape) -> None:
    special = ["<unk>", "<s>", "</s>"]
    letters = ["\u2581", *(chr(c) for c in range(33, 127))]
    fixed = special + [f"<0x{byte:02X}>" for byte in range(BYTES)]
    made = chains(letters[0], s.vocabulary - len(fixed) - len(letters), set(letters))
    tokens = fixed + [a + b for a, b in made] + letters
    kinds = [TokenType.UNKNOWN, TokenType.CONTROL, TokenType.CONTROL] + [TokenType.BYTE] * BYTES
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * len(fixed) + [-float(i) for i in range(s.vocabulary - len(fixed))])
    writer.add_token_types(kinds + [TokenType.NORMAL] * (s.vocabulary - len(fixed)))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_chat_template(ZEPHYR)


def add_metadata(writer: gguf.GGUFWriter, name: str, s: Shape, quantization: str) -> None:
    writer.add_name(f"{name} with random weights")
    writer.add_license("CC0-1.0")
    writer.add_file_type(QUANTIZATIONS[quantization][1])
    writer.add_context_length(s.trained_context)
    writer.add_embedding_length(s.embedding)
    writer.add_block_count(s.layers)
    writer.add_feed_forward_length(s.feed_forward)
    writer.add_head_count(s.heads)
    writer.add_head_count_kv(list(s.kv_heads) if 0 in s.kv_heads else s.kv_heads[0])
    writer.add_key_length(s.head_dim)
    writer.add_value_length(s.head_dim)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_layer_norm_eps(1e-5)
    writer.add_vocab_size(s.vocabulary)
    if s.window:
        writer.add_sliding_window(s.window)
    if s.architecture == "lfm2":
        writer.add_shortconv_l_cache(CONVOLUTION)
    if s.merges:
        add_bpe(writer, s)
    else:
        add_sentencepiece(writer, s)


def write(name: str, quantization: str, target: Path) -> int:
    """The GGUF at `target`; returns the bytes of its tensors."""
    s = read_shape(name)
    part = target.with_suffix(".part")
    writer = gguf.GGUFWriter(part, s.architecture)
    add_metadata(writer, name, s, quantization)
    plan = [(t, shape, tensor_type(s, quantization, t, shape)) for t, shape in tensors(s)]
    for tensor, shape, kind in plan:
        writer.add_tensor_info(tensor, shape, np.dtype(np.float32), n_bytes(kind, shape), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    blocks = {kind: pattern(kind) for kind in {kind for _, _, kind in plan}}
    for tensor, shape, kind in plan:
        if len(shape) == 1:
            writer.write_tensor_data(np.full(shape, tensor.endswith("weight"), np.float32))
        else:
            writer.write_tensor_data(np.resize(blocks[kind], n_bytes(kind, shape)))
    writer.close()
    part.replace(target)
    return sum(n_bytes(kind, shape) for _, shape, kind in plan)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shape", choices=CATALOGUE["shapes"]["llm"])
    parser.add_argument("quantization", choices=QUANTIZATIONS)
    parser.add_argument("out", type=Path, help="the file to write")
    args = parser.parse_args()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    of_tensors = write(args.shape, args.quantization, args.out)
    size = args.out.stat().st_size
    line = f"{args.out.name}: {size} bytes, {of_tensors} of them tensors"
    published = published_bytes(args.shape, args.quantization)
    if published:
        line += f"; the published file has {published} ({size / published - 1:+.2%})"
    print(line)


if __name__ == "__main__":
    main()
