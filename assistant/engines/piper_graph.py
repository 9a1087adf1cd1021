"""What a voice's ONNX graph consists of and where it stands in the file, and fields for a new graph.

The numbers of the fields are those of onnx/onnx.proto.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from assistant.catalogue.bounded import Bounded
from assistant.catalogue.onnx import Walk

MODEL_GRAPH = 7
GRAPH_INPUT, GRAPH_OUTPUT, VALUE_NAME = 11, 12, 1
_GRAPH_NODE, _GRAPH_NAME, _GRAPH_INITIALIZER = 1, 2, 5
_NODE_INPUT, _NODE_OUTPUT, _NODE_OPERATOR, _NODE_ATTRIBUTE, _NODE_DOMAIN = 1, 2, 4, 5, 7
_ATTRIBUTE_NAME, _ATTRIBUTE_INT, _ATTRIBUTE_TEXT, _ATTRIBUTE_TENSOR, _ATTRIBUTE_INTS = 1, 3, 4, 5, 8
_TENSOR_DIMS, _TENSOR_TYPE, _TENSOR_NAME, _TENSOR_RAW = 1, 2, 8, 9
_TENSOR_EXTERNAL_DATA, _TENSOR_LOCATION = 13, 14
# A voice has some 3000 nodes with ten to twenty fields each.
_FIELDS_LIMIT = 1 << 18

Place = tuple[int, int]
"""Where a field begins in the file, header included, and where it ends."""


class Tensor(NamedTuple):
    """`kind` is one of TensorProto.DataType; `raw` is where its numbers stand, if they stand in one block."""

    name: str
    dims: tuple[int, ...]
    kind: int
    raw: Place | None


class Node(NamedTuple):
    """`numbers` are those of its attributes, and the bytes of texts; `dims` are of a tensor among these."""

    place: Place
    operator: str
    inputs: list[str]
    outputs: list[str]
    numbers: dict[str, tuple[int, ...]]
    dims: tuple[int, ...] | None


class Graph:
    """Raises `ModelError` if the file is cut off, damaged or hostile."""

    def __init__(self, file: Bounded) -> None:
        self.around: list[Place] = []
        """All of the model but its graph."""
        self.name: list[Place] = []
        self.nodes: list[Node] = []
        self.weights: dict[str, tuple[Place, Tensor]] = {}
        self.inputs: dict[str, Place] = {}
        self.outputs: dict[str, Place] = {}
        self.dims: dict[str, tuple[int, ...]] = {}
        self._file = file
        self._walk = Walk(file, _FIELDS_LIMIT)
        graphs = 0
        for field, _, end, place in self._fields(file.size_bytes):
            if field == MODEL_GRAPH:
                graphs += 1
                self._read(end)
            else:
                self.around.append(place)
        if graphs != 1:
            raise file.flaw("is no ONNX file, or is damaged")

    def _fields(self, end: int) -> Iterator[tuple[int, int, int, Place]]:
        """Number, value, end and place of each field from here to `end`."""
        begin = self._file.at
        for field, value, _, field_end in self._walk.fields(end):
            yield field, value, field_end, (begin, field_end)
            begin = field_end

    def _read(self, end: int) -> None:
        for field, _, field_end, place in self._fields(end):
            if field == _GRAPH_NODE:
                self.nodes.append(self._node(field_end, place))
            elif field == _GRAPH_NAME:
                self.name.append(place)
            elif field == _GRAPH_INITIALIZER:
                tensor = self._tensor(field_end)
                self.weights[tensor.name] = place, tensor
                self.dims[tensor.name] = tensor.dims
            elif field == GRAPH_INPUT:
                self.inputs[self._value_name(field_end)] = place
            elif field == GRAPH_OUTPUT:
                self.outputs[self._value_name(field_end)] = place

    def _node(self, end: int, place: Place) -> Node:
        operator, dims = "", None
        node = Node(place, operator, [], [], {}, dims)
        for field, _, field_end, _ in self._fields(end):
            if field == _NODE_INPUT:
                node.inputs.append(self._text(field_end))
            elif field == _NODE_OUTPUT:
                node.outputs.append(self._text(field_end))
            elif field == _NODE_OPERATOR:
                operator = self._text(field_end)
            elif field == _NODE_DOMAIN and (domain := self._text(field_end)):
                operator = f"{domain}.{operator}"
            elif field == _NODE_ATTRIBUTE:
                held = self._attribute(field_end, node.numbers)
                dims = dims if held is None else held
        return node._replace(operator=operator, dims=dims)

    def _attribute(self, end: int, numbers: dict[str, tuple[int, ...]]) -> tuple[int, ...] | None:
        name = ""
        content: tuple[int, ...] = ()
        dims = None
        for field, value, field_end, _ in self._fields(end):
            if field == _ATTRIBUTE_NAME:
                name = self._text(field_end)
            elif field in (_ATTRIBUTE_INT, _ATTRIBUTE_INTS):
                content += self._numbers(value, field_end)
            elif field == _ATTRIBUTE_TEXT:
                content = tuple(self._text(field_end).encode())
            elif field == _ATTRIBUTE_TENSOR:
                dims = self._tensor(field_end).dims
        numbers[name] = content
        return dims

    def _tensor(self, end: int) -> Tensor:
        tensor = Tensor("", (), 0, None)
        for field, value, field_end, _ in self._fields(end):
            if field == _TENSOR_NAME:
                tensor = tensor._replace(name=self._text(field_end))
            elif field == _TENSOR_DIMS:
                tensor = tensor._replace(dims=tensor.dims + self._numbers(value, field_end))
            elif field == _TENSOR_TYPE:
                tensor = tensor._replace(kind=value)
            elif field == _TENSOR_RAW:
                tensor = tensor._replace(raw=(self._file.at, field_end))
        return tensor

    def _value_name(self, end: int) -> str:
        names = [self._text(at) for field, _, at, _ in self._fields(end) if field == VALUE_NAME]
        return "".join(names)

    def _numbers(self, value: int, end: int) -> tuple[int, ...]:
        """The whole number that was read, or all those that are packed up to `end`."""
        if self._file.at == end:
            return (value,)
        self._file.keep(8 * (end - self._file.at))
        numbers = []
        while self._file.at < end:
            numbers.append(self._walk.varint())
        return tuple(numbers)

    def _text(self, end: int) -> str:
        return self._file.text(end - self._file.at)


def tensor_field(field: int, name: str, channels: int) -> bytes:
    """A field of the graph that tells of the tensor `name`: 32-bit numbers, [1, channels, steps]."""
    dims = (number_field(1, 1), number_field(1, channels), message_field(2, b"steps"))
    shape = b"".join(message_field(1, dim) for dim in dims)
    kind = message_field(1, number_field(1, 1) + message_field(2, shape))
    return message_field(field, message_field(VALUE_NAME, name.encode()) + message_field(2, kind))


def weight_field(file_name: str, tensor: Tensor, raw: Place) -> bytes:
    """A field of the graph with a tensor whose numbers stand in another file, `raw` of it."""
    begin, end = raw
    where = {"location": file_name, "offset": str(begin), "length": str(end - begin)}
    entries = (
        message_field(1, key.encode()) + message_field(2, value.encode()) for key, value in where.items()
    )
    return message_field(
        _GRAPH_INITIALIZER,
        b"".join(number_field(_TENSOR_DIMS, dim) for dim in tensor.dims)
        + number_field(_TENSOR_TYPE, tensor.kind)
        + message_field(_TENSOR_NAME, tensor.name.encode())
        + b"".join(message_field(_TENSOR_EXTERNAL_DATA, entry) for entry in entries)
        + number_field(_TENSOR_LOCATION, 1),
    )


def message_field(field: int, content: bytes) -> bytes:
    return header(field, len(content)) + content


def header(field: int, size_bytes: int) -> bytes:
    """What stands before a message, or another field of `size_bytes`."""
    return _varint(8 * field + 2) + _varint(size_bytes)


def number_field(field: int, number: int) -> bytes:
    return _varint(8 * field) + _varint(number)


def _varint(number: int) -> bytes:
    content = bytearray()
    while number > 0x7F:
        content.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*content, number])
