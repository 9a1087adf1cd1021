"""vad's part of [audio] barge_in: hearing people while the assistant speaks, and not itself."""

from __future__ import annotations

import math

from assistant.audio.barge_in import SILENT_DBFS, Guard
from assistant.audio.echo_search import EchoSearch
from assistant.audio.formats import FRAME_SAMPLES
from assistant.audio.level import dbfs
from assistant.audio.reference import Reference
from assistant.engines.echo import EchoCanceller


class OwnVoice:
    """What the assistant plays, and how to tell it from people."""

    def __init__(self) -> None:
        self._reference = Reference()
        self._canceller = EchoCanceller()
        self._search = EchoSearch()
        self._needs_canceller = True
        self._position = 0
        self._guard = Guard()
        self._played_dbfs = SILENT_DBFS
        self.person_begins = False
        """Whether with the last frame it became sure that a person speaks while the assistant does."""
        self.is_alone = False
        """Whether the last frame may hold the assistant's voice, and nobody was found to speak."""

    def played(self, pcm: bytes, at_s: float) -> None:
        """The speaker plays `pcm` (16 kHz, mono) from `at_s` on; an empty one ends what was to come then."""
        self._reference.played(pcm, at_s)

    def cancel(self, frame: bytes, position: int, captured_at_s: float) -> bytes:
        """`frame`, the microphone's before `position`, without echo."""
        played = self._reference.heard_with(position, captured_at_s)
        if played is None:
            self._played_dbfs = SILENT_DBFS
            self._search.begin_anew()
            return frame
        if self._reference.is_lacking or position != self._position + FRAME_SAMPLES:
            self._search.begin_anew()
        self._position = position
        self._played_dbfs = _level_dbfs(played)
        cancelled = self._canceller.cancel(frame, played)
        finds_none = self._search.finds_none(frame, played)
        if not self._guard.has_person:  # else the rest of their word might be muted
            self._needs_canceller = not finds_none
        elif self._search.has_found and not self._needs_canceller:
            self._needs_canceller = True
            self._guard.person_fell_silent()  # it may have been the echo
        return cancelled if self._needs_canceller else frame

    def is_person(self, frame: bytes, voiced: bool, speaking: bool, is_open: bool) -> bool:
        """Whether the cancelled `frame` is to be taken for speech.

        While the assistant is `speaking`, or echoes, that is so once a person has been found to speak; of an
        utterance that was `is_open` before, each frame counts for itself.
        """
        had_person = self._guard.has_person
        knows_echo = had_person or not self._reference.is_lacking
        is_person = self._guard.feed(
            voiced and knows_echo, _level_dbfs(frame), self._played_dbfs, self._needs_canceller
        )
        if not speaking and not self._guard.echoes:
            self._guard.has_person = self.person_begins = self.is_alone = False
            return voiced
        self.is_alone = not self._guard.has_person
        self.person_begins = self._guard.has_person and not had_person
        if had_person and not is_open and not any(self._guard.last_frames):
            self._guard.person_fell_silent()  # which no end of a turn tells where nobody listens
        return voiced if had_person else is_person and is_open

    def person_fell_silent(self) -> None:
        """Their utterance is over."""
        self._guard.person_fell_silent()

    @property
    def has_person(self) -> bool:
        """Whether a person speaks while the assistant does."""
        return self._guard.has_person

    @property
    def last_frames(self) -> list[bool]:
        """Which of the last frames were the person's, when one begins."""
        return self._guard.last_frames


def _level_dbfs(frame: bytes) -> float:
    samples = memoryview(frame).cast("h")
    return dbfs(math.hypot(*samples) / math.sqrt(len(samples)))
