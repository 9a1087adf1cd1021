"""Writing ONNX graphs node by node: `g.Add(a, b)` adds a node and returns the name of its output."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

FLOAT, INT64, DOUBLE = (
    int(onnx.TensorProto.FLOAT),
    int(onnx.TensorProto.INT64),
    int(onnx.TensorProto.DOUBLE),
)


class Graph:
    """Nodes and constants in the order in which they were asked for; names begin with `prefix`."""

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._count = 0

    def _name(self, kind: str) -> str:
        self._count += 1
        return f"{self.prefix}{kind}{self._count}"

    def const(self, value: npt.ArrayLike, dtype: npt.DTypeLike | None = None, *, half: bool = False) -> str:
        """A constant; with `half` it is float16 in the file and cast to float32 when the session starts."""
        array = np.asarray(value, dtype)
        name = self._name("c")
        if half:
            self.constants.append(numpy_helper.from_array(array.astype(np.float16), name))
            return str(self.Cast(name, to=FLOAT))
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def i(self, *values: int) -> str:
        """A vector of whole numbers, as axes and shapes want it."""
        return self.const(np.array(values, np.int64))

    def integer(self, value: int) -> str:
        """A scalar whole number."""
        return self.const(np.array(value, np.int64))

    def f(self, value: float | list[float]) -> str:
        return self.const(np.array(value, np.float32))

    def __getattr__(self, operator: str) -> Callable[..., Any]:
        if not operator[0].isupper():
            raise AttributeError(operator)

        def add(*inputs: str, out: str | None = None, outputs: int = 1, **attributes: Any) -> Any:
            first = out or self._name(operator.lower())
            names = [first] if outputs == 1 else [f"{first}_{k}" for k in range(outputs)]
            self.nodes.append(helper.make_node(operator, list(inputs), names, **attributes))
            return first if outputs == 1 else names

        return add

    def save(
        self, path: Path, inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto], about: str
    ) -> None:
        """Check the whole and write it: opset 17, IR 8, what onnxruntime of 2022 and later reads."""
        graph = helper.make_graph(self.nodes, "voice", inputs, outputs, self.constants, about)
        opset = helper.make_opsetid("", 17)
        model = helper.make_model(
            graph, opset_imports=[opset], ir_version=8, producer_name="tests/models/recipes"
        )
        onnx.checker.check_model(model)
        onnx.save(model, str(path))
