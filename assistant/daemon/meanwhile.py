"""The daemon's part of [audio] barge_in: what is made of words that are heard during an answer.  Pure."""

from __future__ import annotations

from enum import Enum, auto

from assistant.config import Config
from assistant.text.addressing import question_behind
from assistant.text.interrupting import is_echo, is_stop, shortest_s

ECHOES_FOR_S = 0.5
"""How long after the last word of an answer its echo may still be heard."""


class Meaning(Enum):
    """What words that are heard during an answer are."""

    STOP = auto()
    CALL = auto()
    "What calls the assistant by its name."
    QUESTION = auto()
    NOTHING = auto()
    "Not meant for the assistant, or its own."


class Meanwhile:
    """What the assistant has just said, and what may be said against it."""

    def __init__(self, config: Config) -> None:
        self.listens = config.audio.barge_in != "off"
        self._by_word = config.audio.barge_in == "word"
        self._phrase = config.wake.phrase if config.wake.mode in ("open", "phrase") else ""
        self._is_open = config.wake.mode == "open"
        self._speed = config.tts.speed
        self._said = ""
        self._said_until_s = float("-inf")

    def said(self, text: str, now_s: float) -> None:
        """Until now `text` was being said."""
        self._said, self._said_until_s = text, now_s

    def echoing(self, at_s: float) -> str:
        """What of that may be heard at `at_s`."""
        return self._said if at_s - self._said_until_s <= ECHOES_FOR_S else ""

    def is_over_for(self, text: str, heard_from_s: float) -> bool:
        """Whether sound that was heard from `heard_from_s` on came too late for an echo as long as `text`."""
        least_s = shortest_s(text) / self._speed
        return heard_from_s + least_s > self._said_until_s + ECHOES_FOR_S

    def meaning(self, text: str, language: str, spoken_over: str, in_the_air: bool) -> tuple[Meaning, str]:
        """What `text`, said or heard over `spoken_over` or its echo, is, and the question in it.

        `in_the_air` is whether the answer went on when it began.
        """
        if is_stop(text, language):
            return Meaning.STOP, ""
        if is_echo(text, spoken_over):
            return Meaning.NOTHING, ""
        if not (self._by_word and in_the_air):
            return Meaning.QUESTION, text
        behind = question_behind(self._phrase, text) if self._phrase else None
        if behind is None:
            return Meaning.NOTHING, ""
        return Meaning.CALL, behind if self._is_open else text
