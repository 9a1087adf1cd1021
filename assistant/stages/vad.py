"""vad: the microphone in, utterances and the ends of turns out."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator

from assistant.audio import endpointing
from assistant.audio.formats import FRAME_SAMPLES, RATE_HZ
from assistant.audio.microphone import open_microphone
from assistant.engines.webrtc import WebrtcVad
from assistant.messages import (
    AnyMessage,
    MicrophoneEnded,
    NextTurn,
    PlaybackStarted,
    SpeechDropped,
    SpeechResumed,
    SpeechStarted,
    TurnEnded,
    TurnFinished,
    Utterance,
)
from assistant.queues.link import Link

SILENCE = bytes(2 * FRAME_SAMPLES)
ECHO_FRAMES = 15
"""Frames (300 ms) that a room goes on sounding after the assistant has fallen silent."""

MOST_UNFINISHED = 4
"""Turns that may wait for their answers before a recording is read on: a pipe gives hours in a second."""

KEPT_ARRIVALS = 6_000
"""Frames (two minutes, the longest utterance) whose time of arrival is remembered."""


class VadStage:
    """Owns the microphone.  What has not become a turn yet, its successor hears again where that can be."""

    def __init__(self, link: Link) -> None:
        config = link.config
        self._link = link
        self._half_duplex = config.audio.half_duplex
        self._voice = WebrtcVad(config.vad.aggressiveness)
        self._endpointer = endpointing.Endpointer(config.vad)
        self._microphone = open_microphone(config.audio.microphone)
        self._arrivals: deque[float] = deque(maxlen=KEPT_ARRIVALS)
        self._frames = 0
        self._origin = 0  # the microphone's position when the first frame was fed
        self._next: NextTurn | None = None
        self._turn = NextTurn(0)
        self._speaking = 0  # the turn whose answer is in the air
        self._deaf_frames = 0
        self._unfinished: set[int] = set()
        link.on_notice(self._on_notice)

    def listen(self) -> Iterator[AnyMessage]:
        """Endless, unless the microphone fails (`AudioError`) or the daemon goes (`Disconnected`)."""
        settled = self._await_next().settled
        while True:
            while self._microphone.can_wait and len(self._unfinished) >= MOST_UNFINISHED:
                self._link.receive(0.05)
            frame = self._microphone.read(timeout_s=0.5)
            self._link.receive(0)
            if frame is None or (frame and self._microphone.position <= settled):
                continue
            if not frame:
                break
            yield from self._hear(frame)
        yield from self._messages(self._endpointer.end())
        self._settle()
        yield MicrophoneEnded()
        while True:
            self._link.receive()

    def _hear(self, frame: bytes) -> Iterator[AnyMessage]:
        if self._frames == 0:
            self._origin = self._microphone.position - FRAME_SAMPLES
        self._frames += 1
        self._arrivals.append(self._microphone.captured_at_s)
        if self._is_deaf():
            frame = SILENCE
        events = self._endpointer.feed(frame, self._voice.voiced(frame))
        yield from self._messages(events)
        if events or self._frames % 50 == 0:
            self._settle()

    def _is_deaf(self) -> bool:
        """Half duplex: what comes while the assistant speaks is most of all its own voice."""
        if self._half_duplex and self._speaking:
            self._deaf_frames = ECHO_FRAMES
            return True
        if not self._deaf_frames:
            return False
        self._deaf_frames -= 1
        return True

    def _messages(self, events: list[endpointing.Event]) -> Iterator[AnyMessage]:
        for event in events:
            turn = self._turn.turn
            match event:
                case endpointing.Started(sample):
                    self._turn = self._await_next()
                    self._next = None
                    self._unfinished.add(self._turn.turn)
                    yield SpeechStarted(self._turn.turn, self._arrived_s(sample))
                case endpointing.Paused():
                    yield Utterance(
                        turn,
                        self._turn.revision + event.revision,
                        event.pcm,
                        RATE_HZ,
                        event.voiced_ms,
                        self._arrived_s(event.speech_end_sample),
                    )
                case endpointing.Resumed(revision):
                    yield SpeechResumed(turn, self._turn.revision + revision)
                case endpointing.Ended(revision, sample):
                    yield TurnEnded(
                        turn,
                        self._turn.revision + revision,
                        self._arrived_s(sample),
                        time.monotonic(),
                        self._settled_for_good(),
                    )
                case endpointing.Dropped():
                    yield SpeechDropped(turn, self._settled_for_good())

    def _arrived_s(self, sample: int) -> float:
        """When the microphone gave `sample` (counted from the first one fed), as well as is remembered."""
        back = self._frames - max(sample - 1, 0) // FRAME_SAMPLES
        return self._arrivals[-min(max(back, 1), len(self._arrivals))] if self._arrivals else time.monotonic()

    def _settled_for_good(self) -> int:
        """Up to where a successor need not listen again; 0 where it could not, as a device begins anew."""
        return self._origin + self._endpointer.settled if self._microphone.can_wait else 0

    def _settle(self) -> None:
        self._microphone.settled(self._origin + self._endpointer.settled)

    def _await_next(self) -> NextTurn:
        while self._next is None:
            self._link.receive(0.05)
        return self._next

    def _on_notice(self, message: AnyMessage) -> None:
        if isinstance(message, NextTurn):
            self._next = message
        elif isinstance(message, PlaybackStarted):
            self._speaking = message.turn
        elif isinstance(message, TurnFinished):
            self._unfinished.discard(message.turn)
            if message.turn == self._speaking:
                self._speaking = 0
