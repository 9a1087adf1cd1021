"""Finding a model on disk and telling whether it can be what it claims to be, without loading or hashing it.

Every worker runs this when it starts, so a look at names, sizes and first bytes must do;
`assistant models verify` hashes.
"""

from __future__ import annotations

import os
import stat
import struct
from pathlib import Path

import msgspec

from assistant.catalogue.disk import size_bytes
from assistant.catalogue.read import Entry, Kind, current
from assistant.config import CHECKOUT, is_path
from assistant.errors import ModelError

TEST_MODELS = CHECKOUT / "tests" / "models"
TEST_NAMES: dict[Kind, str] = {
    "stt": "whisper-tiny-test",
    "llm": "tiny-chat-q8_0.gguf",
    "tts": "en_US-tiny-medium.onnx",
}
_NOUNS: dict[Kind, str] = {"stt": "speech recogniser", "llm": "language model", "tts": "voice"}


class Located(msgspec.Struct, frozen=True):
    """A model that is complete on disk.

    `path` is a GGUF file ("llm"), a CTranslate2 folder ("stt") or an .onnx file ("tts"); `template` is ""
    unless the catalogue states one.
    """

    kind: Kind
    name: str
    path: Path
    template: str


def locate(kind: Kind, wanted: str, folder: Path) -> Located:
    """The model that config.toml's `[kind] model = wanted` means; downloaded ones live in `folder`.

    A plan has put a name or a path in the place of "auto"; without one, that is the small test model.
    Raises `ModelError`.
    """
    if wanted == "auto":
        if (test := test_model(kind)) is None:
            raise ModelError(
                f"There is no {_NOUNS[kind]} on disk; fetch one that fits with `assistant models pull`."
            )
        wanted = str(test)
    if is_path(wanted):
        path = Path(wanted).expanduser()
        check(kind, path)
        return Located(kind, path.name, path, "")
    return _in_folder(current(folder).entry(wanted, kind), folder)


def test_model(kind: Kind) -> Path | None:
    """The small model made for tests, which serves until there is another; None where it is not shipped."""
    path = TEST_MODELS / TEST_NAMES[kind]
    return path if path.exists() else None


def is_complete(entry: Entry, folder: Path) -> bool:
    """Whether all files of `entry` are on disk, as far as names and sizes tell."""
    return all(size_bytes(entry.place(file, folder)) == file.size_bytes for file in entry.files)


def absent(entry: Entry, folder: Path) -> list[Path]:
    """The files of `entry` that are not on disk at all."""
    return [place for file in entry.files if size_bytes(place := entry.place(file, folder)) is None]


def _in_folder(entry: Entry, folder: Path) -> Located:
    pull = f"`assistant models pull {entry.name}`"
    for file in entry.files:
        _look(entry.place(file, folder))
    lacking = absent(entry, folder)
    if len(lacking) == len(entry.files):
        raise ModelError(f"The model {entry.name} is not on disk; fetch it with {pull}.")
    if lacking:
        raise ModelError(f"The model {entry.name} lacks {lacking[0].name}; complete it with {pull}.")
    for file in entry.files:
        place = entry.place(file, folder)
        size = size_bytes(place)
        if size != file.size_bytes:
            raise ModelError(
                f"{place} is damaged: it has {size} bytes, not {file.size_bytes}; "
                f"fetch it again with {pull}, or delete it with `assistant models remove {entry.name}`."
            )
    path = folder / entry.name
    if entry.kind != "stt":
        path = entry.place(entry.files[0], folder)
    check(entry.kind, path, f"fetch it again with {pull}")
    return Located(entry.kind, entry.name, path, entry.template)


def check(
    kind: Kind, path: Path, remedy: str = "give the path of another, or a name that `assistant models` lists"
) -> None:
    """Raise `ModelError` unless `path` has the files and the first bytes of a model of its kind.

    The engines call it too, before C code reads the file; what is further inside, they judge themselves.
    """
    found = _look(path)
    if found is None:
        raise ModelError(f"There is no {_NOUNS[kind]} {path}; {remedy}.")
    if stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode):
        reason = {"stt": _flaw_of_whisper, "llm": _flaw_of_gguf, "tts": _flaw_of_voice}[kind](path)
    else:
        reason = "it is neither a file nor a folder"  # to open a pipe would wait for ever
    if reason:
        raise ModelError(f"{path} cannot be used as a {_NOUNS[kind]}: {reason}; {remedy}.")


def _flaw_of_gguf(path: Path) -> str:
    if path.is_dir():
        return "it is a folder, not a GGUF file"
    # "GGUF", version, number of tensors, number of keys: ggml/include/gguf.h
    start = _first_bytes(path, 24)
    if start[:4] != b"GGUF":
        return "it is no GGUF file"
    if len(start) < 24:
        return f"it is cut off after {len(start)} bytes"
    version, tensors, _ = struct.unpack("<IQQ", start[4:])
    if version not in (2, 3):
        return f"it is in GGUF version {version}, not 2 or 3"
    return "" if tensors else "it has no weights in it"


def _flaw_of_whisper(path: Path) -> str:
    if not path.is_dir():
        return "it is a file, not the folder of a CTranslate2 model"
    # Without tokenizer.json the recogniser would ask the internet for one.
    for name in ("model.bin", "config.json", "tokenizer.json"):
        if size_bytes(path / name) is None:
            return f"{name} is missing in it"
    if all(size_bytes(path / f"vocabulary.{ending}") is None for ending in ("json", "txt")):
        return "vocabulary.json (or vocabulary.txt) is missing in it"
    # A CTranslate2 binary begins with its version and the name of what it is: ctranslate2/specs/model_spec.py
    if b"WhisperSpec" not in _first_bytes(path / "model.bin", 32):
        return "model.bin is not a Whisper model of CTranslate2"
    return ""


def _flaw_of_voice(path: Path) -> str:
    if path.is_dir():
        return "it is a folder, not an .onnx file"
    beside = path.with_name(path.name + ".json")
    if size_bytes(beside) is None:
        return f"{beside.name} is missing beside it"
    # An ONNX file begins with its format's version: field 1 of a protobuf message, a number, hence 8.
    return "" if _first_bytes(path, 1) == b"\x08" else "it is no ONNX file"


def _look(path: Path) -> os.stat_result | None:
    """What is at `path`; None if nothing is.  Raises `ModelError` if it cannot be looked at."""
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError:
        raise ModelError("The path of a model has a zero byte in it; check it in config.toml.") from None
    except OSError as error:
        raise _unreadable(path, error) from None


def _first_bytes(path: Path, count: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(count)
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError) -> ModelError:
    return ModelError(f"{path} cannot be read: {error.strerror}; check the path and its permissions.")
