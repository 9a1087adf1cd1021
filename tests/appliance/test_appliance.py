"""The installed appliance does its work: boots, listens, answers aloud, survives its workers and the plug."""

from __future__ import annotations

import pytest
from container import wait_until
from installed import ANSWERS, APPLIANCE, NEEDS_MEMORY_LIMIT, UNITS, Board

from assistant.messages import TurnFinished

pytest_plugins = ["appliance_fixtures"]
pytestmark = APPLIANCE

MIB = 2**20
STAGES = ("vad", "stt", "llm", "tts")


def test_it_boots_and_every_unit_is_ready(board: Board) -> None:
    """READY comes from the units themselves, so none of them is merely started."""
    for unit in UNITS:
        assert board.machine.show(unit, "Type") == "notify"
        assert board.machine.show(unit, "ActiveState") == "active"
    assert board.machine.shell("systemctl list-units --failed --no-legend") == ""


@pytest.mark.parametrize("name", ["q03", "q13"])
def test_a_spoken_question_is_answered_aloud(name: str, board: Board) -> None:
    assert board.ask(name) == ANSWERS[name]


def test_events_can_be_watched(board: Board) -> None:
    with board.watching() as events:
        board.speak("q00")
        assert events.wait_for(TurnFinished).outcome == "answered"


@pytest.mark.parametrize("stage", STAGES)
def test_after_a_killed_worker_the_next_question_is_answered(stage: str, board: Board) -> None:
    unit = f"assistant-{stage}.service"
    before = board.machine.main_pid(unit)
    board.machine.kill(unit)
    board.wait_new_process(unit, before)
    assert board.ask("q00") == ANSWERS["q00"]


def test_it_works_again_after_a_reboot(board: Board) -> None:
    board.machine.reboot()
    board.wait_ready()
    assert board.ask("q12") == ANSWERS["q12"]


def test_it_works_again_after_a_power_cut_in_mid_answer(board: Board) -> None:
    with board.record() as recording:
        board.speak("q00")
        recording.wait_for_speech()
        board.machine.cut_power()
    board.boot()
    assert board.ask("q00") == ANSWERS["q00"]


def test_who_is_not_of_its_group_is_told_so(board: Board) -> None:
    """Not that none runs: whoever believes that starts a second one beside it."""
    said = board.machine.shell("runuser -u nobody -- assistant status 2>&1 || true")
    assert "You may not use the daemon" in said
    assert "usermod -aG assistant" in said


@NEEDS_MEMORY_LIMIT
def test_when_memory_runs_out_the_language_model_dies_first(board: Board) -> None:
    machine = board.machine
    before = {unit: machine.main_pid(unit) for unit in UNITS}
    began = machine.cursor()
    machine.limit_memory(machine.memory_bytes() + 100 * MIB)
    hog = f"import signal; held = bytearray({120 * MIB}); signal.pause()"
    machine.run("systemd-run", "--unit=hog", "-p", "OOMScoreAdjust=-1000", "python3", "-c", hog)
    llm = "assistant-llm.service"
    wait_until(lambda: machine.main_pid(llm) != before[llm], 60, "llm is killed")
    machine.run("systemctl", "stop", "hog")
    machine.limit_memory(-1)
    board.wait_ready()
    # the kernel may take the next one, too, before the memory of the first is free again
    journal = machine.journal(*UNITS, after=began)
    killed = [line.split(": ")[1] for line in journal.splitlines() if "code=killed" in line]
    assert killed[0] == llm
    changed = {unit for unit in UNITS if machine.main_pid(unit) != before[unit]}
    assert changed <= {llm, "assistant-stt.service"}
    assert board.ask("q12").endswith(ANSWERS["q12"])
