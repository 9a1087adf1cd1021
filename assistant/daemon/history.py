"""What was asked and heard: one conversation for the room, one for each client.  It grows at its end only."""

from __future__ import annotations

from assistant.messages import Exchange

ROOM = 0
"""The conversation of everybody who speaks to the microphone; clients have their own, by their number."""

MOST_EXCHANGES = 200
MOST_CHARACTERS = 1_000_000
"""A conversation beyond these forgets its older half at once: rarely, so that the model's prefix stays."""


class Histories:
    """The conversations, by number."""

    def __init__(self) -> None:
        self._conversations: dict[int, list[Exchange]] = {}

    def of(self, conversation: int) -> tuple[Exchange, ...]:
        """Everything said in it, oldest first."""
        return tuple(self._conversations.get(conversation, ()))

    def add(self, conversation: int, exchange: Exchange) -> None:
        """One more turn at the end."""
        exchanges = self._conversations.setdefault(conversation, [])
        exchanges.append(exchange)
        if len(exchanges) > MOST_EXCHANGES:
            del exchanges[: MOST_EXCHANGES // 2]
        while sum(len(each.question) + len(each.answer) for each in exchanges) > MOST_CHARACTERS:
            del exchanges[: (len(exchanges) + 1) // 2]

    def forget(self, conversation: int) -> None:
        """Begin anew."""
        self._conversations.pop(conversation, None)
