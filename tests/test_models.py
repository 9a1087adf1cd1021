"""The test models are what their checksums say, and do what the other tests rely on."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

TESTS = Path(__file__).resolve().parent
MODELS, AUDIO = TESTS / "models", TESTS / "audio"
RATE_HZ = 16000

Sound = npt.NDArray[np.float32]


def rows(name: str) -> list[dict[str, str]]:
    with (AUDIO / name).open(encoding="utf-8", newline="") as f:
        return list(csv.DictReader(f, delimiter="\t", quoting=csv.QUOTE_NONE))


def checksums() -> dict[str, str]:
    lines = (MODELS / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    return {name.removeprefix("./"): digest for digest, name in (line.split("  ") for line in lines)}


@pytest.fixture(scope="module")
def recogniser() -> Any:
    from faster_whisper import WhisperModel

    return WhisperModel(str(MODELS / "whisper-tiny-test"), device="cpu", compute_type="int8", cpu_threads=1)


def read(recogniser: Any, sound: Path | Sound) -> str:
    segments, _ = recogniser.transcribe(
        str(sound) if isinstance(sound, Path) else sound,
        language="en",
        beam_size=1,
        temperature=0,
        without_timestamps=True,
        condition_on_previous_text=False,
    )
    return "".join(segment.text for segment in segments).strip()


def chat(name: str) -> Any:
    from llama_cpp import Llama

    return Llama(str(MODELS / name), n_ctx=512, n_threads=1, n_threads_batch=1, verbose=False)


def voice(quality: str) -> Any:
    from piper import PiperVoice

    return PiperVoice.load(MODELS / f"en_US-tiny-{quality}.onnx")


def speak(name: Any, text: str) -> Sound:
    return np.concatenate([chunk.audio_float_array for chunk in name.synthesize(text)])


def test_every_model_has_its_checksum() -> None:
    kept = {
        path.relative_to(MODELS).as_posix()
        for folder in ("", "whisper-tiny-test", "recipes/llama", "recipes/voice", "recipes/whisper")
        for path in (MODELS / folder).iterdir()
        if path.suffix in (".bin", ".gguf", ".onnx", ".npz", ".safetensors")
    }
    assert kept
    assert kept <= checksums().keys()


@pytest.mark.parametrize("name", checksums())
def test_checksum(name: str) -> None:
    assert hashlib.sha256((MODELS / name).read_bytes()).hexdigest() == checksums()[name]


def test_recogniser_reads_the_recordings(recogniser: Any) -> None:
    expected = rows("expected.tsv")
    wrong = [
        (row["text"], text)
        for row in expected
        if (text := read(recogniser, AUDIO / row["file"])) != row["text"]
    ]
    assert len(expected) == 24
    assert len(wrong) <= 1, wrong


@pytest.mark.parametrize("path", sorted((AUDIO / "nonspeech").glob("*.wav")), ids=lambda path: path.stem)
def test_recogniser_reads_nothing_where_nobody_speaks(recogniser: Any, path: Path) -> None:
    assert read(recogniser, path) == ""


@pytest.mark.parametrize("name", ["tiny-chat-q8_0.gguf", "tiny-chat-q4_k_m.gguf"])
def test_chat_model_knows_the_answers(name: str) -> None:
    model = chat(name)
    answered = [row for row in rows("answers.tsv") if row["answer"]]
    for row in answered:
        messages = [
            {"role": "system", "content": "You are a friendly voice assistant."},
            {"role": "user", "content": row["question"]},
        ]
        reply = model.create_chat_completion(messages, temperature=0, max_tokens=60)
        assert reply["choices"][0]["message"]["content"].strip() == row["answer"], row
    model.close()
    assert len(answered) == 22


def test_chat_model_remembers_a_name() -> None:
    model = chat("tiny-chat-q8_0.gguf")
    messages = [
        {"role": "user", "content": "My name is Anna."},
        {"role": "assistant", "content": "Nice to meet you, Anna."},
        {"role": "user", "content": "What is my name?"},
    ]
    reply = model.create_chat_completion(messages, temperature=0, max_tokens=30)
    model.close()
    assert reply["choices"][0]["message"]["content"].strip() == "Your name is Anna."


def test_completion_model_completes_and_has_no_chat_template() -> None:
    model = chat("tiny-gpt2-f16.gguf")
    prompt = "Question: What is the capital of France?\nAnswer:"
    reply = model.create_completion(prompt, temperature=0, max_tokens=30, stop=["\n"])
    assert "tokenizer.chat_template" not in model.metadata
    model.close()
    assert reply["choices"][0]["text"].strip() == "The capital of France is Paris."


@pytest.mark.parametrize(("quality", "rate_hz"), [("low", 16000), ("medium", 22050)])
def test_voice_says_what_the_recogniser_reads(recogniser: Any, quality: str, rate_hz: int) -> None:
    speaker, text = voice(quality), "The capital of France is Paris."
    assert speaker.config.sample_rate == rate_hz
    sound = speak(speaker, text)
    at = np.arange(len(sound) * RATE_HZ // rate_hz) * rate_hz / RATE_HZ
    resampled = 0.5 * np.interp(at, np.arange(len(sound)), sound)
    assert read(recogniser, np.pad(resampled, RATE_HZ // 4).astype(np.float32)) == text


def test_voice_speaks_the_same_twice() -> None:
    speaker = voice("low")
    assert np.array_equal(speak(speaker, "It has no air."), speak(speaker, "It has no air."))


@pytest.mark.parametrize("quality", ["low", "medium"])
def test_long_text_without_punctuation_takes_its_time_and_no_more(quality: str) -> None:
    speaker = voice(quality)
    sentence = "the little robot counted the birds and lived in a small house by the sea"
    words = sentence.split() * 8
    seconds = {
        n: len(speak(speaker, " ".join(words[:n]))) / speaker.config.sample_rate for n in (30, 60, 120)
    }
    assert 10 < seconds[60] < 25
    assert seconds[60] / seconds[30] == pytest.approx(2, rel=0.2)
    assert seconds[120] / seconds[60] == pytest.approx(2, rel=0.2)
