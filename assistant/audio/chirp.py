"""A chirp, and what a recording of it tells of the microphone, the speaker and the room between them.

Pure: samples in, figures out.  The chirp is found by its matched filter (cross-correlation: Turin, "An
introduction to matched filters", IRE Trans. Inf. Theory 6, 1960), which hears it far below the noise.
"""

from __future__ import annotations

import math

import msgspec
import numpy as np
import numpy.typing as npt

from assistant.audio.formats import RATE_HZ
from assistant.audio.level import FULL_SCALE, dbfs

LOWEST_HZ, HIGHEST_HZ = 200, 6_000
"""Speech lies here, and what small speakers can play; below is the hum of the mains."""

CHIRP_S = 1.0
FADE_S = 0.02
PEAK_DBFS = -12.0
"""Louder than an earcon, softer than an answer: it has to be heard, not to startle."""

LONGEST_DELAY_S = 1.0
"""How late an echo may be: three times what Bluetooth usually takes."""
EARLY_S = 0.1
"""By how much it may seem to come too soon: when a sample was heard and captured is known to some 20 ms."""
TAIL_S = 0.3
"""How long a living room's echo of the chirp's end is worth counting."""
NOISE_S = 0.8
"""How much of the quiet before the chirp is measured; the mains' harmonics stand apart in it."""

LEAD_S = NOISE_S + 3 * EARLY_S
"""How much quiet there has to be before the chirp; its ends are not measured."""

HEARD_RATIO = 10.0
"""How far the filter's peak stands above its median where there is a chirp.  Noise alone passes this once in
some millions of times (6.7 standard deviations, 18 000 places)."""
CLIPPED = 32_700
QUANTIZATION_POWER = 1 / 12
"""What noise 16 bits have at least, in steps squared (Widrow and Kollár, "Quantization Noise", 2008)."""
MAINS_HZ = (50, 60)
HARMONICS = 5
HUM_WIDTH_HZ = 3

Int16 = npt.NDArray[np.int16]
Floats = npt.NDArray[np.float64]


class Echo(msgspec.Struct, frozen=True):
    """How the chirp came back: `loss_db` below what was played (negative: louder), `snr_db` above the noise.

    Both within the chirp's band.
    """

    delay_ms: float
    level_dbfs: float
    loss_db: float
    snr_db: float


class Figures(msgspec.Struct, frozen=True):
    """What a recording shows.  `echo` is None where no chirp was heard.

    `noise_dbfs` is the quiet before the chirp, `hum_share` how much of its power the mains have; `dc_share`
    is the constant part, of full scale; `clipped_share` how many samples are as large as they can be.
    """

    noise_dbfs: float
    hum_share: float
    dc_share: float
    peak_dbfs: float
    clipped_share: float
    echo: Echo | None


def chirp() -> Int16:
    """The chirp at `RATE_HZ`, shape (n,): an exponential sweep (Farina, "Simultaneous measurement of impulse
    response and distortion with a swept-sine technique", AES 108, 2000) that fades in and out.
    """
    time_s = np.arange(int(CHIRP_S * RATE_HZ)) / RATE_HZ
    rate = math.log(HIGHEST_HZ / LOWEST_HZ) / CHIRP_S
    sweep = np.sin(2 * np.pi * LOWEST_HZ / rate * np.expm1(time_s * rate))
    amplitude = FULL_SCALE * 10 ** (PEAK_DBFS / 20)
    sound: Int16 = np.rint(amplitude * _fade(len(sweep), FADE_S) * sweep).astype(np.int16)
    return sound


def _fade(samples: int, fade_s: float) -> Floats:
    """From 0 to 1 and back to 0 along raised cosines."""
    edge_s = np.minimum(np.arange(samples), np.arange(samples)[::-1]) / RATE_HZ
    faded: Floats = np.sin(np.pi / 2 * np.minimum(edge_s / fade_s, 1)) ** 2
    return faded


def measure(recording: Int16, chirp_at: int) -> Figures:
    """What `recording`, at `RATE_HZ` and of shape (n,), shows.

    `chirp_at` is the sample at which `chirp()` began to be played.  `LEAD_S` of quiet lie before it,
    `LONGEST_DELAY_S` and `TAIL_S` behind its end.
    """
    before = chirp_at - int(EARLY_S * RATE_HZ)
    sound = recording.astype(np.float64)
    dc = float(sound.mean())
    sound -= dc
    edge = int(EARLY_S * RATE_HZ)
    quiet = slice(before - edge - int(NOISE_S * RATE_HZ), before - edge)
    noise = _in_band(sound[:before])[quiet]  # without the chirp, which would ring into it
    noise_power = max(float(np.mean(noise**2)), QUANTIZATION_POWER)
    sizes = np.abs(recording.astype(np.int32))  # -32768 has no counterpart above 0 in 16 bits
    return Figures(
        noise_dbfs=dbfs(float(sound[quiet].std())),
        hum_share=max(_hum_share(sound[quiet], mains_hz) for mains_hz in MAINS_HZ),
        dc_share=dc / FULL_SCALE,
        peak_dbfs=dbfs(int(sizes.max())),
        clipped_share=float(np.mean(sizes >= CLIPPED)),
        echo=_echo(_in_band(sound)[before:], noise_power),
    )


def _echo(sound: Floats, noise_power: float) -> Echo | None:
    """The chirp in `sound`, which begins `EARLY_S` before it was played."""
    played = chirp().astype(np.float64)
    lags = int((EARLY_S + LONGEST_DELAY_S) * RATE_HZ)
    sound = sound[: lags + len(played) + int(TAIL_S * RATE_HZ)]
    size = 1 << (len(sound) + len(played)).bit_length()  # no wrapping round
    matched = np.fft.irfft(np.fft.rfft(sound, size) * np.conj(np.fft.rfft(played, size)), size)[:lags]
    matched = np.abs(matched)  # a microphone may turn the sound upside down
    lag = int(matched.argmax())
    if matched[lag] <= HEARD_RATIO * np.median(matched):
        return None
    played_energy = float(np.sum(played**2))
    heard = sound[lag : lag + len(played) + int(TAIL_S * RATE_HZ)]
    direct = float(matched[lag]) ** 2 / played_energy
    # in loud noise the difference of two large numbers says less than the filter, which misses reverberation
    energy = max(float(np.sum(heard**2)) - noise_power * len(heard), direct)
    power = energy / len(played)
    return Echo(
        delay_ms=1000 * (lag / RATE_HZ - EARLY_S),
        level_dbfs=dbfs(math.sqrt(power)),
        loss_db=10 * math.log10(played_energy / energy),
        snr_db=10 * math.log10(power / noise_power),
    )


def _in_band(sound: Floats) -> Floats:
    """What of `sound` lies in the chirp's band.

    Its ends fade for `EARLY_S`: a hum that is cut off sharply has all frequencies in it.
    """
    faded = sound * _fade(len(sound), EARLY_S)
    frequency_hz = np.fft.rfftfreq(len(sound), 1 / RATE_HZ)
    outside = (frequency_hz < LOWEST_HZ) | (frequency_hz > HIGHEST_HZ)
    spectrum = np.fft.rfft(faded)
    spectrum[outside] = 0
    inside: Floats = np.fft.irfft(spectrum, len(sound))
    return inside


def _hum_share(quiet: Floats, mains_hz: int) -> float:
    """How much of the power of `quiet` lies at `mains_hz` and its first harmonics."""
    power = np.abs(np.fft.rfft((quiet - quiet.mean()) * np.hanning(len(quiet)))) ** 2
    frequency_hz = np.fft.rfftfreq(len(quiet), 1 / RATE_HZ)
    nearest = np.clip(np.rint(frequency_hz / mains_hz), 1, HARMONICS) * mains_hz
    total = float(power.sum())
    return float(power[np.abs(frequency_hz - nearest) <= HUM_WIDTH_HZ].sum()) / total if total else 0.0
