"""What the language model reads ahead of a question, while it has nothing else to do.  Pure."""

from __future__ import annotations

from assistant.daemon.turn import Action, CancelWork, Enqueue
from assistant.messages import Exchange, Prefill


class Prefilling:
    """One reading at a time, each with a number of its own; whatever is more urgent cancels it."""

    def __init__(self) -> None:
        self._number = 0
        self._is_under_way = False

    def begin(self, history: tuple[Exchange, ...], begun: str) -> list[Action]:
        """Read the conversation and how its next question begins, in place of what is being read."""
        stop = self.stop()
        self._number += 1
        self._is_under_way = True
        return [*stop, Enqueue("llm", Prefill(history, begun, self._number))]

    def stop(self) -> list[Action]:
        """Something else is to be worked on; what has been read of the same conversation is not lost."""
        if not self._is_under_way:
            return []
        self._is_under_way = False
        return [CancelWork(0, self._number)]

    def ended(self, number: int) -> None:
        """The model has read that one, or has been stopped in it."""
        if number == self._number:
            self._is_under_way = False

    def worker_left(self) -> None:
        """With the model's worker went what it was reading."""
        self._is_under_way = False
