"""The Silero network, the real one that comes with faster-whisper."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from faster_whisper.vad import get_vad_model

from assistant.engines import silero
from assistant.engines.silero import WINDOW_SAMPLES, SileroVad
from assistant.errors import ModelError

AUDIO = Path(__file__).parents[1] / "audio"


def recorded(name: str) -> bytes:
    samples, _ = soundfile.read(AUDIO / name, dtype="int16")
    return bytes(samples[: len(samples) // WINDOW_SAMPLES * WINDOW_SAMPLES].tobytes())


def probabilities(pcm: bytes, chunk_bytes: int) -> list[float]:
    vad = SileroVad()
    return [vad.speech(pcm[at : at + chunk_bytes]) for at in range(0, len(pcm), chunk_bytes)]


def test_it_says_what_the_package_says_itself() -> None:
    pcm = recorded("people/librivox-0880.wav")
    sound = np.frombuffer(pcm, np.int16).astype(np.float32) / 32_768
    theirs = get_vad_model()(sound).ravel().tolist()
    ours = probabilities(pcm, 2 * WINDOW_SAMPLES)
    assert ours[:-1] == pytest.approx(theirs[:-1], abs=1e-4)  # it silences the end of its last window


@pytest.mark.parametrize("chunk_bytes", [2, 640, 1000, 9999 * 2])
def test_how_the_sound_is_cut_changes_nothing(chunk_bytes: int) -> None:
    pcm = recorded("people/cards-001.wav")
    assert probabilities(pcm, chunk_bytes)[-1] == pytest.approx(probabilities(pcm, 1024)[-1], abs=1e-6)


@pytest.mark.parametrize("name", ["people/jfk.wav", "people/librivox-0870.wav", "q00.wav"])
def test_people_and_the_projects_voice_are_speech(name: str) -> None:
    assert sum(probability > 0.5 for probability in probabilities(recorded(name), 1024)) > 30


@pytest.mark.parametrize("path", sorted((AUDIO / "nonspeech").glob("*.wav")), ids=lambda path: path.stem)
def test_noises_are_none(path: Path) -> None:
    found = probabilities(recorded(f"nonspeech/{path.name}"), 1024)
    assert sum(probability > 0.5 for probability in found) <= (6 if path.stem == "music" else 0)


def test_it_forgets() -> None:
    pcm = recorded("people/cards-001.wav")
    vad = SileroVad()
    first = vad.speech(pcm)
    vad.speech(bytes(777))
    vad.forget()
    assert vad.speech(pcm) == first


def test_a_package_without_the_model_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silero, "FILE", Path("assets") / "other.onnx")
    with pytest.raises(ModelError, match=r"no other\.onnx, which vad\.second_opinion needs"):
        SileroVad()


def test_nothing_of_faster_whisper_is_imported() -> None:
    code = (
        "import sys; from assistant.engines.silero import SileroVad; SileroVad();"
        "assert not {'faster_whisper', 'ctranslate2'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
