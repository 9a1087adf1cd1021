"""How long the steps of a turn took.  Pure."""

from __future__ import annotations

from dataclasses import dataclass

from assistant.messages import (
    AnyMessage,
    Outcome,
    PlaybackStarted,
    SpeechStarted,
    Token,
    Transcript,
    TurnAccepted,
    TurnEnded,
    TurnStatus,
)


@dataclass(slots=True)
class Times:
    """When the steps of a turn happened, in seconds of CLOCK_MONOTONIC; None for what has not.

    `zero_s` is the end of speech, or when a client's request was taken.
    """

    speech_s: float | None = None
    zero_s: float | None = None
    transcript_s: float | None = None
    first_token_s: float | None = None
    first_sound_s: float | None = None

    def note(self, message: AnyMessage, now_s: float) -> None:
        """A step that somebody is told of."""
        match message:
            case SpeechStarted(_, at_s):
                self.speech_s = at_s
            case TurnEnded():
                self.zero_s = message.speech_end_s
            case TurnAccepted():
                self.zero_s = now_s
            case Transcript():
                self.transcript_s = message.at_s
            case Token() if self.first_token_s is None:
                self.first_token_s = message.at_s
            case PlaybackStarted(_, at_s):
                self.first_sound_s = at_s

    def of(self, turn: int, outcome: Outcome, now_s: float) -> TurnStatus:
        """The turn, which is over now."""
        zero_s = now_s if self.zero_s is None else self.zero_s

        def after_s(at_s: float | None) -> float | None:
            return None if at_s is None else max(0.0, at_s - zero_s)

        return TurnStatus(
            turn,
            outcome,
            now_s,
            None if self.speech_s is None else max(0.0, zero_s - self.speech_s),
            after_s(self.transcript_s),
            after_s(self.first_token_s),
            after_s(self.first_sound_s),
            max(0.0, now_s - zero_s),
        )


def in_words(turn: TurnStatus) -> str:
    """How long the turn's steps took, for a log line: "2.3 s of speech, transcript after 0.3 s, …"."""
    steps = (
        ("transcript", turn.transcript_s),
        ("first token", turn.first_token_s),
        ("first sound", turn.first_sound_s),
    )
    speech = [] if turn.speech_s is None else [f"{turn.speech_s:.1f} s of speech"]
    taken = [f"{name} after {seconds:.1f} s" for name, seconds in steps if seconds is not None]
    return ", ".join([*speech, *taken, f"{turn.done_s:.1f} s in all"])
