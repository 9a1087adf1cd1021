"""Headers of CTranslate2 models: the right numbers of real ones, and one sentence about broken ones."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import hostile
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.catalogue import ct2
from assistant.catalogue.locate import TEST_MODELS
from assistant.catalogue.shapes import SttShape
from assistant.errors import ModelError

REAL = TEST_MODELS / "whisper-tiny-test"
INFLATED = TEST_MODELS / "recipes" / "build" / "inflated"
FLOAT16, INT8, INT16 = 4, 1, 2


def string(text: str) -> bytes:
    return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"


def variable(name: str, dims: tuple[int, ...], code: int, content: bytes) -> bytes:
    head = string(name) + struct.pack(f"<B{len(dims)}IBI", len(dims), *dims, code, len(content))
    return head + content


def start(count: int, spec: str = "WhisperSpec") -> bytes:
    return struct.pack("<I", 6) + string(spec) + struct.pack("<II", 3, count)


def whisper(*, vocabulary: int = 9, heads: bool = True, spec: str = "WhisperSpec") -> bytes:
    """A Whisper of 1 + 1 layers of 128, the decoder's layer known by aliases alone."""
    shapes = {
        "encoder/conv1/weight": (128, 80, 3),
        "decoder/embeddings/weight": (vocabulary, 128),
        "encoder/position_encodings/encodings": (30, 128),
        "decoder/position_encodings/encodings": (20, 128),
        "encoder/layer_0/ffn/linear_0/weight": (4, 128),
    }
    tensors = [variable(name, dims, INT8, bytes(dims[0] * 128)) for name, dims in list(shapes.items())[1:]]
    tensors.append(variable("encoder/conv1/weight", (128, 80, 3), INT8, bytes(128 * 80 * 3)))
    if heads:
        tensors.append(variable("encoder/num_heads", (), INT16, b"\x08\0"))
    aliases = [("decoder/layer_0/ffn/linear_0/weight", "encoder/layer_0/ffn/linear_0/weight")]
    end = struct.pack("<I", 1) + b"".join(string(alias) + string(name) for alias, name in aliases)
    return start(len(tensors), spec) + b"".join(tensors) + end


def read(content: bytes, folder: Path, size_bytes: int | None = None) -> ct2.Ct2Header:
    hostile.put(folder / "model.bin", content, size_bytes)
    return ct2.read_header(folder)


@pytest.mark.parametrize(
    ("folder", "shape", "weights_bytes"),
    [
        (REAL, SttShape(128, 2, 4, 3, 512, 2230, 80, 1500, 448, multilingual=False), 3_042_791),
        (
            INFLATED / "whisper-inflated-tiny.en",
            SttShape(384, 6, 4, 4, 1536, 51864, 80, 1500, 448, multilingual=False),
            75_528_207,
        ),
        (
            INFLATED / "whisper-inflated-base.en",
            SttShape(512, 8, 6, 6, 2048, 51864, 80, 1500, 448, multilingual=False),
            145_192_975,
        ),
    ],
    ids=lambda part: part.name if isinstance(part, Path) else "",
)
def test_whisper_models(folder: Path, shape: SttShape, weights_bytes: int) -> None:
    if not folder.exists():
        pytest.skip(f"{folder} has not been built")
    header = ct2.read_header(folder)
    assert ct2.shape(header) == shape
    assert header.weights_bytes == weights_bytes
    assert header.spec == "WhisperSpec"


def test_equal_tensors_that_are_stored_once(tmp_path: Path) -> None:
    header = read(whisper(), tmp_path)
    assert ct2.shape(header) == SttShape(128, 8, 1, 1, 4, 9, 80, 30, 20, multilingual=False)
    assert header.weights_bytes == 128 * 80 * 3 + 128 * (9 + 30 + 20 + 4) + 2


def test_what_is_not_stated_follows_from_the_size(tmp_path: Path) -> None:
    shape = ct2.shape(read(whisper(vocabulary=51865, heads=False), tmp_path))
    assert shape.heads == 128 // 64
    assert shape.multilingual


@pytest.mark.parametrize(
    ("content", "size_bytes", "reason"),
    [
        (b"", None, "is cut off"),
        (struct.pack("<I", 5), 1 << 20, "is not in version 6"),
        (start(2**32 - 1), 1 << 40, "it states 4294967295 variables"),
        (start(1) + struct.pack("<H", 65535), 4096, "is cut off"),
        (start(1) + string("v") + b"\xff", 1 << 20, "a variable has 255 dimensions"),
        (start(1) + variable("v", (), 6, b""), None, "a type unknown here, number 6"),
        (start(1) + variable("v", (5,), INT8, b"four"), None, "does not follow from its shape"),
        (start(1) + variable("v", (2**32 - 1,) * 8, INT8, b""), None, "does not follow from its shape"),
        (start(1) + variable("v", (2**31,), INT8, b"")[:-4] + struct.pack("<I", 2**31), 1 << 20, "cut off"),
        (start(0) + struct.pack("<I", 1) + string("a") + string("b"), None, "weights that it does not have"),
        (start(200) + string("x" * 65_000) * 200, 1 << 30, "is damaged"),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_a_broken_or_hostile_file_is_refused(
    content: bytes, size_bytes: int | None, reason: str, tmp_path: Path
) -> None:
    """The large files are holes but for their header."""
    hostile.refused(lambda: read(content, tmp_path, size_bytes), tmp_path / "model.bin", reason)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (whisper(spec="TransformerSpec"), "no Whisper model but a 'TransformerSpec'"),
        (start(0) + bytes(4), "has no encoder/conv1/weight"),
        (whisper(vocabulary=0), "states what cannot be"),
        (whisper().replace(b"encoder/layer_0", b"encoder/layer_9"), "has no encoder/layer_0"),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_what_is_no_whisper_model_is_refused(content: bytes, reason: str, tmp_path: Path) -> None:
    header = read(content, tmp_path)
    with pytest.raises(ModelError, match=re.escape(reason)):
        ct2.shape(header)


def test_a_folder_without_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="No such file"):
        ct2.read_header(tmp_path)


SMALL = whisper()
BASES = {"small": SMALL, "real": (REAL / "model.bin").read_bytes()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ct2")


@given(broken=hostile.flipped(SMALL, st.integers(0, 199) | st.integers(len(SMALL) - 200, len(SMALL) - 1)))
def test_flipped_bytes(broken: bytes, folder: Path) -> None:
    """At both ends: what lies between is weights."""
    hostile.withstood(lambda: ct2.shape(read(broken, folder)))


@pytest.mark.parametrize("base", BASES)
@given(data=st.data())
def test_a_file_cut_off_anywhere_is_refused(base: str, folder: Path, data: st.DataObject) -> None:
    content = BASES[base]
    with pytest.raises(ModelError, match="is cut off"):
        read(content[: data.draw(st.integers(0, len(content) - 1))], folder)


@given(content=st.binary(max_size=300), count=st.integers(0, 9))
def test_random_bytes(content: bytes, count: int, folder: Path) -> None:
    hostile.withstood(lambda: ct2.shape(read(start(count) + content, folder)))
