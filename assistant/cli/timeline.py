"""What happens in spoken turns, as events for programs and as a timeline for people.  Pure."""

from __future__ import annotations

from assistant.messages import (
    AnyMessage,
    Gap,
    PlaybackStarted,
    Sentence,
    SpeechPaused,
    SpeechStarted,
    Token,
    Transcript,
    TurnEnded,
    TurnFinished,
    Worked,
)

Event = dict[str, str | float | int]

FRAME_S = 0.02
"""An end that comes this soon behind its pause was not waited for."""

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
        self.speculation = SpeculationCounts()
        self.started = 0
        self.finished = 0

    def feed(self, message: AnyMessage) -> list[Event]:
        """The events that `message` makes: "event", "t" (CLOCK_MONOTONIC seconds), "turn" and "text" each."""
        self.speculation.feed(message)
        match message:
            case SpeechStarted(turn, at_s):
                self.started += 1
                self._times[turn] = {}
                self._answers[turn] = ""
                return [_event("speech_start", at_s, turn)]
            case SpeechPaused() if message.turn in self._times:
                return [{**_event("pause", message.at_s, message.turn), "revision": message.revision}]
            case Gap() if message.turn in self._times:
                return [{**_event("gap", message.at_s, message.turn), "ms": message.duration_ms}]
            case Worked() if message.turn in self._times:
                return [
                    {
                        **_event("worked", message.ended_s, message.turn, message.stage),
                        "revision": message.revision,
                        "began": round(message.began_s, 6),
                        "first": round(message.first_s, 6),
                    }
                ]
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
                done = _event("done", message.at_s, message.turn, message.failure)
                return [{**done, "outcome": message.outcome}]
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


class SpeculationCounts:
    """Counts what became of the work that began at tentative pauses."""

    def __init__(self) -> None:
        self.hits = 0
        """Pauses that were the end of the turn, and were noticed before that was sure."""
        self.misses = 0
        """Pauses after which the person went on."""
        self.wasted_s = 0.0
        """Computed after those for nothing."""
        self._pauses: dict[int, list[SpeechPaused]] = {}
        self._work: dict[int, list[Worked]] = {}
        self._final: dict[int, TurnEnded] = {}

    def feed(self, message: AnyMessage) -> None:
        """A message of any turn."""
        match message:
            case SpeechPaused():
                self._pauses.setdefault(message.turn, []).append(message)
            case Worked():
                self._work.setdefault(message.turn, []).append(message)
            case TurnEnded():
                self._final[message.turn] = message
            case TurnFinished():
                self._count(message.turn)

    def _count(self, turn: int) -> None:
        pauses, work = self._pauses.pop(turn, []), self._work.pop(turn, [])
        if (final := self._final.pop(turn, None)) is None:
            return
        stale = [pause for pause in pauses if pause.revision < final.revision]
        self.misses += len(stale)
        self.hits += any(p.revision == final.revision and p.at_s < final.at_s - FRAME_S for p in pauses)
        self.wasted_s += sum(w.ended_s - w.began_s for w in work if w.revision < final.revision)


def _event(name: str, at_s: float, turn: int, text: str = "") -> Event:
    return {"event": name, "t": round(at_s, 6), "turn": turn, "text": text}
