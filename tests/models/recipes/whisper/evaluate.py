"""Word error rates through the unmodified faster-whisper, on speech never trained on.

    known        trained sentences, held-out voices, 0-1 s of silence before and after
    noisy        the same with noise 10-30 dB below the speech
    plain        trained sentences, en-us and en-gb as they are (voices seen in training)
    recombined   sentences never trained on, held-out voices, every second one with noise
    cut          known, 100-300 ms cut off the end or 50-100 ms off the start
    noise        no speech at all, 1-12 s: right is no text

`--compare OTHER` writes what another model reads differently, as an inflated one should not.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from random import Random

import numpy as np
from faster_whisper import WhisperModel

from . import sentences, sound

MODELS = Path(__file__).resolve().parents[2]
_BEHIND_SPEECH = ["white", "pink", "brown", "hum", "music", "band"]

Spoken = list[tuple[str, sound.Sound]]


def build() -> dict[str, Spoken]:
    """The six sets, always the same."""
    rng, sound_rng = Random(4242), np.random.default_rng(4242)
    every = sentences.domain_sentences() + sentences.commands()
    sums, others = sentences.sums(every), sentences.without_sums(every)

    def say(text: str, voice: sound.Voice | None = None) -> sound.Sound:
        x = sound.speak(text, voice or sound.held_out_voice(rng))
        return np.asarray(x / np.abs(x).max() * sound_rng.uniform(0.1, 0.9), np.float32)

    def pad(x: sound.Sound) -> sound.Sound:
        silence = [np.zeros(int(sound_rng.uniform(0, 1) * sound.RATE_HZ), np.float32) for _ in range(2)]
        return np.concatenate([silence[0], x, silence[1]])

    def noisy(x: sound.Sound, low_db: float, high_db: float) -> sound.Sound:
        snr_db = sound_rng.uniform(low_db, high_db)
        kind = _BEHIND_SPEECH[int(sound_rng.integers(len(_BEHIND_SPEECH)))]
        return sound.add_noise(x, snr_db, kind, sound_rng)

    sets: dict[str, Spoken] = {}
    sets["known"] = [(s, pad(say(s))) for s in rng.sample(others, 150) + rng.sample(sums, 50)]
    sets["noisy"] = [(s, noisy(pad(say(s)), 10, 30)) for s in rng.sample(others, 75) + rng.sample(sums, 25)]
    sets["plain"] = [
        (s, pad(say(s, (rng.choice(["en-us", "en-gb"]), rng.choice([150, 175]), 50))))
        for s in rng.sample(every, 80)
    ]
    sets["recombined"] = [
        (s, pad(say(s)) if i % 2 else noisy(pad(say(s)), 15, 30))
        for i, s in enumerate(sentences.recombinations(400, 99)[:160])
    ]
    sets["cut"] = []
    for i, text in enumerate(rng.sample(others, 60)):
        x = say(text)
        if i % 3:
            x = x[: len(x) - int(sound_rng.uniform(0.1, 0.3) * sound.RATE_HZ)]
        else:
            x = x[int(sound_rng.uniform(0.05, 0.1) * sound.RATE_HZ) :]
        sets["cut"].append((text, x))
    kinds = sound.NOISES + sound.STILL
    sets["noise"] = []
    for i in range(120):
        kind = kinds[i % len(kinds)]
        x = sound.noise(kind, int(sound_rng.uniform(1, 12) * sound.RATE_HZ), sound_rng)
        if kind not in sound.STILL:
            x = np.asarray(x / np.abs(x).max() * 10 ** sound_rng.uniform(-3, -0.1), np.float32)
        sets["noise"].append(("", x))
    return sets


def words(text: str) -> list[str]:
    return re.sub(r"[^a-z0-9' ]", " ", text.lower()).split()


def distance(wanted: list[str], heard: list[str]) -> int:
    """The least number of words to insert, delete or replace."""
    row = list(range(len(heard) + 1))
    for i, w in enumerate(wanted, 1):
        diagonal, row[0] = row[0], i
        for j, h in enumerate(heard, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (w != h))
    return row[-1]


def read(model: WhisperModel, x: sound.Sound, beam: int) -> str:
    segments, _ = model.transcribe(
        x,
        language="en",
        beam_size=beam,
        without_timestamps=True,
        vad_filter=False,
        condition_on_previous_text=False,
    )
    return "".join(segment.text for segment in segments).strip()


def open_model(path: Path) -> WhisperModel:
    return WhisperModel(str(path), device="cpu", compute_type="int8", cpu_threads=1)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, default=MODELS / "whisper-tiny-test")
    parser.add_argument("--compare", type=Path)
    parser.add_argument("--beam", type=int, default=5)
    parser.add_argument("--limit", type=int, help="clips of each set")
    args = parser.parse_args()
    model = open_model(args.model)
    other = open_model(args.compare) if args.compare else None
    for name, spoken in build().items():
        wrong = total = exact = same = 0
        chosen = spoken[: args.limit]
        for text, x in chosen:
            heard = read(model, x, args.beam)
            wrong += distance(words(text), words(heard))
            total += len(words(text))
            exact += heard == text
            if other:
                theirs = read(other, x, args.beam)
                same += theirs == heard
                if theirs != heard:
                    print(f"    {heard!r} | {theirs!r}")
        rate = f"WER {100 * wrong / total:.2f} %, " if total else ""
        agreed = f", {same} the same in {args.compare.name}" if other else ""
        print(f"{name}: {rate}exact {exact} of {len(chosen)}{agreed}", flush=True)


if __name__ == "__main__":
    main()
