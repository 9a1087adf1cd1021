"""What a sound server has: whether there is a microphone and a speaker, and whether it has the assistant hear
what the board plays: where it has no microphone to give, it may give a sink's monitor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from assistant.cli.doctor.check import asked

if TYPE_CHECKING:
    from assistant.audio.devices import Kind

PACTL = ("env", "LC_ALL=C", "pactl", "--format=json", "list")
"""In other languages its numbers have commas, and are no JSON."""

NO_SINK = "auto_null"
"""What PulseAudio and PipeWire have programs play to where there is no speaker."""

HEARS_ITSELF = (
    "the sound server has the assistant hear what this board plays, and no microphone",
    "plug one in, or pactl set-default-source … (pactl list short sources shows which there are)",
)
"""What is wrong then, and what to do: while nothing is played, no sound comes, and nothing is muted."""


class Source(msgspec.Struct, frozen=True):
    """What a sound server can record from, as pactl has it; `monitor_source` is the sink that it is of, if it
    is what a sink plays.
    """

    index: int
    monitor_source: str | None = None


class Sink(msgspec.Struct, frozen=True):
    """What a sound server can play to."""

    name: str


class Stream(msgspec.Struct, frozen=True):
    """Of a program that records from `source`."""

    source: int
    properties: dict[str, str]


def lacking() -> frozenset[Kind]:
    """Which the sound server has none of; empty where none can be asked."""
    sources, sinks = (asked([*PACTL, what]) for what in ("sources", "sinks"))
    return none_of(sources or "", sinks or "")


def none_of(sources: str, sinks: str) -> frozenset[Kind]:
    """The same, by what pactl lists."""
    try:
        has_microphone = any(not source.monitor_source for source in _sources(sources))
        has_speaker = any(sink.name != NO_SINK for sink in msgspec.json.decode(sinks, type=list[Sink]))
    except msgspec.DecodeError:
        return frozenset()
    has: dict[Kind, bool] = {"microphone": has_microphone, "speaker": has_speaker}
    return frozenset(kind for kind in has if not has[kind])


def _sources(listed: str) -> list[Source]:
    return msgspec.json.decode(listed, type=list[Source])


def hears_itself(vads: set[int]) -> bool:
    """Whether the sound server has one of these processes record what this board plays."""
    said = [asked([*PACTL, what]) for what in ("sources", "source-outputs")]
    return on_monitor(said[0] or "[]", said[1] or "[]", vads)


def on_monitor(sources: str, streams: str, pids: set[int]) -> bool:
    """The same, by what pactl lists."""
    try:
        monitors = {source.index for source in _sources(sources) if source.monitor_source}
        recording = msgspec.json.decode(streams, type=list[Stream])
    except msgspec.DecodeError:  # another pactl than those known
        return False
    ours = {str(pid) for pid in pids}
    return any(
        stream.source in monitors and stream.properties.get("application.process.id") in ours
        for stream in recording
    )
