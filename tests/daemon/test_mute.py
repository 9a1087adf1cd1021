"""Muting: in force at once, over restarts and deaths, and confirmed only when it is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from assistant.config import Config, Wake
from assistant.daemon.daemon import HEARD_AGAIN, MUTED, TICK_S, Daemon
from assistant.daemon.mute import Mute
from assistant.errors import AnswerError, QueueFull
from assistant.messages import (
    STAGES,
    AnyMessage,
    Ask,
    Muted,
    NextTurn,
    PlayEarcon,
    Question,
    Sentence,
    SetMute,
    SpeechStarted,
    Spoken,
    StageState,
    Status,
    StatusWanted,
    TurnFinished,
    Utterance,
    Woken,
)
from assistant.queues import memory
from assistant.queues.link import Link
from assistant.queues.wire import Role


class Home:
    """A daemon that keeps whether it is muted in `file`, and who is connected to it."""

    def __init__(self, file: Path | None, wake: Wake = Wake()) -> None:  # noqa: B008 - frozen
        self.now_s = 1000.0
        self.daemon = Daemon(
            Config(wake=wake), Path("/nowhere/unused.sock"), None, clock=lambda: self.now_s, mute_file=file
        )
        self.heard: dict[str, list[AnyMessage]] = {}
        self.watcher = self.connect("watcher")

    def connect(self, role: Role) -> Link:
        link = memory.connect(self.daemon.broker, role)
        if role != "client" and role != "watcher":
            self.heard[role] = []
            link.on_notice(self.heard[role].append)
            link.post(StageState(role, "ready"))
        return link

    def asks(self, request: AnyMessage, kind: type[AnyMessage]) -> list[AnyMessage]:
        client = self.connect("client")
        client.post(request, confirm=True)
        return [message for message in notices(client) if isinstance(message, kind)]

    def vad_knows(self, vad: Link) -> list[AnyMessage]:
        vad.receive(0)
        return [message for message in self.heard["vad"] if isinstance(message, Muted | NextTurn)]

    def passes(self, seconds: float) -> None:
        for _ in range(round(seconds / TICK_S)):
            self.now_s += TICK_S
            for peer in self.daemon.broker.peers():
                peer.last_seen_s = self.now_s
            self.daemon.tick()


def notices(link: Link) -> list[AnyMessage]:
    found = []
    while (message := link.notice(0)) is not None:
        found.append(message)
    return found


def test_vad_is_told_before_it_is_given_a_turn_and_so_is_each_successor(tmp_path: Path) -> None:
    home = Home(tmp_path / "state" / "muted")
    for muted in (False, True):
        home.asks(SetMute(muted), Muted)
        for _ in range(2):
            vad = home.connect("vad")
            assert home.vad_knows(vad)[0] == Muted(muted)
            assert isinstance(home.vad_knows(vad)[1], NextTurn)
            vad.close()


def test_it_is_in_force_at_once_and_everybody_knows(tmp_path: Path) -> None:
    home = Home(tmp_path / "muted")
    vad = home.connect("vad")
    assert home.asks(SetMute(True), Muted) == [Muted(True)]
    assert home.vad_knows(vad)[-1] == Muted(True)
    assert notices(home.watcher)[-1] == Muted(True)
    assert notices(home.connect("watcher"))[-1] == Muted(True), "who comes later, too"
    (status,) = home.asks(StatusWanted(), Status)
    assert isinstance(status, Status)
    assert status.muted
    assert home.asks(SetMute(), Muted) == [Muted(False)]
    assert home.vad_knows(vad)[-1] == Muted(False)


def test_it_holds_over_restarts_until_it_is_taken_back(tmp_path: Path) -> None:
    file = tmp_path / "not yet there" / "muted"
    Home(file).asks(SetMute(True), Muted)
    again = Home(file)
    assert again.vad_knows(again.connect("vad"))[0] == Muted(True)
    again.asks(SetMute(False), Muted)
    last = Home(file)
    assert last.vad_knows(last.connect("vad"))[0] == Muted(False)


def test_what_cannot_be_kept_is_not_confirmed_but_in_force(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    home = Home(tmp_path / "file" / "muted")
    vad = home.connect("vad")
    with pytest.raises(QueueFull, match=r"is muted, but only until the next start.*File exists"):
        home.asks(SetMute(True), Muted)
    assert home.vad_knows(vad)[-1] == Muted(True)


def test_without_a_file_nothing_is_kept(tmp_path: Path) -> None:
    mute = Mute(None)
    mute.set(True)
    mute.keep()
    assert mute.now
    assert not Mute(None).now
    assert not Mute(tmp_path / "muted").now


def test_a_file_that_cannot_be_removed_is_said(tmp_path: Path) -> None:
    file = tmp_path / "muted"
    (file / "inside").mkdir(parents=True)
    mute = Mute(file)
    assert mute.now, "whatever is there, somebody wanted to be safe"
    mute.set(False)
    with pytest.raises(AnswerError, match="is heard again, but only until the next start"):
        mute.keep()


def test_a_button_is_answered_aloud_and_typed_questions_are_still_answered(tmp_path: Path) -> None:
    home = Home(tmp_path / "muted")
    links = {stage: home.connect(stage) for stage in STAGES}
    for sentence in (MUTED, HEARD_AGAIN):
        links["vad"].post(SetMute())
        delivery = links["tts"].receive(0)
        assert delivery is not None
        assert isinstance(delivery.message, Sentence)
        assert delivery.message.text == sentence
        links["tts"].post(Spoken(delivery.message.turn, 0, 0, 1.0))
        delivery.done()
    links["vad"].post(SetMute(True))
    home.asks(Ask("Why?"), Muted)
    asked = links["llm"].receive(0)
    assert asked is not None
    assert isinstance(asked.message, Question)


def test_a_button_whose_muting_cannot_be_kept_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    home = Home(tmp_path / "file" / "muted")
    links = {stage: home.connect(stage) for stage in STAGES}
    links["vad"].post(SetMute())
    delivery = links["tts"].receive(0)
    assert delivery is not None
    assert isinstance(delivery.message, Sentence)
    assert delivery.message.text == "The microphone is off, but only until the next start."
    assert home.vad_knows(links["vad"])[-1] == Muted(True), "it is in force"
    assert [r.levelname for r in caplog.records if "File exists" in r.message] == ["ERROR"]


def test_nobody_who_mutes_hears_that_it_listens(tmp_path: Path) -> None:
    home = Home(tmp_path / "muted", Wake(mode="word"))
    links = {stage: home.connect(stage) for stage in STAGES}
    home.passes(1.0)
    links["vad"].post(Woken("word", home.now_s))
    home.asks(SetMute(True), Muted)
    home.passes(1.5)
    links["tts"].receive(0)
    assert [m.name for m in home.heard["tts"] if isinstance(m, PlayEarcon)] == ["ready"]


def test_a_question_that_is_just_being_asked_is_void(tmp_path: Path) -> None:
    home = Home(tmp_path / "muted")
    vad = home.connect("vad")
    vad.post(SpeechStarted(1, home.now_s))
    vad.post(Utterance(1, 0, bytes(20), 16_000, 100, home.now_s))
    home.asks(SetMute(True), Muted)
    finished = [m for m in notices(home.watcher) if isinstance(m, TurnFinished)]
    assert [(m.turn, m.outcome) for m in finished] == [(1, "cancelled")]


# ---------------------------------------------------------------- signs


@pytest.mark.parametrize("speaks_on", [True, False])
def test_who_calls_and_waits_hears_that_it_listens(tmp_path: Path, speaks_on: bool) -> None:
    home = Home(tmp_path / "muted", Wake(mode="word"))
    links = {stage: home.connect(stage) for stage in STAGES}
    home.passes(1.0)
    links["vad"].post(Woken("word", home.now_s))
    if speaks_on:
        links["vad"].post(SpeechStarted(1, home.now_s + 0.2))
    home.passes(1.5)
    links["tts"].receive(0)
    earcons = [m for m in home.heard["tts"] if isinstance(m, PlayEarcon)]
    assert [m.name for m in earcons] == ["ready"] + ["listening"] * (not speaks_on)
    assert all(m.until_s < home.now_s for m in earcons[1:]), "it is not heard late"


def test_a_stage_that_works_but_lacks_something_hinders_nothing(tmp_path: Path) -> None:
    home = Home(tmp_path / "muted")
    links = {stage: home.connect(stage) for stage in STAGES}
    links["vad"].post(StageState("vad", "ready", "The button cannot be used."))
    home.passes(1.0)
    (status,) = home.asks(StatusWanted(), Status)
    assert isinstance(status, Status)
    assert status.state == "idle"
    assert [stage.detail for stage in status.stages if stage.detail] == ["The button cannot be used."]
    links["tts"].receive(0)
    assert [m.name for m in home.heard["tts"] if isinstance(m, PlayEarcon)] == ["ready"]
