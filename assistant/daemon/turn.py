"""One turn, as the daemon sees it, and what the daemon can do about one."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

import msgspec

from assistant.daemon.confirming import Step
from assistant.daemon.times import Times
from assistant.messages import AnyMessage, Question, Sentence, Stage, Utterance
from assistant.text.finished import Ending

A_DAY_S = 86_400.0


class Kind(Enum):
    """Where a turn came from, and where its answer goes."""

    SPEECH = "spoken, answered aloud"
    ASK = "typed, answered in text"
    SAY = "typed, spoken aloud"
    SYNTHESISE = "typed, spoken to the client"
    RECOGNISE = "recorded, written to the client"


@dataclass(slots=True)
class Turn:
    """A question and its answer.  `client` is 0 for the room.

    `is_read` is one whose beginning is being read while the person speaks on, `torn` a question of which a
    vad worker that died may have taken a part along.  `ending` is how its transcript ends, and `step` what is
    done with what was said.  `is_meant` is one that is meant for the assistant, as far as is known yet,
    `was_meant` what was known of that when it began, `is_named` one that names it, `is_call` one that does
    nothing else, and `is_behind_word` one that follows a wake word.  `heard_from_s` is when its sound begins,
    before it was known to be speech.  `spoken_over` is what the assistant was saying when it began, or had
    just said, where that is listened through; `is_over_answer` whether it went on.  Of the answer `offered`
    sentences were given to tts, `finished_sentences` were heard, and of the next one `fraction`, 0 to 1.
    Times are seconds of CLOCK_MONOTONIC.
    """

    number: int
    kind: Kind
    client: int
    text: str = ""
    confidence: float = 1.0
    step: Step = Step.ANSWER
    revision: int = 0
    began_s: float = 0.0
    ended: bool = True
    ended_s: float = 0.0
    paused: bool = False
    is_read: bool = False
    has_transcript: bool = False
    ending: Ending = Ending.UNCLEAR
    asked: bool = False
    answer: str = ""
    tokens: int = 0
    sentences: list[str] = field(default_factory=list)
    complete: bool = False
    offered: int = 0
    finished_sentences: int = 0
    fraction: float = 0.0
    apologising: bool = False
    mute: bool = False
    torn: bool = False
    is_meant: bool = True
    was_meant: bool = True
    is_named: bool = False
    is_call: bool = False
    is_behind_word: bool = False
    spoken_over: str = ""
    is_over_answer: bool = False
    heard_from_s: float = 0.0
    sounding: bool = False
    failure: str = ""
    held: list[AnyMessage] = field(default_factory=list)
    times: Times = field(default_factory=Times)

    @property
    def is_aloud(self) -> bool:
        """Whether its answer is for the speaker."""
        return self.kind in (Kind.SPEECH, Kind.SAY)

    @property
    def is_in_reading(self) -> bool:
        """Whether the recogniser works on it."""
        is_given = self.is_read or self.paused or self.kind is Kind.RECOGNISE
        return is_given and self.is_waiting_for == "stt"

    @property
    def is_answered(self) -> bool:
        """Whether the language model works on it."""
        is_asked = self.asked if self.kind is Kind.SPEECH else self.kind is Kind.ASK
        return is_asked and not self.complete

    @property
    def is_waiting_for(self) -> Stage:
        """The stage whose work it needs next."""
        if self.apologising:
            return "tts"
        if self.kind is Kind.RECOGNISE or (self.kind is Kind.SPEECH and not self.has_transcript):
            return "stt"
        return "tts" if self.kind in (Kind.SAY, Kind.SYNTHESISE) or self.complete else "llm"

    def forget_answer(self) -> None:
        """Back to the question: what was made of it is stale."""
        self.text, self.has_transcript, self.asked, self.paused, self.failure = "", False, False, False, ""
        self.ending, self.is_read, self.step = Ending.UNCLEAR, False, Step.ANSWER
        self.answer, self.tokens, self.sentences, self.complete = "", 0, [], False
        self.offered, self.finished_sentences, self.fraction = 0, 0, 0.0
        self.mute, self.held = False, []

    def left_of(self, message: AnyMessage) -> AnyMessage | None:
        """What is left to do of `message`, which is of this turn; None if nothing is, or it is stale."""
        if getattr(message, "revision", 0) < self.revision:
            return None
        if isinstance(message, Utterance) and (self.has_transcript or message.so_far):
            return None
        if isinstance(message, Question):
            if self.complete:
                return None
            return msgspec.structs.replace(
                message, answer_so_far=self.answer, next_sentence=len(self.sentences)
            )
        if isinstance(message, Sentence):
            if message.index < self.finished_sentences:
                return None
            if message.index == self.finished_sentences:
                return msgspec.structs.replace(message, heard_fraction=self.fraction)
        return message

    def heard(self) -> tuple[str, bool]:
        """What was heard of the answer, to the word that was in the air, and whether it was cut off."""
        if not self.is_aloud:
            return self.answer, not self.complete
        parts = self.sentences[: self.finished_sentences]
        if self.finished_sentences < len(self.sentences):
            words = self.sentences[self.finished_sentences].split()
            parts.append(" ".join(words[: int(len(words) * self.fraction)]))
        whole = self.complete and self.finished_sentences == len(self.sentences)
        return " ".join(part for part in parts if part), not whole


@dataclass(frozen=True, slots=True)
class Enqueue:
    """Give a stage work; without `ttl_s` it waits as long as it must."""

    stage: Stage
    message: AnyMessage
    ttl_s: float = A_DAY_S


@dataclass(frozen=True, slots=True)
class CancelWork:
    """All work on the turn up to this revision is stale."""

    turn: int
    revision: int


@dataclass(frozen=True, slots=True)
class Notify:
    """Tell a stage, ahead of its queue."""

    stage: Stage
    message: AnyMessage


@dataclass(frozen=True, slots=True)
class Tell:
    """Answer a client."""

    client: int
    message: AnyMessage


@dataclass(frozen=True, slots=True)
class Publish:
    """An event for all watchers."""

    message: AnyMessage


Action = Enqueue | CancelWork | Notify | Tell | Publish
