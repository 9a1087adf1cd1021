"""The recogniser with the tiny model: what is said, noise, cancelling, and when it reads twice."""

from __future__ import annotations

import csv
from itertools import chain, repeat
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import soxr
from hypothesis import given
from hypothesis import strategies as st

from assistant.audio.endpointing import Ended, Endpointer, Paused
from assistant.audio.formats import FRAME_SAMPLES, RATE_HZ
from assistant.config import Stt, Vad
from assistant.engines.webrtc import WebrtcVad
from assistant.engines.whisper import WINDOW_FRAMES, Heard, WhisperEngine, window_frames
from assistant.engines.whisper_judgement import most_tokens
from assistant.engines.whisper_model import WhisperModel

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


def test_an_english_model_reads_english_whatever_is_wanted() -> None:
    heard = WhisperEngine(MODEL, Stt(language="de")).transcribe(sound(AUDIO / "q00.wav"), 1600, never)
    assert (heard.text, heard.language) == (QUESTIONS["q00.wav"], "en")


# ---------------------------------------------------------------- reading quickly, and again

MUMBLED = AUDIO / "people" / "cards-001.wav"
"""What the tiny model is in doubt about."""


@given(st.integers(0, WINDOW_FRAMES))
def test_a_window_holds_the_sound_and_is_never_one_that_is_taken_for_a_spectrum(sound_frames: int) -> None:
    frames = window_frames(sound_frames)
    assert min(WINDOW_FRAMES, sound_frames + 200) <= frames <= WINDOW_FRAMES
    assert (frames + 1) // 2 not in (80, 128)


@pytest.mark.parametrize(
    ("sound_s", "window_s"), [(0, 10), (3, 10), (8, 10), (8.5, 10.5), (27, 29), (28, 30), (30, 30)]
)
def test_window(sound_s: float, window_s: float) -> None:
    assert window_frames(round(100 * sound_s)) == round(100 * window_s)


def test_what_is_in_doubt_is_read_again_carefully() -> None:
    settings = Stt(beam_size=3)
    model, pcm = WhisperModel(MODEL, settings), sound(MUMBLED)
    spectrum, limit = (
        model.spectrum(np.divide(pcm, 32_768, dtype=np.float32)),
        most_tokens(len(pcm) / RATE_HZ),
    )
    quick = model.decode(model.encode(spectrum, 1000), 1, 0.0, limit)
    careful = model.decode(model.encode(spectrum, 3000), 3, 0.0, limit)
    assert quick.text != careful.text
    assert WhisperEngine(MODEL, settings).transcribe(pcm, 1000, never).text == careful.text.strip()


@pytest.mark.parametrize(("path", "asked"), [(AUDIO / "q00.wav", 2), (MUMBLED, 4)])
def test_cancelling_stops_before_every_attempt(engine: WhisperEngine, path: Path, asked: int) -> None:
    pcm = sound(path)
    for times in range(asked):
        answers = chain(repeat(False, times), [True])
        assert engine.transcribe(pcm, 1000, answers.__next__) == Heard("", "en", 0.0)
        assert list(answers) == []
    answers = chain(repeat(False, asked))
    assert engine.transcribe(pcm, 1000, answers.__next__).text
    assert list(answers) == []
