"""What crosses a queue: the rules that every message keeps."""

from __future__ import annotations

import typing

import msgspec
import pytest

from assistant import messages
from assistant.messages import STAGES, AnyMessage, Message, MicrophoneLevel, Volume

MESSAGE_TYPES = typing.get_args(AnyMessage)
PARTS = (messages.Exchange, messages.StageStatus, messages.PlanStatus, messages.TurnStatus)
"""What a message may have in it, and is none itself."""
ALLOWED = {int, float, str, bool, bytes, messages.Stage, *PARTS, MicrophoneLevel, Volume}
"""No dict, bare tuple or Any; other fields are a choice of words."""


def test_every_message_is_in_the_union_that_the_wire_decodes() -> None:
    defined = {
        kind
        for kind in vars(messages).values()
        if isinstance(kind, type) and issubclass(kind, Message) and kind is not Message
    }
    assert defined == set(MESSAGE_TYPES)


def is_plain(kind: typing.Any) -> bool:
    """A type that is allowed, a choice of words, several of one type, or one that may be missing."""
    if kind in ALLOWED or typing.get_origin(kind) is typing.Literal:
        return True
    match typing.get_args(kind):
        case (inner, end) if end in (type(None), ...):
            return is_plain(inner)
    return False


@pytest.mark.parametrize("kind", [*MESSAGE_TYPES, *PARTS], ids=lambda kind: kind.__name__)
def test_a_message_is_frozen_tagged_and_plain(kind: type[msgspec.Struct]) -> None:
    config = kind.__struct_config__
    assert config.frozen
    assert config.tag == (None if kind in PARTS else kind.__name__)
    assert kind.__doc__
    for field in msgspec.structs.fields(kind):
        assert is_plain(field.type), field.name


@pytest.mark.parametrize("kind", [*MESSAGE_TYPES, *PARTS], ids=lambda kind: kind.__name__)
def test_units_are_in_the_names(kind: type[msgspec.Struct]) -> None:
    for field in msgspec.structs.fields(kind):
        if field.type in (float, float | None):
            is_ratio = field.name in {"confidence", "fraction", "heard_fraction", "answers", "earcons"}
            assert is_ratio or field.name.endswith(("_s", "_dbfs", "_db")), field.name
        if field.type is bytes:
            assert field.name == "pcm"


@pytest.mark.parametrize("kind", MESSAGE_TYPES, ids=lambda kind: kind.__name__)
def test_sound_never_travels_without_its_rate(kind: type[msgspec.Struct]) -> None:
    names = {field.name for field in msgspec.structs.fields(kind)}
    assert ("pcm" in names) == ("rate_hz" in names)


def test_the_stages() -> None:
    assert typing.get_args(messages.Stage) == STAGES == ("vad", "stt", "llm", "tts")
