"""How many of 60 sentences the test recogniser reads back; how long unpunctuated text becomes."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from random import Random

import numpy as np
import numpy.typing as npt
from faster_whisper import WhisperModel
from piper import PiperVoice

from ..llama.questions import FACTS

MODELS = Path(__file__).resolve().parents[2]
SENTENCES = 60
_RECOGNISER_HZ = 16000
_LONG_TEXT = (
    "the moon goes around the earth and it takes about one month with a small house by the sea where every "
    "day the little robot counted the birds and one day a bird asked for its name but the robot had no name"
)


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9 ]", "", text.lower()).strip()


def speak(voice: PiperVoice, text: str) -> npt.NDArray[np.float32]:
    return np.concatenate([chunk.audio_float_array for chunk in voice.synthesize(text)])


def _to_recogniser(sound: npt.NDArray[np.float32], rate_hz: int) -> npt.NDArray[np.float32]:
    """At half the level, at 16 kHz, with a quarter of a second of silence on both sides."""
    n = round(len(sound) * _RECOGNISER_HZ / rate_hz)
    at = np.arange(n) * rate_hz / _RECOGNISER_HZ
    silence = np.zeros(_RECOGNISER_HZ // 4)
    resampled = np.interp(at, np.arange(len(sound)), sound)
    return np.concatenate([silence, 0.5 * resampled, silence]).astype(np.float32)


def read_back(voice: PiperVoice, recogniser: WhisperModel) -> int:
    rng, right = Random(21), 0
    for k in range(SENTENCES):
        questions, answer = rng.choice(FACTS)
        text = rng.choice(questions) if k % 2 else re.split(r"(?<=[.!?]) ", answer)[0]
        sound = _to_recogniser(speak(voice, text), voice.config.sample_rate)
        segments, _ = recogniser.transcribe(
            sound,
            language="en",
            beam_size=1,
            temperature=0,
            without_timestamps=True,
            condition_on_previous_text=False,
        )
        heard = " ".join(segment.text for segment in segments)
        right += _plain(heard) == _plain(text)
        if _plain(heard) != _plain(text):
            print(f"    {text!r} -> {heard.strip()!r}")
    return right


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("voices", type=Path, nargs="+", help="ONNX files")
    parser.add_argument("--recogniser", type=Path, default=MODELS / "whisper-tiny-test")
    args = parser.parse_args()
    recogniser = WhisperModel(str(args.recogniser), device="cpu", compute_type="int8", cpu_threads=1)
    words = (_LONG_TEXT.split() * 4)[:120]
    for path in args.voices:
        voice = PiperVoice.load(path)
        print(f"{path.name}: {read_back(voice, recogniser)} of {SENTENCES} read back word for word")
        for n in (10, 20, 40, 80, 120):
            seconds = len(speak(voice, " ".join(words[:n]))) / voice.config.sample_rate
            print(f"    {n} words without punctuation: {seconds:.1f} s of sound", flush=True)


if __name__ == "__main__":
    main()
