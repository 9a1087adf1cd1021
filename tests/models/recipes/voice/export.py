"""Write the voice as ONNX with Piper's interface, 16 and 22.05 kHz from the same weights.

input int64 [1, T], input_lengths int64 [1], scales float32 [3] (noise, length, noise of durations)
-> output float32 [1, 1, 1, N]. The only Ceil node holds the frames of each id, [1, 1, T], where Piper
looks for alignments. Both noise scales are accepted and have no effect: the same ids give the same samples.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper
from piper.phoneme_ids import DEFAULT_PHONEME_ID_MAP

from ..graph import FLOAT, INT64, Graph
from . import features as ft
from .vocoder import vocoder

HERE = Path(__file__).resolve().parent
#: quality: rate in hertz, samples of a frame, points of the transform
QUALITIES = {"low": (16000, 80, 768), "medium": (22050, 110, 1024)}

Weights = dict[str, npt.NDArray[np.float32]]


def _weight(g: Graph, weights: Weights, name: str) -> str:
    return g.const(weights[name], half=weights[name].size > 300)


def _convolve(g: Graph, weights: Weights, x: str, layer: str, kernel: int, dilation: int) -> str:
    """x + relu(conv(x)), x [n, channels]."""
    t = g.Unsqueeze(g.Transpose(x, perm=[1, 0]), g.i(0))
    pad = kernel // 2 * dilation
    y = g.Conv(
        t,
        _weight(g, weights, f"{layer}.weight"),
        g.const(weights[f"{layer}.bias"]),
        pads=[pad, pad],
        dilations=[dilation],
    )
    return str(g.Add(x, g.Transpose(g.Squeeze(g.Relu(y), g.i(0)), perm=[1, 0])))


def _encode(g: Graph, weights: Weights, ids: str, count: str) -> str:
    """Phonemes [N] and their number [1] -> what the network makes of them [N, PHONEME_CHANNELS]."""
    total = g.Cast(count, to=FLOAT)
    at = g.Cast(g.Range(g.integer(0), g.Squeeze(count, g.i(0)), g.integer(1)), to=FLOAT)
    remaining = g.Min(g.Div(g.Sub(total, at), g.f(ft.REMAINING_UNIT)), g.f(ft.REMAINING_LIMIT))
    position = g.Concat(g.Unsqueeze(g.Div(at, total), g.i(1)), g.Unsqueeze(remaining, g.i(1)), axis=1)
    ends = g.const(np.array(ft.END_OF, np.int64))
    last = g.Gather(ends, g.Gather(ids, g.Max(g.Sub(count, g.i(2)), g.i(0))))
    symbol = g.Gather(_weight(g, weights, "emb.weight"), ids)
    melody = g.Gather(_weight(g, weights, "end.weight"), last)
    h = g.Add(g.Add(symbol, melody), g.MatMul(position, g.const(weights["pos.weight"].T)))
    for layer in range(ft.PHONEME_LAYERS):
        h = _convolve(g, weights, h, f"enc.{layer}", ft.PHONEME_KERNEL, 1)
    return str(h)


def _frames(g: Graph, weights: Weights, h: str, at: str, padded: str) -> str:
    """Whole frames of each phoneme [N]; by way of the padded ids, [1, 1, T], where Piper reads them."""
    d = g.Reshape(g.Add(g.MatMul(h, g.const(weights["dur.weight"].T)), g.const(weights["dur.bias"])), g.i(-1))
    d = g.Sub(g.Exp(g.Max(d, g.f(0.0))), g.f(1.0))
    length_scale = g.Slice("scales", g.i(1), g.i(2), g.i(0))
    d = g.Max(g.Sub(g.Mul(d, length_scale), g.f(0.5)), g.f(0.0))
    whole = g.ScatterElements(g.Expand(g.f([0.0]), padded), at, d, axis=0)
    whole = g.Ceil(g.Reshape(whole, g.i(1, 1, -1)), out="w_ceil")
    return str(g.Gather(g.Reshape(whole, g.i(-1)), at))


def _decode(g: Graph, weights: Weights, h: str, d: str, count: str) -> str:
    """Phonemes [N, PHONEME_CHANNELS] and their frames [N] -> features [F, OUT], F at least 4."""
    end = g.CumSum(d, g.integer(0))
    frames = g.Max(g.Cast(g.ReduceSum(d, g.i(0), keepdims=1), to=INT64), g.i(4))
    t = g.Cast(g.Range(g.integer(0), g.Squeeze(frames, g.i(0)), g.integer(1)), to=FLOAT)
    past = g.Cast(g.LessOrEqual(g.Unsqueeze(end, g.i(0)), g.Unsqueeze(t, g.i(1))), to=INT64)  # [F, N]
    owner = g.Min(g.ReduceSum(past, g.i(1), keepdims=0), g.Sub(count, g.i(1)))  # the phoneme of each frame
    own = g.Max(g.Gather(d, owner), g.f(1.0))
    since = g.Sub(t, g.Sub(g.Gather(end, owner), g.Gather(d, owner)))
    fraction = g.Div(g.Add(since, g.f(0.5)), own)
    log_frames = g.Div(g.Log(g.Add(own, g.f(1.0))), g.f(3.0))
    columns = [g.Unsqueeze(v, g.i(1)) for v in (fraction, g.Sub(g.f(1.0), fraction), log_frames)]
    place = g.MatMul(g.Concat(*columns, axis=1), g.const(weights["frame.weight"].T))
    x = g.MatMul(g.Gather(h, owner), g.const(weights["up.weight"].T, half=True))
    x = g.Relu(g.Add(g.Add(x, g.const(weights["up.bias"])), place))
    for layer in range(ft.FRAME_LAYERS):
        x = _convolve(g, weights, x, f"dec.{layer}", ft.FRAME_KERNEL, ft.dilation(layer))
    mean, std = weights["mean"], weights["std"]
    out = g.const((weights["out.weight"] * std[:, None]).T, half=True)
    return str(g.Add(g.MatMul(x, out), g.const(weights["out.bias"] * std + mean)))


def build(weights: Weights, rate_hz: int, hop: int, nfft: int) -> Graph:
    """The whole voice, from "input" to "output"."""
    g = Graph()
    ids = g.Reshape(g.Slice("input", g.i(0), "input_lengths", g.i(1)), g.i(-1))  # [T]
    at = g.Reshape(g.NonZero(ids), g.i(-1))  # all but the padding between phonemes, which is id 0
    x = g.Clip(g.Gather(ids, at), g.integer(0), g.integer(ft.SYMBOLS - 1))  # [N]
    count = g.Shape(x)
    h = _encode(g, weights, x, count)
    d = _frames(g, weights, h, at, g.Shape(ids))
    sound = vocoder(g, _decode(g, weights, h, d, count), rate_hz, hop, nfft)
    g.Reshape(g.Clip(sound, g.f(-1.0), g.f(1.0)), g.i(1, 1, 1, -1), out="output")
    return g


def config(quality: str, rate_hz: int, hop: int) -> dict[str, object]:
    """The voice's .onnx.json, as Piper reads it."""
    return {
        "audio": {"sample_rate": rate_hz, "quality": quality},
        "espeak": {"voice": "en-us"},
        "inference": {"noise_scale": 0.667, "length_scale": 1, "noise_w": 0.8},
        "phoneme_type": "espeak",
        "phoneme_map": {},
        "phoneme_id_map": {k: v for k, v in DEFAULT_PHONEME_ID_MAP.items() if v[0] < 157},
        "num_symbols": 256,
        "num_speakers": 1,
        "speaker_id_map": {},
        "piper_version": "1.0.0",
        "hop_length": hop,
        "dataset": "tiny",
        "language": {
            "code": "en_US",
            "family": "en",
            "region": "US",
            "name_native": "English",
            "name_english": "English",
            "country_english": "United States",
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, default=HERE / "voice.npz")
    parser.add_argument("--out", type=Path, required=True, help="folder")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    with np.load(args.weights) as z:
        weights = {k: z[k].astype(np.float32) for k in z.files}
    for quality, (rate_hz, hop, nfft) in QUALITIES.items():
        path = args.out / f"en_US-tiny-{quality}.onnx"
        g = build(weights, rate_hz, hop, nfft)
        info = helper.make_tensor_value_info
        inputs = [
            info("input", TensorProto.INT64, ["batch_size", "phonemes"]),
            info("input_lengths", TensorProto.INT64, ["batch_size"]),
            info("scales", TensorProto.FLOAT, [3]),
        ]
        output = info("output", TensorProto.FLOAT, ["batch_size", 1, 1, "time"])
        g.save(path, inputs, [output], "test voice taught by espeak-ng")
        text = json.dumps(config(quality, rate_hz, hop), ensure_ascii=False, indent=2) + "\n"
        Path(f"{path}.json").write_text(text, encoding="utf-8")
        print(path.name, path.stat().st_size, "bytes,", len(g.nodes), "nodes")


if __name__ == "__main__":
    main()
