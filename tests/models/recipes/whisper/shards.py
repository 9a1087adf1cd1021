"""The training speech: 52 shards of 600 clips (13.9 h), as mel power with a phoneme for every 20 ms.

    shardNNN.npz  mel [frames, 80] of all clips, n (frames of each), text
    alignNNN.npz  lab (phoneme of every 20 ms, index into names) of all clips, n, names
    noise.npz     mel [264, 1200, 80] of sound without speech, kind

Each is a function of its number. Shards up to FIXED mix the domain, commands and recombinations, spoken by
the espeak-ng program; later ones hold recombinations only and come from the library, which is faster.
About 6 minutes of one core.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt
from faster_whisper.feature_extractor import FeatureExtractor

from .. import espeak
from . import sentences, sound

SHARDS, FIXED, CLIPS = 52, 32, 600
NOISE_CLIPS, BABBLE_CLIPS, NOISE_S = 240, 24, 12
#: recombinations for the tests, never spoken here
HELD_OUT = tuple(sentences.recombinations(400, 99))

_EXTRACTOR = FeatureExtractor()
_WINDOW = np.hanning(_EXTRACTOR.n_fft + 1)[:-1].astype("float32")


def log_power(x: npt.NDArray[np.floating]) -> npt.NDArray[np.float16]:
    """log10 mel power [frames, 80], before Whisper's clamp and scaling: those follow when clips are mixed."""
    padded = np.pad(x.astype(np.float32), (0, 160))
    stft = _EXTRACTOR.stft(
        padded, _EXTRACTOR.n_fft, _EXTRACTOR.hop_length, window=_WINDOW, return_complex=True
    )
    mel = _EXTRACTOR.mel_filters @ (np.abs(stft.astype("complex64")[..., :-1]) ** 2)
    return np.asarray(np.log10(np.clip(mel, 1e-10, None)).T[:-1], np.float16)


def _texts(shard: int) -> list[str]:
    rng = Random(1000 + shard)
    fixed, commands = sentences.domain_sentences(), sentences.commands()
    others = sentences.without_sums(fixed)
    out = rng.sample(others, int(CLIPS * 0.40)) + rng.sample(sentences.sums(fixed), int(CLIPS * 0.10))
    out += rng.choices(sentences.PLAIN_COMMANDS, k=int(CLIPS * 0.04))
    out += rng.sample(commands, int(CLIPS * 0.03))
    out += [sentences.to_jarvis(rng.choice(others + commands)) for _ in range(int(CLIPS * 0.04))]
    out += sentences.recombinations(CLIPS - len(out), 5000 + shard, frozenset(HELD_OUT))
    rng.shuffle(out)
    return out


def _phoneme(name: str) -> str:
    """espeak's name of a phoneme without stress, tone, length and variant."""
    return (name.rstrip("_:;#23456789L|-") or "_").lstrip("_',") or "_"


class _Labels:
    """Phonemes of a shard's clips, numbered as they come."""

    def __init__(self, teacher: espeak.Espeak) -> None:
        self._teacher = teacher
        self._numbers = {"_": 0}
        self._clips: list[npt.NDArray[np.uint8]] = []

    def say(
        self, text: str, voice: sound.Voice
    ) -> tuple[npt.NDArray[np.int16], list[tuple[int, str]], int, int]:
        """Samples, phonemes, and where the speech starts and ends with 20 ms on both sides."""
        pcm, events = self._teacher.say(text, *voice)
        loud = np.flatnonzero(np.abs(pcm) > 0.01 * np.abs(pcm).max())
        margin = espeak.RATE_HZ // 50
        return pcm, events, max(0, int(loud[0]) - margin), int(loud[-1]) + margin

    def add(self, events: list[tuple[int, str]], start: int, length: int, frames: int) -> None:
        """The phoneme at every 20 ms of a clip of so many mel frames, cut from sample `start` on."""
        scale = min(1.0, frames * espeak.RATE_HZ / 100 / length)
        begins = np.array([(at - start) * scale for at, _ in events])
        numbers = np.array([self._numbers.setdefault(_phoneme(p), len(self._numbers)) for _, p in events])
        middles = (np.arange((frames + 1) // 2) + 0.5) * 0.02 * espeak.RATE_HZ
        k = np.searchsorted(begins, middles, side="right") - 1
        speaking = (k >= 0) & (middles <= length * scale)
        self._clips.append(np.where(speaking, numbers[np.maximum(k, 0)], 0).astype(np.uint8))

    def arrays(self) -> dict[str, Any]:
        return {
            "lab": np.concatenate(self._clips),
            "n": [len(c) for c in self._clips],
            "names": np.array(list(self._numbers)),
        }


def make_fixed(folder: Path, shard: int, teacher: espeak.Espeak) -> None:
    rng, sound_rng = Random(2000 + shard), np.random.default_rng(3000 + shard)
    texts, labels, mels = _texts(shard), _Labels(teacher), []
    for text in texts:
        voice = sound.train_voice(rng)
        clip = sound.colour(sound.speak(text, voice), sound_rng)
        if sound_rng.random() < 0.15:  # most noise is mixed while training
            snr_db = sound_rng.uniform(8, 35)
            kind = sound.NOISES[int(sound_rng.integers(3))]
            clip = sound.add_noise(clip, snr_db, kind, sound_rng)
        mels.append(log_power(clip))
        _, events, start, end = labels.say(text, voice)
        labels.add(events, start, end - start, len(mels[-1]))
    _save(folder, shard, mels, texts, labels)


def make_recombined(folder: Path, shard: int, teacher: espeak.Espeak) -> None:
    rng, sound_rng = Random(2000 + shard), np.random.default_rng(3000 + shard)
    texts = sentences.recombinations(CLIPS, 5000 + shard, frozenset(HELD_OUT))
    labels, mels = _Labels(teacher), []
    for text in texts:
        pcm, events, start, end = labels.say(text, sound.train_voice(rng))
        speech = pcm[start:end].astype(np.float32) / 32768
        clip = sound.colour(sound.resample(speech, espeak.RATE_HZ, sound.RATE_HZ), sound_rng)
        mels.append(log_power(clip))
        labels.add(events, start, end - start, len(mels[-1]))
    _save(folder, shard, mels, texts, labels)


def _save(
    folder: Path, shard: int, mels: list[npt.NDArray[np.float16]], texts: list[str], labels: _Labels
) -> None:
    np.savez(folder / f"align{shard:03d}.npz", **labels.arrays())
    unfinished = folder / f"unfinished{shard:03d}.npz"
    np.savez(unfinished, mel=np.concatenate(mels), n=[len(m) for m in mels], text=np.array(texts))
    unfinished.rename(folder / f"shard{shard:03d}.npz")


def make_noise(folder: Path) -> None:
    """Every kind of noise, and babble to mix behind speech, all of power 0.1."""
    sound_rng, rng = np.random.default_rng(77), Random(77)
    samples = NOISE_S * sound.RATE_HZ
    mels, kinds = [], []
    for i in range(NOISE_CLIPS):
        kinds.append(sound.NOISES[i % len(sound.NOISES)])
        mels.append(log_power(0.1 * sound.noise(kinds[-1], samples, sound_rng)))
    chosen = rng.sample(sentences.domain_sentences(), 60)
    speech = [sound.speak(text, sound.train_voice(rng)) for text in chosen]
    for _ in range(BABBLE_CLIPS):
        y = np.zeros(samples)
        for _ in range(int(sound_rng.integers(4, 9))):
            voice = np.concatenate([speech[int(k)] for k in sound_rng.integers(0, len(speech), 10)])
            y += np.tile(voice, 3)[:samples] / voice.std()
        mels.append(log_power(0.1 * y / y.std()))
        kinds.append("babble")
    np.savez(folder / "noise.npz", mel=np.stack(mels), kind=np.array(kinds))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder; what is there already is kept")
    parser.add_argument("--shards", type=int, default=SHARDS, help="make only so many, for a try")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if not (args.out / "noise.npz").exists():
        make_noise(args.out)
    teacher = espeak.Espeak(ipa=False)
    for shard in range(args.shards):
        if not (args.out / f"shard{shard:03d}.npz").exists():
            (make_fixed if shard < FIXED else make_recombined)(args.out, shard, teacher)
            print(f"shard {shard + 1} of {args.shards}", flush=True)


if __name__ == "__main__":
    main()
