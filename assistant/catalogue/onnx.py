"""The header of an ONNX file and of the settings beside it: what a Piper voice consists of.

An ONNX file is one protobuf message, `ModelProto` in onnx/onnx.proto; the numbers of its fields are below.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec

from assistant.catalogue.bounded import Bounded, opened
from assistant.catalogue.shapes import TtsShape
from assistant.errors import ModelError

_MODEL_GRAPH = 7
_GRAPH_INITIALIZER = 5
# float_data, int32_data, string_data, int64_data, raw_data, double_data, uint64_data
_TENSOR_DATA = (4, 5, 6, 7, 9, 10, 11)
_TENSOR_EXTERNAL_DATA = 13
_TENSOR_IS_EXTERNAL = (14, 1)  # data_location, and what stands there

_VARINT, _FIXED_64, _LENGTH, _FIXED_32 = 0, 1, 2, 5
_FIELDS_LIMIT = 1 << 16
_SETTINGS_LIMIT_BYTES = 1 << 20


class OnnxHeader(msgspec.Struct, frozen=True):
    """`weights_bytes` is what the initializers take, without the few small constants inside the graph."""

    path: Path
    weights_bytes: int


def read_header(path: Path) -> OnnxHeader:
    """The header of the ONNX file at `path`.  Raises `ModelError` if it is cut off, damaged or hostile."""
    with opened(path) as file:
        walk = Walk(file, _FIELDS_LIMIT)
        graphs = weights_bytes = 0
        for field, _, _, end in walk.fields(file.size_bytes):
            if field == _MODEL_GRAPH:
                graphs += 1
                weights_bytes += sum(
                    walk.tensor_bytes(tensor_end)
                    for inner, _, _, tensor_end in walk.fields(end)
                    if inner == _GRAPH_INITIALIZER
                )
        if not graphs:
            raise file.flaw("is no ONNX file, or is cut off")
        return OnnxHeader(path, weights_bytes)


class Walk:
    """Goes over the fields of protobuf messages, as protobuf.dev/programming-guides/encoding has them.

    A file of more than `fields_limit` of them is refused.
    """

    def __init__(self, file: Bounded, fields_limit: int) -> None:
        self.file = file
        self._left = fields_limit

    def fields(self, end: int) -> Iterator[tuple[int, int, int, int]]:
        """Number, value, size in bytes and end in the file of each field from here to `end`.

        Only a whole number's value is given, else 0.  Whoever asks may walk over a message before going on.
        """
        while self.file.at < end:
            self._left -= 1
            if self._left < 0:
                raise self.file.flaw("is not plausible: it has too many fields")
            field, wire_type = divmod(self.varint(), 8)
            value, length, start = 0, 0, self.file.at
            if wire_type == _VARINT:
                value = self.varint()
            elif wire_type == _LENGTH:
                length = self.varint()
                start = self.file.at
            elif wire_type in (_FIXED_64, _FIXED_32):
                length = 8 if wire_type == _FIXED_64 else 4
            else:
                raise self.file.flaw("is no ONNX file, or is damaged")
            self.file.need(length)
            field_end = self.file.at + length
            if not field or field_end > end:
                raise self.file.flaw("is no ONNX file, or is damaged")
            yield field, value, field_end - start, field_end
            self.file.skip(field_end - self.file.at)

    def tensor_bytes(self, end: int) -> int:
        """What the weights of the tensor take that reaches to `end`."""
        size_bytes = 0
        for field, value, field_bytes, _ in self.fields(end):
            if field == _TENSOR_EXTERNAL_DATA or (field, value) == _TENSOR_IS_EXTERNAL:
                raise self.file.flaw("keeps its weights in another file", "choose one that holds them itself")
            if field in _TENSOR_DATA:
                size_bytes += field_bytes
        return size_bytes

    def varint(self) -> int:
        """The whole number that stands here."""
        number = 0
        for shift in range(0, 70, 7):
            (byte,) = self.file.take(1)
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number
        raise self.file.flaw("is no ONNX file, or is damaged")


class _AudioSettings(msgspec.Struct):
    sample_rate: Annotated[int, msgspec.Meta(ge=1000, le=192_000)]


class _Settings(msgspec.Struct):
    audio: _AudioSettings


def shape(header: OnnxHeader) -> TtsShape:
    """What the .json beside the voice of that header says of it.  Raises `ModelError`."""
    path = header.path.with_name(header.path.name + ".json")
    with opened(path) as file:
        file.limit_bytes = _SETTINGS_LIMIT_BYTES
        try:
            settings = msgspec.json.decode(file.take(file.size_bytes), type=_Settings)
        except (msgspec.DecodeError, RecursionError) as error:
            raise ModelError(
                f"The settings {path} of a voice cannot be used: {error}; fetch them again."
            ) from None
    return TtsShape(settings.audio.sample_rate)
