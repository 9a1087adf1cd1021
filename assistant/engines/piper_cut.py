"""Cutting a Piper voice into parts that run one after the other, so that it can be heard before it is made.

A voice is a VITS model (Kim et al. 2021, arXiv 2106.06103) in one ONNX graph.  Its decoder is the generator
of HiFi-GAN (Kong et al. 2020, arXiv 2010.05646, section 2.2): stages that begin with a transposed
convolution, which makes several steps in time of one, and go on with convolutions.  All of them are local, so
the decoder can work on one window of time after the other; what stands before it cannot.

The cuts are found by operators, as names differ between files: before the first ConvTranspose and before the
second.  The first stage needs seven frames or so on both sides and is cheap; what follows takes most of the
time, and needs one frame.
"""

from __future__ import annotations

import io
import os
from fractions import Fraction
from typing import NamedTuple

from assistant.catalogue.bounded import Bounded
from assistant.engines.piper_graph import (
    GRAPH_INPUT,
    GRAPH_OUTPUT,
    MODEL_GRAPH,
    VALUE_NAME,
    Graph,
    Node,
    Place,
    Tensor,
    header,
    message_field,
    tensor_field,
    weight_field,
)

_CUTS = 2
_LARGE_BYTES = 1 << 12
_CONSTANT = {"Constant", "Identity", "Cast"}
"""What these give is constant when all that they take is."""
_POINTWISE = {"Add", "Sub", "Mul", "Div", "LeakyRelu", "Relu", "Tanh", "Identity", "Concat"}
_NOTSET = tuple(b"NOTSET")


class Uncuttable(Exception):
    """The graph is not of the shape that is understood here: it has to run as a whole."""


class Reach(NamedTuple):
    """Which input steps a tensor is made of.

    It has `rate` steps for each of the input; step n is made of the input's n / rate - before to
    n / rate + after.
    """

    rate: int
    before: Fraction
    after: Fraction


class Part(NamedTuple):
    """A part of the graph, a model of its own.  `reach` is of what it gives; None: that needs everything."""

    reach: Reach | None
    pieces: list[bytes | Place]

    def model(self, file: Bounded) -> bytes:
        """As ONNX, out of the voice's `file`."""
        made = io.BytesIO()
        for piece in self.pieces:
            made.write(piece if isinstance(piece, bytes) else _read(file, piece))
        return made.getvalue()


def cut(file: Bounded) -> list[Part]:
    """The parts of the voice in `file`: what needs the whole sentence, then the stages of the decoder.

    Each gives one tensor, [1, channels, steps], which the next one takes.  Raises `Uncuttable`, or
    `ModelError` for a damaged file.
    """
    graph = Graph(file)
    spreads = [node for node in graph.nodes if node.operator == "ConvTranspose" and len(node.inputs) > 1]
    cuts = list(dict.fromkeys(node.inputs[0] for node in spreads))[:_CUTS]
    if not cuts:
        raise Uncuttable("no ConvTranspose")
    gives = [*cuts, next(iter(graph.outputs), "")]
    nodes, constants = _assigned(graph, cuts)
    needed = [_needed(own, constants) for own in nodes]
    # a subgraph of the first part may take what no node is seen to take
    needed[0] |= {*graph.weights, *constants}.difference(*needed[1:])
    parts = []
    for number, own in enumerate(nodes):
        reach = None
        inputs: list[bytes | Place] = [p for name, p in graph.inputs.items() if name not in graph.weights]
        if number:
            takes = cuts[number - 1]
            reach = _reach(graph, takes, gives[number], own)
            inputs = [tensor_field(GRAPH_INPUT, takes, _channels(graph, spreads, takes))]
        output = message_field(GRAPH_OUTPUT, message_field(VALUE_NAME, gives[number].encode()))
        constant = {constants[name].place for name in needed[number] & constants.keys()}
        pieces = [
            *graph.name,
            *sorted(constant | {node.place for node in own}),
            *(_weight(file, *weight) for name, weight in graph.weights.items() if name in needed[number]),
            *inputs,
            graph.outputs.get(gives[number], output),
        ]
        size_bytes = sum(len(piece) if isinstance(piece, bytes) else piece[1] - piece[0] for piece in pieces)
        parts.append(Part(reach, [*graph.around, header(MODEL_GRAPH, size_bytes), *pieces]))
    return parts


def _assigned(graph: Graph, cuts: list[str]) -> tuple[list[list[Node]], dict[str, Node]]:
    """The nodes of each part, and those that give constants by what they give."""
    parts: list[list[Node]] = [[] for _ in (*cuts, "")]
    part_of: dict[str, int] = {}
    constants: dict[str, Node] = {}
    for node in graph.nodes:
        moving = [
            name for name in node.inputs if name and name not in graph.weights and name not in constants
        ]
        if node.operator in _CONSTANT and not moving:
            dims = node.dims if node.operator == "Constant" else graph.dims.get("".join(node.inputs))
            if node.numbers.keys() & {"value_float", "value_int"}:
                dims = ()
            for name in node.outputs:
                constants[name] = node
                if dims is not None:
                    graph.dims[name] = dims
            continue
        numbers = {part_of.get(name, 0) for name in moving} or {0}
        if len(numbers) > 1:
            raise Uncuttable(f"{node.operator} takes something from two parts")
        number = numbers.pop()
        parts[number].append(node)
        part_of |= dict.fromkeys(node.outputs, number)
        for name in node.outputs:
            if name in cuts:
                if cuts.index(name) != number:
                    raise Uncuttable("the decoder's stages do not follow one another")
                part_of[name] = number + 1
    return parts, constants


def _needed(nodes: list[Node], constants: dict[str, Node]) -> set[str]:
    """All that the nodes take, and what the constants among it are made of."""
    needed: set[str] = set()
    left = [name for node in nodes for name in node.inputs]
    while left:
        name = left.pop()
        if name not in needed:
            needed.add(name)
            if name in constants:
                left += constants[name].inputs
    return needed


def _reach(graph: Graph, takes: str, gives: str, nodes: list[Node]) -> Reach:
    """The reach of `gives`; raises `Uncuttable` if it is not made of `takes` by local operators alone."""
    reaches = {takes: Reach(1, Fraction(0), Fraction(0))}
    for node in nodes:
        own = [reaches[name] for name in node.inputs if name in reaches]
        fixed = [graph.dims.get(name) for name in node.inputs if name and name not in reaches]
        if (
            node.operator in ("Conv", "ConvTranspose")
            and len(own) == 1
            and node.inputs[0] in reaches
            and fixed
        ):
            reach = _convolved(node, own[0], fixed[0] or ())
        elif node.operator in _POINTWISE and own and len({each.rate for each in own}) == 1:
            if any(dims is None or len(dims) > 3 or dims[-1:] not in ((), (1,)) for dims in fixed):
                raise Uncuttable(f"{node.operator} takes something that changes with time")
            if node.operator == "Concat" and (fixed or node.numbers.get("axis") != (1,)):
                raise Uncuttable("Concat along another axis than the channels")
            reach = Reach(own[0].rate, max(r.before for r in own), max(r.after for r in own))
        elif node.operator == "Unsqueeze" and own and node.outputs == [gives]:
            reach = own[0]
        else:
            raise Uncuttable(f"{node.operator} in the decoder")
        reaches[node.outputs[0]] = reach
    if gives not in reaches:
        raise Uncuttable("the sound is not made by the decoder")
    return reaches[gives]


def _convolved(node: Node, reach: Reach, weight: tuple[int, ...]) -> Reach:
    """The reach after a convolution, or a transposed one (onnx/docs/Operators.md).

    With a kernel of k taps, dilated by d, and a padding of p steps on the left, a convolution makes step n of
    the steps n - p to n - p + d (k - 1).  A transposed one of stride s adds step m, times each tap j, to step
    m s - p + d j; so step n is made of the steps (n + p - d (k - 1)) / s to (n + p) / s.
    """
    numbers = [
        *node.numbers.get("strides", (1,)),
        *node.numbers.get("dilations", (1,)),
        *node.numbers.get("pads", (0, 0)),
        *node.numbers.get("output_padding", (0,)),
    ]
    automatic = node.numbers.get("auto_pad", _NOTSET) != _NOTSET or "output_shape" in node.numbers
    if len(weight) != 3 or len(numbers) != 5 or automatic:
        raise Uncuttable(f"{node.operator} of another kind")
    stride, dilation, left, right, more = numbers
    span = dilation * (weight[2] - 1)
    if node.operator == "Conv":
        if stride != 1 or left + right != span:
            raise Uncuttable("Conv makes more or fewer steps than it takes")
        return Reach(
            reach.rate, reach.before + Fraction(left, reach.rate), reach.after + Fraction(right, reach.rate)
        )
    if not 0 <= left <= span or not 0 < stride == span + 1 + more - left - right:
        raise Uncuttable("ConvTranspose does not make the same number of steps of each")
    rate = reach.rate * stride
    return Reach(rate, reach.before + Fraction(span - left, rate), reach.after + Fraction(left, rate))


def _channels(graph: Graph, spreads: list[Node], takes: str) -> int:
    """Of the tensor before a ConvTranspose: its weight is [channels, those after it, taps]."""
    weights = [graph.dims.get(node.inputs[1]) for node in spreads if node.inputs[0] == takes]
    if not weights[0]:
        raise Uncuttable("ConvTranspose with weights that are not constant")
    return weights[0][0]


def _weight(file: Bounded, place: Place, tensor: Tensor) -> bytes | Place:
    """A tensor in the graph of a part; the numbers of a large one stay in the voice's file."""
    if tensor.raw is None or tensor.raw[1] - tensor.raw[0] < _LARGE_BYTES:
        return place
    return weight_field(file.path.name, tensor, tensor.raw)


def _read(file: Bounded, place: Place) -> bytes:
    begin, end = place
    content = os.pread(file.file.fileno(), end - begin, begin)
    if len(content) < end - begin:
        raise file.flaw("became shorter while it was read")
    return content
