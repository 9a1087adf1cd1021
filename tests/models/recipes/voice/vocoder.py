"""The voice's vocoder as ONNX nodes: plain signal processing, nothing learned, no randomness."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..graph import DOUBLE, FLOAT, Graph
from .features import BANDS, NOISINESS, band_matrix, noisiness_matrix

#: How many frames a filtered frame rings on, half of them before its centre.
_SPREAD = 9
_NOISE_SAMPLES = 16381  # prime, so that the table never repeats in step with the frames


def _minimum_phase(log_amplitude: npt.NDArray[np.float64], nfft: int) -> npt.NDArray[np.float64]:
    """[bands, bins] log amplitudes -> minimum phases in radians (linear, through the folded cepstrum)."""
    bins = nfft // 2 + 1
    full = np.concatenate([log_amplitude, log_amplitude[:, -2:0:-1]], 1)
    cepstrum = np.fft.ifft(full, axis=1).real
    fold = np.zeros(nfft)
    fold[0] = fold[nfft // 2] = 1
    fold[1 : nfft // 2] = 2
    return np.asarray(np.fft.fft(cepstrum * fold, axis=1).imag[:, :bins])


def _excitation(g: Graph, log_pitch: str, frames: str, rate_hz: int, hop: int) -> tuple[str, str]:
    """Harmonics [S] (all below 0.48 of the rate, summed in closed form) and noise [S], each of power one."""
    pitch = g.Clip(g.Exp(log_pitch), g.f(50.0), g.f(400.0))  # [F, 1]
    hz = g.Expand(pitch, g.Concat(frames, g.i(hop), axis=0))
    hz = g.Reshape(hz, g.i(-1))  # [S]
    cycles = g.CumSum(
        g.Div(g.Cast(hz, to=DOUBLE), g.const(np.array(rate_hz, np.float64))), g.const(np.array(0, np.int64))
    )
    cycles = g.Cast(g.Sub(cycles, g.Floor(cycles)), to=FLOAT)
    half = g.Mul(g.Sub(cycles, g.f(0.5)), g.f(np.pi))  # half the phase; the pulse sits where a cycle begins
    half = g.Add(half, g.f(np.pi / 2))
    count = g.Floor(g.Div(g.f(rate_hz * 0.48), hz))
    sine = g.Sin(half)
    safe = g.Where(g.Less(g.Abs(sine), g.f(1e-4)), g.f(1e-4), sine)
    kernel = g.Div(g.Sin(g.Mul(half, g.Add(g.Mul(count, g.f(2.0)), g.f(1.0)))), safe)  # 1 + 2 sum of cosines
    kernel = g.Where(g.Less(g.Abs(sine), g.f(1e-4)), g.Add(g.Mul(count, g.f(2.0)), g.f(1.0)), kernel)
    harmonics = g.Mul(g.Sub(kernel, g.f(1.0)), g.Sqrt(g.Div(hz, g.f(float(rate_hz)))))
    samples = g.Shape(harmonics)
    table = np.random.default_rng(11).standard_normal(_NOISE_SAMPLES).astype(np.float32)
    at = g.Range(g.integer(0), g.Squeeze(samples, g.i(0)), g.integer(1))
    noise = g.Gather(g.const(table, half=True), g.Mod(at, g.integer(len(table))))
    return harmonics, noise


def _angles(g: Graph, rows: int, columns: int, nfft: int) -> str:
    """[rows, columns] of 2 pi i j / nfft, made when the session starts, so that it costs no bytes."""

    def upto(n: int) -> str:
        return str(g.Range(g.f(0.0), g.f(float(n)), g.f(1.0)))

    product = g.MatMul(g.Unsqueeze(upto(rows), g.i(1)), g.Unsqueeze(upto(columns), g.i(0)))
    product = g.Mod(product, g.f(float(nfft)), fmod=1)  # exact: whole numbers below 2 ** 24
    return str(g.Mul(product, g.f(2 * np.pi / nfft)))


def vocoder(g: Graph, features: str, rate_hz: int, hop: int, nfft: int) -> str:
    """Nodes from features [F, OUT] to samples [F * hop].

    Each frame of three hops is windowed, filtered in the frequency domain by its own minimum-phase filter,
    and added to its neighbours over _SPREAD hops; the transforms are matrix products.
    """
    bins = nfft // 2 + 1
    hz = np.arange(bins) * rate_hz / nfft
    log_amplitude = band_matrix(hz) * 0.5  # the envelope is of power
    phases = _minimum_phase(log_amplitude, nfft)
    length = 3 * hop
    bands = g.Slice(features, g.i(0), g.i(BANDS), g.i(1))
    log_pitch = g.Slice(features, g.i(BANDS), g.i(BANDS + 1), g.i(1))
    noisiness = g.Slice(features, g.i(BANDS + 1), g.i(BANDS + 1 + NOISINESS), g.i(1))
    amplitude = g.Exp(g.MatMul(bands, g.const(log_amplitude, np.float32, half=True)))
    phase = g.MatMul(bands, g.const(phases, np.float32, half=True))
    to_log = g.const(noisiness_matrix(hz) * np.log(10), np.float32, half=True)  # of 20 dB: a factor of ten
    share = g.Exp(g.Min(g.MatMul(noisiness, to_log), g.f(0.0)))
    of_harmonics = g.Mul(amplitude, g.Sqrt(g.Max(g.Sub(g.f(1.0), g.Mul(share, share)), g.f(0.0))))
    of_noise = g.Mul(amplitude, share)
    frames = g.Shape(features, start=0, end=1)
    harmonics, noise = _excitation(g, log_pitch, frames, rate_hz, hop)

    window = (0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(length) + 0.5) / length)) / 1.5  # Hann
    forward = _angles(g, length, bins, nfft)
    column = g.const(window[:, None], np.float32)
    to_real, to_imaginary = g.Mul(g.Cos(forward), column), g.Mul(g.Neg(g.Sin(forward)), column)

    def spectrum(x: str) -> tuple[str, str]:
        blocks = g.Reshape(x, g.i(-1, hop))
        padded = g.Pad(blocks, g.i(1, 0, 1, 0))
        end = int(np.iinfo(np.int64).max)
        before = g.Slice(padded, g.i(0), g.i(-2), g.i(0))
        windows = g.Concat(before, blocks, g.Slice(padded, g.i(2), g.i(end), g.i(0)), axis=1)
        return g.MatMul(windows, to_real), g.MatMul(windows, to_imaginary)

    hr, hi = spectrum(harmonics)
    nr, ni = spectrum(noise)
    er = g.Add(g.Mul(hr, of_harmonics), g.Mul(nr, of_noise))
    ei = g.Add(g.Mul(hi, of_harmonics), g.Mul(ni, of_noise))
    cosine, sine = g.Cos(phase), g.Sin(phase)
    yr = g.Sub(g.Mul(er, cosine), g.Mul(ei, sine))
    yi = g.Add(g.Mul(er, sine), g.Mul(ei, cosine))
    weights = np.full((bins, 1), 2.0 / nfft)
    weights[0] = weights[-1] = 1.0 / nfft
    inverse = _angles(g, bins, _SPREAD * hop, nfft)
    weight = g.const(weights, np.float32)
    y = g.Sub(g.MatMul(yr, g.Mul(g.Cos(inverse), weight)), g.MatMul(yi, g.Mul(g.Sin(inverse), weight)))
    # overlap-add: row j of blocks, one row longer than the next, lands j frames later
    y = g.Transpose(g.Reshape(y, g.i(-1, _SPREAD, hop)), perm=[1, 0, 2])  # [spread, F, hop]
    y = g.Pad(y, g.i(0, 0, 0, 0, _SPREAD, 0))
    y = g.Reshape(y, g.i(-1, hop))
    y = g.Slice(y, g.i(0), g.i(-_SPREAD), g.i(0))
    y = g.ReduceSum(g.Reshape(y, g.i(_SPREAD, -1, hop)), g.i(0), keepdims=0)  # [F + spread - 1, hop]
    y = g.Slice(y, g.i(1), g.Add(frames, g.i(1)), g.i(0))  # a window begins one hop before its frame
    return str(g.Reshape(y, g.i(-1)))
