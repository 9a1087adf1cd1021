"""What happens in spoken turns, as events for programs and as a timeline for people.  Pure."""

from __future__ import annotations

from assistant.messages import (
    AnyMessage,
    PlaybackStarted,
    Sentence,
    SpeechStarted,
    Token,
    Transcript,
    TurnEnded,
    TurnFinished,
)

Event = dict[str, str | float | int]

STEPS = (
    ("end_of_turn", "end of turn"),
    ("transcript", "transcript"),
    ("first_token", "first token"),
    ("first_sentence", "first sentence"),
    ("first_sound", "first sound"),
    ("done", "done"),
)


class Timeline:
    """Turns the daemon's messages into events; remembers each turn's times until it is done."""

    def __init__(self) -> None:
        self._times: dict[int, dict[str, float]] = {}
        self._answers: dict[int, str] = {}
        self._revisions: dict[int, int] = {}
        self.started = 0
        self.finished = 0

    def feed(self, message: AnyMessage) -> list[Event]:
        """The events that `message` makes: "event", "t" (CLOCK_MONOTONIC seconds), "turn" and "text" each."""
        match message:
            case SpeechStarted(turn, at_s):
                self.started += 1
                self._times[turn] = {}
                self._answers[turn] = ""
                return [_event("speech_start", at_s, turn)]
            case TurnEnded() if message.turn in self._times:
                self._times[message.turn]["speech_end"] = message.speech_end_s
                event = self._first("end_of_turn", message.at_s, message.turn)
                return [{**event[0], "speech_end": round(message.speech_end_s, 6)}] if event else []
            case Transcript() if message.turn in self._times:
                return self._first("transcript", message.at_s, message.turn, message.text)
            case Token() if message.turn in self._times:
                self._begin_revision(message.turn, message.revision)
                self._answers[message.turn] += message.text
                return self._first("first_token", message.at_s, message.turn, message.text)
            case Sentence() if message.turn in self._times:
                return self._sentence(message)
            case PlaybackStarted(turn, at_s) if turn in self._times:
                return self._first("first_sound", at_s, turn)
            case TurnFinished() if message.turn in self._times:
                self.finished += 1
                self._times[message.turn]["done"] = message.at_s
                return [_event("done", message.at_s, message.turn, message.failure)]
        return []

    def lines(self, turn: int) -> list[str]:
        """The turn's timeline, as it happened: milliseconds after the end of speech."""
        times = self._times.get(turn, {})
        zero = times.get("speech_end")
        if zero is None:
            return []
        steps = sorted((times[key], name) for key, name in STEPS if key in times)
        return [f"  {1000 * (at_s - zero):7.0f} ms  {name}" for at_s, name in steps]

    def forget(self, turn: int) -> None:
        """The turn is done and shown."""
        for memory in (self._times, self._answers, self._revisions):
            memory.pop(turn, None)

    def _sentence(self, sentence: Sentence) -> list[Event]:
        self._begin_revision(sentence.turn, sentence.revision)
        self._times[sentence.turn].setdefault("first_sentence", sentence.at_s)
        if not sentence.last:
            return []
        # an apology comes as a sentence alone; an answer has come as tokens
        text = self._answers[sentence.turn].strip() or sentence.text
        return [_event("answer", sentence.at_s, sentence.turn, text)]

    def _begin_revision(self, turn: int, revision: int) -> None:
        if self._revisions.setdefault(turn, revision) < revision:
            self._revisions[turn] = revision
            self._answers[turn] = ""

    def _first(self, name: str, at_s: float, turn: int, text: str = "") -> list[Event]:
        if name in self._times[turn]:
            return []
        self._times[turn][name] = at_s
        return [_event(name, at_s, turn, text)]


def _event(name: str, at_s: float, turn: int, text: str = "") -> Event:
    return {"event": name, "t": round(at_s, 6), "turn": turn, "text": text}
