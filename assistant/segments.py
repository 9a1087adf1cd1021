"""The stretches of speech in a recording, found as the microphone's are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from assistant.audio import endpointing
from assistant.audio.files import blocks
from assistant.audio.formats import FRAME_SAMPLES, RATE_HZ
from assistant.config import Vad
from assistant.engines.webrtc import WebrtcVad
from assistant.messages import Recognise


class Segment(msgspec.Struct, frozen=True):
    """What was said between two times of a recording; `confidence` is 0 to 1."""

    start_s: float
    end_s: float
    text: str
    language: str
    confidence: float


class Sound(msgspec.Struct, frozen=True):
    """A stretch of speech, ready to be recognised."""

    start_s: float
    end_s: float
    request: Recognise


def speech_in(file: Path, settings: Vad) -> Iterator[Sound]:
    """Every stretch of speech in `file`, in order; holds one of them in memory, however long the file.

    Raises `AudioError` if the file cannot be read.
    """
    endpointer = endpointing.Endpointer(settings)
    voice = WebrtcVad(settings.aggressiveness)
    last: endpointing.Paused | None = None
    for events in _events(file, endpointer, voice):
        for event in events:
            if isinstance(event, endpointing.Paused):
                last = event
            elif isinstance(event, endpointing.Ended) and last is not None:
                yield Sound(
                    last.start_sample / RATE_HZ,
                    event.speech_end_sample / RATE_HZ,
                    Recognise(last.pcm, RATE_HZ, last.voiced_ms),
                )
                last = None


def _events(
    file: Path, endpointer: endpointing.Endpointer, voice: WebrtcVad
) -> Iterator[list[endpointing.Event]]:
    frame_bytes = 2 * FRAME_SAMPLES
    left = b""
    for block in blocks(file):
        pcm = left + block.tobytes()
        whole = len(pcm) - len(pcm) % frame_bytes
        for at in range(0, whole, frame_bytes):
            frame = pcm[at : at + frame_bytes]
            yield endpointer.feed(frame, voice.voiced(frame))
        left = pcm[whole:]
    if left:
        yield endpointer.feed(left.ljust(frame_bytes, b"\0"), voiced=False)
    yield endpointer.end()
