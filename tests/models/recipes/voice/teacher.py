"""What the voice learns from: espeak-ng speaks some 750 sentences, WORLD takes the sound apart.

Written to OUT/data.npz: per sentence Piper's ids of its phonemes, the frames of each, and the features of
every frame.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import numpy.typing as npt
import pyworld
from piper.phoneme_ids import DEFAULT_PHONEME_ID_MAP
from piper.phonemize_espeak import EspeakPhonemizer
from scipy.ndimage import gaussian_filter1d

from .. import domain
from ..espeak import Espeak
from ..llama.questions import FACTS, unknown
from .features import BANDS, HOP, NOISINESS, RATE_HZ, band_matrix

VOICE, WORDS_PER_MINUTE, PITCH = "en-us", 150, 45
_WORDS = Path("/usr/share/dict/words")  # Debian's wamerican
_FFT = 1024
_QUIETEST_DB = -60.0
#: code points without a sound of their own: stress, length, palatalization, spaces and punctuation
_PAUSES = ",.;:?!"
_SILENT = set("\u02c8\u02cc\u02d0\u02b2 " + _PAUSES)


@dataclass(frozen=True)
class Utterance:
    """One sentence: ids [N] and their frames [N], features [F, OUT]; the frames add up to F."""

    ids: npt.NDArray[np.int64]
    frames: npt.NDArray[np.int64]
    features: npt.NDArray[np.float32]


def sentences() -> list[str]:
    """The domain's, nonsense of its form, and random words: a voice must say more than it was taught."""
    rng = Random(3)
    chosen: set[str] = set()
    for questions, answer in FACTS:
        if " plus " in answer and rng.random() < 0.6:
            continue
        chosen.update(re.split(r"(?<=[.!?]) ", answer))
        chosen.add(rng.choice(questions))
    out = sorted(chosen)
    out += [f"Nice to meet you, {n}." for n in domain.NAMES] + [f"Your name is {n}." for n in domain.NAMES]
    out += [domain.UNKNOWN_ANSWER, "Hello, how are you?", "The quick brown fox jumps over the lazy dog."]
    out += [unknown(rng, strength=0)[0].strip() for _ in range(170)]
    words = [w for w in _WORDS.read_text(encoding="utf-8").split() if re.fullmatch(r"[a-z]{3,10}", w)]
    small = ["the", "a", "of", "and", "in", "on", "is", "to", "with", "for", "you", "that", "it", "was"]
    for _ in range(230):
        parts = [rng.choice(words) for _ in range(rng.randint(3, 7))]
        for _ in range(rng.randint(0, 3)):
            parts.insert(rng.randrange(len(parts)), rng.choice(small))
        text = " ".join(parts)
        if rng.random() < 0.3:
            at = text.find(" ", len(text) // 3)
            text = text[:at] + "," + text[at:]
        out.append(text.capitalize() + rng.choice("...?!"))
    rng.shuffle(out)
    return out


def _comparable(code_points: Sequence[str]) -> str:
    """Piper's own espeak-ng writes an open o where Debian's older one writes a closed one."""
    return "".join(code_points).replace("\u0254", "o")


def align(
    phonemes: Sequence[str], events: list[tuple[int, str]], samples: int
) -> list[tuple[str, int]] | None:
    """(code point, frames) of Piper's phonemes between ^ and $; None where espeak said something else."""
    spoken: list[tuple[int, int, list[str]]] = []  # first sample, end, code points
    pauses: list[tuple[int, int, int]] = []  # how many were spoken before, first sample, end
    for k, (start, name) in enumerate(events):
        end = events[k + 1][0] if k + 1 < len(events) else samples
        sounding = [c for c in name if c not in _SILENT]
        if sounding:
            spoken.append((start, end, sounding))
        elif spoken:
            pauses.append((len(spoken), start, end))
    wanted = [c for c in phonemes if c not in _SILENT]
    if not spoken or _comparable(wanted) != _comparable([c for _, _, cs in spoken for c in cs]):
        return None
    ends: list[float] = []
    owners: list[int] = []
    for owner, (start, end, sounding) in enumerate(spoken):
        ends += list(np.linspace(start, end, len(sounding) + 1)[1:])
        owners += [owner] * len(sounding)
    timed: list[tuple[str, float | None]] = [
        ("^", spoken[0][0])
    ]  # end sample of each, None: no time of its own
    k = 0
    for c in phonemes:
        if c not in _SILENT:
            timed.append((c, ends[k]))
            k += 1
            continue
        before = owners[k - 1] + 1 if k else 0
        here = [end for n, _, end in pauses if n == before] if c in _PAUSES else []
        timed.append((c, here[-1] if here else None))
    out, position = [], 0
    for c, until in timed:  # boundaries are rounded, not durations, so that the sum is exact
        frame = position if until is None else round(until / HOP)
        out.append((c, max(0, frame - position)))
        position = max(position, frame)
    return [*out, ("$", max(0, samples // HOP - position))]


def analyse(sound: npt.NDArray[np.float64], frames: int) -> npt.NDArray[np.float32] | None:
    """Features [F, OUT] of at most `frames` frames, or None when hardly anything in it is voiced."""
    period_ms = HOP / RATE_HZ * 1000
    pitch, t = pyworld.dio(sound, RATE_HZ, f0_floor=60, f0_ceil=260, frame_period=period_ms)
    pitch = pyworld.stonemask(sound, pitch, t, RATE_HZ)
    power = pyworld.cheaptrick(sound, pitch, t, RATE_HZ, fft_size=_FFT, f0_floor=70)
    noise = pyworld.d4c(sound, pitch, t, RATE_HZ, fft_size=_FFT)
    noise_db = pyworld.code_aperiodicity(noise, RATE_HZ)  # at 3 and 6 kHz
    n = min(frames, len(pitch))
    to_bands = band_matrix(np.arange(_FFT // 2 + 1) * RATE_HZ / _FFT)
    to_bands /= to_bands.sum(1, keepdims=True)
    bands = np.log(power[:n] + 1e-9) @ to_bands.T
    voiced = pitch[:n] > 0
    if voiced.sum() < 5:
        return None
    lowest = np.full((n, 1), _QUIETEST_DB)  # at 0 Hz a voiced frame has no noise
    measured = np.concatenate([lowest, np.maximum(noise_db[:n], _QUIETEST_DB)], 1)
    noisiness = np.where(voiced[:, None], measured, 0.0) / 20
    log_pitch = np.log(np.where(voiced, pitch[:n], 1))
    log_pitch = np.interp(np.arange(n), np.flatnonzero(voiced), log_pitch[voiced])
    log_pitch = gaussian_filter1d(log_pitch, 2)
    out = np.concatenate([bands, log_pitch[:, None], noisiness], 1).astype(np.float32)
    assert out.shape[1] == BANDS + 1 + NOISINESS
    return out


def make(path: Path) -> None:
    teacher, phonemizer = Espeak(ipa=True), EspeakPhonemizer()
    ids, durations, features, skipped = [], [], [], 0
    texts = sentences()
    for text in texts:
        phonemes = phonemizer.phonemize("en-us", text)
        if len(phonemes) != 1:  # two sentences
            continue
        pcm, events = teacher.say(text, VOICE, WORDS_PER_MINUTE, PITCH)
        aligned = align(phonemes[0], events, len(pcm))
        if aligned is None or any(c not in DEFAULT_PHONEME_ID_MAP for c, _ in aligned):
            skipped += 1
            continue
        sound = (pcm.astype(np.float32) / 32768).astype(np.float64)
        frames = np.array([n for _, n in aligned])
        x = analyse(sound, int(frames.sum()))
        if x is None:
            continue
        frames[-1] -= frames.sum() - len(x)
        if frames[-1] < 0:
            skipped += 1
            continue
        ids.append(np.array([DEFAULT_PHONEME_ID_MAP[c][0] for c, _ in aligned], np.int16))
        durations.append(frames.astype(np.int16))
        features.append(x.astype(np.float16))
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        path,
        ids=np.concatenate(ids),
        frames=np.concatenate(durations),
        features=np.concatenate(features),
        n_ids=[len(x) for x in ids],
        n_frames=[len(x) for x in features],
    )
    seconds = sum(map(len, features)) * HOP / RATE_HZ
    print(
        f"{len(ids)} of {len(texts)} sentences, {seconds:.0f} s; {skipped} that Piper phonemizes differently"
    )


def load(path: Path) -> list[Utterance]:
    with np.load(path) as z:
        at, at_frame = np.cumsum(z["n_ids"])[:-1], np.cumsum(z["n_frames"])[:-1]
        parts = zip(
            np.split(z["ids"].astype(np.int64), at),
            np.split(z["frames"].astype(np.int64), at),
            np.split(z["features"].astype(np.float32), at_frame),
            strict=True,
        )
        return [Utterance(*part) for part in parts]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder")
    args = parser.parse_args()
    make(args.out / "data.npz")


if __name__ == "__main__":
    main()
