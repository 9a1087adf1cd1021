"""`stt.confirm` through the whole chain: what is drowned in voices is asked back instead of answered."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
from command_line import AUDIO, BERLIN, CAPITAL, assistant, toml

RATE_HZ = 16_000
Floats = npt.NDArray[np.float64]


def load(name: str) -> Floats:
    samples, rate_hz = soundfile.read(AUDIO / f"{name}.wav", dtype="float64")
    assert rate_hz == RATE_HZ
    loaded: Floats = samples
    return loaded


def drowned(question: Floats, seed: int) -> Floats:
    """The question among four people who read aloud, together as loud as it."""
    people = np.concatenate([load("people/librivox-0870"), load("people/librivox-0880")])
    starts = np.random.default_rng(seed).integers(0, len(people) - len(question), 4)
    babble: Floats = np.sum([people[start : start + len(question)] for start in starts], axis=0)
    mixed: Floats = 0.4 * (question + babble * np.sqrt(np.mean(question**2) / np.mean(babble**2)))
    return mixed


def test_what_is_hardly_understood_is_asked_back(tmp_path: Path) -> None:
    """And a question that is understood, behind it, is answered: nobody has to say yes or no."""
    silence = np.zeros(5 * RATE_HZ)
    sound = np.concatenate([drowned(load("q23"), 3), silence, load("q00"), silence[: 2 * RATE_HZ]])
    soundfile.write(tmp_path / "mic.wav", sound, RATE_HZ)
    config = toml(tmp_path, "[stt]\nconfirm = true\n")
    done = assistant("run", "--mic", tmp_path / "mic.wav", "--json", config=config)
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    (asked, understood), (asking, answer) = (
        [event["text"] for event in events if event["event"] == name] for name in ("transcript", "answer")
    )
    assert asked
    assert asking == f"Did you say: {asked.rstrip('.?!')}?"
    assert (understood, answer) == (CAPITAL, BERLIN)
    heard = [event["turn"] for event in events if event["event"] == "first_sound"]
    assert heard == sorted(set(heard))
    assert len(heard) == 2, "the question back was heard, too"
