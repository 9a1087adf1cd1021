"""Models are found where config.toml says, and what cannot be one is refused before an engine sees it."""

from __future__ import annotations

import os
import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from assistant.catalogue import locate as locating
from assistant.catalogue.disk import part_bytes
from assistant.catalogue.locate import TEST_MODELS, Located, locate
from assistant.catalogue.read import KINDS, Kind, read
from assistant.errors import ModelError

CATALOGUE = read()
STARTS = {
    ".gguf": b"GGUF" + struct.pack("<IQQ", 3, 1, 1),
    ".bin": b"\x06\0\0\0\x0c\0WhisperSpec\0",
    ".onnx": b"\x08\x08",
    ".json": b"{}  ",
    ".txt": b"the",
}
TINY: dict[Kind, str] = {
    "stt": "whisper-tiny-test",
    "llm": "tiny-chat-q8_0.gguf",
    "tts": "en_US-tiny-medium.onnx",
}


def put(name: str, folder: Path) -> None:
    """Files of the right names, sizes and first bytes, and nothing but holes behind."""
    entry = CATALOGUE.entry(name)
    for file in entry.files:
        place = entry.place(file, folder)
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(STARTS[place.suffix] + b" " * (file.size_bytes if place.suffix == ".json" else 0))
        os.truncate(place, file.size_bytes)


@pytest.mark.parametrize("kind", KINDS)
def test_auto_without_a_plan_is_a_test_model(kind: Kind, tmp_path: Path) -> None:
    path = TEST_MODELS / TINY[kind]
    assert locate(kind, "auto", tmp_path) == Located(kind, path.name, path, "")


@pytest.mark.parametrize("kind", KINDS)
def test_auto_without_any_model_says_what_to_do(
    kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locating, "TEST_MODELS", tmp_path)
    with pytest.raises(ModelError, match=r"^There is no .* on disk; .*`assistant models pull`\.$"):
        locate(kind, "auto", tmp_path)


@pytest.mark.parametrize(
    ("kind", "name"),
    [("stt", "whisper-tiny.en"), ("llm", "tinyllama-1.1b-chat-q4_k_m"), ("tts", "en_US-amy-medium")],
)
def test_a_half_fetched_model_is_named(kind: Kind, name: str, tmp_path: Path) -> None:
    entry = CATALOGUE.entry(name)
    put(entry.name, tmp_path)
    entry.place(entry.files[-1], tmp_path).unlink()
    assert not locating.is_complete(entry, tmp_path)
    with pytest.raises(ModelError, match=f"`assistant models pull {re.escape(entry.name)}`"):
        locate(kind, entry.name, tmp_path)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda path: os.truncate(path, 1000), "is damaged: it has 1000 bytes, not 668788096"),
        (lambda path: _overwrite(path, b"<htm"), "it is no GGUF file"),
    ],
)
def test_a_damaged_model_is_named(harm: Callable[[Path], None], said: str, tmp_path: Path) -> None:
    wanted = "tinyllama-1.1b-chat-q4_k_m"
    put(wanted, tmp_path)
    path = locate("llm", wanted, tmp_path).path
    harm(path)
    with pytest.raises(ModelError, match=re.escape(said)) as caught:
        locate("llm", wanted, tmp_path)
    assert str(path) in str(caught.value)
    assert "`assistant models pull tinyllama-1.1b-chat-q4_k_m`" in str(caught.value)


def _overwrite(path: Path, start: bytes) -> None:
    with path.open("r+b") as file:
        file.write(start)


@pytest.mark.parametrize("kind", KINDS)
def test_a_path_of_ones_own(kind: Kind, tmp_path: Path) -> None:
    path = TEST_MODELS / TINY[kind]
    assert locate(kind, str(path), tmp_path) == Located(kind, path.name, path, "")


def _whisper_without(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / "whisper"
        shutil.copytree(TEST_MODELS / TINY["stt"], path)
        (path / name).unlink()
        return path

    return make


def _whisper_with(name: str, content: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / "whisper"
        shutil.copytree(TEST_MODELS / TINY["stt"], path)
        (path / name).write_bytes(content)
        return path

    return make


def _file(name: str, content: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return make


def _pipe(folder: Path) -> Path:
    os.mkfifo(folder / "m.gguf")
    return folder / "m.gguf"


def _voice(voice: bytes, beside: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / "v.onnx.json").write_bytes(beside)
        return _file("v.onnx", voice)(folder)

    return make


@pytest.mark.parametrize(
    ("kind", "make", "said"),
    [
        ("llm", lambda folder: folder / "none.gguf", "There is no language model"),
        ("llm", lambda folder: folder, "it is a folder, not a GGUF file"),
        ("llm", _pipe, "it is neither a file nor a folder"),
        ("tts", lambda _: Path("/dev/zero"), "it is neither a file nor a folder"),
        ("llm", lambda folder: folder / ("x" * 300), "cannot be read: File name too long; check the path"),
        ("llm", _file("m.gguf", b""), "it is no GGUF file"),
        ("llm", _file("m.gguf", b"version https://git-lfs"), "it is no GGUF file"),
        ("llm", _file("m.gguf", b"GGUF\x03\0\0\0"), "it is cut off after 8 bytes"),
        (
            "llm",
            _file("m.gguf", b"GGUF" + struct.pack("<IQQ", 1, 1, 1)),
            "it is in GGUF version 1, not 2 or 3",
        ),
        ("llm", _file("m.gguf", b"GGUF" + struct.pack("<IQQ", 3, 0, 5)), "it has no weights in it"),
        ("stt", lambda folder: folder / "none", "There is no speech recogniser"),
        ("stt", _file("model.bin", b"x"), "it is a file, not the folder"),
        ("stt", _whisper_without("model.bin"), "model.bin is missing in it"),
        ("stt", _whisper_without("config.json"), "config.json is missing in it"),
        ("stt", _whisper_without("tokenizer.json"), "tokenizer.json is missing in it"),
        ("stt", _whisper_without("vocabulary.json"), "vocabulary.json (or vocabulary.txt) is missing in it"),
        ("stt", _whisper_with("model.bin", b""), "model.bin is not a Whisper model of CTranslate2"),
        ("tts", lambda folder: folder / "none.onnx", "There is no voice"),
        ("tts", lambda folder: folder, "it is a folder, not an .onnx file"),
        ("tts", _file("v.onnx", b"\x08"), "v.onnx.json is missing beside it"),
        ("tts", _voice(b"", b"{}"), "it is no ONNX file"),
        ("tts", _voice(b"<html>", b"{}"), "it is no ONNX file"),
    ],
)
def test_what_cannot_be_a_model_is_named(
    kind: Kind, make: Callable[[Path], Path], said: str, tmp_path: Path
) -> None:
    path = make(tmp_path)
    with pytest.raises(ModelError, match=re.escape(said)) as caught:
        locate(kind, str(path), tmp_path)
    assert str(path) in str(caught.value)


def test_a_model_is_not_used_for_another_stage(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r'no tts model "whisper-tiny\.en"'):
        locate("tts", "whisper-tiny.en", tmp_path)


def test_a_folder_that_cannot_be_looked_at(tmp_path: Path) -> None:
    entry, folder = CATALOGUE.entry("whisper-tiny.en"), tmp_path / ("x" * 300)
    assert not locating.is_complete(entry, folder)
    assert len(locating.absent(entry, folder)) == len(entry.files)
    assert part_bytes(entry.place(entry.files[0], folder)) == 0
    with pytest.raises(ModelError, match="cannot be read: File name too long"):
        locate("stt", entry.name, folder)
