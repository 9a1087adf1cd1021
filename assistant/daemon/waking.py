"""The daemon's part of [wake]: which questions are meant for the assistant, and when it says that it listens.

Pure.  Where a word or a button wakes, vad hears nothing else; where a phrase does, it is looked for here.
"""

from __future__ import annotations

from assistant.audio.waking import Gate
from assistant.config import Wake
from assistant.daemon.turn import Turn
from assistant.messages import Outcome
from assistant.text.addressing import question_after, question_behind

WAITS_AFTER_S = 0.4
"""Who has called and not spoken on for so long waits for a sign; a sound sooner than that would meet the
first word of those who speak on (pauses between words are rarely longer)."""


class Waking:
    """Whom the turns are meant for."""

    def __init__(self, wake: Wake) -> None:
        self._wake = wake
        self._gate = Gate(wake.mode != "phrase", wake.follow_up_s)
        self._called_s: float | None = None  # since when somebody may wait for a sign

    def called(self, at_s: float) -> None:
        """Somebody called, until `at_s`."""
        self._gate.called(at_s)
        self._called_s = at_s

    def began(self, turn: Turn, at_s: float) -> None:
        """Speech began, which is now the turn's."""
        turn.is_meant = self._gate.is_open(at_s)
        self._called_s = None
        if turn.is_meant:
            self._gate.began(turn.number)

    def question(self, turn: Turn, text: str, so_far: bool = False) -> str:
        """What the turn's transcript asks the assistant; "" where it asks others, or only calls.

        With `so_far` the person goes on speaking.
        """
        if self._wake.mode == "word":
            return question_after(self._wake.word.replace("_", " "), text)
        if self._wake.mode != "phrase":
            return text
        behind = question_behind(self._wake.phrase, text)
        if so_far:
            return behind or (text if turn.is_meant and behind is None else "")
        turn.is_call = behind == ""
        if behind:
            turn.is_meant = True
            self._gate.began(turn.number)
        return behind if behind is not None else text if turn.is_meant else ""

    def finished(self, turn: Turn, outcome: Outcome, now_s: float, asks: bool) -> None:
        """The turn is over; its answer, if there was one, has been heard; it `asks` the person something."""
        self._gate.finished(turn.number, outcome, now_s, asks)
        if turn.is_call and outcome == "nothing":
            self.called(now_s - WAITS_AFTER_S)  # and has waited since

    def is_sign_due(self, now_s: float) -> bool:
        """Whether it is time to let somebody hear that the assistant listens; once for each call."""
        if self._called_s is None or now_s - self._called_s < WAITS_AFTER_S:
            return False
        self._called_s = None
        return True
