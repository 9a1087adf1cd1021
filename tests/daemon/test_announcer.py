"""When something is said or sounded: a clock that the test moves, and what was said written down."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.audio.fault_sounds import FAULT_SENTENCES
from assistant.config import Sounds
from assistant.daemon.announcer import (
    AGAIN_AFTER_S,
    TELL_WITHIN_S,
    THINKING_AFTER_S,
    VOICE_COMES_WITHIN_S,
    Announcer,
    alert,
)
from assistant.messages import Fault

HOT, WEAK = FAULT_SENTENCES["hot"], FAULT_SENTENCES["power"]


class Room:
    """An announcer, and what is heard of it: sentences, <earcons> and the sounds of !faults."""

    def __init__(self, sounds: Sounds | None = None) -> None:
        self.heard: list[str] = []
        self.can_say = True
        self.announcer = Announcer(
            sounds or Sounds(),
            self._say,
            lambda earcon: self.heard.append(f"<{earcon}>"),
            lambda fault: self.heard.append(f"!{fault}"),
        )

    def _say(self, text: str) -> int | None:
        if not self.can_say:
            return None
        self.heard.append(text)
        return len(self.heard)

    def looks(self, *times_s: float, voice: bool = True) -> list[str]:
        """What is heard when it looks at these times."""
        before = len(self.heard)
        for now_s in times_s:
            self.announcer.look(now_s, voice)
        return self.heard[before:]


# ---------------------------------------------------------------- faults


def test_a_fault_is_said_once_while_it_is_there() -> None:
    room = Room()
    for second in range(5000):
        room.announcer.set("hot", True, second)
        room.looks(second)
    assert room.heard == [HOT]


@pytest.mark.parametrize(
    ("again_s", "heard"),
    [(10.0, [HOT]), (AGAIN_AFTER_S - 1, [HOT]), (AGAIN_AFTER_S, [HOT, HOT])],
)
def test_a_fault_that_comes_back_is_said_once_in_a_while(again_s: float, heard: list[str]) -> None:
    room = Room()
    for now_s, is_hot in ((0.0, True), (1.0, False), (again_s, True)):
        room.announcer.set("hot", is_hot, now_s)
        room.looks(now_s)
    assert room.heard == heard


def test_each_fault_is_said_for_itself() -> None:
    room = Room()
    room.announcer.set("hot", True, 0.0)
    room.announcer.set("power", True, 1.0)
    assert room.looks(1.0, 2.0) == [HOT, WEAK]


@pytest.mark.parametrize(
    ("ready_s", "heard"),
    [(0.0, [HOT]), (VOICE_COMES_WITHIN_S - 1, [HOT]), (VOICE_COMES_WITHIN_S + 1, ["!hot"])],
)
def test_a_voice_that_is_late_is_done_without(ready_s: float, heard: list[str]) -> None:
    room = Room()
    room.announcer.set("hot", True, 0.0)
    for second in range(60):
        room.looks(float(second), voice=second >= ready_s)
    assert room.heard == heard


def test_a_voice_that_is_there_and_cannot_say_it_is_done_without_too() -> None:
    room = Room()
    room.can_say = False
    room.announcer.set("hot", True, 0.0)
    assert room.looks(0.0, VOICE_COMES_WITHIN_S - 1) == []
    assert room.looks(VOICE_COMES_WITHIN_S, VOICE_COMES_WITHIN_S + 1) == ["!hot"]


def test_what_was_mended_before_it_was_said_is_not_said() -> None:
    room = Room()
    room.announcer.set("microphone", True, 0.0)
    assert room.looks(1.0, voice=False) == []
    room.announcer.set("microphone", False, 2.0)
    assert room.looks(3.0, 100.0) == []


def test_what_happens_and_is_over_is_said_all_the_same() -> None:
    room = Room()
    room.announcer.happened("crash", 0.0)
    assert room.looks(1.0, voice=False) == []
    assert room.looks(2.0, 3.0) == [FAULT_SENTENCES["crash"]]
    room.announcer.happened("crash", 10.0)
    assert room.looks(10.0) == [], "once in a while"
    room.announcer.happened("crash", AGAIN_AFTER_S + 2.0)
    assert room.looks(AGAIN_AFTER_S + 2.0) == [FAULT_SENTENCES["crash"]]


def test_faults_that_nobody_wants_to_hear_are_logged_alone(caplog: pytest.LogCaptureFixture) -> None:
    room = Room(Sounds(faults=False))
    room.announcer.set("hot", True, 0.0)
    room.announcer.happened("crash", 0.0)
    assert room.looks(0.0, voice=True) == room.looks(100.0, voice=False) == []
    assert [record.message for record in caplog.records] == [
        f"fault: {HOT}",
        f"fault: {FAULT_SENTENCES['crash']}",
    ]


HAPPENINGS = st.lists(
    st.tuples(
        st.sampled_from(["there", "gone", "happened"]),
        st.sampled_from(["hot", "power", "crash"]),
        st.floats(0, 400),
        st.booleans(),
    ),
    max_size=40,
)


@given(HAPPENINGS)
def test_nothing_is_heard_more_often_than_once_in_a_while(
    happenings: list[tuple[str, Fault, float, bool]],
) -> None:
    room, now_s = Room(), 0.0
    heard_s: dict[str, float] = {}
    for what, fault, gap_s, voice in happenings:
        now_s += gap_s
        if what == "happened":
            room.announcer.happened(fault, now_s)
        else:
            room.announcer.set(fault, what == "there", now_s)
        for heard in room.looks(now_s, voice=voice):
            name = next(name for name, text in FAULT_SENTENCES.items() if heard in (text, f"!{name}"))
            # it may have waited so long to be heard
            assert now_s - heard_s.get(name, -AGAIN_AFTER_S) >= AGAIN_AFTER_S - VOICE_COMES_WITHIN_S - 400
            heard_s[name] = now_s
    assert len(room.heard) <= 3 * (1 + now_s // AGAIN_AFTER_S)


# ---------------------------------------------------------------- sentences that only the voice can say


@pytest.mark.parametrize(
    ("ready_s", "heard"),
    [(0, ["Sorry."]), (TELL_WITHIN_S, ["Sorry."]), (TELL_WITHIN_S + 2, [])],
)
def test_a_sentence_waits_for_the_voice_for_a_while(ready_s: float, heard: list[str]) -> None:
    room = Room()
    room.announcer.tell("Sorry.", 0.0)
    for second in range(int(TELL_WITHIN_S) + 10):
        room.looks(float(second), voice=second >= ready_s)
    assert room.heard == heard


def test_sentences_keep_their_order() -> None:
    room = Room()
    room.announcer.tell("One.", 0.0)
    room.announcer.tell("Two.", 20.0)
    room.announcer.tell("Three.", 20.0)
    assert room.looks(25.0, TELL_WITHIN_S + 1, voice=False) == []
    assert room.looks(TELL_WITHIN_S + 1) == ["Two.", "Three."]


# ---------------------------------------------------------------- earcons


@pytest.mark.parametrize(
    ("states", "heard"),
    [
        ([], []),
        (["loading"], []),
        (["loading", "ready", "ready"], ["<ready>"]),
        # a worker that is replaced while it can be is nobody's business
        (["ready", "loading", "ready"], ["<ready>"]),
        (["ready", "unusable", "unusable"], ["<ready>"]),
        (["ready", "unusable", "loading", "ready", "ready"], ["<ready>", "<listening>"]),
        (["unusable", "loading", "ready"], ["<ready>"]),
        (["ready", "unusable", "ready", "unusable", "ready"], ["<ready>", "<listening>", "<listening>"]),
    ],
)
def test_when_it_listens_is_heard(states: list[str], heard: list[str]) -> None:
    room = Room()
    for state in states:
        room.announcer.stages(state == "ready", state == "unusable")
    assert room.heard == heard


def test_a_long_silence_is_filled_once_for_each_turn() -> None:
    room = Room()
    for turn in (1, 2, 3):
        for tenths in range(100):
            room.announcer.silence(turn, tenths / 10)
            heard = turn - 1 + (tenths / 10 >= THINKING_AFTER_S)
            assert room.heard == ["<thinking>"] * heard


def test_turns_that_wait_together_are_each_heard_once() -> None:
    room = Room()
    for _ in range(10):
        for turn in range(1, 40):
            room.announcer.silence(turn, 5.0)
    assert len(room.heard) == 39


def test_what_was_dropped_is_heard() -> None:
    room = Room()
    room.announcer.lost()
    assert room.heard == ["<error>"]


def test_earcons_that_nobody_wants_are_not_heard() -> None:
    room = Room(Sounds(earcons=False))
    room.announcer.stages(True, False)
    room.announcer.stages(False, True)
    room.announcer.stages(True, False)
    room.announcer.silence(1, 10.0)
    room.announcer.lost()
    assert room.heard == []


# ---------------------------------------------------------------- the service that plays without the voice


def test_the_service_is_told_the_fault(tmp_path: Path) -> None:
    path = tmp_path / "alert.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as service:
        service.bind(str(path))
        alert(path, "hot")
        alert(path, "crash")
        assert [service.recv(100), service.recv(100)] == [b"hot", b"crash"]


def test_without_the_service_nothing_happens(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    alert(tmp_path / "alert.sock", "hot")
    assert caplog.records == []


def test_a_service_that_is_dead_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "alert.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as service:
        service.bind(str(path))
    alert(path, "hot")
    assert [record.message for record in caplog.records] == [
        "the fault's sound cannot be played: Connection refused"
    ]


def test_a_service_that_does_not_read_does_not_hold_the_daemon_up(tmp_path: Path) -> None:
    path = tmp_path / "alert.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as service:
        service.bind(str(path))
        for _ in range(2000):
            alert(path, "hot")
        assert service.recv(100) == b"hot"
