"""faster-whisper with the tiny model: spectra, windows, readings; and folders that cannot be used."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from assistant.config import Stt
from assistant.engines.whisper_model import WhisperModel, language_of
from assistant.errors import ModelError

TESTS = Path(__file__).parents[1]
MODEL = TESTS / "models" / "whisper-tiny-test"
TEXT = "What is the capital of Germany?"


@pytest.fixture(scope="module")
def model() -> WhisperModel:
    return WhisperModel(MODEL, Stt(threads=1))


@pytest.fixture(scope="module")
def question() -> npt.NDArray[np.float32]:
    samples, rate_hz = soundfile.read(TESTS / "audio" / "q00.wav", dtype="float32")
    assert rate_hz == 16_000
    sound: npt.NDArray[np.float32] = samples
    return sound


def test_the_spectrum_has_a_hundred_frames_a_second(
    model: WhisperModel, question: npt.NDArray[np.float32]
) -> None:
    spectrum = model.spectrum(question)
    assert spectrum.dtype == np.float32
    assert spectrum.shape == (80, len(question) // 160)


@pytest.mark.parametrize("frames", [300, 501, 1000, 1001, 3000])
@pytest.mark.parametrize("beam_size", [1, 5])
def test_every_window_gives_the_same_text(
    model: WhisperModel, question: npt.NDArray[np.float32], frames: int, beam_size: int
) -> None:
    reading = model.decode(model.encode(model.spectrum(question), frames), beam_size, 0.0, 100)
    assert reading.text.strip() == TEXT
    assert reading.tokens == 9
    assert -0.1 < reading.avg_logprob <= 0
    assert 0 <= reading.no_speech_prob < 0.1


def test_one_that_is_drawn_at_random_has_all_its_figures(
    model: WhisperModel, question: npt.NDArray[np.float32]
) -> None:
    reading = model.decode(model.encode(model.spectrum(question), 1000), 3, 0.2, 100)
    assert reading.text.strip() == TEXT
    assert -0.5 < reading.avg_logprob <= 0


def test_a_text_ends_at_the_limit(model: WhisperModel, question: npt.NDArray[np.float32]) -> None:
    reading = model.decode(model.encode(model.spectrum(question), 1000), 1, 0.0, 4)
    assert reading.tokens == 4
    assert TEXT.startswith(reading.text.strip())


def test_more_than_one_window(model: WhisperModel, question: npt.NDArray[np.float32]) -> None:
    sound = np.concatenate(
        [question, np.zeros(28 * 16_000, np.float32), question, np.zeros(16_000, np.float32)]
    )
    first, *_, last = model.windows(sound, 5)
    assert first.text.strip() == last.text.strip() == TEXT


# ---------------------------------------------------------------- languages


@pytest.mark.parametrize(
    ("multilingual", "wanted", "language"),
    [(False, "en", "en"), (False, "de", "en"), (True, "de", "de"), (True, "en", "en")],
)
def test_language(multilingual: bool, wanted: str, language: str) -> None:
    assert language_of(multilingual, wanted, {"<|en|>": 1, "<|de|>": 2}) == language


def test_a_language_that_the_model_does_not_have() -> None:
    with pytest.raises(ModelError, match='does not know the language "xx"'):
        language_of(True, "xx", {"<|en|>": 1})


# ---------------------------------------------------------------- files that cannot be used


def gone(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def cut(name: str, size: int) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).write_bytes((folder / name).read_bytes()[:size])

    return change


def written(name: str, content: bytes) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).write_bytes(content)

    return change


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (shutil.rmtree, "There is no speech recogniser"),
        (gone("model.bin"), r"model\.bin is missing"),
        (gone("config.json"), r"config\.json is missing"),
        (gone("tokenizer.json"), r"tokenizer\.json is missing"),
        (gone("vocabulary.json"), r"vocabulary\.json .* is missing"),
        (cut("model.bin", 0), "not a Whisper model"),
        (cut("model.bin", 10), "not a Whisper model"),
        (cut("model.bin", 1_000_000), "damaged"),
        (written("model.bin", b"<html>404</html>" * 1000), "not a Whisper model"),
        (cut("config.json", 100), r"damaged: config\.json"),
        (written("config.json", b"[]"), r"damaged: config\.json"),
        (written("config.json", b"3"), r"damaged: config\.json"),
        (cut("tokenizer.json", 1000), r"damaged: tokenizer\.json"),
        (written("tokenizer.json", b"{}"), r"damaged: tokenizer\.json"),
        (written("tokenizer.json", b"\xff"), r"damaged: tokenizer\.json"),
        (cut("preprocessor_config.json", 20), r"damaged: preprocessor_config\.json"),
        (cut("vocabulary.json", 1000), "damaged"),
    ],
)
def test_a_model_that_cannot_be_used_is_refused_in_one_sentence(
    tmp_path: Path, change: Callable[[Path], None], sentence: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(MODEL, folder)
    change(folder)
    with pytest.raises(ModelError, match=sentence) as caught:
        WhisperModel(folder, Stt())
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith("download it again.")


def test_a_model_without_its_preprocessor_settings_is_whole(
    tmp_path: Path, question: npt.NDArray[np.float32]
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(MODEL, folder)
    (folder / "preprocessor_config.json").unlink()
    model = WhisperModel(folder, Stt())
    assert model.decode(model.encode(model.spectrum(question), 1000), 1, 0.0, 100).text.strip() == TEXT
