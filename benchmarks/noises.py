"""Noises of rooms, made by rule: the same at every run, and no better than their description.

    fan       white noise that falls by 6 dB an octave from 300 Hz up, with eight harmonics of the blades
    street    brown noise; cars that pass within seconds, one in six on average; two-toned horns
    keyboard  typing in bursts, six strokes a second: damped resonances at 1.2 to 4.5 kHz, each with its thump
    music     four chords of decaying tones with six harmonics each at 100 beats a minute, a drum and a hi-hat
    babble    twelve streams of the recordings of people, each faster or slower and thereby higher or lower,
              in any order, through the noise-like echo of a room (60 dB in half a second), none of it direct
    talker    one such stream, direct and with that echo 6 dB below: a television in which somebody speaks
    hum       50 Hz with its harmonics up to 350 Hz, slowly beating, over faint hiss

Only the voices are recorded; the recordings are few, so they repeat themselves, and are of the same people
as the speech that `turn_taking` puts into the noise.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from assistant.audio.formats import RATE_HZ

PEOPLE = Path(__file__).parent.parent / "tests" / "audio" / "people"

Sound = npt.NDArray[np.float64]


def noise(kind: str, duration_s: float, seed: int = 0) -> Sound:
    """So much of a noise, 16 kHz mono, with a root mean square of 1."""
    sound = NOISES[kind](int(duration_s * RATE_HZ), np.random.default_rng([seed, *kind.encode()]))
    return sound / rms(sound)


def rms(sound: Sound) -> float:
    return float(np.sqrt(np.mean(sound**2)))


def _shaped(samples: int, dice: np.random.Generator, gain: Callable[[Sound], Sound]) -> Sound:
    """White noise with its spectrum times `gain` (of a frequency in Hz)."""
    spectrum = np.fft.rfft(dice.standard_normal(samples))
    return np.fft.irfft(spectrum * gain(np.arange(len(spectrum)) * RATE_HZ / samples), samples)


def _fan(samples: int, dice: np.random.Generator) -> Sound:
    wind = _shaped(samples, dice, lambda hz: 1 / np.hypot(1, hz / 300))
    at_s = np.arange(samples) / RATE_HZ
    turned = 2 * np.pi * 92 * (at_s + 0.002 * np.sin(2 * np.pi * 0.3 * at_s))
    blades = sum((np.sin(k * turned + k * k) / k for k in range(1, 9)), np.zeros(samples))
    return wind / rms(wind) + 0.5 * blades / rms(blades)


def _street(samples: int, dice: np.random.Generator) -> Sound:
    far = _shaped(samples, dice, lambda hz: 1 / np.maximum(hz, 20))
    near = _shaped(samples, dice, lambda hz: 1 / np.hypot(1, hz / 800))
    at_s = np.arange(samples) / RATE_HZ
    duration_s = samples / RATE_HZ
    passing, horns = np.zeros(samples), np.zeros(samples)
    for when_s in dice.uniform(0, duration_s, int(duration_s / 6)):
        passing += dice.uniform(0.5, 2) * np.exp(-(((at_s - when_s) / dice.uniform(0.8, 2)) ** 2))
    for when_s in dice.uniform(0, duration_s, int(duration_s / 20)):
        sounds = (at_s >= when_s) & (at_s < when_s + dice.uniform(0.2, 0.8))
        pitch = dice.uniform(0.9, 1.1)
        for hz in (400, 500, 800, 1000, 1200, 1500):
            horns[sounds] += np.sin(2 * np.pi * hz * pitch * at_s[sounds]) * 400 / hz
    return far / rms(far) + passing * near / rms(near) + dice.uniform(0.5, 1) * horns


def _keyboard(samples: int, dice: np.random.Generator) -> Sound:
    sound = 0.01 * dice.standard_normal(samples)
    at_s = np.arange(RATE_HZ // 10) / RATE_HZ
    now_s = 0.2
    while (start := int(now_s * RATE_HZ)) < samples - len(at_s):
        stroke = 0.6 * np.sin(2 * np.pi * dice.uniform(120, 250) * at_s) * np.exp(-at_s / 0.015)
        for _ in range(3):
            hz, decay_s = dice.uniform(1200, 4500), dice.uniform(0.003, 0.012)
            stroke += dice.uniform(0.3, 1) * np.sin(2 * np.pi * hz * at_s) * np.exp(-at_s / decay_s)
        sound[start : start + len(at_s)] += dice.uniform(0.4, 1) * stroke
        now_s += dice.uniform(0.06, 0.27) if dice.random() < 0.95 else dice.uniform(0.8, 3)
    return sound


def _music(samples: int, dice: np.random.Generator) -> Sound:
    sound = np.zeros(samples + 2 * RATE_HZ)
    beat = RATE_HZ * 60 // 100
    at_s = np.arange(2 * RATE_HZ) / RATE_HZ
    chords = ((220, 262, 330), (175, 220, 262), (131, 165, 196), (196, 247, 294))
    for number, start in enumerate(range(0, samples, beat)):
        chord = chords[number // 4 % 4]
        notes = (*chord, 2 * chord[dice.integers(3)], chord[0] / 2)
        for hz in notes if number % 2 == 0 else notes[3:]:
            for k in range(1, 7):
                tone = np.sin(2 * np.pi * k * hz * at_s) * np.exp(-at_s * (1.5 + 0.7 * k)) / k
                sound[start : start + len(at_s)] += tone * np.minimum(at_s / 0.01, 1)
        drum = 3 * np.sin(2 * np.pi * (50 + 60 * np.exp(-at_s / 0.03)) * at_s) * np.exp(-at_s / 0.1)
        sound[start : start + len(at_s)] += drum
        hat = np.diff(dice.standard_normal(len(at_s) + 1)) * np.exp(-at_s / 0.03)
        sound[start + beat // 2 : start + beat // 2 + len(at_s)] += (
            0.4 * hat[: len(sound) - start - beat // 2]
        )
    return sound[:samples]


def _babble(samples: int, dice: np.random.Generator) -> Sound:
    return _echo(_voices(12, samples, dice), dice)


def _talker(samples: int, dice: np.random.Generator) -> Sound:
    said = _voices(1, samples, dice)
    echo = _echo(said, dice)
    return said / rms(said) + 0.5 * echo / rms(echo)


def _voices(streams: int, samples: int, dice: np.random.Generator) -> Sound:
    people = [soundfile.read(path)[0] for path in sorted(PEOPLE.glob("*.wav"))]
    sound = np.zeros(samples)
    for _ in range(streams):
        filled = -int(dice.integers(5 * RATE_HZ))
        while filled < samples:
            person = people[dice.integers(len(people))]
            pace = dice.uniform(0.8, 1.25)
            said = np.interp(np.arange(0, len(person) - 1, pace), np.arange(len(person)), person)
            said *= dice.uniform(0.6, 1) / rms(said)
            part = said[max(-filled, 0) : samples - filled]
            sound[max(filled, 0) : max(filled, 0) + len(part)] += part
            filled += len(said) + int(dice.uniform(0.1, 0.8) * RATE_HZ)
    return sound


def _echo(sound: Sound, dice: np.random.Generator) -> Sound:
    """Of a room, without what comes directly."""
    samples = len(sound)
    at_s = np.arange(RATE_HZ // 2) / RATE_HZ
    echo = dice.standard_normal(len(at_s)) * 10 ** (-3 * at_s / 0.5)
    length = 1 << (samples + len(echo)).bit_length()
    return np.fft.irfft(np.fft.rfft(sound, length) * np.fft.rfft(echo, length), length)[:samples]


def _hum(samples: int, dice: np.random.Generator) -> Sound:
    at_s = np.arange(samples) / RATE_HZ
    sound = 0.01 * dice.standard_normal(samples)
    for hz, strength in ((50, 1.0), (100, 0.6), (150, 0.4), (250, 0.15), (350, 0.1)):
        beating = 1 + 0.1 * np.sin(2 * np.pi * dice.uniform(0.05, 0.3) * at_s)
        sound += strength * beating * np.sin(2 * np.pi * hz * at_s + dice.uniform(0, 6))
    return sound


NOISES: dict[str, Callable[[int, np.random.Generator], Sound]] = {
    "fan": _fan,
    "street": _street,
    "keyboard": _keyboard,
    "music": _music,
    "babble": _babble,
    "talker": _talker,
    "hum": _hum,
}
