"""Small Piper voices with the decoders of real ones and random weights, written field by field.

The test voices in `tests/models` have no decoder that can be cut.  What these say is noise, but the same at
each run: what stands before the decoder only looks up a frame for each phoneme.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from assistant.engines.piper_graph import message_field, number_field

MODELS = Path(__file__).parents[1] / "models"
FLOAT, INT64 = 1, 7
LATENT, SYMBOLS, SPEAKERS = 12, 256, 3

Attribute = int | float | Sequence[int]


class Shape(NamedTuple):
    """Of a decoder, in the words of Piper's vits/config.py; `twice` is its resblock "1"."""

    rates: tuple[int, ...] = (8, 8, 4)
    widths: tuple[int, ...] = (16, 16, 8)
    kernels: tuple[int, ...] = (3, 5, 7)
    dilations: tuple[tuple[int, ...], ...] = ((1, 2), (2, 6), (3, 12))
    twice: bool = False
    channels: int = 32


MEDIUM = Shape()
HIGH = Shape((8, 8, 2, 2), (16, 16, 4, 4), (3, 7, 11), ((1, 3, 5),) * 3, True, 48)
ONE_STAGE = Shape((4,), (8,), (3,), ((1,),), False, 8)


class SmallVoice:
    """Its nodes can be changed before it is written: `add` gives the name of what a node makes."""

    def __init__(self, shape: Shape = MEDIUM, speakers: int = 1) -> None:
        self.nodes: list[bytes] = []
        self.tensors: list[bytes] = []
        self._random = np.random.default_rng(5)
        self._speakers = speakers
        self.latent = self._encoder()
        self.sound = self._decoder(self.latent, shape)

    def add(self, operator: str, *inputs: str, out: str = "", **attributes: Attribute) -> str:
        out = out or f"n{len(self.nodes)}"
        fields = [message_field(1, name.encode()) for name in inputs]
        fields += [message_field(2, out.encode()), message_field(4, operator.encode())]
        for name, value in attributes.items():
            fields.append(message_field(5, message_field(1, name.encode()) + _attribute(value)))
        self.nodes.append(message_field(1, b"".join(fields)))
        return out

    def constant(self, array: npt.NDArray[np.float32] | npt.NDArray[np.int64]) -> str:
        name = f"t{len(self.tensors)}"
        self.tensors.append(message_field(5, _tensor(array, name)))
        return name

    def random(self, *dims: int, gain: float = 1.0) -> str:
        spread = gain / np.sqrt(np.prod(dims[1:]))
        return self.constant((self._random.standard_normal(dims) * spread).astype(np.float32))

    def whole(self, *numbers: int) -> str:
        return self.constant(np.array(numbers, np.int64))

    def conv(
        self, x: str, inputs: int, outputs: int, kernel: int, dilation: int = 1, gain: float = 0.5
    ) -> str:
        pad = dilation * (kernel - 1) // 2
        weight = self.random(outputs, inputs, kernel, gain=gain)
        bias = self.constant(np.full(outputs, 0.1, np.float32))
        return self.add("Conv", x, weight, bias, pads=[pad, pad], dilations=[dilation])

    def _encoder(self) -> str:
        frames = self.add("Gather", self.random(SYMBOLS, LATENT, gain=4.0), "input")
        return self.add("Transpose", frames, perm=[0, 2, 1])

    def _decoder(self, latent: str, shape: Shape) -> str:
        """As `Generator.forward` in Piper's vits/models.py."""
        channels = shape.channels
        x = self.conv(latent, LATENT, channels, 7)
        if self._speakers > 1:
            speaker = self.add("Gather", self.random(self._speakers, 4, gain=4.0), "sid")
            speaker = self.add("Unsqueeze", speaker, self.whole(-1))
            x = self.add("Add", x, self.conv(speaker, 4, channels, 1))
        for rate, width in zip(shape.rates, shape.widths, strict=True):
            pad = (width - rate) // 2
            weight = self.random(channels, channels // 2, width, gain=2.0)
            x = self.add("LeakyRelu", x, alpha=0.1)
            x = self.add("ConvTranspose", x, weight, strides=[rate], pads=[pad, pad], kernel_shape=[width])
            channels //= 2
            blocks = [
                self._block(x, channels, kernel, dilations, shape.twice)
                for kernel, dilations in zip(shape.kernels, shape.dilations, strict=True)
            ]
            x = blocks[0]
            for block in blocks[1:]:
                x = self.add("Add", x, block)
            # held by a node, as PyTorch writes it
            count = self.add_held(np.array(len(blocks), np.float32))
            x = self.add("Div", x, count)
        x = self.conv(self.add("LeakyRelu", x, alpha=0.01), channels, 1, 7)
        return self.add("Tanh", x)

    def _block(self, x: str, channels: int, kernel: int, dilations: tuple[int, ...], twice: bool) -> str:
        for dilation in dilations:
            y = self.conv(self.add("LeakyRelu", x, alpha=0.1), channels, channels, kernel, dilation)
            if twice:
                y = self.conv(self.add("LeakyRelu", y, alpha=0.1), channels, channels, kernel)
            x = self.add("Add", x, y)
        return x

    def add_held(self, array: npt.NDArray[np.float32]) -> str:
        """A constant that a node holds."""
        out = f"n{len(self.nodes)}"
        held = message_field(1, b"value") + message_field(5, _tensor(array, "")) + number_field(20, 4)
        self.nodes.append(
            message_field(
                1, message_field(2, out.encode()) + message_field(4, b"Constant") + message_field(5, held)
            )
        )
        return out

    def content(self) -> bytes:
        """The ONNX file: opset 17, IR 8."""
        self.add("Unsqueeze", self.sound, self.whole(1), out="output")
        inputs = [("input", INT64, 2), ("input_lengths", INT64, 1), ("scales", FLOAT, 1)]
        if self._speakers > 1:
            inputs.append(("sid", INT64, 1))
        graph = [*self.nodes, message_field(2, b"small"), *self.tensors]
        graph += [message_field(11, _value(*each)) for each in inputs]
        graph.append(message_field(12, _value("output", FLOAT, 4)))
        opset = message_field(8, number_field(2, 17))
        return number_field(1, 8) + message_field(7, b"".join(graph)) + opset

    def written(self, folder: Path) -> Path:
        """The voice as two files in `folder`, with the description of the test voice."""
        path = folder / "small.onnx"
        path.write_bytes(self.content())
        described = json.loads((MODELS / "en_US-tiny-low.onnx.json").read_text(encoding="utf-8"))
        described["num_speakers"] = self._speakers
        path.with_name("small.onnx.json").write_text(json.dumps(described), encoding="utf-8")
        return path


def _attribute(value: Attribute) -> bytes:
    """The type is 1 for a float, 2 for a whole number, 7 for several."""
    if isinstance(value, float):
        return b"\x15" + np.float32(value).tobytes() + number_field(20, 1)
    if isinstance(value, int):
        return number_field(3, value % 2**64) + number_field(20, 2)
    return b"".join(number_field(8, number) for number in value) + number_field(20, 7)


def _tensor(array: npt.NDArray[np.float32] | npt.NDArray[np.int64], name: str) -> bytes:
    kind = FLOAT if array.dtype == np.float32 else INT64
    fields = [*(number_field(1, dim) for dim in array.shape), number_field(2, kind)]
    return b"".join([*fields, message_field(8, name.encode()), message_field(9, array.tobytes())])


def _value(name: str, kind: int, axes: int) -> bytes:
    shape = b"".join(message_field(1, message_field(2, f"{name}{axis}".encode())) for axis in range(axes))
    tensor = message_field(1, number_field(1, kind) + message_field(2, shape))
    return message_field(1, name.encode()) + message_field(2, tensor)
