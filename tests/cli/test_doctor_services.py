"""What the doctor says of systemd's units, the daemon, and the network that nothing may have."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from assistant.cli.doctor import services
from assistant.cli.doctor.processes import Process, gather_processes, stage_of
from assistant.cli.doctor.services import SERVICES, UNITS, Running, Unit
from assistant.engines.button import NEXT as WIRE
from assistant.messages import STAGES, Stage, StageStatus, Status, Volume

LISTENS = """
import socket, sys
listener = socket.create_server(("127.0.0.1", 0))
unix = socket.socketpair()
print("listening", flush=True)
sys.stdin.read()
"""


def running_units() -> dict[str, Unit]:
    units = {
        name: {
            "Id": name,
            "LoadState": "loaded",
            "UnitFileState": "static",
            "ActiveState": "active",
            "SubState": "running",
            "Result": "success",
            "NRestarts": "0",
            "PrivateNetwork": "yes",
        }
        for name in UNITS
    }
    units["assistant.target"]["UnitFileState"] = "enabled"
    return units


def status(*stages: StageStatus) -> Status:
    return Status("1", 1, 0.0, 1.0, "idle", stages, None, 0, 0, "", None, (), Volume(1.0, 1.0))


def stage(name: Stage, **values: object) -> StageStatus:
    made = StageStatus(name, "ready", "", None, True, 5, 0, 0, 0, 0, 0, "")
    return msgspec.structs.replace(made, **values)


@pytest.mark.parametrize(
    ("unit", "changes", "state", "said", "mend"),
    [
        ("assistant-llm.service", {}, "ok", "all 5 run, 0 restarts", ""),
        ("assistant-llm.service", {"NRestarts": "1"}, "ok", "1 restart", ""),
        (
            "assistant-llm.service",
            {"NRestarts": "7"},
            "warning",
            "restarted 7 times",
            "journalctl -u assistant-llm",
        ),
        ("assistant-tts.service", {"NRestarts": "nonsense"}, "ok", "0 restarts", ""),
        (
            "assistant-llm.service",
            {"ActiveState": "failed", "SubState": "failed", "Result": "oom-kill"},
            *("fault", "want of memory", "sudo systemctl restart assistant-llm.service"),
        ),
        (
            "assistant.socket",
            {"ActiveState": "failed", "SubState": "failed"},
            "fault",
            "has failed",
            "assistant.socket",
        ),
        (
            "assistant-stt.service",
            {"ActiveState": "activating", "SubState": "start"},
            *("warning", "still starting", "journalctl"),
        ),
        (
            "assistant-vad.service",
            {
                "ActiveState": "activating",
                "SubState": "auto-restart",
                "Result": "exit-code",
                "NRestarts": "40",
            },
            *("fault", "again and again (40 restarts)", "journalctl -u assistant-vad.service"),
        ),
        (
            "assistant-vad.service",
            {"ActiveState": "inactive", "SubState": "dead"},
            *("fault", "does not run", "journalctl"),
        ),
        (
            "assistant.target",
            {"ActiveState": "inactive"},
            "fault",
            "do not run",
            "sudo systemctl enable --now",
        ),
        (
            "assistant.target",
            {"UnitFileState": "disabled"},
            "warning",
            "not start with",
            "sudo systemctl enable",
        ),
        ("assistant-tts.service", {"LoadState": "not-found"}, "fault", "not installed", "./install.sh"),
        ("assistant-tts.service", {"LoadState": "masked"}, "fault", "not installed", "./install.sh"),
    ],
)
def test_units(unit: str, changes: dict[str, str], state: str, said: str, mend: str) -> None:
    units = running_units()
    units[unit] |= changes
    check = services.check_units(units)
    assert (check.state, said in check.what, mend in check.mend) == (state, True, True), check


def test_units_without_systemd() -> None:
    assert services.check_units({}).state == "skipped"


def test_what_systemctl_prints() -> None:
    text = (
        "Id=assistant.service\nActiveState=active\nResult=success\nDescription=alice's\n\n"
        "Id=assistant-llm.service\nActiveState=failed\nResult=oom-kill\nExecStart={ path=/x ; a=b }\n\n"
        "Id=alice.service\nActiveState=active\n"
    )
    assert services.parse_units(text) == {
        "assistant.service": {"Id": "assistant.service", "ActiveState": "active", "Result": "success"},
        "assistant-llm.service": {
            "Id": "assistant-llm.service",
            "ActiveState": "failed",
            "Result": "oom-kill",
        },
    }
    assert services.parse_units("") == {}


def test_whether_it_is_installed(tmp_path: Path) -> None:
    assert not services.is_installed(tmp_path)
    unit = tmp_path / "usr/local/lib/systemd/system/assistant.service"
    unit.parent.mkdir(parents=True)
    unit.touch()
    assert services.is_installed(tmp_path)


@pytest.mark.parametrize(
    ("facts", "installed", "state", "said", "mend"),
    [
        (Running(), False, "skipped", "none runs", ""),
        (Running(), True, "fault", "does not run", "sudo systemctl enable --now assistant.target"),
        (
            Running("it does not answer"),
            True,
            "fault",
            "not answer",
            "sudo systemctl restart assistant.service",
        ),
        (Running("it does not answer"), False, "fault", "not answer", "end the program"),
        (
            Running(status=status(*map(stage, STAGES))),
            *(True, "ok", "vad ready, stt ready, llm ready, tts ready", ""),
        ),
        (
            Running(status=status(stage("vad", wanted=False, state="gone"))),
            *(False, "ok", "stages start when they are needed", ""),
        ),
        (Running(status=status(stage("llm", state="starting"))), True, "warning", "llm starting", "status"),
        (Running(status=status(stage("llm", state="gone"))), True, "warning", "llm gone", "status"),
        (
            Running(
                status=status(
                    stage(
                        "tts", state="gone", detail="The voice alice is missing; fetch it with `assistant x`."
                    )
                )
            ),
            *(True, "fault", "tts cannot work. The voice alice is missing", "assistant x"),
        ),
        (
            Running(status=msgspec.structs.replace(status(*map(stage, STAGES)), muted=True)),
            *(True, "warning", "muted: nothing is heard", "assistant unmute"),
        ),
        (
            Running(
                status=status(stage("vad", state="gone", detail="No microphone was found; plug one in."))
            ),
            *(True, "fault", "No microphone", "plug one in"),
        ),
        (
            Running(
                status=status(
                    stage("vad", state="gone", detail="It went; is it still there?", fault="microphone")
                )
            ),
            *(False, "fault", "vad cannot work. It went", "is it still there? (it is heard again as soon as"),
        ),
        (
            Running(status=status(stage("tts", detail='There is no speaker; did you mean "spk"?'))),
            *(False, "fault", "tts ready. There is no speaker", 'did you mean "spk"?'),
        ),
        (
            Running(status=status(stage("vad", detail=f"The button cannot be used (EBUSY); {WIRE}"))),
            *(True, "fault", "The button cannot be used (EBUSY)", WIRE.rstrip(".")),
        ),
        (
            Running(status=status(stage("stt", state="gone", detail="It fell over."))),
            *(True, "fault", "stt cannot work. It fell over", "sudo systemctl restart assistant.service"),
        ),
    ],
)
def test_the_daemon(facts: Running, installed: bool, state: str, said: str, mend: str) -> None:
    check = services.check_running(facts, installed)
    assert (check.state, said in check.what, mend in check.mend) == (state, True, True), check
    assert "alice" not in check.public


@pytest.mark.parametrize(
    ("processes", "changes", "installed", "state", "said"),
    [
        ([Process(5, "assistant", "llm", [])], {}, True, "ok", "the services have no network, 1 process has"),
        (
            [Process(5, "a", "llm", []), Process(6, "a", "vad", [])],
            {},
            False,
            "ok",
            "2 processes have no internet",
        ),
        ([Process(5, "a", "llm", ["socket:[77]"])], {}, False, "ok", "no internet socket"),
        (
            [Process(5, "a", "llm", ["socket:[77]", "/x"], frozenset({"77"}))],
            *({}, True, "fault", "llm (process 5) has 1 internet socket"),
        ),
        ([Process(5, "a", "llm", None)], {}, True, "skipped", "sudo assistant doctor"),
        ([Process(5, "a", "llm", None)], {"PrivateNetwork": "no"}, True, "fault", "PrivateNetwork=no"),
        ([], {}, True, "skipped", "no process"),
        # What other programs do is their business.
        ([Process(5, "browser", "", ["socket:[77]"], frozenset({"77"}))], {}, True, "skipped", "no process"),
    ],
)
def test_isolation(
    processes: list[Process], changes: dict[str, str], installed: bool, state: str, said: str
) -> None:
    units = running_units()
    units[SERVICES[3]] |= changes
    check = services.check_isolation(units if installed else {}, processes, installed)
    assert (check.state, said in check.what) == (state, True), check
    assert bool(check.mend) == (state == "fault")


def test_an_internet_socket_of_a_real_process_is_found() -> None:
    command = [sys.executable, "-c", LISTENS, "assistant", "worker", "stt"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"listening\n"
        found = next(found for found in gather_processes(Path("/")) if found.pid == process.pid)
        process.communicate()
    assert (found.stage, found.inet_sockets) == ("stt", 1)
    check = services.check_isolation({}, [found], False)
    assert (check.state, check.mend) == ("fault", f"kill {process.pid}")


def test_this_process_has_no_stage() -> None:
    with socket.create_server(("127.0.0.1", 0)):
        found = next(found for found in gather_processes(Path("/")) if found.pid == os.getpid())
    assert found.stage == ""
    assert found.opened


@pytest.mark.parametrize(
    ("line", "stage"),
    [
        ("/opt/assistant/venv/bin/python /opt/assistant/venv/bin/assistant daemon --workers none", "daemon"),
        ("python3 -P -m assistant --config x worker tts --socket y", "tts"),
        ("python3 -m assistant doctor", ""),
        ("python3 -m assistant worker nonsense", ""),
        ("vim daemon", ""),
        ("", ""),
    ],
)
def test_whose_process_it_is(line: str, stage: str) -> None:
    assert stage_of(line.split(" ")) == stage


def test_sounds_of_faults(tmp_path: Path) -> None:
    missing = services.gather_fault_sounds(tmp_path)
    assert "microphone" in missing
    check = services.check_fault_sounds(missing, tmp_path, True)
    assert (check.state, check.mend) == ("warning", f"sudo assistant sounds --folder {tmp_path}")
    for name in missing:
        (tmp_path / f"{name}.wav").write_bytes(bytes(100))
    assert services.gather_fault_sounds(tmp_path) == []
    (tmp_path / "hot.wav").write_bytes(bytes(44))  # a header alone
    assert services.gather_fault_sounds(tmp_path) == ["hot"]
    assert services.check_fault_sounds([], tmp_path, True).state == "ok"
    assert services.check_fault_sounds(missing, tmp_path, False).state == "ok"
