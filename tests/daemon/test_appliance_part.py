"""What the daemon does on a board without a screen: its files are the test's, and so is the board."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from assistant.audio.fault_sounds import FAULT_SENTENCES
from assistant.config import Sounds
from assistant.daemon.announcer import AGAIN_AFTER_S, VOICE_COMES_WITHIN_S, Announcer
from assistant.daemon.answers import APOLOGY
from assistant.daemon.appliance import LOOK_AT_BOARD_EVERY_S, Appliance, InterruptedTurn
from assistant.daemon.health import StagesHealth
from assistant.daemon.limits import NAME
from assistant.daemon.turn import Kind, Turn
from assistant.messages import Fault, Stage, StageState
from assistant.plan.candidates import of_path
from assistant.plan.selection import Plan, select
from assistant.plan.sets import Facts
from assistant.text.sentences import split_sentences

TINY = Path(__file__).parents[1] / "models"
ZONE = "sys/class/thermal/thermal_zone0"
HWMON = "sys/class/hwmon/hwmon1"


class Board:
    """An appliance on a board of its own, and what is heard of it."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self.folder = folder / "run"
        self.folder.mkdir(exist_ok=True)
        self.heard: list[str] = []
        self.health = StagesHealth()
        self.health.set(StageState("tts", "ready"))
        announcer = Announcer(
            Sounds(), self._say, self.heard.append, lambda fault: self.heard.append(f"!{fault}")
        )
        self.appliance = Appliance(self.folder, announcer, self.health, self.root)
        self.now_s = 100.0
        self.turns: list[Turn] = []
        self.plan: Plan | None = None

    def _say(self, text: str) -> int:
        self.heard.append(text)
        return len(self.heard)

    def has(self, **files: str) -> None:
        """Files of the kernel's: `temp` in thousandths of a degree, `alarm` of the voltage."""
        for name, content in {
            f"{ZONE}/type": "cpu-thermal\n",
            f"{ZONE}/temp": files.get("temp", "50000") + "\n",
            f"{HWMON}/name": "rpi_volt\n",
            f"{HWMON}/in0_lcrit_alarm": files.get("alarm", "0") + "\n",
        }.items():
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            (self.root / name).write_text(content)

    def passes(self, seconds: float) -> list[str]:
        """What is heard meanwhile."""
        before = len(self.heard)
        for _ in range(round(seconds / 0.25)):
            self.now_s += 0.25
            self.appliance.look(self.turns, self.plan, self.now_s)
        return self.heard[before:]


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path)


# ---------------------------------------------------------------- the board


@pytest.mark.parametrize(
    ("files", "faults"),
    [
        ({}, []),
        ({"temp": "79999"}, []),
        ({"temp": "80000"}, ["hot"]),
        ({"alarm": "1"}, ["power"]),
        ({"temp": "90000", "alarm": "1"}, ["hot", "power"]),
        ({"temp": "nonsense", "alarm": ""}, []),
    ],
)
def test_heat_and_weak_power_are_said_once(board: Board, files: dict[str, str], faults: list[Fault]) -> None:
    board.has(**files)
    assert board.passes(120.0) == [FAULT_SENTENCES[fault] for fault in faults]


def test_a_board_that_tells_nothing_has_nothing(board: Board) -> None:
    assert board.passes(120.0) == []


def test_the_board_is_looked_at_now_and_then(board: Board) -> None:
    board.has()
    assert board.passes(1.0) == []
    board.has(temp="85000")
    assert board.passes(LOOK_AT_BOARD_EVERY_S - 1.0) == []
    assert board.passes(0.5) == [FAULT_SENTENCES["hot"]]
    for seconds, temp in ((LOOK_AT_BOARD_EVERY_S, "50000"), (LOOK_AT_BOARD_EVERY_S, "85000")):
        board.has(temp=temp)
        assert board.passes(seconds) == [], "it comes and goes"
    board.has()
    board.passes(AGAIN_AFTER_S)
    board.has(temp="85000")
    assert board.passes(LOOK_AT_BOARD_EVERY_S) == [FAULT_SENTENCES["hot"]]


# ---------------------------------------------------------------- the stages


@pytest.mark.parametrize(
    ("stage", "fault", "heard"),
    [
        ("vad", "microphone", True),
        ("llm", "model", True),
        ("stt", "memory", True),
        ("llm", None, False),
    ],
)
def test_what_a_stage_lacks_is_said(board: Board, stage: Stage, fault: Fault | None, heard: bool) -> None:
    board.health.set(StageState(stage, "gone", "It is broken.", fault))
    assert board.passes(60.0) == ([FAULT_SENTENCES[fault]] if fault and heard else [])


def test_a_microphone_that_is_plugged_in_again_may_be_missed_again(board: Board) -> None:
    for _ in range(2):
        board.health.set(StageState("vad", "gone", "There is none.", "microphone"))
        assert board.passes(1.0) == [FAULT_SENTENCES["microphone"]]
        board.health.set(StageState("vad", "ready"))
        assert board.passes(AGAIN_AFTER_S) == []


def test_two_stages_of_one_fault_are_one_fault(board: Board) -> None:
    for stage in ("stt", "llm"):
        board.health.set(StageState(stage, "gone", "It is broken.", "model"))
    assert board.passes(1.0) == [FAULT_SENTENCES["model"]]
    board.health.set(StageState("llm", "ready"))
    assert board.passes(AGAIN_AFTER_S * 2) == [], "the other is still there"


def test_a_dead_voice_is_told_without_it_however_often_its_workers_try(board: Board) -> None:
    """Each of them is starting for a while before it finds the same."""
    for _ in range(6):
        board.health.set(StageState("tts", "starting"))
        board.passes(10.0)
        board.health.set(StageState("tts", "gone", "There is no voice.", "model"))
        board.passes(1.0)
    assert board.heard == ["!model"]


def test_what_was_mended_while_the_voice_came_is_not_said(board: Board) -> None:
    board.health.set(StageState("tts", "starting"))
    board.health.set(StageState("llm", "gone", "There is no model.", "model"))
    board.passes(VOICE_COMES_WITHIN_S - 2.0)
    board.health.set(StageState("llm", "ready"))
    board.passes(0.5)
    board.health.set(StageState("tts", "ready"))
    assert board.passes(60.0) == []


def test_what_was_there_from_the_beginning_is_said(board: Board) -> None:
    board.appliance.begin(["config"], board.now_s)
    assert board.passes(2 * AGAIN_AFTER_S) == [FAULT_SENTENCES["config"]]


# ---------------------------------------------------------------- an answer that was interrupted


def turn(kind: Kind, ended: bool = True) -> Turn:
    return Turn(1, kind, 0, ended=ended)


@pytest.mark.parametrize(
    ("turns", "apology"),
    [
        ([], False),
        ([turn(Kind.SPEECH)], True),
        ([turn(Kind.SPEECH, ended=False)], True),  # what they have said so far is lost
        ([Turn(1, Kind.SPEECH, 0, is_meant=False)], False),  # they talk to others
        ([turn(Kind.ASK), turn(Kind.SAY), turn(Kind.SYNTHESISE), turn(Kind.RECOGNISE)], False),
        ([turn(Kind.ASK), turn(Kind.SPEECH)], True),
    ],
)
def test_a_daemon_that_died_in_mid_answer_is_apologised_for(
    tmp_path: Path, turns: list[Turn], apology: bool
) -> None:
    first = Board(tmp_path)
    first.appliance.begin([], first.now_s)
    first.turns = turns
    assert first.passes(1.0) == []
    for expected in ([APOLOGY] if apology else [], []):
        later = Board(tmp_path)
        later.appliance.begin([], later.now_s)
        assert later.passes(10.0) == expected, "once"


def test_an_apology_that_was_not_heard_is_made_again(tmp_path: Path) -> None:
    first, second, third, fourth = (Board(tmp_path) for _ in range(4))
    first.turns = [turn(Kind.SPEECH)]
    first.passes(0.25)
    second.health.set(StageState("tts", "gone"))  # it dies before there is a voice
    second.appliance.begin([], second.now_s)
    assert second.passes(1.0) == []
    third.appliance.begin([], third.now_s)  # and this one while it speaks
    third.turns = [turn(Kind.SAY)]
    third.turns[0].sentences = split_sentences(APOLOGY)
    assert third.passes(1.0) == [APOLOGY]
    fourth.appliance.begin([], fourth.now_s)
    assert fourth.passes(1.0) == [APOLOGY]


def test_an_answer_that_came_to_its_end_needs_no_apology(tmp_path: Path) -> None:
    first = Board(tmp_path)
    for turns in ([turn(Kind.SPEECH)], [], [turn(Kind.SPEECH)], []):
        first.turns = turns
        first.passes(1.0)
    later = Board(tmp_path)
    later.appliance.begin([], later.now_s)
    assert later.passes(10.0) == []


def test_where_no_mark_can_be_left_there_is_none(tmp_path: Path) -> None:
    mark = InterruptedTurn(tmp_path / "missing" / "turn")
    mark.set(True)
    mark.set(False)
    assert not InterruptedTurn(tmp_path / "missing" / "turn").was_there()


# ---------------------------------------------------------------- the memory limits


def plan(context_tokens: int = 2048) -> Plan:
    llm = of_path("llm", TINY / "tiny-chat-q8_0.gguf")
    return select(Facts(1 << 50, 2, frozenset(), (), (llm,), (), context_tokens=context_tokens))


def test_the_limits_are_written_when_the_plan_changes_and_only_then(board: Board) -> None:
    file = board.folder / NAME
    board.passes(1.0)
    assert not file.exists(), "there is no plan"
    board.plan = plan()
    board.passes(0.25)
    first = file.read_bytes()
    assert set(msgspec.json.decode(first)) == {"llm", *(set(board.plan.processes) - {"daemon"})}
    file.unlink()
    board.passes(60.0)
    assert not file.exists()
    board.plan = plan(512)
    board.passes(0.25)
    assert file.read_bytes() != first


def test_without_the_folder_the_rest_goes_on(board: Board) -> None:
    os.rmdir(board.folder)
    board.has(temp="90000")
    board.plan = plan()
    board.turns = [turn(Kind.SPEECH)]
    assert board.passes(60.0) == [FAULT_SENTENCES["hot"]]


@pytest.mark.parametrize("controllers", ["cpuset cpu io pids", "cpuset cpu io memory pids"])
def test_that_memory_cannot_be_limited_is_logged_once(
    board: Board, controllers: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The kernel of a Raspberry Pi starts without the memory controller."""
    (board.root / "sys/fs/cgroup").mkdir(parents=True)
    (board.root / "sys/fs/cgroup/cgroup.controllers").write_text(controllers)
    board.appliance.begin((), board.now_s)
    board.passes(60.0)
    said = [record.message for record in caplog.records if "does not limit memory" in record.message]
    assert len(said) == ("memory" not in controllers)
    assert all("cmdline.txt" in line for line in said)
