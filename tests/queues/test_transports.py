"""What every transport gives, tried on both: the one in memory, and the real socket."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from queue_hub import CONFIG, Hub, MemoryHub, SocketHub, in_step

from assistant.config import Log
from assistant.errors import QueueFull
from assistant.messages import (
    AnyMessage,
    Ask,
    NextTurn,
    Question,
    Sentence,
    Speech,
    StageState,
    Token,
    TurnAccepted,
    TurnEnded,
    Utterance,
)
from assistant.queues import server, wire
from assistant.queues.broker import CLIENT_BACKLOG_BYTES, WATCHER_BACKLOG_BYTES
from assistant.queues.link import Delivery, Disconnected, Dismissed, Link

TTL_S = 60.0


@pytest.fixture(params=["memory", "socket"])
def hub(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Hub]:
    if request.param == "memory":
        yield MemoryHub()
        return
    with SocketHub(tmp_path / "hub.sock") as opened:
        yield opened


def question(turn: int, revision: int = 0) -> Question:
    return Question(turn, revision, f"Question {turn}?")


def sound(turn: int, size_bytes: int = 32_000) -> Utterance:
    return Utterance(turn, 0, bytes(size_bytes), 16_000, 300, 1.5)


def sentence(index: int, turn: int = 1) -> Sentence:
    return Sentence(turn, 0, index, f"Sentence {index}.", last=False)


def offer(hub: Hub, *messages: AnyMessage) -> None:
    for message in messages:
        stage = {Utterance: "stt", Question: "llm", Sentence: "tts"}[type(message)]
        hub.call(lambda stage=stage, message=message: hub.broker.offer(stage, message, TTL_S))  # type: ignore[misc] # mypy does not infer a lambda's defaults


def next_of(link: Link) -> Delivery:
    delivery = link.receive(timeout_s=10.0)
    assert delivery is not None
    return delivery


def nothing_comes(link: Link) -> bool:
    in_step(link)
    return link.receive(0) is None


def exhaust(link: Link) -> None:
    while link.notice(timeout_s=10.0) is not None:
        pass


def die(hub: Hub, link: Link) -> None:
    """As a process does that is killed: its end of the connection closes."""
    count = len(hub.owner.gone)
    link.close()
    hub.until(lambda: len(hub.owner.gone) > count)


def test_the_welcome_brings_the_configuration(hub: Hub) -> None:
    assert hub.connect("llm").config == CONFIG


def test_work_waits_for_its_worker_and_arrives_whole(hub: Hub) -> None:
    utterance = sound(7, 300_000)
    offer(hub, utterance)
    delivery = next_of(hub.connect("stt"))
    assert delivery.message == utterance
    assert delivery.attempt == 1


def test_work_comes_one_at_a_time_and_in_order(hub: Hub) -> None:
    worker = hub.connect("llm")
    offer(hub, question(1), question(2), question(3))
    for turn in (1, 2, 3):
        delivery = next_of(worker)
        assert delivery.message == question(turn)
        assert nothing_comes(worker)
        delivery.done()
    assert nothing_comes(worker)


def test_a_few_sentences_come_at_once(hub: Hub) -> None:
    worker = hub.connect("tts")
    offer(hub, *(sentence(index) for index in range(5)))
    first, second, third = (next_of(worker) for _ in range(3))
    assert [each.message for each in (first, second, third)] == [sentence(0), sentence(1), sentence(2)]
    assert nothing_comes(worker)
    second.done()
    assert next_of(worker).message == sentence(3)


def test_a_message_for_one_stage_is_not_given_to_another(hub: Hub) -> None:
    others = [hub.connect("stt"), hub.connect("tts"), hub.connect("client"), hub.connect("watcher")]
    offer(hub, question(1))
    assert all(nothing_comes(other) for other in others)


def test_what_a_dead_worker_had_goes_to_its_successor(hub: Hub) -> None:
    first = hub.connect("llm")
    offer(hub, question(1), question(2))
    next_of(first)
    die(hub, first)
    second = hub.connect("llm")
    delivery = next_of(second)
    assert (delivery.message, delivery.attempt) == (question(1), 2)
    delivery.done()
    delivery = next_of(second)
    assert (delivery.message, delivery.attempt) == (question(2), 1)


def test_work_that_reached_a_dead_workers_socket_unread_is_not_lost(hub: Hub) -> None:
    first = hub.connect("llm")
    offer(hub, question(1))
    die(hub, first)
    assert next_of(hub.connect("llm")).message == question(1)


def test_a_worker_that_dies_while_it_loads_had_no_work(hub: Hub) -> None:
    hub.owner.begin = lambda _peer: None  # it never becomes ready
    for turn in (1, 2, 3):
        loading = hub.connect("llm")
        offer(hub, question(turn))
        assert nothing_comes(loading)
        die(hub, loading)
    hub.owner.begin = hub.broker.begin
    assert hub.owner.aside == []
    assert next_of(hub.connect("llm")).attempt == 1


def test_what_was_done_is_not_done_again(hub: Hub) -> None:
    first = hub.connect("llm")
    offer(hub, question(1), question(2))
    next_of(first).done()
    in_step(first)
    die(hub, first)
    assert next_of(hub.connect("llm")).message == question(2)


def test_the_successor_gets_what_is_left_of_the_work(hub: Hub) -> None:
    def renew(message: AnyMessage) -> AnyMessage | None:
        assert isinstance(message, Question)
        return None if message.turn == 1 else msgspec.structs.replace(message, answer_so_far="So far")

    hub.owner.renew = renew
    first = hub.connect("llm")
    offer(hub, question(1), question(2))
    next_of(first)
    die(hub, first)
    delivery = next_of(hub.connect("llm"))
    assert delivery.message == msgspec.structs.replace(question(2), answer_so_far="So far")


def test_what_killed_two_workers_is_set_aside(hub: Hub) -> None:
    offer(hub, question(1), question(2))
    for attempt in (1, 2):
        worker = hub.connect("llm")
        delivery = next_of(worker)
        assert (delivery.message, delivery.attempt) == (question(1), attempt)
        die(hub, worker)
    assert hub.owner.aside == [("llm", question(1))]
    third = hub.connect("llm")
    delivery = next_of(third)
    assert (delivery.message, delivery.attempt) == (question(2), 1)


def test_what_a_dismissed_worker_had_is_not_to_blame(hub: Hub) -> None:
    """However often a worker is told to go, its successor gets the work, and no blame with it."""
    offer(hub, question(1))
    for _ in range(4):
        worker = hub.connect("llm")
        assert next_of(worker).attempt == 1
        peer = hub.broker.worker("llm")
        assert peer is not None
        hub.call(lambda peer=peer: hub.broker.dismiss(peer, "The plan has changed.", blameless=True))  # type: ignore[misc] # as above
        with pytest.raises(Disconnected, match="The plan has changed"):
            worker.receive(timeout_s=10.0)
    worker = hub.connect("llm")
    assert next_of(worker).attempt == 1
    die(hub, worker)
    assert hub.owner.aside == []
    next_of(hub.connect("llm")).done()


def test_only_the_sentence_in_the_air_is_set_aside(hub: Hub) -> None:
    offer(hub, *(sentence(index) for index in range(3)))
    for _ in range(2):
        worker = hub.connect("tts")
        next_of(worker)
        die(hub, worker)
    assert hub.owner.aside == [("tts", sentence(0))]
    worker = hub.connect("tts")
    assert [next_of(worker).message for _ in range(2)] == [sentence(1), sentence(2)]


def test_idle_workers_may_die_as_they_like(hub: Hub) -> None:
    for _ in range(4):
        die(hub, hub.connect("llm"))
    offer(hub, question(1))
    assert next_of(hub.connect("llm")).attempt == 1
    assert hub.owner.aside == []


def test_cancel_overtakes_all_queued_work(hub: Hub) -> None:
    worker = hub.connect("tts")
    offer(hub, *(sentence(index, turn=1) for index in range(6)), sentence(0, turn=2))
    next_of(worker)
    assert not worker.cancelled(1, 0)
    hub.call(lambda: hub.broker.cancel(1, 0))
    assert worker.cancelled(1, 0)
    assert not worker.cancelled(1, 1)
    assert not worker.cancelled(2, 0)
    stale = [next_of(worker).message for _ in range(2)]  # were on their way already
    assert stale == [sentence(1), sentence(2)]
    assert next_of(worker).message == sentence(0, turn=2)  # without an acknowledgement of what is stale
    assert nothing_comes(worker)


def test_cancel_spares_later_revisions_and_does_not_move_back(hub: Hub) -> None:
    worker = hub.connect("llm")
    offer(hub, question(1, revision=1), question(1, revision=3))
    hub.call(lambda: hub.broker.cancel(1, 2))
    hub.call(lambda: hub.broker.cancel(1, 0))
    assert worker.cancelled(1, 2)
    assert not worker.cancelled(1, 3)
    assert [next_of(worker).message for _ in range(2)] == [question(1, 1), question(1, 3)]


def test_a_late_acknowledgement_of_cancelled_work_does_nothing(hub: Hub) -> None:
    worker = hub.connect("llm")
    offer(hub, question(1), question(2), question(3))
    delivery = next_of(worker)
    hub.call(lambda: hub.broker.cancel(1, 0))
    assert next_of(worker).message == question(2)
    delivery.done()
    assert nothing_comes(worker)  # question 3 waits for question 2


def test_many_turns_are_remembered_as_cancelled(hub: Hub) -> None:
    worker = hub.connect("llm")
    for turn in range(200):
        hub.call(lambda turn=turn: hub.broker.cancel(turn, 0))  # type: ignore[misc] # as above
    in_step(worker)
    assert worker.cancelled(199, 0)
    assert worker.notice(0) is None  # and cost the worker no memory


def test_a_refusal_reaches_its_sender(hub: Hub) -> None:
    client = hub.connect("client")
    hub.owner.refusal = QueueFull("Too many questions wait.")
    with pytest.raises(QueueFull, match=r"Too many questions wait\."):
        client.post(Ask("Why?"), confirm=True)
    client.post(Ask("And unconfirmed?"))
    in_step(client)
    hub.owner.refusal = None
    client.post(Ask("Now?"), confirm=True)
    assert hub.owner.posts == [Ask("Now?")]


def test_a_full_queue_of_words_refuses(hub: Hub) -> None:
    with pytest.raises(QueueFull, match="64 messages wait already; try again"):
        offer(hub, *(question(turn) for turn in range(1, 100)))
    worker = hub.connect("llm")
    for turn in range(1, 65):
        delivery = next_of(worker)
        assert delivery.message == question(turn)
        delivery.done()
    assert nothing_comes(worker)


def test_a_full_queue_of_sound_drops_the_oldest(hub: Hub) -> None:
    worker = hub.connect("stt")
    offer(hub, *(sound(turn) for turn in range(1, 11)))
    assert [(stage, message) for stage, message, _ in hub.owner.dropped] == [
        ("stt", sound(2)),
        ("stt", sound(3)),
    ]
    assert next_of(worker).message == sound(1)  # was being worked on: is not dropped


def test_work_that_no_frame_could_carry_is_refused_and_harms_nothing(hub: Hub) -> None:
    worker = hub.connect("stt")
    with pytest.raises(QueueFull, match="longer than a queue carries; make it shorter"):
        offer(hub, sound(1, wire.MAX_FRAME_BYTES - 200))
    offer(hub, sound(2))
    assert next_of(worker).message == sound(2)


def test_time_to_live(hub: Hub) -> None:
    offer(hub, question(1))
    hub.now_s = TTL_S - 1
    offer(hub, question(2))
    hub.call(hub.broker.tick)
    assert hub.owner.dropped == []
    hub.now_s = TTL_S
    hub.call(hub.broker.tick)
    assert hub.owner.dropped == [("llm", question(1), "it waited longer than its time to live")]
    assert next_of(hub.connect("llm")).message == question(2)


def test_notices_overtake_work_and_none_is_missed(hub: Hub) -> None:
    worker = hub.connect("tts")
    offer(hub, sentence(0))
    hub.call(lambda: hub.broker.notify("tts", TurnEnded(1, 0, 1.0, 2.0)))
    in_step(worker)
    heard: list[AnyMessage] = []
    worker.on_notice(heard.append)  # what came before somebody listened is not lost
    assert heard == [TurnEnded(1, 0, 1.0, 2.0)]
    hub.call(lambda: hub.broker.notify("tts", NextTurn(5)))
    assert next_of(worker).message == sentence(0)
    in_step(worker)
    assert heard[1:] == [NextTurn(5)]
    hub.call(lambda: hub.broker.notify("vad", NextTurn(6)))  # nobody there: nothing


def test_receiving_without_waiting_reads_what_has_come(hub: Hub) -> None:
    """vad never waits here, and must hear its notices all the same."""
    worker = hub.connect("vad")
    heard: list[AnyMessage] = []
    worker.on_notice(heard.append)
    hub.call(lambda: hub.broker.notify("vad", NextTurn(3)))
    assert worker.receive(0) is None
    assert heard == [NextTurn(3)]


def test_a_thread_that_asks_does_not_take_what_another_waits_for(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that waits would not see what was read behind its back before it looks again."""
    worker = hub.connect("tts")
    channel = worker._channel
    wait, read = channel.wait, channel.read
    readers: list[threading.Thread] = []
    asked: list[bool] = []

    def ask_meanwhile(timeout_s: float | None) -> bool:
        if timeout_s and not asked:  # only `receive` waits
            offer(hub, sentence(0))
            assert wait(10.0)
            thread = threading.Thread(target=lambda: asked.append(worker.cancelled(1, 0)))
            thread.start()
            thread.join()
            assert asked == [False]
        return wait(timeout_s)

    def note_reader() -> list[wire.FromDaemon]:
        readers.append(threading.current_thread())
        return read()

    monkeypatch.setattr(channel, "wait", ask_meanwhile)
    monkeypatch.setattr(channel, "read", note_reader)
    assert next_of(worker).message == sentence(0)
    assert set(readers) == {threading.current_thread()}


def test_clients_are_told_what_is_theirs(hub: Hub) -> None:
    first, second = hub.connect("client"), hub.connect("client")
    number = hub.owner.peers[0].number
    hub.call(lambda: hub.broker.tell(number, TurnAccepted(9)))
    hub.call(lambda: hub.broker.publish(Token(9, 0, "x", 0.0)))
    assert first.notice(timeout_s=10.0) == TurnAccepted(9)
    in_step(second)
    assert second.notice(0) is None
    assert first.notice(0) is None  # events are for watchers
    die(hub, first)
    hub.call(lambda: hub.broker.tell(number, TurnAccepted(10)))  # gone: nothing


def test_every_watcher_sees_every_event(hub: Hub) -> None:
    watchers = [hub.connect("watcher") for _ in range(3)]
    events = [Token(1, 0, f"{number} ", float(number)) for number in range(50)]
    for event in events:
        hub.call(lambda event=event: hub.broker.publish(event))  # type: ignore[misc] # as above
    for watcher in watchers:
        assert [watcher.notice(timeout_s=10.0) for _ in events] == events


def test_a_slow_watcher_loses_events_and_slows_nothing(hub: Hub) -> None:
    slow, quick, worker = hub.connect("watcher"), hub.connect("watcher"), hub.connect("llm")
    backlog = hub.owner.peers[0].port.backlog_bytes
    text = "x" * 20_000
    sent = 400  # eight megabytes: more than any socket's buffer
    for number in range(sent):
        hub.call(lambda number=number: hub.broker.publish(Token(number, 0, text, 0.0)))  # type: ignore[misc] # as above
        assert quick.notice(timeout_s=10.0) == Token(number, 0, text, 0.0)
    assert hub.call(backlog) < WATCHER_BACKLOG_BYTES + 2 * len(text)
    offer(hub, question(1))
    assert next_of(worker).message == question(1)
    turns = []
    while True:
        is_all_sent = hub.call(backlog) == 0
        if isinstance(event := slow.notice(0), Token):
            turns.append(event.turn)
        elif is_all_sent:
            break
    assert 0 < len(turns) < sent
    assert turns == list(range(len(turns)))
    hub.call(lambda: hub.broker.publish(TurnAccepted(1000)))
    assert slow.notice(timeout_s=10.0) == TurnAccepted(1000)  # it has caught up


def test_a_second_worker_takes_the_firsts_place_and_work(hub: Hub) -> None:
    first = hub.connect("llm")
    offer(hub, question(1))
    next_of(first)
    second = hub.connect("llm")
    delivery = next_of(second)
    assert (delivery.message, delivery.attempt) == (question(1), 2)
    with pytest.raises(Disconnected, match="Another worker of this stage has taken over"):
        first.receive(timeout_s=10.0)
    with pytest.raises(Disconnected):
        first.receive(timeout_s=10.0)
    assert [peer.pid for peer in hub.call(hub.broker.peers)] == [hub.owner.peers[1].pid]
    delivery.done()
    offer(hub, question(2))
    assert next_of(second).message == question(2)


def test_a_client_that_does_not_read_is_let_go(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "GOODBYE_WITHIN_S", 0.01)
    client, other = hub.connect("client"), hub.connect("client")
    number, other_number = (peer.number for peer in hub.owner.peers)
    speech = Speech(1, 0, bytes(4 * 1024 * 1024), 22_050, last=False)
    for _ in range(CLIENT_BACKLOG_BYTES // len(speech.pcm) + 3):
        hub.call(lambda: hub.broker.tell(number, speech))
    assert hub.owner.gone == ["client"]
    assert [peer.number for peer in hub.call(hub.broker.peers)] == [other_number]
    with pytest.raises(Disconnected):
        exhaust(client)
    hub.call(lambda: hub.broker.tell(other_number, speech))
    assert other.notice(timeout_s=10.0) == speech


def test_every_frame_is_a_sign_of_life(hub: Hub) -> None:
    worker = hub.connect("stt")
    hub.now_s = 12.0
    worker.send(wire.Beat())
    in_step(worker)
    assert hub.owner.peers[0].last_seen_s == 12.0


def test_posts_arrive_in_order(hub: Hub) -> None:
    worker = hub.connect("llm")
    tokens: list[AnyMessage] = [Token(1, 0, str(number), 0.0) for number in range(500)]
    for token in tokens:
        worker.post(token)
    in_step(worker)
    assert hub.owner.posts == tokens


def test_when_the_daemon_stops_its_peers_are_told(hub: Hub) -> None:
    peers = [hub.connect("llm"), hub.connect("client")]
    for peer in hub.call(hub.broker.peers):
        hub.call(lambda peer=peer: hub.broker.dismiss(peer, "The daemon stops."))  # type: ignore[misc] # as above
    for link in peers:
        with pytest.raises(Disconnected, match="The daemon stops"):
            link.notice(timeout_s=10.0)


# ---------------------------------------------------------------- how it begins and ends, and begins anew


def test_a_worker_is_told_how_long_to_wait_and_nobody_else(hub: Hub) -> None:
    hub.owner.worker_waits_s = 2.5
    assert hub.connect("llm").pause_s == 2.5
    assert hub.connect("client").pause_s == hub.connect("watcher").pause_s == 0.0


@pytest.mark.parametrize("said", ["There is no memory.", ""])
def test_a_goodbye_is_told_from_a_daemon_that_just_went(hub: Hub, said: str) -> None:
    worker = hub.connect("llm")
    (peer,) = hub.call(hub.broker.peers)
    hub.call(lambda: hub.broker.dismiss(peer, said) if said else peer.port.close())
    with pytest.raises(Disconnected) as caught:
        worker.receive(timeout_s=10.0)
    assert isinstance(caught.value, Dismissed) is bool(said)
    assert str(caught.value) == (said or "The daemon went away; start it again.")


def test_the_turning_of_the_loop_is_felt(hub: Hub) -> None:
    worker = hub.connect("llm")
    beats: list[str] = []
    worker.on_beat = lambda: beats.append("beat")
    worker.receive(0)
    assert beats == ["beat"]
    worker.cancelled(1, 0)
    assert beats == ["beat"] * 2
    assert not worker.is_stale(1, 0)
    assert beats == ["beat"] * 2, "a thread beside the work loop shows nothing of its life"
    offer(hub, question(1))
    next_of(worker).done()
    while worker.receive(0.3) is not None:
        pass
    assert len(beats) >= 4, "also while it waits"


def test_a_link_that_joins_anew_forgets_all_that_it_was_given(hub: Hub) -> None:
    """Work that it had received and not begun, notices, what is stale: the new daemon has its own."""
    worker = hub.connect("llm")
    offer(hub, question(1), question(2))
    assert next_of(worker).attempt == 1
    hub.call(lambda: hub.broker.notify("llm", NextTurn(9)))
    hub.call(lambda: hub.broker.cancel(7, 0))
    in_step(worker)
    assert worker.cancelled(7, 0)
    hub.rejoin(worker, "llm")
    assert worker.receive(0) is None
    assert not worker.cancelled(7, 0)
    assert worker.notice(0) is None
    worker.post(StageState("llm", "ready"))
    again = next_of(worker)
    assert (again.message, again.attempt) == (question(1), 2)
    again.done()
    second = next_of(worker)
    assert second.message == question(2)
    second.done()
    in_step(worker)
    assert hub.call(lambda: len(hub.broker.queues["llm"])) == 0


def test_what_was_given_ahead_is_given_again_and_once(hub: Hub) -> None:
    worker = hub.connect("tts")
    offer(hub, *map(sentence, range(3)))
    assert next_of(worker).message == sentence(0)
    in_step(worker)  # the others have come, too
    hub.rejoin(worker, "tts")
    assert worker.receive(0) is None
    worker.post(StageState("tts", "ready"))
    for index in range(3):
        delivery = next_of(worker)
        assert delivery.message == sentence(index)
        delivery.done()
    in_step(worker)
    assert worker.receive(0) is None


def test_a_link_that_joins_anew_has_the_new_configuration(hub: Hub) -> None:
    worker = hub.connect("llm")
    changed = msgspec.structs.replace(CONFIG, log=Log(level="debug"))
    hub.broker.config = changed
    hub.owner.worker_waits_s = 1.0
    hub.rejoin(worker, "llm")
    assert (worker.config, worker.written, worker.pause_s) == (changed, CONFIG, 1.0)


def test_a_delivery_of_before_does_not_acknowledge_another(hub: Hub) -> None:
    """The numbers of deliveries are the daemon's; one who finishes late finishes nothing."""
    worker = hub.connect("llm")
    offer(hub, question(1))
    before = next_of(worker)
    hub.rejoin(worker, "llm")
    before.done()
    in_step(worker)
    worker.post(StageState("llm", "ready"))
    assert next_of(worker).message == question(1)
