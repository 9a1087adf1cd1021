"""Frames on the wire: every message survives, and nothing but `ProtocolError` comes of anything else."""

from __future__ import annotations

import contextlib
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistant.config import Config, Llm
from assistant.messages import AnyMessage, Ask, Exchange, Question, Say, Utterance
from assistant.queues import wire

WHOLE = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(st.characters(codec="utf-8"), max_size=40)
SECONDS = st.floats(allow_nan=False)


def values_of(kind: Any) -> st.SearchStrategy[Any]:
    """Any value that a field of that type may hold."""
    known: dict[Any, st.SearchStrategy[Any]] = {
        int: WHOLE,
        float: SECONDS,
        str: TEXT,
        bytes: st.binary(max_size=200),
        bool: st.booleans(),
        NoneType: st.none(),
    }
    if kind in known:
        return known[kind]
    parts = get_args(kind)
    if get_origin(kind) is Literal:
        return st.sampled_from(parts)
    if get_origin(kind) in (Union, UnionType):
        return st.one_of(*map(values_of, parts))
    return st.lists(values_of(parts[0]), max_size=4).map(tuple) if parts else struct_of(kind)


def struct_of(kind: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    fields = msgspec.structs.fields(kind)
    return st.builds(kind, **{field.name: values_of(field.type) for field in fields})


MESSAGE_TYPES = get_args(AnyMessage)
MESSAGES = st.one_of(*(struct_of(kind) for kind in MESSAGE_TYPES))
FROM_PEER = st.one_of(
    struct_of(wire.Hello),
    st.builds(wire.Post, MESSAGES, WHOLE),
    struct_of(wire.Done),
    st.just(wire.Beat()),
)
FROM_DAEMON = st.one_of(
    st.just(wire.Welcome(Config(llm=Llm(temperature=1.5)), Config())),
    st.builds(wire.Deliver, WHOLE, WHOLE, MESSAGES),
    st.builds(wire.Notice, MESSAGES),
    struct_of(wire.Taken),
    struct_of(wire.Refused),
    struct_of(wire.Goodbye),
)


def body(frame: bytes) -> bytes:
    assert wire.body_bytes(frame[: wire.HEADER_BYTES]) == len(frame) - wire.HEADER_BYTES
    return frame[wire.HEADER_BYTES :]


@pytest.mark.parametrize("kind", MESSAGE_TYPES, ids=lambda kind: kind.__name__)
def test_every_message_survives(kind: type[msgspec.Struct]) -> None:
    @settings(max_examples=10, deadline=None, database=None)
    @given(struct_of(kind))
    def survives(message: AnyMessage) -> None:
        assert wire.decode_from_peer(body(wire.encode(wire.Post(message)))) == wire.Post(message)
        assert wire.decode_from_daemon(body(wire.encode(wire.Notice(message)))) == wire.Notice(message)

    survives()


@settings(max_examples=100, deadline=None)
@given(FROM_PEER, FROM_DAEMON)
def test_every_frame_survives(up: wire.FromPeer, down: wire.FromDaemon) -> None:
    assert wire.decode_from_peer(body(wire.encode(up))) == up
    assert wire.decode_from_daemon(memoryview(body(wire.encode(down)))) == down


def decode_both(garbage: bytes) -> None:
    """Either it is a frame after all, or it is refused in the one way that the transports expect."""
    for decode in (wire.decode_from_peer, wire.decode_from_daemon):
        with contextlib.suppress(wire.ProtocolError):
            assert isinstance(decode(garbage), wire.Frame)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_random_bytes(garbage: bytes) -> None:
    decode_both(garbage)


@settings(max_examples=200, deadline=None)
@given(FROM_PEER, st.data())
def test_damaged_frames(frame: wire.FromPeer, data: st.DataObject) -> None:
    """A bit flipped, a piece cut out, bytes behind the end."""
    whole = bytearray(body(wire.encode(frame)))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    decode_both(bytes(whole))
    decode_both(bytes(whole[:at]))
    decode_both(bytes(whole) + data.draw(st.binary(min_size=1, max_size=9)))


ANYTHING = st.recursive(
    st.none() | st.booleans() | WHOLE | st.floats() | TEXT | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
TAGS = [kind.__name__ for kind in (*get_args(wire.FromPeer), *get_args(wire.FromDaemon), *MESSAGE_TYPES)]
FIELDS = ["type", "message", "number", "role", "pid", "turn", "revision", "pcm", "text", "config", "history"]


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(TAGS), st.dictionaries(st.sampled_from(FIELDS), ANYTHING))
def test_right_tags_and_wrong_types(tag: str, fields: dict[str, Any]) -> None:
    decode_both(msgspec.msgpack.encode({**fields, "type": tag}))
    decode_both(msgspec.msgpack.encode({"type": "Post", "message": {**fields, "type": tag}}))


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\xc1",  # the one byte that msgpack never uses
        msgspec.msgpack.encode({"type": "Unknown"}),
        msgspec.msgpack.encode({"type": 7}),
        msgspec.msgpack.encode({"type": "Post", "message": {"type": "Post"}}),
        msgspec.msgpack.encode({"type": "Hello", "role": "daemon", "pid": 1}),
        msgspec.msgpack.encode({"type": "Deliver", "delivery": 1, "attempt": 1}),
        msgspec.msgpack.encode({"type": "Done", "delivery": 1.5}),
        b"\x81\xa4type\xa5H\xffllo",  # not UTF-8 where a tag stands
        b"\x82\xa4type\xa4Post\xa7message\x82\xa4type\xa3Ask\xa4text\xa2\xff\xff",  # nor where text does
        b"\x81\xa4type" + b"\x91" * 100_000,  # lists in lists
        b"\x82\xa4type\xa4Beat\xa1x" + b"\x81\xa1x" * 100_000 + b"\x01",  # maps in maps, in an unknown field
        b"\xdd\xff\xff\xff\xff",  # a list that says it has four thousand million elements
        b"\xc6\xff\xff\xff\xff",  # and bytes
        b"\xdf\xff\xff\xff\xff",  # and a map
        b"\xd6\xff\x00\x00\x00\x00",  # a timestamp
    ],
)
def test_hand_made_garbage(garbage: bytes) -> None:
    for decode in (wire.decode_from_peer, wire.decode_from_daemon):
        with pytest.raises(wire.ProtocolError):
            decode(garbage)


def test_each_side_refuses_what_only_the_other_may_say() -> None:
    with pytest.raises(wire.ProtocolError):
        wire.decode_from_daemon(body(wire.encode(wire.Hello("client", 1))))
    with pytest.raises(wire.ProtocolError):
        wire.decode_from_peer(body(wire.encode(wire.Welcome(Config(), Config()))))


def test_announced_lengths() -> None:
    assert wire.body_bytes(wire.MAX_FRAME_BYTES.to_bytes(4, "big")) == wire.MAX_FRAME_BYTES
    for size in (wire.MAX_FRAME_BYTES + 1, 2**32 - 1):
        with pytest.raises(wire.ProtocolError, match=f"announced a frame of {size} bytes"):
            wire.body_bytes(size.to_bytes(4, "big"))


def test_what_is_too_long_is_refused_by_its_sender() -> None:
    with pytest.raises(wire.ProtocolError, match=r"longer than the 8388608 that the queue carries; make it"):
        wire.encode(wire.Post(Ask("x" * wire.MAX_FRAME_BYTES)))


def test_half_a_surrogate_pair_is_a_sentence() -> None:
    with pytest.raises(wire.ProtocolError, match="not valid Unicode"):
        wire.encode(wire.Post(Say("\udcff", to_client=False)))


def test_sizes_in_a_queue() -> None:
    question = Question(1, 0, "Why?", (Exchange("a" * 500, "b" * 500),))
    assert 1000 < wire.size_bytes(question) < 1200
    assert 64_000 < wire.size_bytes(Utterance(1, 0, bytes(64_000), 16_000, 100, 0.0)) < 64_200
