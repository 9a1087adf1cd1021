"""faster-whisper with the tiny model, and the judgement on what it may have invented."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import soxr

from assistant.audio.endpointing import Ended, Endpointer, Paused
from assistant.audio.formats import FRAME_SAMPLES, RATE_HZ
from assistant.config import Stt, Vad
from assistant.engines.webrtc import WebrtcVad
from assistant.engines.whisper import Heard, WhisperEngine, invented, language_of
from assistant.errors import ModelError

TESTS = Path(__file__).parents[1]
AUDIO = TESTS / "audio"
MODEL = TESTS / "models" / "whisper-tiny-test"
with (AUDIO / "expected.tsv").open(encoding="utf-8") as _table:
    QUESTIONS = {row["file"]: row["text"] for row in csv.DictReader(_table, delimiter="\t")}


@pytest.fixture(scope="module")
def engine() -> WhisperEngine:
    return WhisperEngine(MODEL, Stt())


def sound(path: Path) -> npt.NDArray[np.int16]:
    samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    mono = soxr.resample(samples.mean(axis=1), rate_hz, RATE_HZ)
    pcm: npt.NDArray[np.int16] = np.clip(np.rint(mono * 32_768), -32_768, 32_767).astype(np.int16)
    return pcm


def silence(duration_s: float) -> npt.NDArray[np.int16]:
    return np.zeros(round(duration_s * RATE_HZ), dtype=np.int16)


def utterances(pcm: npt.NDArray[np.int16]) -> list[Paused]:
    vad, endpointer, last = WebrtcVad(Vad().aggressiveness), Endpointer(Vad()), None
    found: list[Paused] = []
    events = []
    for row in pcm[: len(pcm) // FRAME_SAMPLES * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES):
        events += endpointer.feed(row.tobytes(), vad.voiced(row.tobytes()))
    for event in events + endpointer.end():
        if isinstance(event, Paused):
            last = event
        elif isinstance(event, Ended):
            assert last is not None
            found.append(last)
    return found


def never() -> bool:
    return False


def test_there_are_questions() -> None:
    assert len(QUESTIONS) == 24


@pytest.mark.parametrize("name", QUESTIONS)
def test_what_endpointing_cuts_out_is_read(engine: WhisperEngine, name: str) -> None:
    (utterance,) = utterances(np.concatenate([sound(AUDIO / name), silence(1)]))
    heard = engine.transcribe(np.frombuffer(utterance.pcm, dtype=np.int16), utterance.voiced_ms, never)
    assert heard.text == QUESTIONS[name]
    assert heard.language == "en"
    assert 0.8 < heard.confidence <= 1.0


@pytest.mark.parametrize("path", sorted((AUDIO / "nonspeech").glob("*.wav")), ids=lambda path: path.stem)
def test_noise_has_no_text(engine: WhisperEngine, path: Path) -> None:
    pcm = sound(path)
    assert engine.transcribe(pcm, 0, never).text == ""
    for utterance in utterances(pcm):
        heard = engine.transcribe(np.frombuffer(utterance.pcm, dtype=np.int16), utterance.voiced_ms, never)
        assert heard == Heard("", "en", 0.0)


@pytest.mark.parametrize("samples", [0, 1, 100, 1600])
def test_next_to_no_sound_has_no_text(engine: WhisperEngine, samples: int) -> None:
    assert engine.transcribe(np.zeros(samples, dtype=np.int16), 0, never).text == ""


@pytest.mark.parametrize("beam_size", [1, 5])
def test_every_beam_size_reads_it(beam_size: int) -> None:
    engine = WhisperEngine(MODEL, Stt(beam_size=beam_size, threads=1))
    engine.warm()
    assert engine.transcribe(sound(AUDIO / "q00.wav"), 1600, never).text == QUESTIONS["q00.wav"]


def test_more_than_one_window(engine: WhisperEngine) -> None:
    pcm = np.concatenate([sound(AUDIO / "q00.wav"), silence(28), sound(AUDIO / "q10.wav"), silence(1)])
    text = engine.transcribe(pcm, 2700, never).text
    assert text.startswith(QUESTIONS["q00.wav"])
    assert text.endswith(QUESTIONS["q10.wav"])


def test_a_cancelled_reading_has_no_text(engine: WhisperEngine) -> None:
    assert engine.transcribe(sound(AUDIO / "q00.wav"), 1600, lambda: True) == Heard("", "en", 0.0)


def test_cancelling_stops_between_windows(engine: WhisperEngine) -> None:
    answers = iter([False, True])
    pcm = np.concatenate([sound(AUDIO / "q00.wav"), silence(28), sound(AUDIO / "q10.wav")])
    assert engine.transcribe(pcm, 2700, lambda: next(answers)) == Heard("", "en", 0.0)
    assert list(answers) == []


# ---------------------------------------------------------------- what may be invented


@pytest.mark.parametrize(
    ("text", "no_speech_prob", "avg_logprob", "compression_ratio", "voiced_ms", "verdict"),
    [
        # said by somebody
        (" Thank you.", 0.02, -0.15, 0.6, 520, False),
        (" Thank you very much.", 0.2, -0.5, 0.7, 900, False),
        (" Stop.", 0.25, -0.7, 0.4, 240, False),  # short, and not sure
        (" What time is it?", 0.65, -0.4, 0.7, 800, False),  # small models often doubt that it is speech
        (" What time is it?", 0.05, -1.2, 0.7, 800, False),  # mumbled
        (" Test test test test test test test test.", 0.1, -0.2, 2.6, 3000, False),  # a person testing it
        (" Bye.", 0.1, -0.3, 0.3, 300, False),
        (" What is the capital of Spain?", 0.0, -0.1, 0.8, 0, False),  # too faint for the voice detector
        (" 7", 0.1, -0.3, 0.1, 300, False),
        # stock phrases with any second sign
        (" Thank you.", 0.65, -0.3, 0.6, 2000, True),
        (" Thank you.", 0.4, -0.7, 0.6, 600, True),
        (" Thank you.", 0.1, -0.2, 0.6, 60, True),  # a click
        (" Thank you.", 0.35, -0.4, 0.6, 6000, True),  # two words in six seconds of hum
        (" Thanks for watching!", 0.2, -0.4, 0.7, 300, True),  # faster than anybody speaks
        (" Thank you. Thank you. Thank you.", 0.4, -0.65, 1.6, 900, True),
        (" Please like and subscribe!", 0.7, -0.5, 0.8, 1500, True),
        (" Subtitles by the Amara.org community", 0.7, -0.2, 0.8, 2000, True),
        (" you", 0.75, -0.9, 0.2, 400, True),
        # anything with two full signs
        (" And the trees were in the garden.", 0.7, -1.1, 0.9, 900, True),
        (" It was a dark night in the old town.", 0.7, -0.5, 0.9, 60, True),
        (" I don't know." * 20, 0.1, -0.1, 9.0, 1500, True),  # a loop, however sure
        (" No no no no no no no no no no no no.", 0.7, -0.2, 3.0, 1500, True),
        # no words at all
        ("", 0.0, 0.0, 0.0, 2000, True),
        (" ...", 0.0, 0.0, 0.1, 2000, True),
        (" \u266a\u266a", 0.0, 0.0, 0.1, 2000, True),
    ],
)
def test_invented(
    text: str,
    no_speech_prob: float,
    avg_logprob: float,
    compression_ratio: float,
    voiced_ms: int,
    verdict: bool,
) -> None:
    assert invented(text, no_speech_prob, avg_logprob, compression_ratio, voiced_ms) is verdict


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


def test_an_english_model_reads_english_whatever_is_wanted() -> None:
    heard = WhisperEngine(MODEL, Stt(language="de")).transcribe(sound(AUDIO / "q00.wav"), 1600, never)
    assert (heard.text, heard.language) == (QUESTIONS["q00.wav"], "en")


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
        WhisperEngine(folder, Stt())
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith("download it again.")


def test_a_model_without_its_preprocessor_settings_is_whole(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(MODEL, folder)
    (folder / "preprocessor_config.json").unlink()
    heard = WhisperEngine(folder, Stt()).transcribe(sound(AUDIO / "q00.wav"), 1600, never)
    assert heard.text == QUESTIONS["q00.wav"]
