"""Headers of Piper voices: the right numbers of real ones, and one sentence about broken ones."""

from __future__ import annotations

from pathlib import Path

import hostile
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.catalogue import onnx
from assistant.catalogue.locate import TEST_MODELS
from assistant.catalogue.shapes import TtsShape
from assistant.errors import ModelError

INFLATED = TEST_MODELS / "recipes" / "build" / "inflated" / "en_US-inflated-medium.onnx"
REAL = TEST_MODELS / "en_US-tiny-low.onnx"


def varint(number: int) -> bytes:
    out = b""
    while number > 0x7F:
        out, number = out + bytes([number & 0x7F | 0x80]), number >> 7
    return out + bytes([number])


def number(field: int, content: int) -> bytes:
    return varint(field * 8) + varint(content)


def message(field: int, content: bytes) -> bytes:
    return varint(field * 8 + 2) + varint(len(content)) + content


def initializer(*fields: bytes) -> bytes:
    return message(5, b"".join((number(1, 4), number(2, 1), message(8, b"name"), *fields)))


GRAPH = (
    initializer(message(9, bytes(16)))
    + message(1, b"a node")
    + initializer(message(4, bytes(8)), b"\x65four")
)
SMALL = number(1, 8) + message(2, b"somebody") + message(7, GRAPH) + b"\x61\0\0\0\0\0\0\0\0" + message(8, b"")
assert len(SMALL) < 128


def read(content: bytes, folder: Path, size_bytes: int | None = None) -> onnx.OnnxHeader:
    path = hostile.put(folder / "voice.onnx", content, size_bytes)
    header = onnx.read_header(path)
    assert header.weights_bytes <= path.stat().st_size
    return header


@pytest.mark.parametrize(
    ("path", "weights_bytes", "rate_hz"),
    [
        (REAL, 1_169_232, 16_000),
        (TEST_MODELS / "en_US-tiny-medium.onnx", 1_199_544, 22_050),
        (INFLATED, 66_580_476, 22_050),
    ],
    ids=lambda part: part.name if isinstance(part, Path) else "",
)
def test_voices(path: Path, weights_bytes: int, rate_hz: int) -> None:
    if not path.exists():
        pytest.skip(f"{path} has not been built")
    header = onnx.read_header(path)
    assert header == onnx.OnnxHeader(path, weights_bytes)
    assert onnx.shape(header) == TtsShape(rate_hz)
    assert 0.98 < weights_bytes / path.stat().st_size < 1


def test_every_kind_of_field_is_walked_over(tmp_path: Path) -> None:
    assert read(SMALL, tmp_path) == onnx.OnnxHeader(tmp_path / "voice.onnx", 24)


def test_a_number_that_stands_alone_is_no_length(tmp_path: Path) -> None:
    content = message(7, initializer(number(5, 2**60), number(5, 3), b"\x25four"))
    assert read(content, tmp_path).weights_bytes == 9 + 1 + 4


@pytest.mark.parametrize(
    ("content", "size_bytes", "reason"),
    [
        (b"", None, "is no ONNX file"),
        (number(1, 8), None, "is no ONNX file"),
        (bytes(100), None, "is no ONNX file"),
        (number(1, 8), 1 << 40, "is no ONNX file"),
        (b"\x0b", None, "is no ONNX file"),
        (b"\x80" * 11, None, "is no ONNX file"),
        (b"\x08\x80", None, "is cut off"),
        (varint(7 * 8 + 2) + varint(2**60), None, "is cut off"),
        (message(7, varint(5 * 8 + 2) + varint(9)) + bytes(99), None, "is damaged"),
        (message(7, message(5, b"") * 70_000), None, "it has too many fields"),
        (message(7, initializer(number(14, 1))), None, "keeps its weights in another file"),
        (message(7, initializer(message(13, b"weights.bin"))), None, "keeps its weights in another file"),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_a_broken_or_hostile_file_is_refused(
    content: bytes, size_bytes: int | None, reason: str, tmp_path: Path
) -> None:
    """The large files are holes but for their header."""
    hostile.refused(lambda: read(content, tmp_path, size_bytes), tmp_path / "voice.onnx", reason)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (None, "No such file"),
        (b"", "cannot be used"),
        (b"{}", "missing required field `audio`"),
        (b'{"audio": {"sample_rate": 0}}', "cannot be used"),
        (b'{"audio": {"sample_rate": "fast"}}', "cannot be used"),
        (b'{"audio": {"sample_rate": "\xff"}}', "cannot be used"),
        (b"\xff\xfe{", "cannot be used"),
        (b'{"x": ' + b"[" * 100_000, "cannot be used"),
        (b" " * (1 << 21), "is not plausible"),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_broken_settings_are_refused(settings: bytes | None, reason: str, tmp_path: Path) -> None:
    header = read(SMALL, tmp_path)
    if settings is not None:
        (tmp_path / "voice.onnx.json").write_bytes(settings)
    with pytest.raises(ModelError, match=reason):
        onnx.shape(header)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("onnx")


@pytest.mark.parametrize("base", [SMALL, REAL.read_bytes()], ids=["small", "real"])
@given(data=st.data())
def test_flipped_bytes(base: bytes, folder: Path, data: st.DataObject) -> None:
    broken = data.draw(hostile.flipped(base))
    hostile.withstood(lambda: read(broken, folder))


@given(length=st.integers(0, REAL.stat().st_size - 100))
def test_a_file_cut_off_anywhere_is_refused(length: int, folder: Path) -> None:
    with pytest.raises(ModelError, match="is cut off"):
        read(REAL.read_bytes()[:length], folder)


@given(content=st.binary(max_size=300))
def test_random_bytes(content: bytes, folder: Path) -> None:
    hostile.withstood(lambda: read(message(7, content) + content, folder))
