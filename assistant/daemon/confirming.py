"""Asking back what was hardly understood, instead of answering it.  Pure."""

from __future__ import annotations

from enum import Enum

from assistant.text.confirmation import Reply, reply, without_no

UNSURE = 0.7
"""A confidence below this is asked back.

Of the questions in `tests/audio`, clean and in noise, babble and music at 20 to 0 dB, the test recogniser
read 376 rightly and 32 wrongly: none of the former, and 41 % of the latter, were below it.  How sure
Whisper's own weights are of themselves has not been measured; OpenAI's API reference shows 0.75 for a
right reading.
"""

ANSWER_WITHIN_S = 15.0
"""Who says nothing for so long after having been asked has gone on to something else."""


class Step(Enum):
    """What is done with something that was said."""

    ANSWER = "it is answered"
    ASK_BACK = "the person is asked whether they said it"
    SAY_AGAIN = "the person is asked to say it again"


class Confirming:
    """Knows what the room was asked back.  Without `is_on` everything is answered.

    `language` is the one that is spoken, an ISO 639 code.
    """

    def __init__(self, is_on: bool, language: str) -> None:
        self._is_on = is_on
        self._language = language
        self._asked: tuple[str, float] | None = None
        """The question that was asked back, and when that had been heard."""

    def step(self, text: str, confidence: float, began_s: float) -> tuple[Step, str]:
        """What to do with `text`, which somebody began to say at `began_s`, and the question in it.

        Changes nothing: the person may yet go on speaking.
        """
        if not self._is_on:
            return Step.ANSWER, text
        if (question := self._question(began_s)) is not None:
            match reply(text, question, self._language):
                case Reply.YES:
                    return Step.ANSWER, question
                case Reply.NO:
                    return Step.SAY_AGAIN, text
            text = without_no(text, self._language)
        return (Step.ASK_BACK if confidence < UNSURE else Step.ANSWER), text

    def is_confirmed(self, text: str, began_s: float) -> bool:
        """Whether `text`, which somebody began to say at `began_s`, says yes to what was asked back."""
        question = self._question(began_s)
        return question is not None and reply(text, question, self._language) is Reply.YES

    def over(self, step: Step, question: str, now_s: float) -> None:
        """The room heard what `step` led to at `now_s`; what was asked back before that is settled."""
        self._asked = (question, now_s) if step is Step.ASK_BACK else None

    def _question(self, began_s: float) -> str | None:
        """What was asked back, if who began to speak then may be answering that."""
        if self._asked is None or began_s - self._asked[1] > ANSWER_WITHIN_S:
            return None
        return self._asked[0]
