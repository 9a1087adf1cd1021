"""What was asked and heard: one conversation for the room, one for each client.  It only ever grows at its end."""

from __future__ import annotations

from assistant.messages import Exchange

ROOM = 0
"""The conversation of everybody who speaks to the microphone; clients have their own, by their number."""

MOST_EXCHANGES = 200
"""A conversation beyond this forgets its older half at once: rarely, so that the language model's prefix stays."""


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

    def forget(self, conversation: int) -> None:
        """Begin anew."""
        self._conversations.pop(conversation, None)
