"""Piper with the tiny voices: what they say is read back by the tiny recogniser."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import piper
import pytest
import soxr
from hypothesis import given
from hypothesis import strategies as st
from small_piper import MEDIUM as MEDIUM_SHAPE
from small_piper import SmallVoice

from assistant.audio.formats import RATE_HZ
from assistant.config import Stt, Tts
from assistant.engines.piper import FIRST_S, KNEE, LONGEST_S, WARM_UP, PiperEngine, limited, pieces
from assistant.engines.whisper import WhisperEngine
from assistant.errors import ModelError

MODELS = Path(__file__).parents[1] / "models"
MEDIUM = MODELS / "en_US-tiny-medium.onnx"
LOW = MODELS / "en_US-tiny-low.onnx"
SENTENCE = "The capital of Germany is Berlin."


@pytest.fixture(scope="module")
def voice() -> PiperEngine:
    return PiperEngine(MEDIUM, Tts())


@pytest.fixture(scope="module")
def recogniser() -> WhisperEngine:
    return WhisperEngine(MODELS / "whisper-tiny-test", Stt())


def said(engine: PiperEngine, text: str) -> npt.NDArray[np.int16]:
    return np.concatenate([*engine.speak(text), np.zeros(0, dtype=np.int16)])


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


@pytest.mark.parametrize("path", [MEDIUM, LOW], ids=["medium", "low"])
@pytest.mark.parametrize(
    "sentence",
    [
        SENTENCE,
        "The opposite of hot is cold.",
        "A spider has eight legs.",
        "The capital of France is Paris.",
    ],
)
def test_what_is_said_is_understood(path: Path, sentence: str, recogniser: WhisperEngine) -> None:
    engine = PiperEngine(path, Tts())
    sound = said(engine, sentence)
    assert sound.dtype == np.int16
    assert sound.ndim == 1
    pcm = soxr.resample(sound, engine.rate_hz, RATE_HZ)
    heard = recogniser.transcribe(pcm, 1000 * len(pcm) // RATE_HZ, lambda: False)
    assert words(heard.text) == words(sentence)


def test_the_rate_is_the_voices() -> None:
    assert (PiperEngine(MEDIUM, Tts()).rate_hz, PiperEngine(LOW, Tts()).rate_hz) == (22_050, 16_000)


def test_sentences_come_one_by_one(voice: PiperEngine) -> None:
    sentences = voice.speak(f"{SENTENCE} {SENTENCE} It is cold.")
    first, second, third = sentences
    np.testing.assert_array_equal(first, second)
    assert 0 < len(third) < len(first)


def test_stopping_in_between_leaves_the_voice_usable(voice: PiperEngine) -> None:
    expected = said(voice, SENTENCE)
    sentences = voice.speak(f"It is cold. {SENTENCE}")
    next(sentences)
    del sentences
    np.testing.assert_array_equal(said(voice, SENTENCE), expected)


def test_a_sentence_begins_with_a_short_chunk(tmp_path: Path) -> None:
    engine = PiperEngine(SmallVoice(MEDIUM_SHAPE).written(tmp_path), Tts(threads=1))
    first, *later = (len(chunk) / engine.rate_hz for chunk in engine.speak(f"{SENTENCE} {SENTENCE}"[:-1]))
    assert first == pytest.approx(FIRST_S, abs=0.02)
    assert 0 < max(later) < 2 * LONGEST_S


def test_stopping_inside_a_sentence_leaves_the_voice_usable(tmp_path: Path) -> None:
    engine = PiperEngine(SmallVoice(MEDIUM_SHAPE).written(tmp_path), Tts(threads=1))
    expected = said(engine, SENTENCE)
    chunks = engine.speak(SENTENCE)
    first = next(chunks)
    del chunks
    np.testing.assert_array_equal(first, expected[: len(first)])
    np.testing.assert_array_equal(said(engine, SENTENCE), expected)


def test_sentences_keep_their_loudness_among_themselves(voice: PiperEngine) -> None:
    peaks = [int(np.abs(said(voice, text)).max()) for text in (WARM_UP, SENTENCE, "It is cold.", "Yes.")]
    assert peaks[0] == pytest.approx(32767 * (KNEE + (1 - KNEE) * np.tanh(1)), abs=2)
    assert len(set(peaks)) == len(peaks)
    assert min(peaks) > 32767 / 3


@given(st.lists(st.floats(-50, 50, width=32), min_size=2, max_size=50))
def test_what_is_too_loud_is_squeezed_and_the_rest_left(samples: list[float]) -> None:
    sound = np.sort(np.array(samples, np.float32))
    squeezed = limited(sound)
    assert squeezed.dtype == np.float32
    assert np.abs(squeezed).max() <= 1
    assert (np.diff(squeezed) >= 0).all()
    inside = np.abs(sound) <= KNEE
    np.testing.assert_array_equal(squeezed[inside], sound[inside])
    np.testing.assert_array_equal(limited(-sound), -squeezed)


@pytest.mark.parametrize(("speed", "factor"), [(2.0, 0.5), (0.5, 2.0)])
def test_speed_scales_the_duration(voice: PiperEngine, speed: float, factor: float) -> None:
    duration = len(said(PiperEngine(MEDIUM, Tts(speed=speed)), SENTENCE))
    assert duration == pytest.approx(factor * len(said(voice, SENTENCE)), rel=0.05)


def test_speed_scales_what_the_voice_itself_wants(tmp_path: Path) -> None:
    slow = copy(tmp_path)
    described = json.loads(slow.with_name("voice.onnx.json").read_text())
    described["inference"]["length_scale"] *= 2
    slow.with_name("voice.onnx.json").write_text(json.dumps(described))
    duration = len(said(PiperEngine(slow, Tts(speed=2.0)), SENTENCE))
    assert duration == pytest.approx(len(said(PiperEngine(LOW, Tts()), SENTENCE)), rel=0.02)


def test_the_volume_is_the_speakers_business(voice: PiperEngine) -> None:
    """What is written to a file is as loud as the voice is."""
    assert np.array_equal(said(PiperEngine(MEDIUM, Tts(volume=0.1)), SENTENCE), said(voice, SENTENCE))


@pytest.mark.parametrize(
    "text", ["", " ", "\n", "...", "!!!", "?!", "\u2014", "🙂", "\u200b", "\0", "\ud800"]
)
def test_what_has_no_words_says_nothing(voice: PiperEngine, text: str) -> None:
    assert list(voice.speak(text)) == []


@pytest.mark.parametrize(
    "text", ["It is\0cold.", "It is \ud800 cold.", "It\x07 is\x1b cold.", "日本", "مرحبا", "7"]
)
def test_odd_text_is_spoken(voice: PiperEngine, text: str) -> None:
    assert len(said(voice, text)) > 0


def test_warming_up_changes_nothing() -> None:
    engine = PiperEngine(MEDIUM, Tts(threads=1))
    before = said(engine, SENTENCE)
    engine.warm()
    np.testing.assert_array_equal(said(engine, SENTENCE), before)


# ---------------------------------------------------------------- files that cannot be used


def copy(folder: Path) -> Path:
    shutil.copy(LOW, folder / "voice.onnx")
    shutil.copy(LOW.with_name(LOW.name + ".json"), folder / "voice.onnx.json")
    return folder / "voice.onnx"


def described_as(**changes: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        file = folder / "voice.onnx.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return change


def cut(name: str, size: int) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).write_bytes((folder / name).read_bytes()[:size])

    return change


def written(name: str, content: bytes) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).write_bytes(content)

    return change


NO_VOICE = (Path(piper.__file__).parent / "tashkeel" / "model.onnx").read_bytes()
"""A model that is no voice: it comes with Piper, and adds vowels to Arabic."""


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda folder: (folder / "voice.onnx").unlink(), "There is no voice"),
        (lambda folder: (folder / "voice.onnx.json").unlink(), r"voice\.onnx\.json is missing"),
        (cut("voice.onnx", 0), "it is no ONNX file"),
        (cut("voice.onnx", 100_000), "is damaged"),
        (written("voice.onnx", b"<html>404</html>" * 100), "it is no ONNX file"),
        (written("voice.onnx", NO_VOICE), "not a Piper voice"),
        (cut("voice.onnx.json", 100), "does not describe a Piper voice"),
        (written("voice.onnx.json", b"[]"), "does not describe a Piper voice"),
        (written("voice.onnx.json", b"{}"), "does not describe a Piper voice"),
        (written("voice.onnx.json", b"\xff\xfe"), "does not describe a Piper voice"),
        (described_as(audio=None), "does not describe a Piper voice"),
        (described_as(phoneme_type="smoke"), "does not describe a Piper voice"),
        (described_as(phoneme_type="pinyin"), "needs pinyin phonemes"),
        (described_as(espeak={"voice": "xx-none"}), '"xx-none", which espeak-ng does not know'),
    ],
)
def test_a_voice_that_cannot_be_used_is_refused_in_one_sentence(
    tmp_path: Path, change: Callable[[Path], None], sentence: str
) -> None:
    path = copy(tmp_path)
    change(tmp_path)
    with pytest.raises(ModelError, match=sentence) as caught:
        PiperEngine(path, Tts())
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


@given(st.lists(st.sampled_from("abc "), max_size=400), st.integers(1, 60))
def test_pieces_lose_nothing_and_are_short(phonemes: list[str], most: int) -> None:
    cut = list(pieces(phonemes, most))
    assert [phoneme for piece in cut for phoneme in piece] == phonemes
    assert all(len(piece) <= most for piece in cut)
    for piece in cut[:-1]:
        assert piece[-1] == " " or " " not in piece[most // 2 :]


def test_numbers_are_made_in_pieces() -> None:
    """A hundred digits are read out as a minute of sound, and a piece of so long would take 700 MiB."""
    engine = PiperEngine(MEDIUM, Tts())
    longest_s = max(len(sound) for sound in engine.speak("1234567890 " * 10)) / engine.rate_hz
    assert longest_s < 12
