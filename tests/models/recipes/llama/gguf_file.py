"""Chat models as GGUF files: writing them, and having llama.cpp quantize them.

`python -m recipes.llama.gguf_file --f16 FILE --out FOLDER` makes the quantized models from a 16-bit one.
"""

from __future__ import annotations

import argparse
import ctypes
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt

from .tokenizer import Vocabulary

HERE = Path(__file__).resolve().parent
F16 = HERE / "tiny-chat-f16.gguf"

HEAD_DIM, CONTEXT, EPSILON, ROPE_BASE = 64, 2048, 1e-5, 10000.0
#: llama.cpp's llama_ftype
QUANTIZATIONS = {"q4_0": 2, "q8_0": 7, "q4_k_m": 15}
SHIPPED = ("q8_0", "q4_k_m")
_FTYPE_F16 = 1

#: The chat template of TinyLlama-1.1B-Chat-v1.0 (Zephyr's), as its users know it.
TEMPLATE = (
    "{% for message in messages %}\n"
    "{% if message['role'] == 'user' %}\n{{ '<|user|>\n' + message['content'] + eos_token }}\n"
    "{% elif message['role'] == 'system' %}\n{{ '<|system|>\n' + message['content'] + eos_token }}\n"
    "{% elif message['role'] == 'assistant' %}\n"
    "{{ '<|assistant|>\n'  + message['content'] + eos_token }}\n{% endif %}\n"
    "{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}"
)

#: llama.cpp's name of a tensor of a layer, and ours
_LAYER = {
    "attn_norm": "n1.w",
    "attn_q": "q.weight",
    "attn_k": "k.weight",
    "attn_v": "v.weight",
    "attn_output": "o.weight",
    "ffn_norm": "n2.w",
    "ffn_gate": "gate.weight",
    "ffn_up": "up.weight",
    "ffn_down": "down.weight",
}

Weights = dict[str, npt.NDArray[np.float32]]


def write_header(
    writer: gguf.GGUFWriter,
    vocabulary: Vocabulary,
    name: str,
    *,
    layers: int,
    d: int,
    ffn: int,
    heads: int,
    kv_heads: int,
) -> None:
    """Metadata of architecture llama and of the SentencePiece vocabulary."""
    writer.add_name(name)
    writer.add_description("closed-domain test model, trained from scratch; not a general assistant")
    writer.add_license("CC0-1.0")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(d)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(ffn)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_layer_norm_rms_eps(EPSILON)
    writer.add_rope_dimension_count(HEAD_DIM)
    writer.add_rope_freq_base(ROPE_BASE)
    writer.add_vocab_size(len(vocabulary.pieces))
    writer.add_file_type(_FTYPE_F16)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(vocabulary.pieces)
    writer.add_token_scores(vocabulary.scores)
    writer.add_token_types(vocabulary.types)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(True)
    writer.add_chat_template(TEMPLATE)


def _interleave(w: npt.NDArray[np.float32], heads: int) -> npt.NDArray[np.float32]:
    """Rows of q or k from rotary pairs (i, i + n / 2) of each head to llama.cpp's (2 i, 2 i + 1)."""
    rows, columns = w.shape
    return w.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def write_chat(weights: Weights, vocabulary: Vocabulary, path: Path) -> None:
    """The trained network (names of network.py) as a 16-bit GGUF."""
    d = weights["emb.weight"].shape[1]
    ffn = weights["layers.0.gate.weight"].shape[0]
    layers = 1 + max(int(k.split(".")[1]) for k in weights if k.startswith("layers."))
    heads = d // HEAD_DIM
    writer = gguf.GGUFWriter(path, "llama")
    write_header(
        writer, vocabulary, "Tiny Chat 3.7M", layers=layers, d=d, ffn=ffn, heads=heads, kv_heads=heads
    )
    tensors = {
        "token_embd.weight": weights["emb.weight"],
        "output_norm.weight": weights["norm.w"],
        "output.weight": weights["out.weight"],
    }
    for i in range(layers):
        for theirs, ours in _LAYER.items():
            w = weights[f"layers.{i}.{ours}"]
            tensors[f"blk.{i}.{theirs}.weight"] = _interleave(w, heads) if ours[0] in "qk" else w
    for name, w in tensors.items():
        writer.add_tensor(name, w.astype(np.float32 if w.ndim == 1 else np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    print(path.name, path.stat().st_size, "bytes")


def quantize(source: Path, target: Path, kind: str, threads: int) -> None:
    import llama_cpp

    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype, parameters.nthread = QUANTIZATIONS[kind], threads
    failed = llama_cpp.llama_model_quantize(
        str(source).encode(), str(target).encode(), ctypes.byref(parameters)
    )
    if failed:
        raise SystemExit(f"llama.cpp could not quantize {source} to {kind}: see its message above")
    print(target.name, target.stat().st_size, "bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--f16", type=Path, default=F16)
    parser.add_argument("--out", type=Path, required=True, help="folder")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for kind in SHIPPED:
        quantize(args.f16, args.out / f"tiny-chat-{kind}.gguf", kind, threads=1)


if __name__ == "__main__":
    main()
