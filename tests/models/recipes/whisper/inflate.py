"""Blow the recogniser up to whisper-tiny.en's or base.en's exact shape: the same answers at a real cost.

              d_model  heads  ffn   encoder + decoder layers
    ours         128      2   512        4 + 3
    tiny.en      384      6  1536        4 + 4      R = 3
    base.en      512      8  2048        6 + 6      R = 4
    all          80 mels, audio context 1500, text context 448, heads of 64

How each tensor is made; R copies. The residual stream of the big model is the small one's, R times side by
side, so LayerNorm sees the same mean and variance, and every matrix that reads the stream (or R equal heads,
or R equal hidden copies) divides by R:

    conv1            [d, 80, 3]  rows tiled
    conv2            [d, d, 3]   rows tiled, inputs tiled / R
    positions        [n, d]      columns tiled
    LayerNorm        [d]         tiled; the decoder's last one tiled / R
    other matrices   [m, n]      rows tiled, columns tiled / R; their biases tiled
    token embedding  [V, d]      columns tiled; also the output, for which the last LayerNorm divides

A layer that the small model lacks is an exact identity that costs the time of a real one: a copy of a real
layer whose output projections are zero. CTranslate2 stores equal tensors once; so that identities cost the
bytes too, their copies are jittered, and a zero projection keeps one column of noise, for a hidden unit that
is always 0.

The unused tokens of the big vocabulary must never win although output and embedding are one matrix, and their
probability must vanish, else avg_logprob and no_speech_prob change. The last LayerNorm gets +B on its bias in
the first copy and -B in the second: for a real token, whose row is the same in every copy, they cancel; an
unused token's row is -K in the first copy, +K in the second and 0 elsewhere, so that the stream cancels and
its logit is -2 d K B = -120 whatever was heard.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from faster_whisper.tokenizer import _LANGUAGE_CODES

from .ct2 import MASTER, TOKENIZER, Weights, layers, load, write

# Whisper's English-only vocabulary; "yue" came with large-v3 only
VOCABULARY, END = 51864, 50256
_LANGUAGES = ["en"] + [code for code in _LANGUAGE_CODES if code not in ("en", "yue")]
_SPECIAL = [
    "<|endoftext|>",
    "<|startoftranscript|>",
    *(f"<|{code}|>" for code in _LANGUAGES),
    "<|translate|>",
    "<|transcribe|>",
    "<|startoflm|>",
    "<|startofprev|>",
    "<|nospeech|>",
    "<|notimestamps|>",
    *(f"<|{i * 0.02:.2f}|>" for i in range(1501)),
]
_B, _UNUSED_LOGIT = 0.05, -120.0

Array = npt.NDArray[np.floating]


class Shape(NamedTuple):
    d: int
    encoder: int
    decoder: int


SHAPES = {"tiny.en": Shape(384, 4, 4), "base.en": Shape(512, 6, 6), "small.en": Shape(768, 12, 12)}


def _tile(w: Array, r: int) -> Array:
    if w.ndim == 1:
        return np.tile(w, r)
    return np.tile(w, (r, r) + (1,) * (w.ndim - 2)) / r


def spread(n: int, big: int) -> dict[int, int]:
    """Big layer -> small layer of the real ones; first and last included."""
    return {round(i * (big - 1) / (n - 1)): i for i in range(n)}


def _idle(name: str, t: Array, rng: np.random.Generator) -> Array:
    """A tensor of an identity layer, from a real layer's."""
    module, kind = name.rsplit(".", 1)
    if module in ("attn.out", "cross_attn.out", "mlp.2"):
        t = np.zeros_like(t)
        if kind == "weight":
            t[:, -1] = rng.normal(0, 0.02, len(t))
        return t
    t = t * rng.uniform(0.99, 1.01, t.shape)
    if module in ("attn.value", "cross_attn.value", "mlp.0"):
        t[-1] = 0
    return t


def _embedding(w: Array, r: int, ids: npt.NDArray[np.int64]) -> Array:
    d = w.shape[1]
    out = np.zeros((VOCABULARY, d * r), np.float32)
    k = _UNUSED_LOGIT / (-2 * d * _B)
    out[:, :d], out[:, d : 2 * d] = -k, k
    out[ids] = np.tile(w, (1, r))
    return out


def inflate(small: Weights, shape: Shape, ids: npt.NDArray[np.int64]) -> Weights:
    """ids: where each of the small vocabulary's tokens is in the big one."""
    d = len(small["decoder.ln.weight"])
    r = shape.d // d
    out: dict[str, Array] = {}
    for name, w in small.items():
        if ".blocks." in name:
            continue
        if name.endswith("positional_embedding"):
            out[name] = np.tile(w, (1, r))
        elif name == "encoder.conv1.weight":
            out[name] = np.tile(w, (r, 1, 1))
        elif name == "decoder.token_embedding.weight":
            out[name] = _embedding(w, r, ids)
        else:
            out[name] = _tile(w, r) / (r if name.startswith("decoder.ln.") else 1)
    out["decoder.ln.bias"][:d] += _B
    out["decoder.ln.bias"][d : 2 * d] -= _B
    rng = np.random.default_rng(5)
    for part, big in (("encoder", shape.encoder), ("decoder", shape.decoder)):
        n = layers(small, part)
        real = spread(n, big)
        for i in range(big):
            source = f"{part}.blocks.{real.get(i, i % n)}."
            for name in [name for name in small if name.startswith(source)]:
                inner, t = name.removeprefix(source), _tile(small[name], r)
                out[f"{part}.blocks.{i}.{inner}"] = t if i in real else _idle(inner, t, rng)
    return {name: np.ascontiguousarray(w, np.float32) for name, w in out.items()}


def big_vocabulary(small: dict[str, Any]) -> tuple[dict[str, Any], npt.NDArray[np.int64]]:
    """tokenizer.json with OpenAI's ids; and where each of the small vocabulary's tokens went."""
    vocabulary = dict(small["model"]["vocab"])
    n = len(vocabulary)
    ids = np.arange(n + len(small["added_tokens"]))
    for token in small["added_tokens"]:
        ids[token["id"]] = END + _SPECIAL.index(token["content"])
    vocabulary.update({f"<unused{i}>": i for i in range(n, END)})  # no merge leads to them
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    added = [{"id": END + i, "content": t, **flags, "special": True} for i, t in enumerate(_SPECIAL)]
    return {**small, "model": {**small["model"], "vocab": vocabulary}, "added_tokens": added}, ids


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--master", type=Path, default=MASTER)
    parser.add_argument("--out", type=Path, required=True, help="folder")
    parser.add_argument("--shape", choices=SHAPES, default="tiny.en")
    parser.add_argument("--dtype", choices=["float16", "float32"], default="float16")
    args = parser.parse_args()
    small, shape = load(args.master), SHAPES[args.shape]
    tokenizer_json, ids = big_vocabulary(json.loads(TOKENIZER.read_text(encoding="utf-8")))
    n = layers(small, "decoder")
    listening = [big for big, i in spread(n, shape.decoder).items() if i >= n // 2]
    quantization = None if args.dtype == "float32" else args.dtype
    out = args.out / f"whisper-inflated-{args.shape}"
    write(out, inflate(small, shape, ids), tokenizer_json, listening, quantization)


if __name__ == "__main__":
    main()
