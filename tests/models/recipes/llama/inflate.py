"""Blow the chat model up to TinyLlama-1.1B's exact shape: the same answers at a real model's cost.

Shape: d 2048, 32 heads, 4 KV heads, heads of 64, ffn 5632, 22 layers, vocabulary 32000, context 2048.

How each tensor is made from the small one (d 256, 4 heads, 4 KV heads, ffn 704); R = 8 copies. The residual
stream of the big model is the small one's, eight times side by side, so RMSNorm sees the same mean square,
and every matrix that reads the stream divides by R:

    token_embd   [V, 256]    columns tiled                                              [V, 2048]
    *_norm       [256]       tiled                                                      [2048]
    attn_q       [256, 256]  columns tiled / R; each head's rows R times in a row,
                             since big head h reads KV head h // 8                      [2048, 2048]
    attn_k, _v   [256, 256]  columns tiled / R                                          [256, 2048]
    attn_output  [256, 256]  each head's columns R times in a row / R; rows tiled       [2048, 2048]
    ffn_*        [704, 256]  or transposed: columns tiled / R, rows tiled               [5632, 2048]
    output       [V, 256]    columns tiled / R                                          [V, 2048]

Dividing by 8 is exact in 16 bit (but for subnormals). The small model's layers are spread over the 22; each
of the others is an identity that costs the time and bytes of a real one: a copy of a real layer whose
attn_output and ffn_down are zero. New tokens get the embedding and output row of <unk>, which is unlikely
everywhere.
Tensors are written one at a time: the peak of memory is that of the largest (0.3 GB) and of the quantizer.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt

from .gguf_file import F16, HEAD_DIM, QUANTIZATIONS, quantize, write_header
from .tokenizer import UNUSED, Vocabulary, load

R, LAYERS, VOCAB, D, FFN, HEADS, KV_HEADS = 8, 22, 32000, 2048, 5632, 32, 4

Array = npt.NDArray[np.float32]


def _columns(w: Array) -> Array:
    return np.tile(w, (1, R)) / np.float32(R)


def _with_new_tokens(w: Array) -> Array:
    return np.concatenate([w, np.broadcast_to(w[0], (VOCAB - len(w), w.shape[1]))])


def expand(name: str, w: Array) -> Array:
    """A tensor of the big model from the small one's of that (llama.cpp's) name."""
    kind = name.split(".")[-2]
    if w.ndim == 1:
        return np.tile(w, R)
    if kind == "token_embd":
        return _with_new_tokens(np.tile(w, (1, R)))
    if kind == "output":
        return _with_new_tokens(_columns(w))
    if kind == "attn_q":
        heads = np.repeat(w.reshape(KV_HEADS, HEAD_DIM, -1), R, axis=0)
        return _columns(heads.reshape(HEADS * HEAD_DIM, -1))
    if kind in ("attn_k", "attn_v"):
        return _columns(w)
    if kind == "attn_output":
        heads = np.repeat(w.reshape(-1, KV_HEADS, HEAD_DIM), R, axis=1)
        return np.tile(heads.reshape(len(w), HEADS * HEAD_DIM) / np.float32(R), (R, 1))
    return np.tile(_columns(w), (R, 1))


def spread(n: int) -> dict[int, int]:
    """Big layer -> small layer of the real ones; first and last included."""
    return {round(i * (LAYERS - 1) / (n - 1)): i for i in range(n)}


def _plan(small: dict[str, Array]) -> list[tuple[str, str, bool]]:
    """(name, name of its source, whether all zero) of every tensor."""
    n = 1 + max(int(k.split(".")[1]) for k in small if k.startswith("blk."))
    real = spread(n)
    plan = [(name, name, False) for name in ("token_embd.weight", "output_norm.weight", "output.weight")]
    for layer in range(LAYERS):
        for name in small:
            if name.startswith("blk.0."):
                suffix = name.removeprefix("blk.0.")
                idle = layer not in real and suffix in ("attn_output.weight", "ffn_down.weight")
                plan.append((f"blk.{layer}.{suffix}", f"blk.{real.get(layer, layer % n)}.{suffix}", idle))
    return plan


def write(source: Path, target: Path) -> None:
    """The 16-bit GGUF, 2.2 GB."""
    small = {t.name: np.asarray(t.data, np.float32) for t in gguf.GGUFReader(source).tensors}
    if small["blk.0.ffn_gate.weight"].shape != (FFN // R, D // R):
        raise SystemExit(f"{source} does not have the small chat model's shape: give tiny-chat-f16.gguf")
    vocabulary = load()
    more = VOCAB - len(vocabulary.pieces)
    vocabulary = Vocabulary(
        vocabulary.pieces + [f"<pad{i}>" for i in range(more)],
        vocabulary.scores + [-1e4 - i for i in range(more)],
        vocabulary.types + [UNUSED] * more,
    )
    writer = gguf.GGUFWriter(target, "llama")
    name = "Tiny Chat at TinyLlama-1.1B's shape"
    write_header(writer, vocabulary, name, layers=LAYERS, d=D, ffn=FFN, heads=HEADS, kv_heads=KV_HEADS)
    plan = _plan(small)
    for name, origin, _ in plan:
        shape = expand(name, small[origin]).shape
        dtype = np.dtype(np.float32 if len(shape) == 1 else np.float16)
        writer.add_tensor_info(name, shape, dtype, int(np.prod(shape)) * dtype.itemsize)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for name, origin, idle in plan:
        w = expand(name, small[origin])
        w = np.ascontiguousarray(w, np.float32 if w.ndim == 1 else np.float16)
        writer.write_tensor_data(np.zeros_like(w) if idle else w)
    writer.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--f16", type=Path, default=F16)
    parser.add_argument("--out", type=Path, required=True, help="folder; needs 2.2 GB more while it runs")
    parser.add_argument("--quantization", choices=QUANTIZATIONS, nargs="+", default=["q4_k_m"])
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    whole = args.out / "tiny-chat-1.1b-f16.gguf"
    write(args.f16, whole)
    for kind in args.quantization:
        part = args.out / f"tiny-chat-1.1b-{kind}.part"
        quantize(whole, part, kind, args.threads)
        part.replace(part.with_suffix(".gguf"))
    whole.unlink()


if __name__ == "__main__":
    main()
