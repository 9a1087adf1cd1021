"""The daemon's part of [wake]: which questions are meant for the assistant, and when it says that it listens.

Pure.  vad, which hears a wake word and a button, is told until when it is to listen (`awake_until_s`); a
phrase is looked for here.
"""

from __future__ import annotations

from math import inf

from assistant.audio.waking import Gate
from assistant.config import Wake
from assistant.daemon.turn import Turn
from assistant.messages import Outcome, Woken
from assistant.text.addressing import question_after, question_behind

WAITS_AFTER_S = 0.4
"""Who has called and not spoken on for so long waits for a sign; a sound sooner than that would meet the
first word of those who speak on (pauses between words are rarely longer)."""


class Waking:
    """Whom the turns are meant for."""

    def __init__(self, wake: Wake) -> None:
        self._wake = wake
        self._gate = Gate(wake.mode == "open", wake.follow_up_s)
        self._called_s: float | None = None  # since when somebody may wait for a sign
        self._is_signing = False  # whether that sign may be in the air
        self._is_word_said = False  # with nothing behind it yet
        self._newest = 0  # the turn that began last

    @property
    def awake_until_s(self) -> float:
        """Until when vad is to listen; where a phrase calls, it must be heard."""
        return inf if self._wake.mode == "phrase" else self._gate.until_s

    def called(self, call: Woken) -> None:
        """Somebody called, by a word or by the button."""
        self._gate.called(call.at_s)
        self._called_s = call.at_s
        self._is_word_said = call.by == "word"

    def forget(self) -> None:
        """Who has called is not heard any more."""
        self._gate.close()
        self._called_s = None
        self._is_word_said = False

    def began(self, turn: Turn, at_s: float) -> bool:
        """Speech began, which is now the turn's; whether a sign would sound over it."""
        turn.was_meant = turn.is_meant = self._gate.began(turn.number, at_s)
        turn.is_behind_word, self._is_word_said = self._is_word_said, False
        self._newest, self._called_s = turn.number, None
        was_signing, self._is_signing = self._is_signing, False
        return was_signing

    def question(self, turn: Turn, text: str, so_far: bool = False) -> str:
        """What the turn's transcript asks the assistant; "" where it asks others, or only calls.

        With `so_far` the person goes on speaking.
        """
        if turn.is_behind_word:
            text = question_after(self._wake.word.replace("_", " "), text)
        behind = question_behind(self._wake.phrase, text) if self._wake.mode == "phrase" else None
        if so_far:
            return behind or (text if turn.is_meant and behind is None else "")
        if not turn.is_meant:  # the call before it may have been read only now
            turn.was_meant = turn.is_meant = self._gate.began(turn.number, turn.began_s)
        turn.is_call = behind == ""
        if behind:
            turn.is_meant = turn.is_named = True
            self._gate.named(turn.number)
        return behind if behind is not None else text if turn.is_meant else ""

    def unsaid(self, turn: Turn) -> None:
        """The person went on speaking: what was read so far may have been something else."""
        turn.is_call = turn.is_named = False
        if turn.is_meant and not turn.was_meant:
            turn.is_meant = False
            self._gate.forget(turn.number)

    def finished(self, turn: Turn, outcome: Outcome, now_s: float, asks: bool) -> None:
        """The turn is over; its answer, if there was one, has been heard; it `asks` the person something."""
        self._gate.finished(turn.number, outcome, now_s, asks, turn.is_named)
        if turn.is_call and outcome == "nothing":
            self._gate.called(now_s)
            if turn.number == self._newest:  # else they have spoken on already
                self._called_s = now_s - WAITS_AFTER_S  # and have waited since

    def is_sign_due(self, now_s: float) -> bool:
        """Whether it is time to let somebody hear that the assistant listens; once for each call."""
        if self._called_s is None or now_s - self._called_s < WAITS_AFTER_S:
            return False
        self._called_s = None
        self._is_signing = True
        return True
