"""Files, models and disks that are not as they should be: one sentence, the right exit code, no hang."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from command_line import AUDIO, BERLIN, CAPITAL, MODELS, assistant, daemon, recording, said, toml

QUESTION = AUDIO / "q00.wav"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """config.toml of a daemon that runs."""
    with daemon(tmp_path_factory.mktemp("daemon"), "--workers", "llm,stt,tts") as (config, _):
        yield config


# ---------------------------------------------------------------- sound files


def test_recordings_of_any_form(running: Path, tmp_path: Path) -> None:
    for name, rate_hz, channels in [("a.wav", 96_000, 8), ("a.flac", 48_000, 2), ("a.mp3", 32_000, 1)]:
        sound, _ = soundfile.read(recording(tmp_path, "q00", rate_hz=rate_hz, channels=channels))
        soundfile.write(tmp_path / name, sound, rate_hz)
        assert assistant("transcribe", tmp_path / name, config=running).stdout == f"{CAPITAL}\n"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "is empty"),
        (b"Hello, this is text.\n" * 100, "is not sound"),
        (QUESTION.read_bytes()[:20], "is not sound"),
        (QUESTION.read_bytes()[:44], "holds no sound"),
        (None, "There is no sound file"),
    ],
)
def test_no_sound(content: bytes | None, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "recording.wav"
    if content is not None:
        path.write_bytes(content)
    assert complaint in said(assistant("transcribe", path))
    assert complaint in said(assistant("run", "--mic", path, "--speaker", tmp_path / "out.wav"))
    assert not (tmp_path / "out.wav").exists()


def test_a_folder_is_no_sound(tmp_path: Path) -> None:
    assert "is a folder" in said(assistant("transcribe", tmp_path))


def test_a_recording_that_was_cut_short_gives_what_there_is(running: Path, tmp_path: Path) -> None:
    whole = QUESTION.read_bytes()
    (tmp_path / "cut.wav").write_bytes(whole[: len(whole) * 6 // 10])
    done = assistant("transcribe", tmp_path / "cut.wav", config=running)
    assert done.returncode == 0
    assert done.stdout.startswith("What is the")


def test_silence_has_no_words_however_long(running: Path, tmp_path: Path) -> None:
    """Two hours; the file has no blocks on the disk, and the program holds half a second of it."""
    size = 2 * 3600 * 16_000 * 2
    with (tmp_path / "night.wav").open("wb") as file:
        file.write(b"RIFF" + struct.pack("<I", size + 36) + b"WAVEfmt ")
        file.write(
            struct.pack("<IHHIIHH", 16, 1, 1, 16_000, 32_000, 2, 16) + b"data" + struct.pack("<I", size)
        )
        file.truncate(44 + size)
    done = assistant("transcribe", tmp_path / "night.wav", config=running)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "assistant: No speech was heard in it.\n")


# ---------------------------------------------------------------- words


@pytest.mark.parametrize("question", ["", "  \n", "\x1b[31m"])
def test_an_empty_question(question: str) -> None:
    assert "The question is empty" in said(assistant("ask", question))
    assert "The question is empty" in said(assistant("ask", "-", stdin=question))


def test_a_question_that_is_too_long(running: Path) -> None:
    assert "too long" in said(assistant("ask", "-", stdin="word " * 20_000, config=running))


@pytest.mark.parametrize("text", ["", "🎉🎉", "***", "\x07"])
def test_nothing_to_say(text: str, running: Path, tmp_path: Path) -> None:
    assert "nothing to say" in said(assistant("say", text, "-o", tmp_path / "o.wav", config=running))
    assert not (tmp_path / "o.wav").exists()


# ---------------------------------------------------------------- places to write


@pytest.mark.parametrize(
    ("place", "complaint"),
    [
        ("/dev/full", "No space left"),
        ("/tmp", "Is a directory"),
        ("/nowhere/o.wav", "the folder /nowhere does not exist"),
        ("/nowhere/o.mp3", "only WAV is; name it /nowhere/o.wav."),
    ],
)
def test_sound_that_cannot_be_written(place: str, complaint: str, running: Path) -> None:
    assert complaint in said(assistant("say", "Hello.", "-o", place, config=running))
    if place != "/dev/full":
        assert complaint in said(assistant("run", "--mic", QUESTION, "--speaker", place))


def test_a_full_disk_under_the_speaker_ends_the_run() -> None:
    done = assistant("run", "--mic", QUESTION, "--speaker", "/dev/full")
    assert done.returncode == 1
    assert "No space left" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "words", [["ask", CAPITAL], ["ask", "--json", CAPITAL], ["transcribe", str(QUESTION)], ["devices"]]
)
def test_a_full_disk_under_standard_output(words: list[str], running: Path) -> None:
    with open("/dev/full", "wb") as full:
        done = assistant(*words, config=running, capture_output=False, stdout=full, stderr=-1)
    assert said(done).startswith("The disk is full")


def test_the_speaker_must_not_be_the_microphone(tmp_path: Path) -> None:
    path = recording(tmp_path, "q00")
    before = path.read_bytes()
    assert "is the microphone's file" in said(assistant("run", "--mic", path, "--speaker", path))
    assert path.read_bytes() == before


# ---------------------------------------------------------------- models


def cut_language_model(folder: Path) -> str:
    whole = (MODELS / "tiny-chat-q8_0.gguf").read_bytes()
    (folder / "cut.gguf").write_bytes(whole[:100_000])
    return '[llm]\nmodel = "cut.gguf"\n'


def recogniser_without_weights(folder: Path) -> str:
    ignored = shutil.ignore_patterns("model.bin")
    shutil.copytree(MODELS / "whisper-tiny-test", folder / "whisper", ignore=ignored)
    return '[stt]\nmodel = "./whisper"\n'


def recogniser_cut_short(folder: Path) -> str:
    shutil.copytree(MODELS / "whisper-tiny-test", folder / "whisper")
    (folder / "whisper" / "model.bin").write_bytes(
        (MODELS / "whisper-tiny-test" / "model.bin").read_bytes()[:99_999]
    )
    return '[stt]\nmodel = "./whisper"\n'


def voice_without_description(folder: Path) -> str:
    shutil.copy(MODELS / "en_US-tiny-low.onnx", folder / "voice.onnx")
    return '[tts]\nmodel = "voice.onnx"\n'


def voice_cut_short(folder: Path) -> str:
    (folder / "voice.onnx").write_bytes((MODELS / "en_US-tiny-low.onnx").read_bytes()[:5_000])
    shutil.copy(MODELS / "en_US-tiny-low.onnx.json", folder / "voice.onnx.json")
    return '[tts]\nmodel = "voice.onnx"\n'


@pytest.mark.parametrize(
    ("spoil", "command", "complaint"),
    [
        (cut_language_model, ["ask", CAPITAL], "cut.gguf cannot be loaded"),
        (lambda _: '[llm]\nmodel = "no.gguf"\n', ["ask", CAPITAL], "no.gguf"),
        (recogniser_without_weights, ["transcribe", str(QUESTION)], "model.bin is missing"),
        (recogniser_cut_short, ["transcribe", str(QUESTION)], "is damaged"),
        (voice_without_description, ["say", "Hello.", "-o", "/dev/null"], "voice.onnx.json is missing"),
        (voice_cut_short, ["say", "Hello.", "-o", "/dev/null"], "is damaged"),
    ],
)
def test_a_model_that_cannot_be_used(
    spoil: Callable[[Path], str], command: list[str], complaint: str, tmp_path: Path
) -> None:
    config = toml(tmp_path, spoil(tmp_path) + f'[daemon]\nsocket = "{tmp_path / "daemon.sock"}"\n')
    assert complaint in said(assistant(*command, config=config))
    assert complaint in said(assistant("run", "--mic", QUESTION, config=config))


def test_another_voice_speaks_at_its_own_rate(tmp_path: Path) -> None:
    for voice, rate_hz in (("low", 16_000), ("medium", 22_050)):
        config = toml(tmp_path, f'[tts]\nmodel = "{MODELS / f"en_US-tiny-{voice}.onnx"}"\n')
        out = tmp_path / f"{voice}.wav"
        assert assistant("say", BERLIN, "-o", out, config=config).returncode == 0
        assert soundfile.info(out).samplerate == rate_hz
        assert np.abs(soundfile.read(out, dtype="int16")[0]).max() > 1_000
