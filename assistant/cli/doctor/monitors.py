"""Whether a sound server has the assistant hear what the board plays: where it has no microphone to give, it
may give a sink's monitor.
"""

from __future__ import annotations

import msgspec

from assistant.cli.doctor.check import asked

PACTL = ("env", "LC_ALL=C", "pactl", "--format=json", "list")
"""In other languages its numbers have commas, and are no JSON."""

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


class Recording(msgspec.Struct, frozen=True):
    """A stream that records from `source`."""

    source: int
    properties: dict[str, str]


def hears_itself(vads: set[int]) -> bool:
    """Whether the sound server has one of these processes record what this board plays."""
    said = [asked([*PACTL, what]) for what in ("sources", "source-outputs")]
    return on_monitor(said[0] or "[]", said[1] or "[]", vads)


def on_monitor(sources: str, streams: str, pids: set[int]) -> bool:
    """The same, by what pactl lists."""
    try:
        monitors = {
            source.index
            for source in msgspec.json.decode(sources, type=list[Source])
            if source.monitor_source
        }
        recordings = msgspec.json.decode(streams, type=list[Recording])
    except msgspec.DecodeError:  # another pactl than those known
        return False
    ours = {str(pid) for pid in pids}
    return any(
        stream.source in monitors and stream.properties.get("application.process.id") in ours
        for stream in recordings
    )
