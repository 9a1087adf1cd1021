"""The recordings in tests/audio: 24 sentences in a voice never trained on, 6 without speech, the answers."""

from __future__ import annotations

import argparse
import wave
from pathlib import Path
from random import Random

import numpy as np

from .. import domain
from . import sentences, sound

VOICE: sound.Voice = ("en-us+m5", 155, 50)
#: number of a recording that is not 16 kHz mono -> rate in hertz, channels
_OTHER_FORMATS = {3: (44100, 1), 8: (44100, 2), 13: (48000, 2), 18: (48000, 2)}
_NONSPEECH = {"silence": 0.0, "white": 0.02, "hum": 0.05, "music": 0.1, "clicks": 0.05, "gust": 0.05}


def write_wav(path: Path, x: sound.Sound, rate_hz: int, channels: int) -> None:
    """Signed 16 bit; a second channel is the first one, a little quieter."""
    x = sound.resample(x, sound.RATE_HZ, rate_hz)
    pcm = (np.clip(x, -1, 1) * 32767).round().astype("<i2")
    if channels == 2:
        pcm = np.stack([pcm, (pcm * 0.8).astype("<i2")], 1)
    with wave.open(str(path), "wb") as w:
        w.setnchannels(channels)
        w.setsampwidth(2)
        w.setframerate(rate_hz)
        w.writeframes(pcm.tobytes())


def texts() -> list[str]:
    """Nineteen questions, three sums, two commands; picked by seed, not by how well they are recognised."""
    questions = [question for ways, _ in domain.pairs() for question in ways]
    rng = Random(31)
    others = rng.sample(sentences.without_sums(questions), 49)
    sums = rng.sample(sentences.sums(questions), 7)
    commands = rng.sample(sentences.commands(), 8)
    return others[:19] + sums[:3] + commands[:2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder")
    args = parser.parse_args()
    nonspeech = args.out / "nonspeech"
    nonspeech.mkdir(parents=True, exist_ok=True)
    answers = {question: answer for ways, answer in domain.pairs() for question in ways}
    rng = np.random.default_rng(31)
    expected, answered = ["file\trate\tchannels\tvoice\ttext\n"], ["file\tquestion\tanswer\n"]
    name, words_per_minute, pitch = VOICE
    for i, text in enumerate(texts()):
        x = sound.speak(text, VOICE)
        before, after = (
            np.zeros(int(rng.uniform(low, 0.6) * sound.RATE_HZ), np.float32) for low in (0.1, 0.2)
        )
        x = np.concatenate([before, x / np.abs(x).max() * 0.6, after])
        rate_hz, channels = _OTHER_FORMATS.get(i, (sound.RATE_HZ, 1))
        file = f"q{i:02d}.wav"
        write_wav(args.out / file, x, rate_hz, channels)
        expected.append(f"{file}\t{rate_hz}\t{channels}\t{name} -s {words_per_minute} -p {pitch}\t{text}\n")
        answered.append(f"{file}\t{text}\t{answers.get(text, '')}\n")
    for kind, level in _NONSPEECH.items():
        x = level * sound.noise(kind, 4 * sound.RATE_HZ, rng)
        write_wav(nonspeech / f"{kind}.wav", x, sound.RATE_HZ, 1)
    (args.out / "expected.tsv").write_text("".join(expected), encoding="utf-8")
    (args.out / "answers.tsv").write_text("".join(answered), encoding="utf-8")


if __name__ == "__main__":
    main()
