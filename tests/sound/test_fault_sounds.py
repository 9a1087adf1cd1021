"""Faults as files: rendered by the tiny voice, read again, replaced in one go."""

from __future__ import annotations

import wave
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt
import pytest

from assistant.audio.earcons import earcon
from assistant.audio.fault_sounds import FAULT_SENTENCES, PAUSE_S, load, path, render
from assistant.catalogue.locate import TEST_MODELS
from assistant.config import Tts
from assistant.engines.piper import PiperEngine
from assistant.errors import AudioError
from assistant.messages import Fault

FAULTS: tuple[Fault, ...] = get_args(Fault)
RATE_HZ = 16_000
Int16 = npt.NDArray[np.int16]


def hum(text: str) -> Iterator[Int16]:
    """A voice that has one sample for each letter."""
    yield np.full(len(text), 1000, np.int16)


def test_each_fault_says_what_is_wrong_and_what_to_do() -> None:
    assert set(FAULT_SENTENCES) == set(FAULTS)
    assert len(set(FAULT_SENTENCES.values())) == len(FAULTS)
    for sentence in FAULT_SENTENCES.values():
        assert sentence.count(". ") >= 1, sentence
        assert "Please" in sentence
        assert sentence.endswith(".")


def test_an_earcon_comes_first_then_the_sentence(tmp_path: Path) -> None:
    voice = PiperEngine(TEST_MODELS / "en_US-tiny-low.onnx", Tts())
    render(tmp_path / "new" / "sounds", voice.speak, voice.rate_hz)
    assert {entry.stem for entry in (tmp_path / "new" / "sounds").iterdir()} == set(FAULTS)
    start = np.concatenate([earcon("error", RATE_HZ), np.zeros(int(PAUSE_S * RATE_HZ), np.int16)])
    for fault in FAULTS:
        pcm, rate_hz = load(tmp_path / "new" / "sounds", fault)
        assert rate_hz == voice.rate_hz == RATE_HZ
        speech = np.concatenate(list(voice.speak(FAULT_SENTENCES[fault])))
        assert np.array_equal(pcm, np.concatenate([start, speech]))
        assert 2 < len(pcm) / rate_hz < 8, "short enough to be listened to"


def test_a_voice_that_fails_leaves_whole_files(tmp_path: Path) -> None:
    def fail(text: str) -> Iterator[Int16]:
        yield np.full(len(text), 2000, np.int16)
        if text == FAULT_SENTENCES["model"]:
            raise AudioError("it broke")

    render(tmp_path, hum, RATE_HZ)
    with pytest.raises(AudioError, match="it broke"):
        render(tmp_path, fail, RATE_HZ)
    assert {entry.name for entry in tmp_path.iterdir()} == {f"{fault}.wav" for fault in FAULTS}
    assert [load(tmp_path, fault)[0][-1] for fault in ("microphone", "model")] == [2000, 1000]


def test_a_folder_that_cannot_be_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(AudioError, match=r"cannot be made: .*; choose another folder\.$"):
        render(tmp_path / "file" / "sounds", hum, RATE_HZ)


def damaged(place: Path) -> None:
    place.write_bytes(b"RIFF, or what is left of it")


def empty(place: Path) -> None:
    place.touch()


def stereo(place: Path) -> None:
    with wave.open(str(place), "wb") as file:
        file.setparams((2, 2, RATE_HZ, 0, "NONE", ""))
        file.writeframes(bytes(400))


@pytest.mark.parametrize(
    ("make", "said"),
    [(damaged, "damaged"), (empty, "damaged"), (stereo, "damaged"), (None, "cannot be read")],
)
def test_a_sound_that_cannot_be_used_is_one_sentence(tmp_path: Path, make: object, said: str) -> None:
    if callable(make):
        make(path(tmp_path, "hot"))
    with pytest.raises(
        AudioError, match=rf"{said}.*; make it with `assistant sounds --folder {tmp_path}`\.$"
    ):
        load(tmp_path, "hot")
