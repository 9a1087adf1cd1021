"""A conversation with the turn state machine: a `Room` holds it, a clock, and what the actions led to."""

from __future__ import annotations

import msgspec

from assistant.config import Config
from assistant.daemon.history import ROOM
from assistant.daemon.turn import Action, Enqueue, Publish, Tell
from assistant.daemon.turns import Turns
from assistant.messages import (
    AnyMessage,
    Exchange,
    Gap,
    PlaybackStarted,
    Sentence,
    SpeechPaused,
    SpeechResumed,
    SpeechStarted,
    Spoken,
    Stage,
    Token,
    Transcript,
    TurnEnded,
    TurnFinished,
    Utterance,
    Worked,
)

TTL_S = Config().daemon.question_ttl_s
PCM = b"\1\0" * 1600


class Room:
    """The machine, with short words for the facts; `actions` holds what the last fact led to."""

    def __init__(self, config: Config = Config()) -> None:  # noqa: B008 - frozen
        self.turns = Turns(config)
        self.now_s = 100.0
        self.actions: list[Action] = []
        self.published: list[AnyMessage] = []
        self.turns.stage_joined("vad")

    def note(self, actions: list[Action]) -> list[Action]:
        self.actions = [action for action in actions if not is_for_watchers_alone(action)]
        self.published += [action.message for action in actions if isinstance(action, Publish)]
        return self.actions

    def fact(self, stage: Stage, message: AnyMessage) -> list[Action]:
        return self.note(self.turns.from_stage(stage, message, self.now_s))

    def asks(self, client: int, message: AnyMessage) -> list[Action]:
        return self.note(self.turns.from_client(client, message, self.now_s))

    # vad

    def starts(self, turn: int = 1) -> None:
        self.fact("vad", SpeechStarted(turn, self.now_s))

    def pauses(self, turn: int = 1, revision: int = 0, sound_s: float = 0.0, late_s: float = 0.0) -> None:
        """With so much sound, pre-roll included, where that matters; vad is so late to notice."""
        said = utterance(turn, revision)
        if sound_s:
            pcm = bytes(2 * round(sound_s * said.rate_hz))
            said = msgspec.structs.replace(said, pcm=pcm, speech_end_s=self.now_s - late_s, at_s=self.now_s)
        self.fact("vad", said)

    def resumes(self, turn: int = 1, revision: int = 1) -> None:
        self.fact("vad", SpeechResumed(turn, revision))

    def ends(self, turn: int = 1, revision: int = 0) -> None:
        self.fact("vad", TurnEnded(turn, revision, self.now_s, self.now_s, settled=turn * 1000))

    def speaks(self, turn: int = 1) -> None:
        """A whole question, understood."""
        self.starts(turn)
        self.pauses(turn)
        self.is_understood(turn)
        self.ends(turn)

    # stt, llm, tts

    def is_understood(
        self, turn: int = 1, revision: int = 0, text: str = "Why?", confidence: float = 0.9
    ) -> None:
        self.fact("stt", transcript(turn, revision, text, confidence))

    def answers(
        self, *texts: str, turn: int = 1, revision: int = 0, first: int = 0, last: bool = True
    ) -> None:
        for index, text in enumerate(texts):
            self.fact("llm", Token(turn, revision, text + " ", self.now_s))
            is_last = last and index == len(texts) - 1
            self.fact("llm", Sentence(turn, revision, first + index, text, is_last, self.now_s))

    def is_heard(self, index: int, fraction: float = 1.0, turn: int = 1, revision: int = 0) -> None:
        self.fact("tts", PlaybackStarted(turn, self.now_s))
        self.fact("tts", Spoken(turn, revision, index, fraction))

    # what came of it

    def work(self, kind: type[AnyMessage]) -> list[AnyMessage]:
        """What the last fact gave a stage to do."""
        return [a.message for a in self.actions if isinstance(a, Enqueue) and isinstance(a.message, kind)]

    def told(self, client: int) -> list[AnyMessage]:
        return [a.message for a in self.actions if isinstance(a, Tell) and a.client == client]

    def finished(self) -> list[tuple[int, str]]:
        return [(m.turn, m.outcome) for m in self.published if isinstance(m, TurnFinished)]

    def history(self) -> tuple[Exchange, ...]:
        return self.turns.histories.of(ROOM)


def is_for_watchers_alone(action: Action) -> bool:
    return isinstance(action, Publish) and isinstance(action.message, SpeechPaused | Worked | Gap)


def utterance(turn: int = 1, revision: int = 0) -> Utterance:
    return Utterance(turn, revision, PCM, 16_000, 100, 1.0)


def transcript(turn: int = 1, revision: int = 0, text: str = "Why?", confidence: float = 0.9) -> Transcript:
    return Transcript(turn, revision, text, "en", confidence, 2.0)


def sentence(index: int, text: str, last: bool, turn: int = 1, revision: int = 0) -> Sentence:
    """As tts gets it."""
    return Sentence(turn, revision, index, text, last)
