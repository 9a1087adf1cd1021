"""What the recogniser hears: espeak-ng's voices in rooms, through microphones, in noise; and noise alone.

Sound is float32 in -1 .. 1 at RATE_HZ. Everything follows from the generators passed in.
"""

from __future__ import annotations

import io
import subprocess
import wave
from random import Random

import numpy as np
import numpy.typing as npt
from scipy.signal import butter, fftconvolve, resample_poly, sosfilt

RATE_HZ = 16000

Sound = npt.NDArray[np.float32]
#: espeak-ng's name, words per minute, pitch
Voice = tuple[str, int, int]

_ACCENTS = ["en-us"] * 4 + ["en-gb"] * 4
_ACCENTS += ["en-gb-scotland", "en-029", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-us-nyc"]
_SPEAKERS = [""] * 12 + ["m1", "m2", "m3", "m4", "m6", "m7", "f1", "f3", "f4", "f5"] * 2
_SPEAKERS += ["m8", "Andy", "Annie", "Gene", "Lee", "Mario", "Michael", "adam", "anika", "antonio", "aunty"]
_SPEAKERS += ["benjamin", "david", "ed", "grandpa", "iven", "linda", "michel", "norbert", "pablo", "paul"]
_SPEAKERS += ["pedro", "quincy", "rob", "robert", "sandro", "shelby", "steph", "travis", "zac"]
_SPEAKERS += ["klatt", "klatt2"]
#: never used in training
_HELD_OUT = ["en-us+m5", "en-gb+m5", "en-us+f2", "en-gb+f2", "en-gb-x-rp", "en-gb-x-rp+m3", "en-us+Alex"]
_HELD_OUT += ["en-gb+Andrea", "en-029+m5", "en-gb-scotland+f2"]


def train_voice(rng: Random) -> Voice:
    speaker = rng.choice(_SPEAKERS)
    name = rng.choice(_ACCENTS) + (f"+{speaker}" if speaker else "")
    words_per_minute = rng.choice([150, 175]) if rng.random() < 0.1 else rng.randint(128, 202)
    pitch = 50 if rng.random() < 0.5 else rng.randint(25, 75)
    return name, words_per_minute, pitch


def held_out_voice(rng: Random) -> Voice:
    return rng.choice(_HELD_OUT), rng.choice([135, 145, 155, 165, 180, 190]), rng.choice([40, 50, 50, 60])


def resample(x: npt.NDArray[np.floating], from_hz: int, to_hz: int) -> Sound:
    if from_hz == to_hz:
        return x.astype(np.float32)
    common = int(np.gcd(from_hz, to_hz))
    return np.asarray(resample_poly(x, to_hz // common, from_hz // common), np.float32)


def trim(x: Sound, floor: float = 0.01) -> Sound:
    """Without the silence before and after; 20 ms of it stay."""
    loud = np.flatnonzero(np.abs(x) > floor * (np.abs(x).max() + 1e-9))
    margin = RATE_HZ // 50
    return x[max(0, loud[0] - margin) : loud[-1] + margin] if len(loud) else x


def speak(text: str, voice: Voice) -> Sound:
    """Clean speech, trimmed, by the espeak-ng program."""
    name, words_per_minute, pitch = voice
    command = ["espeak-ng", "-v", name, "-s", str(words_per_minute), "-p", str(pitch), "--stdout", text]
    raw = subprocess.run(command, capture_output=True, check=True, stdin=subprocess.DEVNULL).stdout
    with wave.open(io.BytesIO(raw)) as w:
        rate_hz = w.getframerate()
    pcm = raw[44:]  # the header of a stream does not know the length
    x = np.frombuffer(pcm[: len(pcm) // 2 * 2], np.int16).astype(np.float32) / 32768
    return trim(resample(x, rate_hz, RATE_HZ))


def colour(x: Sound, rng: np.random.Generator) -> Sound:
    """Another rate and back, speed, reverb, band limits, tilt, soft clipping and level, each now and then."""
    y: npt.NDArray[np.floating] = x
    if rng.random() < 0.15:
        other_hz = int(rng.choice([44100, 48000, 22050, 24000]))
        y = resample(resample(y, RATE_HZ, other_hz), other_hz, RATE_HZ)
    if rng.random() < 0.05:  # up to 2 % too fast or slow
        n = int(len(y) * rng.uniform(0.98, 1.02))
        y = np.interp(np.linspace(0, len(y) - 1, n), np.arange(len(y)), y).astype(np.float32)
    if rng.random() < 0.25:
        reverb_s = rng.uniform(0.08, 0.45)
        n = int(reverb_s * RATE_HZ)
        room = rng.standard_normal(n) * 10 ** (-3 * np.arange(n) / n)
        room[: int(0.002 * RATE_HZ)] = 0
        room *= rng.uniform(0.1, 0.7) / np.sqrt((room**2).sum() + 1e-9)
        room[0] = 1.0
        y = fftconvolve(y, room)[: len(y) + int(0.5 * n)].astype(np.float32)
    if rng.random() < 0.2:
        y = _filter(y, int(rng.integers(1, 5)), rng.uniform(2800, 7500), "low")
    if rng.random() < 0.25:
        y = _filter(y, int(rng.integers(1, 3)), rng.uniform(40, 350), "high")
    if rng.random() < 0.3:
        tilt = rng.uniform(-0.5, 0.5)
        y = np.append(y[0], y[1:] - tilt * y[:-1])
    y = y / (np.abs(y).max() + 1e-9)
    if rng.random() < 0.05:
        y = np.tanh(y * rng.uniform(1.5, 4))
    return (y * rng.uniform(0.25, 0.95)).astype(np.float32)


def _filter(
    x: npt.NDArray[np.floating], order: int, hz: float | list[float], kind: str
) -> npt.NDArray[np.floating]:
    return np.asarray(sosfilt(butter(order, hz, kind, fs=RATE_HZ, output="sos"), x))


# ---------------------------------------------------------------- noise
def _shaped(n: int, rng: np.random.Generator, power: float) -> npt.NDArray[np.float64]:
    """Noise whose power falls with the frequency to that power: 1 is pink, 2 brown."""
    spectrum = np.fft.rfft(rng.standard_normal(n))
    hz = np.maximum(np.fft.rfftfreq(n, 1 / RATE_HZ), 20)
    return np.fft.irfft(spectrum / hz ** (power / 2), n)


def _hum(n: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    t = np.arange(n) / RATE_HZ
    hz = rng.choice([50, 60, 100, 120]) * rng.uniform(0.99, 1.01)
    x = np.zeros(n)
    for k in range(1, 12):
        x = x + rng.uniform(0, 1) / k * np.sin(2 * np.pi * hz * k * t + rng.uniform(0, 6.3))
    return np.asarray(x + 0.02 * rng.standard_normal(n))


def _music(n: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    x = np.zeros(n)
    at = 0
    while at < n:
        length = int(RATE_HZ * rng.uniform(0.15, 0.9))
        t = np.arange(min(length, n - at)) / RATE_HZ
        root_hz = 110 * 2 ** (rng.integers(0, 36) / 12)
        envelope = np.minimum(1, t / 0.01) * np.exp(-t * rng.uniform(0.5, 6))
        for semitones in rng.choice([0, 3, 4, 5, 7, 9, 12], size=rng.integers(1, 4), replace=False):
            hz = root_hz * 2 ** (semitones / 12)
            for harmonic in range(1, int(rng.integers(2, 7))):
                if hz * harmonic < 7500:
                    x[at : at + len(t)] += envelope / harmonic * np.sin(2 * np.pi * hz * harmonic * t)
        at += int(length * rng.uniform(0.5, 1.1)) + 1
    return x


def _events(n: int, rng: np.random.Generator, kind: str) -> npt.NDArray[np.float64]:
    """Clicks, knocks or beeps at random times, on faint noise."""
    faint, most, shortest_s, longest_s = {
        "clicks": (0.003, 2 + n // RATE_HZ * 5, 0.002, 0.04),
        "knock": (0.002, 2 + n // RATE_HZ * 3, 0.03, 0.2),
        "beep": (0.001, 5, 0.05, 1.0),
    }[kind]
    x = faint * rng.standard_normal(n)
    for _ in range(int(rng.integers(1, most))):
        at, length = int(rng.integers(0, n)), int(RATE_HZ * rng.uniform(shortest_s, longest_s))
        length = min(length, n - at)
        t = np.arange(length) / RATE_HZ
        if kind == "clicks":
            decay = np.exp(-np.arange(length) / (length / 4 + 1))
            x[at : at + length] += rng.uniform(0.2, 1) * rng.standard_normal(length) * decay
        elif kind == "knock":
            level, hz = rng.uniform(0.3, 1), rng.uniform(80, 900)
            x[at : at + length] += level * np.sin(2 * np.pi * hz * t) * np.exp(-t * rng.uniform(20, 90))
        else:
            hz, glide = rng.uniform(200, 4000), rng.uniform(-800, 800) * (rng.random() < 0.3)
            x[at : at + length] += np.sin(2 * np.pi * (hz * t + glide * t * t / 2))
    return x


def _gust(n: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Wind, traffic, breathing: noise that swells and fades."""
    t = np.arange(n) / RATE_HZ
    knots = np.arange(0, t[-1] + 1, 0.5)
    envelope = np.interp(t, knots, rng.uniform(0.02, 1, len(knots)))
    return _shaped(n, rng, rng.uniform(0.5, 2)) * envelope


def _band(n: int, rng: np.random.Generator) -> npt.NDArray[np.floating]:
    low_hz = rng.uniform(60, 2000)
    high_hz = min(7800, low_hz * rng.uniform(1.5, 6))
    return _filter(rng.standard_normal(n), 2, [low_hz, high_hz], "band")


NOISES = ["white", "pink", "brown", "band", "hum", "music", "clicks", "knock", "beep", "gust"]
#: no sound, and the least that a converter gives
STILL = ["silence", "dither"]


def noise(kind: str, n: int, rng: np.random.Generator) -> Sound:
    """n samples without speech, of power 1 (NOISES) or as quiet as they are (STILL)."""
    if kind == "silence":
        return np.zeros(n, np.float32)
    if kind == "dither":
        return np.asarray(np.round(rng.standard_normal(n) * rng.uniform(0.3, 3)) / 32768, np.float32)
    x: npt.NDArray[np.floating]
    if kind == "white":
        x = rng.standard_normal(n)
    elif kind in ("pink", "brown"):
        x = _shaped(n, rng, 1.0 if kind == "pink" else 2.0)
    elif kind in ("clicks", "knock", "beep"):
        x = _events(n, rng, kind)
    else:
        x = {"band": _band, "hum": _hum, "music": _music, "gust": _gust}[kind](n, rng)
    return np.asarray(x / (np.sqrt((x**2).mean()) + 1e-9), np.float32)


def add_noise(x: Sound, snr_db: float, kind: str, rng: np.random.Generator) -> Sound:
    """Speech with noise `snr_db` below its louder parts."""
    speech = np.sqrt((x[np.abs(x) > 0.02 * np.abs(x).max()] ** 2).mean())
    y = x + noise(kind, len(x), rng) * speech * 10 ** (-snr_db / 20)
    return np.asarray(y / max(1.0, np.abs(y).max() / 0.99), np.float32)
