"""The conversations that the daemon remembers."""

from __future__ import annotations

from assistant.daemon.history import MOST_CHARACTERS, MOST_EXCHANGES, ROOM, Histories
from assistant.messages import Exchange


def exchange(number: int, characters: int = 10) -> Exchange:
    return Exchange(f"{number}?", "x" * characters)


def test_conversations_are_apart_and_grow_at_their_end() -> None:
    histories = Histories()
    histories.add(ROOM, exchange(1))
    histories.add(7, exchange(2))
    histories.add(ROOM, exchange(3))
    assert histories.of(ROOM) == (exchange(1), exchange(3))
    assert histories.of(7) == (exchange(2),)
    histories.forget(7)
    histories.forget(8)
    assert histories.of(7) == ()
    assert histories.of(ROOM) == (exchange(1), exchange(3))


def test_a_long_conversation_forgets_its_older_half_at_once() -> None:
    histories = Histories()
    for number in range(MOST_EXCHANGES):
        histories.add(ROOM, exchange(number))
    assert len(histories.of(ROOM)) == MOST_EXCHANGES
    histories.add(ROOM, exchange(MOST_EXCHANGES))
    kept = histories.of(ROOM)
    assert kept == tuple(exchange(number) for number in range(MOST_EXCHANGES // 2, MOST_EXCHANGES + 1))


def test_a_conversation_of_long_texts_stays_within_what_a_queue_carries() -> None:
    histories = Histories()
    for number in range(30):
        histories.add(ROOM, exchange(number, 100_000))
        kept = histories.of(ROOM)
        assert kept[-1] == exchange(number, 100_000)
        assert sum(len(each.question) + len(each.answer) for each in kept) <= MOST_CHARACTERS
    histories.add(ROOM, exchange(30, MOST_CHARACTERS + 1))
    assert histories.of(ROOM) == ()
