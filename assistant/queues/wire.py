"""What travels on a connection between the daemon and a peer: msgpack frames with their length, as structs.

A frame is four bytes of length (big-endian) and that many bytes of msgpack.  A length over `MAX_FRAME_BYTES`,
or bytes that are no known struct, end the connection: the peer is broken or hostile.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from assistant.config import Config
from assistant.errors import AssistantError
from assistant.messages import AnyMessage, Message

PROTOCOL = 2
HEADER_BYTES = 4
MAX_FRAME_BYTES = 8 * 1024 * 1024
"""Two minutes of sound, the longest utterance that config.toml allows, are 3.8 MB."""

MAX_WORK_BYTES = 7 * 1024 * 1024
"""Work for a stage is refused beyond this: it must fit a frame even with what was said already in it."""

Role = Literal["vad", "stt", "llm", "tts", "client", "watcher"]


class ProtocolError(AssistantError):
    """The other end of a connection does not speak our protocol."""


class Frame(msgspec.Struct, frozen=True, tag=True):
    """Base of everything on the wire."""


class Hello(Frame, frozen=True):
    """First frame of a peer: who it is."""

    role: Role
    pid: int
    protocol: int = PROTOCOL


class Post(Frame, frozen=True):
    """A message for the daemon; a `number` above 0 asks for `Taken` or `Refused`."""

    message: AnyMessage
    number: int = 0


class Done(Frame, frozen=True):
    """A stage has finished its work on a delivery: the queue may forget it."""

    delivery: int


class Beat(Frame, frozen=True):
    """A sign of life from a stage's work loop."""


class Welcome(Frame, frozen=True):
    """The daemon's answer to `Hello`: the configuration in force, and what the user wrote of it.

    A worker whose predecessors died while they loaded waits for `pause_s` before it does.
    """

    config: Config
    written: Config
    pause_s: float = 0.0


class Deliver(Frame, frozen=True):
    """Work for a stage; `attempt` counts from 1."""

    delivery: int
    attempt: int
    message: AnyMessage


class Notice(Frame, frozen=True):
    """A message that wants no acknowledgement: it overtakes all queued work."""

    message: AnyMessage


class Taken(Frame, frozen=True):
    """The daemon took the numbered message."""

    number: int


class Refused(Frame, frozen=True):
    """The daemon did not take the numbered message; `reason` is a sentence for a person."""

    number: int
    reason: str


class Goodbye(Frame, frozen=True):
    """The daemon ends the connection; `reason` is a sentence for a person."""

    reason: str


FromPeer = Hello | Post | Done | Beat
FromDaemon = Welcome | Deliver | Notice | Taken | Refused | Goodbye

_encoder = msgspec.msgpack.Encoder()
_from_peer: msgspec.msgpack.Decoder[FromPeer] = msgspec.msgpack.Decoder(FromPeer)
_from_daemon: msgspec.msgpack.Decoder[FromDaemon] = msgspec.msgpack.Decoder(FromDaemon)
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def encode(frame: Frame) -> bytes:
    """The frame with its length before it.  Raises `ProtocolError` if the other end would not take it."""
    buffer = bytearray(HEADER_BYTES)
    try:
        _encoder.encode_into(frame, buffer, HEADER_BYTES)
    except UnicodeEncodeError:  # half a surrogate pair, which UTF-8 does not have
        raise ProtocolError("The text is not valid Unicode; type or paste it again.") from None
    size = len(buffer) - HEADER_BYTES
    if size > MAX_FRAME_BYTES:
        raise ProtocolError(
            f"A message of {size} bytes is longer than the {MAX_FRAME_BYTES} that the queue carries; "
            "make it shorter."
        )
    buffer[:HEADER_BYTES] = size.to_bytes(HEADER_BYTES, "big")
    return bytes(buffer)


def size_bytes(message: Message) -> int:
    """How many bytes `message` takes in a queue."""
    return len(_encoder.encode(message)) if not hasattr(message, "pcm") else len(message.pcm) + 128


def body_bytes(header: bytes | bytearray | memoryview) -> int:
    """The length that a frame's header announces.  Raises `ProtocolError`."""
    size = int.from_bytes(header[:HEADER_BYTES], "big")
    if size > MAX_FRAME_BYTES:
        raise ProtocolError(
            f"The peer announced a frame of {size} bytes; at most {MAX_FRAME_BYTES} are allowed."
        )
    return size


def decode_from_peer(body: bytes | bytearray | memoryview) -> FromPeer:
    """What a peer sent to the daemon.  Raises `ProtocolError`."""
    try:
        return _from_peer.decode(body)
    except _UNREADABLE as error:
        raise ProtocolError(f"The peer sent a frame that is none of ours: {error}.") from None


def decode_from_daemon(body: bytes | bytearray | memoryview) -> FromDaemon:
    """What the daemon sent to a peer.  Raises `ProtocolError`."""
    try:
        return _from_daemon.decode(body)
    except _UNREADABLE as error:
        raise ProtocolError(f"The daemon sent a frame that is none of ours: {error}.") from None
