"""vad's part of turn-taking: what the endpointer finds, as messages of numbered turns."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator

from assistant.audio import endpointing
from assistant.audio.barge_in import WINDOWS
from assistant.audio.formats import FRAME_SAMPLES, RATE_HZ
from assistant.config import Vad
from assistant.messages import (
    AnyMessage,
    Hangover,
    NextTurn,
    SpeechDropped,
    SpeechResumed,
    SpeechStarted,
    TurnEnded,
    Utterance,
)
from assistant.stages.waking import HeardFrame

KEPT_ARRIVALS = 6_000
"""Frames (two minutes, the longest utterance) whose time of arrival is remembered."""


class SpokenTurns:
    """Frames in, messages out.  `is_open`: a turn has begun, at `began_s`, and not ended."""

    def __init__(self, vad: Vad, can_repeat: bool, next_turn: Callable[[], NextTurn]) -> None:
        """`can_repeat` is whether a successor of this process will be given the same sound again.

        `next_turn` waits for the number of the turn that begins.
        """
        self._vad = vad
        self._can_repeat = can_repeat
        self._next_turn = next_turn
        self._endpointer = endpointing.Endpointer(vad, WINDOWS)
        self._arrivals: deque[float] = deque(maxlen=KEPT_ARRIVALS)
        self._frames = 0
        self._origin = 0  # the microphone's position when the first frame was fed
        self._turn = NextTurn(0)
        self.is_open = False
        self.began_s = 0.0

    @property
    def settled(self) -> int:
        """The microphone's position before which no sound is needed any more."""
        return self._origin + self._endpointer.settled

    def feed(self, heard: HeardFrame) -> Iterator[AnyMessage]:
        """The next frame."""
        if self._frames == 0:
            self._origin = heard.position - FRAME_SAMPLES
        self._frames += 1
        self._arrivals.append(heard.at_s)
        yield from self._messages(self._endpointer.feed(heard.frame, heard.voiced, heard.faint, heard.own))

    def recall(self, voiced: list[bool]) -> Iterator[AnyMessage]:
        """The last frames were `voiced` after all."""
        yield from self._messages(self._endpointer.recall(voiced))

    def end(self) -> Iterator[AnyMessage]:
        """No frame will follow."""
        yield from self._messages(self._endpointer.end())

    def drop(self) -> Iterator[AnyMessage]:
        """What was heard of a question is void; the next frame is the first one."""
        if self.is_open:
            yield SpeechDropped(self._turn.turn)
        self.begin_anew()

    def begin_anew(self) -> None:
        """The next frame is the first one, and the daemon knows what becomes of the turn at hand."""
        self.is_open = False
        if self._frames:
            self._endpointer = endpointing.Endpointer(self._vad, WINDOWS)
            self._frames = 0
            self._arrivals.clear()

    def expect(self, hangover: Hangover) -> None:
        """What was said wants another silence behind it than usual."""
        if self.is_open and hangover.turn == self._turn.turn:
            self._endpointer.expect(hangover.revision - self._turn.revision, hangover.duration_ms)

    def _messages(self, events: list[endpointing.Event]) -> Iterator[AnyMessage]:
        for event in events:
            turn = self._turn.turn
            match event:
                case endpointing.Started(sample):
                    self._turn = self._next_turn()
                    self._endpointer.speculate(self._turn.speculate, self._turn.look_every_ms)
                    self.is_open, self.began_s = True, self._arrived_s(sample)
                    yield SpeechStarted(self._turn.turn, self.began_s)
                case endpointing.Paused():
                    yield Utterance(
                        turn,
                        self._turn.revision + event.revision,
                        event.pcm,
                        RATE_HZ,
                        event.voiced_ms,
                        self._arrived_s(event.speech_end_sample),
                        time.monotonic(),
                    )
                case endpointing.Glimpse(pcm, voiced_ms, revision):
                    now_s = self._arrivals[-1]
                    revision += self._turn.revision
                    yield Utterance(turn, revision, pcm, RATE_HZ, voiced_ms, now_s, now_s, so_far=True)
                case endpointing.Resumed(revision):
                    yield SpeechResumed(turn, self._turn.revision + revision)
                case endpointing.Ended(revision, sample):
                    self.is_open = False
                    yield TurnEnded(
                        turn,
                        self._turn.revision + revision,
                        self._arrived_s(sample),
                        time.monotonic(),
                        self._settled_for_good(),
                    )
                case endpointing.Dropped():
                    self.is_open = False
                    yield SpeechDropped(turn, self._settled_for_good())

    def _arrived_s(self, sample: int) -> float:
        """When the microphone gave `sample` (counted from the first one fed), as well as is remembered."""
        back = self._frames - max(sample - 1, 0) // FRAME_SAMPLES
        return self._arrivals[-min(max(back, 1), len(self._arrivals))] if self._arrivals else time.monotonic()

    def _settled_for_good(self) -> int:
        """Up to where a successor need not listen again; 0 where it could not, as a device begins anew."""
        return self.settled if self._can_repeat else 0
