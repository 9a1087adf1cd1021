"""The stretches of speech in a recording, found as the microphone's are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from assistant.audio import endpointing
from assistant.audio.files import blocks
from assistant.audio.formats import FRAME_BYTES, RATE_HZ
from assistant.config import Vad
from assistant.engines.voice import VoiceDetector
from assistant.messages import Recognise


class Segment(msgspec.Struct, frozen=True):
    """What was said between two times of a recording; `confidence` is 0 to 1."""

    start_s: float
    end_s: float
    text: str
    language: str
    confidence: float


class Stretch(msgspec.Struct, frozen=True):
    """A stretch of speech, ready to be recognised."""

    start_s: float
    end_s: float
    request: Recognise


def speech_in(file: Path, settings: Vad) -> Iterator[Stretch]:
    """Every stretch of speech in `file`, in order; holds one of them in memory, however long the file.

    Raises `AudioError` if the file cannot be read.
    """
    endpointer = endpointing.Endpointer(settings)
    voice = VoiceDetector(settings)
    last: endpointing.Paused | None = None
    for events in _events(file, endpointer, voice):
        for event in events:
            if isinstance(event, endpointing.Paused):
                last = event
            elif isinstance(event, endpointing.Ended) and last is not None:
                yield Stretch(
                    last.start_sample / RATE_HZ,
                    event.speech_end_sample / RATE_HZ,
                    Recognise(last.pcm, RATE_HZ, last.voiced_ms),
                )
                last = None


def _events(
    file: Path, endpointer: endpointing.Endpointer, voice: VoiceDetector
) -> Iterator[list[endpointing.Event]]:
    for frame in in_frames(block.tobytes() for block in blocks(file)):
        yield endpointer.feed(frame, *voice.hear(frame))
    yield endpointer.end()


def in_frames(reads: Iterable[bytes]) -> Iterator[bytes]:
    """The same sound in whole frames, however it was read; the last one is filled with silence."""
    left = b""
    for read in reads:
        pcm = left + read
        whole = len(pcm) - len(pcm) % FRAME_BYTES
        for at in range(0, whole, FRAME_BYTES):
            yield pcm[at : at + FRAME_BYTES]
        left = pcm[whole:]
    if left:
        yield left.ljust(FRAME_BYTES, b"\0")
