"""vad's part of not hearing itself without an echo canceller: deaf while the assistant speaks.  Pure."""

from __future__ import annotations

from collections import deque

from assistant.audio.endpointing import ONSET_WINDOW
from assistant.audio.formats import FRAME_MS
from assistant.messages import EarconStarted

ECHO_S = 0.3
"""A room goes on sounding after the assistant has fallen silent."""

EARCON_ECHO_MS = 160
"""The same after an earcon, whose notes fade out: with its 140 ms less than the usual pre-roll."""


class HalfDuplex:
    """Where it is not `wanted`, everything is heard."""

    def __init__(self, wanted: bool) -> None:
        self._wanted = wanted
        self._deaf_until_s = 0.0
        self._voiced_s: deque[float] = deque(maxlen=ONSET_WINDOW)
        self._earcon_s = (0.0, 0.0)  # from when until when the last one sounds

    def is_deaf(self, at_s: float, speaking: bool) -> bool:
        """Whether a frame of `at_s` is most of all the assistant, which is `speaking`, or its echo."""
        return self._wanted and (speaking or at_s <= self._deaf_until_s)

    def fell_silent(self, at_s: float) -> None:
        """The assistant has; frames from before that may still wait to be heard."""
        self._deaf_until_s = at_s + ECHO_S

    def voiced(self, at_s: float) -> None:
        """The frame captured at `at_s` is voiced."""
        self._voiced_s.append(at_s)

    def earcon(self, earcon: EarconStarted, speech_began_s: float | None) -> None:
        """It is in the room.  It is taken for nobody, but who has begun to speak before it is heard on."""
        window_s = ONSET_WINDOW * FRAME_MS / 1000
        begins = any(earcon.at_s - window_s <= at_s < earcon.at_s for at_s in self._voiced_s)
        speaks = speech_began_s is not None and speech_began_s < earcon.at_s
        if self._wanted and not begins and not speaks:
            self._earcon_s = (earcon.at_s, earcon.at_s + earcon.duration_ms / 1000)

    def is_earcon(self, at_s: float) -> bool:
        """Whether an earcon is in the room at `at_s`: no speech begins with it, but its sound is kept.

        Who begins to speak just then, or was quicker than the echo, finds the first word in the pre-roll, if
        they speak on.
        """
        since_s, until_s = self._earcon_s
        return since_s <= at_s < until_s + EARCON_ECHO_MS / 1000
