"""Give a test voice the cost of a real Piper voice, with the same interface and the same samples.

Beside the voice's own graph runs all of VITS (vits.py). It reads the same ids and scales and makes as many
frames of 256 samples as the voice's audio needs: its own durations are thrown away for the voice's, rounded
as sums, so that they add up. The decoder takes
the test voice's samples along and gives them, bit by bit, whatever VITS made of random weights: its own sound
is multiplied by nought, which no optimizer may leave out, as nought times infinity is none. Up to a frame of
silence follows. The only Ceil node stays the test voice's own, where Piper looks for alignments.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
import onnx

from ..graph import FLOAT
from . import vits

MODELS = Path(__file__).resolve().parents[2]


def _branch(g: vits.Network, frames: str, audio: str, hop: int, sizes: vits.Decoder) -> None:
    """frames [1, 1, T] of `hop` samples, audio [1, 1, 1, N] -> "output" [1, 1, 1, N or a bit more]."""

    def upto(count: str) -> str:
        return str(g.Range(g.integer(0), g.Squeeze(count, g.i(0)), g.integer(1)))

    ids = g.Clip("input", g.integer(0), g.integer(vits.SYMBOLS - 1))
    count = g.Shape("input", start=1, end=2)
    mask = g.Cast(g.Less(upto(count), g.Unsqueeze("input_lengths", g.i(1))), to=FLOAT)
    mask = g.Unsqueeze(mask, g.i(1))  # [1, 1, T]
    noise, length, duration_noise = (g.Slice("scales", g.i(k), g.i(k + 1)) for k in range(3))
    x, mean, log_deviation = vits.text_encoder(g, ids, mask, count)
    never = g.Less(g.Slice("input_lengths", g.i(0), g.i(1)), g.i(0))  # no one has fewer than no phonemes
    own = vits.durations(g, x, mask, duration_noise, length)
    wanted = g.Where(never, own, g.Mul(frames, g.f(hop / vits.HOP)))
    samples = g.Shape(audio, start=3, end=4)
    total = g.Div(g.Add(samples, g.i(vits.HOP - 1)), g.i(vits.HOP))
    rounding = g.f((vits.HOP - 1) / vits.HOP)
    end = g.Floor(g.Add(g.CumSum(wanted, g.integer(2)), rounding))  # the frame at which each id ends
    t = g.Unsqueeze(g.Cast(upto(total), to=FLOAT), g.i(1))
    path = g.Cast(g.Less(t, g.Squeeze(end, g.i(1))), to=FLOAT)  # [F, T]
    path = g.Unsqueeze(g.Sub(path, g.cut(g.Pad(path, g.i(0, 1, 0, 0)), 0, -1, 1)), g.i(0))

    def spread(y: str) -> str:  # [1, HIDDEN, T] -> [1, HIDDEN, F]
        return str(g.Transpose(g.MatMul(path, g.Transpose(y, perm=[0, 2, 1])), perm=[0, 2, 1]))

    mean, log_deviation = spread(mean), spread(log_deviation)
    z = g.Add(mean, g.Mul(g.Mul(g.RandomNormalLike(mean, seed=2.0), g.Exp(log_deviation)), noise))
    ones = vits.frame_mask(g, t)
    rest = g.Sub(g.Mul(total, g.i(vits.HOP)), samples)
    heard = g.Pad(g.Reshape(audio, g.i(-1)), g.Concat(g.i(0), rest, axis=0))
    heard = g.Unsqueeze(g.Transpose(g.Reshape(heard, g.i(-1, vits.HOP)), perm=[1, 0]), g.i(0))
    y = vits.decoder(g, g.Mul(vits.flow(g, z, ones), ones), sizes, heard)
    g.Unsqueeze(y, g.i(1), out="output")


def inflate(voice: Path, out: Path, shape: str) -> None:
    config = json.loads(Path(f"{voice}.json").read_text(encoding="utf-8"))
    model = onnx.load(str(voice))
    graph = model.graph
    ceil = [node.output[0] for node in graph.node if node.op_type == "Ceil"]
    if len(ceil) != 1 or [o.name for o in graph.output] != ["output"] or "hop_length" not in config:
        raise SystemExit(f"{voice} is not one of the test voices (en_US-tiny-*.onnx)")
    for node in graph.node:
        node.output[:] = ["tiny_audio" if name == "output" else name for name in node.output]
    g = vits.Network(seed=7)
    _branch(g, ceil[0], "tiny_audio", config["hop_length"], vits.DECODERS[shape])
    graph.node.extend(g.nodes)
    graph.initializer.extend(g.constants)
    graph.doc_string += f"; with the cost of a Piper {shape} voice"
    onnx.checker.check_model(model, full_check=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(out))
    shutil.copyfile(f"{voice}.json", f"{out}.json")
    weights = sum(int(np.prod(c.dims)) for c in g.constants)
    print(f"{out.name}: {out.stat().st_size} bytes, {weights} weights of VITS, {len(graph.node)} nodes")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--voice", type=Path, default=MODELS / "en_US-tiny-medium.onnx")
    parser.add_argument("--out", type=Path, required=True, help="folder")
    parser.add_argument("--shape", choices=vits.DECODERS, default="medium")
    args = parser.parse_args()
    inflate(args.voice, args.out / f"en_US-inflated-{args.shape}.onnx", args.shape)


if __name__ == "__main__":
    main()
