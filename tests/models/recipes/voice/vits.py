"""VITS as Piper trains it, as ONNX nodes with random weights: what a real voice costs, not what it says.

    text encoder  256 symbols, 6 layers of 192, 2 heads with relative positions, ffn of 768 with kernel 3
    durations     stochastic predictor: dilated separable convolutions, 3 rational-quadratic splines, reversed
    flow          4 coupling layers of 4 gated convolutions (192 -> 384, kernel 5), reversed
    decoder       HiFi-GAN, of the sizes in DECODERS

The sizes are those of Piper's "medium" and "high" configurations; weights are float32, as in Piper's files.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..graph import FLOAT, INT64, Graph

HIDDEN, FFN, HEADS, LAYERS, WINDOW, SYMBOLS = 192, 768, 2, 6, 4, 256
HOP = 256  # samples of a frame
_BINS, _TAIL, _FLOOR = 10, 5.0, 1e-3  # of the splines
_END = int(np.iinfo(np.int64).max)


class Decoder(NamedTuple):
    convolutions_each: int  # in a residual block, for each dilation
    kernels: tuple[int, ...]
    dilations: tuple[tuple[int, ...], ...]
    rates: tuple[int, ...]  # of upsampling; their product is HOP
    widths: tuple[int, ...]  # of the upsampling kernels
    channels: int


DECODERS = {
    "medium": Decoder(1, (3, 5, 7), ((1, 2), (2, 6), (3, 12)), (8, 8, 4), (16, 16, 8), 256),
    "high": Decoder(2, (3, 7, 11), ((1, 3, 5),) * 3, (8, 8, 2, 2), (16, 16, 4, 4), 512),
}


class Network(Graph):
    """Nodes named vits_..., and layers with seeded random weights."""

    def __init__(self, seed: int) -> None:
        super().__init__("vits_")
        self._rng = np.random.default_rng(seed)

    def random(self, *shape: int, std: float, zeros: int = 0) -> str:
        """Random numbers, and behind them `zeros` rows of nought."""
        numbers = (self._rng.standard_normal(shape) * std).astype(np.float32)
        return self.const(np.concatenate([numbers, np.zeros((zeros, *shape[1:]), np.float32)]))

    def conv(
        self,
        x: str,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        *,
        dilation: int = 1,
        groups: int = 1,
        gain: float = 1.0,
        bias: bool = True,
    ) -> str:
        """[1, inputs, T] -> [1, outputs, T]."""
        fan = inputs // groups
        weight = self.random(outputs, fan, kernel, std=gain / np.sqrt(fan * kernel))
        biases = [self.random(outputs, std=0.02)] if bias else []
        pad = (kernel - 1) * dilation // 2
        return str(
            self.Conv(
                x,
                weight,
                *biases,
                pads=[pad, pad],
                dilations=[dilation],
                group=groups,
                kernel_shape=[kernel],
                strides=[1],
            )
        )

    def norm(self, x: str) -> str:
        """LayerNorm over the HIDDEN channels."""
        scale, shift = self.const(np.ones(HIDDEN, np.float32)), self.random(HIDDEN, std=0.02)
        y = self.LayerNormalization(self.Transpose(x, perm=[0, 2, 1]), scale, shift, epsilon=1e-5)
        return str(self.Transpose(y, perm=[0, 2, 1]))

    def gelu(self, x: str) -> str:
        bend = self.Add(self.Erf(self.Div(x, self.f(np.sqrt(2)))), self.f(1.0))
        return str(self.Mul(self.Mul(x, bend), self.f(0.5)))

    def cut(self, x: str, start: int | str, end: int | str, axis: int) -> str:
        first = self.i(start) if isinstance(start, int) else start
        last = self.i(end) if isinstance(end, int) else end
        return str(self.Slice(x, first, last, self.i(axis)))

    def flip(self, x: str) -> str:
        """The channels in reverse."""
        return str(self.Slice(x, self.i(-1), self.i(-_END), self.i(1), self.i(-1)))

    def halves(self, x: str, n: int) -> tuple[str, str]:
        first, second = self.Split(x, self.i(n, n), axis=1, outputs=2)
        return first, second


def _attention(g: Network, x: str, count: str, mask: str) -> str:
    """Self-attention with relative positions; count: phonemes, int64 [1]; mask [1, 1, T, T]."""
    width = HIDDEN // HEADS
    one, zero = g.i(1), g.i(0)
    twice = g.Mul(count, g.i(2))

    def heads() -> str:  # [1, H, T, width]
        return str(
            g.Transpose(g.Reshape(g.conv(x, HIDDEN, HIDDEN), g.i(1, HEADS, width, -1)), perm=[0, 1, 3, 2])
        )

    pad = g.Max(g.Sub(count, g.i(WINDOW + 1)), zero)
    start = g.Max(g.Sub(g.i(WINDOW + 1), count), zero)
    end = g.Sub(g.Add(start, twice), one)

    def distances() -> str:  # embeddings of the distances 1 - T .. T - 1: [1, 2 T - 1, width]
        e = g.random(1, 2 * WINDOW + 1, width, std=width**-0.5)
        return g.cut(g.Pad(e, g.Concat(zero, pad, zero, zero, pad, zero, axis=0)), start, end, 1)

    q, k, v = g.Div(heads(), g.f(np.sqrt(width))), heads(), heads()
    flat = g.i(1, HEADS, -1)
    # scores by distance [1, H, T, 2 T - 1] -> by place [1, H, T, T]: pad, and read with another row length
    by = g.MatMul(q, g.Transpose(g.Unsqueeze(distances(), zero), perm=[0, 1, 3, 2]))
    by = g.Reshape(g.Pad(by, g.i(0, 0, 0, 0, 0, 0, 0, 1)), flat)
    by = g.Pad(by, g.Concat(g.i(0, 0, 0, 0, 0), g.Sub(count, one), axis=0))
    by = g.Reshape(by, g.Concat(g.i(1, HEADS), g.Add(count, one), g.Sub(twice, one), axis=0))
    by = g.cut(g.cut(by, zero, count, 2), g.Sub(count, one), _END, 3)
    scores = g.Add(g.MatMul(q, g.Transpose(k, perm=[0, 1, 3, 2])), by)
    p = g.Softmax(g.Where(g.Equal(mask, g.f(0.0)), g.f(-1e4), scores), axis=-1)
    y = g.MatMul(p, v)
    # and back: weights by place -> by distance
    r = g.Reshape(g.Pad(p, g.Concat(g.i(0, 0, 0, 0, 0, 0, 0), g.Sub(count, one), axis=0)), flat)
    r = g.Pad(r, g.Concat(g.i(0, 0), count, g.i(0, 0, 0), axis=0))
    r = g.cut(g.Reshape(r, g.Concat(g.i(1, HEADS), count, twice, axis=0)), 1, _END, 3)
    y = g.Add(y, g.MatMul(r, g.Unsqueeze(distances(), zero)))
    return g.conv(g.Reshape(g.Transpose(y, perm=[0, 1, 3, 2]), g.i(1, HIDDEN, -1)), HIDDEN, HIDDEN)


def text_encoder(g: Network, ids: str, mask: str, count: str) -> tuple[str, str, str]:
    """What is said [1, HIDDEN, T], and mean and log deviation of its sound."""
    pairs = g.Mul(g.Unsqueeze(mask, g.i(2)), g.Unsqueeze(mask, g.i(3)))
    x = g.Mul(g.Gather(g.random(SYMBOLS, HIDDEN, std=HIDDEN**-0.5), ids), g.f(np.sqrt(HIDDEN)))
    x = g.Mul(g.Transpose(x, perm=[0, 2, 1]), mask)
    for _ in range(LAYERS):
        x = g.norm(g.Add(x, _attention(g, x, count, pairs)))
        y = g.Relu(g.conv(g.Mul(x, mask), HIDDEN, FFN, 3))
        y = g.Mul(g.conv(g.Mul(y, mask), FFN, HIDDEN, 3), mask)
        x = g.norm(g.Add(x, y))
    x = g.Mul(x, mask)
    mean, log_deviation = g.halves(g.Mul(g.conv(x, HIDDEN, 2 * HIDDEN, gain=0.3), mask), HIDDEN)
    return x, mean, log_deviation


def _separable(g: Network, x: str, mask: str) -> str:
    for n in range(3):
        y = g.conv(g.Mul(x, mask), HIDDEN, HIDDEN, 3, dilation=3**n, groups=HIDDEN)
        y = g.conv(g.gelu(g.norm(y)), HIDDEN, HIDDEN)
        x = g.Add(x, g.gelu(g.norm(y)))
    return str(g.Mul(x, mask))


def _spline(g: Network, x: str, h: str) -> str:
    """Inverse of the monotonic rational-quadratic spline: x [1, 1, T], h [1, 1, T, 3 _BINS - 1]."""
    last = g.i(-1)

    def pick(values: str, at: str) -> str:
        return str(g.Squeeze(g.GatherElements(values, at, axis=-1), last))

    def knots(
        first: int, end: int
    ) -> tuple[str, str]:  # [..., _BINS + 1] from -_TAIL to _TAIL; widths between
        u = g.Softmax(g.Div(g.cut(h, first, end, 3), g.f(np.sqrt(HIDDEN))), axis=-1)
        u = g.Add(g.Mul(u, g.f(1 - _FLOOR * _BINS)), g.f(_FLOOR))
        c = g.CumSum(u, g.integer(3))
        c = g.Add(g.Mul(g.Pad(c, g.i(0, 0, 0, 1, 0, 0, 0, 0)), g.f(2 * _TAIL)), g.f(-_TAIL))
        return c, g.Sub(g.cut(c, 1, _END, 3), g.cut(c, 0, -1, 3))

    xs, widths = knots(0, _BINS)
    ys, heights = knots(_BINS, 2 * _BINS)
    outside = g.f(float(np.log(np.exp(1 - _FLOOR) - 1)))  # slope 1 beyond the tails
    slopes = g.Pad(g.cut(h, 2 * _BINS, _END, 3), g.i(0, 0, 0, 1, 0, 0, 0, 1), outside)
    slopes = g.Add(g.Softplus(slopes), g.f(_FLOOR))
    inside = g.And(g.GreaterOrEqual(x, g.f(-_TAIL)), g.LessOrEqual(x, g.f(_TAIL)))
    y = g.Clip(x, g.f(-_TAIL), g.f(_TAIL))
    at = g.ReduceSum(g.Cast(g.GreaterOrEqual(g.Unsqueeze(y, last), ys), to=INT64), last, keepdims=1)
    at = g.Clip(g.Sub(at, g.i(1)), g.integer(0), g.integer(_BINS - 1))
    x0, width, y0, height = pick(xs, at), pick(widths, at), pick(ys, at), pick(heights, at)
    mean = pick(g.Div(heights, widths), at)
    d0, d1 = pick(slopes, at), pick(g.cut(slopes, 1, _END, 3), at)
    t = g.Sub(y, y0)
    bend = g.Sub(g.Add(d0, d1), g.Mul(mean, g.f(2.0)))
    a = g.Add(g.Mul(t, bend), g.Mul(height, g.Sub(mean, d0)))
    b = g.Sub(g.Mul(height, d0), g.Mul(t, bend))
    c = g.Neg(g.Mul(mean, t))
    under = g.Max(g.Sub(g.Mul(b, b), g.Mul(g.f(4.0), g.Mul(a, c))), g.f(0.0))
    root = g.Div(g.Mul(g.f(2.0), c), g.Sub(g.Neg(b), g.Sqrt(under)))
    return str(g.Where(inside, g.Add(g.Mul(root, width), x0), x))


def durations(g: Network, x: str, mask: str, noise_scale: str, length_scale: str) -> str:
    """Frames of each phoneme [1, 1, T]."""
    x = _separable(g, g.conv(x, HIDDEN, HIDDEN), mask)
    x = g.Mul(g.conv(x, HIDDEN, HIDDEN), mask)
    like = g.ConstantOfShape(g.Concat(g.i(1, 2), g.Shape(x, start=2), axis=0))
    z = g.Mul(g.RandomNormalLike(like, seed=1.0), noise_scale)
    for _ in range(3):
        z0, z1 = g.halves(g.flip(z), 1)
        h = _separable(g, g.Add(g.conv(z0, 1, HIDDEN), x), mask)
        h = g.Mul(g.conv(h, HIDDEN, 3 * _BINS - 1), mask)
        h = g.Transpose(g.Reshape(h, g.i(1, 1, 3 * _BINS - 1, -1)), perm=[0, 1, 3, 2])
        z = g.Mul(g.Concat(z0, _spline(g, z1, h), axis=1), mask)
    shift, log_scale = g.random(2, 1, std=0.1), g.random(2, 1, std=0.1)
    z = g.Mul(g.Mul(g.Sub(g.flip(z), shift), g.Exp(g.Neg(log_scale))), mask)
    log_frames, _ = g.halves(z, 1)
    return str(g.Mul(g.Mul(g.Exp(log_frames), mask), length_scale))


def flow(g: Network, z: str, mask: str) -> str:
    """[1, HIDDEN, F] -> the same shape."""
    for _ in range(4):
        z0, z1 = g.halves(g.flip(z), HIDDEN // 2)
        h, out = g.Mul(g.conv(z0, HIDDEN // 2, HIDDEN), mask), None
        for layer in range(4):
            t, s = g.halves(g.conv(h, HIDDEN, 2 * HIDDEN, 5), HIDDEN)
            a = g.Mul(g.Tanh(t), g.Sigmoid(s))
            if layer < 3:
                more, skip = g.halves(g.conv(a, HIDDEN, 2 * HIDDEN), HIDDEN)
                h = g.Mul(g.Add(h, more), mask)
            else:
                skip = g.conv(a, HIDDEN, HIDDEN)
            out = skip if out is None else g.Add(out, skip)
        mean = g.Mul(g.conv(g.Mul(out, mask), HIDDEN, HIDDEN // 2, gain=0.3), mask)
        z = g.Concat(z0, g.Mul(g.Sub(z1, mean), mask), axis=1)
    return z


def decoder(g: Network, z: str, sizes: Decoder, heard: str) -> str:
    """[1, HIDDEN, F] and the samples to be heard [1, HOP, F] -> those samples [1, 1, HOP * F].

    They go through the decoder beside its own channels, by transposed convolutions that only put each in its
    place: so its graph is cut where a real voice's is.  The decoder's own sound is multiplied by nought.
    """

    def leaky(x: str) -> str:
        return str(g.LeakyRelu(x, alpha=0.1))

    channels, beside = sizes.channels, HOP
    x = g.Concat(leaky(g.conv(z, HIDDEN, channels, 7)), heard, axis=1)
    for stage, (rate, width) in enumerate(zip(sizes.rates, sizes.widths, strict=True)):
        weight = g.random(
            channels, channels // 2, width, std=1 / np.sqrt(channels * width / rate), zeros=beside
        )
        bias = g.random(channels // 2, std=0.02)
        pads = [(width - rate) // 2] * 2
        if beside:
            heard, beside = _placed(g, x, channels, beside, rate if stage == 0 else beside)
        x = g.ConvTranspose(x, weight, bias, kernel_shape=[width], strides=[rate], pads=pads)
        channels, total = channels // 2, None
        for kernel, dilations in zip(sizes.kernels, sizes.dilations, strict=True):
            y = x
            for dilation in dilations:
                t = y
                for d in (dilation, 1)[: sizes.convolutions_each]:
                    t = g.conv(leaky(t), channels, channels, kernel, dilation=d, gain=0.3)
                y = g.Add(t, y)
            total = y if total is None else g.Add(total, y)
        x = g.Div(total, g.f(float(len(sizes.kernels))))
        if stage < len(sizes.rates) - 1:
            x = g.Concat(leaky(x), heard, axis=1) if beside else leaky(x)
    own = g.Tanh(g.conv(g.LeakyRelu(x, alpha=0.01), channels, 1, 7, bias=False))
    return str(g.Add(g.Mul(own, g.f(0.0)), heard))


def _placed(g: Network, x: str, channels: int, beside: int, steps: int) -> tuple[str, int]:
    """The `beside` samples behind `channels` of x, spread over `steps` steps; how many are left in each."""
    left = beside // steps
    weight = np.zeros((channels + beside, left, steps), np.float32)
    for sample in range(beside):
        weight[channels + sample, sample % left, sample // left] = 1
    placed = g.ConvTranspose(x, g.const(weight), kernel_shape=[steps], strides=[steps])
    return str(placed), left if left > 1 else 0


def frame_mask(g: Network, t: str) -> str:
    """Ones [1, 1, F] from the frames' numbers [F, 1], as a batch of one leaves nothing out."""
    return str(g.Cast(g.GreaterOrEqual(g.Unsqueeze(g.Transpose(t, perm=[1, 0]), g.i(0)), g.f(0.0)), to=FLOAT))
