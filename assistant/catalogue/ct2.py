"""The header of a CTranslate2 model: what a Whisper model consists of, read without its weights.

The format is `_serialize` in ctranslate2/specs/model_spec.py; the names are those of whisper_spec.py there.
"""

from __future__ import annotations

import math
import re
import struct
from pathlib import Path

import msgspec

from assistant.catalogue.bounded import Bounded, opened
from assistant.catalogue.shapes import SttShape
from assistant.errors import ModelError

# Name and bytes of a number, in the order of `_dtype_to_type_id`
_TYPES = (("float32", 4), ("int8", 1), ("int16", 2), ("int32", 4), ("float16", 2), ("bfloat16", 2))
_BINARY_VERSION = 6
_COUNT_LIMIT = 1 << 14  # of variables; the largest Whisper has about a thousand
_DIMS_LIMIT = 8
_MULTILINGUAL_VOCABULARY = 51865
"""From here on Whisper's vocabulary names languages: `is_multilingual` in whisper/model.py of OpenAI."""

_U8, _U16, _U32, _TYPE_AND_SIZE = (struct.Struct(layout) for layout in ("<B", "<H", "<I", "<BI"))


class Variable(msgspec.Struct, frozen=True):
    """One tensor; `number` is the value of a single whole number, else 0."""

    type: str
    dims: tuple[int, ...]
    size_bytes: int
    number: int = 0


class Ct2Header(msgspec.Struct, frozen=True):
    """All of model.bin but the weights; names that stand for the same tensor have it each."""

    path: Path
    spec: str
    variables: dict[str, Variable]
    weights_bytes: int


def read_header(folder: Path) -> Ct2Header:
    """The header of `folder`/model.bin.  Raises `ModelError` if it is cut off, damaged or hostile."""
    with opened(folder / "model.bin") as file:
        version = file.unpack(_U32)[0]
        if version != _BINARY_VERSION:
            raise file.flaw(f"is not in version {_BINARY_VERSION} of CTranslate2's format", "choose another")
        spec, _ = _text(file), file.unpack(_U32)
        variables = dict(_variable(file) for _ in range(_count(file)))
        weights_bytes = sum(variable.size_bytes for variable in variables.values())
        for _ in range(_count(file)):
            alias, name = _text(file), _text(file)
            if name not in variables:
                raise file.flaw("is damaged: it names weights that it does not have")
            variables[alias] = variables[name]
        return Ct2Header(file.path, spec, variables, weights_bytes)


def _text(file: Bounded) -> str:
    """A text, whose length counts the zero at its end."""
    length = file.unpack(_U16)[0]
    return file.text(length).rstrip("\0")


def _count(file: Bounded) -> int:
    count: int = file.unpack(_U32)[0]
    if count > _COUNT_LIMIT:
        raise file.flaw(f"is not plausible: it states {count} variables")
    return count


def _variable(file: Bounded) -> tuple[str, Variable]:
    name, rank = _text(file), file.unpack(_U8)[0]
    if rank > _DIMS_LIMIT:
        raise file.flaw(f"is damaged: a variable has {rank} dimensions")
    dims = file.unpack(struct.Struct(f"<{rank}I"))
    code, size_bytes = file.unpack(_TYPE_AND_SIZE)
    if code >= len(_TYPES):
        raise file.flaw(f"has weights of a type unknown here, number {code}", "choose another")
    type_name, number_bytes = _TYPES[code]
    if math.prod(dims) * number_bytes != size_bytes:
        raise file.flaw("is damaged: the size of a variable does not follow from its shape")
    if dims or type_name.endswith(("float32", "float16", "bfloat16")):
        file.skip(size_bytes)
        return name, Variable(type_name, dims, size_bytes)
    return name, Variable(type_name, dims, size_bytes, int.from_bytes(file.take(size_bytes), "little"))


def shape(header: Ct2Header) -> SttShape:
    """What the Whisper model of that header consists of.  Raises `ModelError` if it is none."""
    if header.spec != "WhisperSpec":
        raise _flaw(header, f"holds no Whisper model but a {header.spec!r:.40}")
    state, mels, _ = _dims(header, "encoder/conv1/weight", 3)
    vocabulary, _ = _dims(header, "decoder/embeddings/weight", 2)
    heads = header.variables.get("encoder/num_heads")
    fields = {
        "state": state,
        # Files without it are older than the variable; all of Whisper's heads are 64 wide.
        "heads": heads.number if heads else state // 64,
        "encoder_layers": _layers(header, "encoder"),
        "decoder_layers": _layers(header, "decoder"),
        "feed_forward": _dims(header, "encoder/layer_0/ffn/linear_0/weight", 2)[0],
        "vocabulary": vocabulary,
        "mels": mels,
        "audio_context": _dims(header, "encoder/position_encodings/encodings", 2)[0],
        "text_context": _dims(header, "decoder/position_encodings/encodings", 2)[0],
        "multilingual": vocabulary >= _MULTILINGUAL_VOCABULARY,
    }
    try:
        return msgspec.convert(fields, SttShape)
    except msgspec.ValidationError as error:
        raise _flaw(header, f"states what cannot be ({error})") from None


def _dims(header: Ct2Header, name: str, rank: int) -> tuple[int, ...]:
    variable = header.variables.get(name)
    if variable is None or len(variable.dims) != rank:
        raise _flaw(header, f"has no {name} as Whisper has it")
    return variable.dims


def _layers(header: Ct2Header, part: str) -> int:
    found = (re.match(rf"{part}/(layer_\d+)/", name) for name in header.variables)
    return len({match[1] for match in found if match})


def _flaw(header: Ct2Header, what: str) -> ModelError:
    return ModelError(f"The model file {header.path} {what}; choose another.")
