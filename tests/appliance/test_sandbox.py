"""What the running processes may and may not do, what they take, and what they leave behind."""

from __future__ import annotations

import json
import os
import re
import stat
import time
from collections.abc import Callable
from typing import Any

import pytest
from container import wait_until
from installed import APPLIANCE, UNITS, Board

from assistant.messages import TurnFinished

pytest_plugins = ["appliance_fixtures"]
pytestmark = APPLIANCE

STAGES = ("vad", "stt", "llm", "tts")
WITH_SOUND = {"assistant-vad.service", "assistant-tts.service", "assistant-alert.service"}
WITHOUT_MACHINE_CODE = {"assistant.service", "assistant-vad.service"}
OWN = {"/tmp", "/var/tmp", "/dev/shm", "/dev/mqueue"}
"""Folders that a process has for itself, or that are in memory."""
OWN_OF_DAEMON = {"/run/assistant", "/var/lib/assistant"}

MIB = 2**20
TICKS_HZ = os.sysconf("SC_CLK_TCK")
SILENCE_S = 30.0

SPOKEN = ("q00", "q02", "q03", "q05", "q12")
TYPED = {
    "What color is blood?": "Blood is red.",
    "Which river is the longest?": "The Nile is the longest river.",
    "Tell me the capital of Spain.": "The capital of Spain is Madrid.",
    "Tell me the capital of China.": "The capital of China is Beijing.",
    "Tell me the capital of Denmark.": "The capital of Denmark is Copenhagen.",
}
WORDS = (
    *("Germany", "Berlin", "Sweden", "Stockholm", "spider", "Poland", "Warsaw", "Mars", "blood"),
    *("Nile", "longest", "Spain", "Madrid", "China", "Beijing", "Denmark", "Copenhagen"),
)
"""In these questions, or in their answers, and in nothing else that a running board writes."""
CARD = "snd/pcmC9D0c"

PROBE = """
import ctypes, json, mmap, os, socket, sys, tempfile

def done(attempt, *given):
    try:
        attempt(*given)
    except OSError as error:
        return error.strerror
    return "done"

def write(folder):
    descriptor, path = tempfile.mkstemp(dir=folder)
    os.close(descriptor)
    os.unlink(path)

def call(name, *given):
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*given) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

written, overwritten = [], []
for folder, folders, files in os.walk("/"):
    if folder in ("/proc", "/sys"):
        folders.clear()
        continue
    if done(write, folder) == "done":
        written.append(folder)
    paths = [os.path.join(folder, name) for name in files]
    overwritten += [path for path in paths if os.path.isfile(path) and os.access(path, os.W_OK)]
print(json.dumps({
    "written": written,
    "overwritten": overwritten,
    "sockets": {name: done(socket.socket, getattr(socket, name)) for name in
                ("AF_INET", "AF_INET6", "AF_NETLINK", "AF_PACKET", "AF_UNIX")},
    "calls": {
        "become root": done(os.setuid, 0),
        "a new namespace": done(call, "unshare", 0x10000000),
        "trace": done(call, "ptrace", 0, 0, None, None),
        "end init": done(os.kill, 1, 0),
        "read the passwords": done(open, "/etc/shadow"),
        "look into root's home": done(os.listdir, "/root"),
        "look into homes": done(os.listdir, "/home"),
    },
    "machine code": done(mmap.mmap, -1, 4096, mmap.MAP_PRIVATE, 7),
    "others' processes": sum(os.stat("/proc/" + name).st_uid != os.getuid()
                             for name in os.listdir("/proc") if name.isdecimal()),
    "sound": done(os.open, "/dev/snd/pcmC9D0c", os.O_RDWR),
}))
"""


def attempts(board: Board, unit: str) -> dict[str, Any]:
    """What the probe could do in place of the unit's own program, in the very same sandbox."""
    machine = board.machine
    text = machine.run("cat", f"/usr/local/lib/systemd/system/{unit}").stdout
    text = re.sub(r"^(Type|ExecStart|Restart\w*|WatchdogSec)=.*$", "", text, flags=re.MULTILINE)
    text = text.replace("[Service]", "[Service]\nType=oneshot\nExecStart=/usr/bin/python3 /run/probe.py")
    probe = "assistant-probe.service"  # whose name gives it what all services share
    machine.write(f"/run/systemd/system/{probe}", text)
    machine.write("/run/probe.py", PROBE)
    card = machine.path(f"/dev/{CARD}")  # a sound card's file that leads nowhere
    try:
        card.parent.mkdir(exist_ok=True)
        os.mknod(card, stat.S_IFCHR, os.makedev(116, 200))
        card.chmod(0o666)
        machine.run("systemctl", "daemon-reload")
        cursor = machine.cursor()
        machine.run("systemctl", "start", probe)
        said = machine.journal(probe, after=cursor, output="cat").splitlines()
        found: dict[str, Any] = json.loads(next(line for line in said if line.startswith("{")))
        return found
    finally:
        card.unlink(missing_ok=True)
        machine.run("rm", f"/run/systemd/system/{probe}", "/run/probe.py")
        machine.run("systemctl", "daemon-reload")


def outside(paths: list[str], folders: set[str]) -> set[str]:
    """The paths that are neither in these folders nor they themselves."""
    return {path for path in paths if not any(f"{path}/".startswith(f"{folder}/") for folder in folders)}


@pytest.mark.parametrize("unit", [*UNITS, "assistant-alert.service"])
def test_what_a_hostile_model_would_try_fails(unit: str, board: Board) -> None:
    """37, 39: contained, no way out.  Each is tried, as the unit's user, with the unit's own settings."""
    found = attempts(board, unit)
    own = OWN | OWN_OF_DAEMON if unit == "assistant.service" else OWN
    assert set(found["written"]) >= own
    assert outside(found["written"], own) == set()
    assert outside(found["overwritten"], own) == set()
    assert found["sockets"].pop("AF_UNIX") == "done"
    assert "done" not in found["sockets"].values(), found["sockets"]
    assert "done" not in found["calls"].values(), found["calls"]
    assert found["others' processes"] == 0
    assert (found["machine code"] != "done") == (unit in WITHOUT_MACHINE_CODE)
    assert (found["sound"] != "No such file or directory") == (unit in WITH_SOUND)


@pytest.mark.parametrize("unit", UNITS)
def test_a_process_has_no_rights_and_no_network(unit: str, board: Board) -> None:
    """37: as the kernel sees the running process, whatever its unit says."""
    machine = board.machine
    proc = f"/proc/{machine.main_pid(unit)}"
    status = dict(line.split(":\t", 1) for line in machine.run("cat", f"{proc}/status").stdout.splitlines())
    assert {int(status[f"Cap{name}"], 16) for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {0}
    assert set(status["Uid"].split()) == {machine.run("id", "-u", "assistant").stdout.strip()}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    interfaces = machine.run("cat", f"{proc}/net/dev").stdout.splitlines()[2:]
    assert [line.split(":")[0].strip() for line in interfaces] == ["lo"]
    assert machine.run("cat", f"{proc}/net/route").stdout.splitlines()[1:] == []
    spaces = {machine.run("readlink", f"/proc/{pid}/ns/net").stdout for pid in ("1", proc.rpartition("/")[2])}
    assert len(spaces) == 2


def test_the_plan_limits_the_stages(board: Board) -> None:
    """17: systemd has the limits that follow from the plan, and has others when there is another plan."""
    machine, settings = board.machine, "/etc/assistant/config.toml"
    before = limits_in_force(board)
    assert before == planned(board)
    assert machine.show("assistant-limits.service", "Result") == "success"
    assert machine.show("assistant-limits.service", "TriggeredBy") == "assistant-limits.path"
    text = machine.run("cat", settings).stdout
    assert "context_tokens = 2048" in text
    try:
        machine.write(settings, text.replace("context_tokens = 2048", "context_tokens = 512"))
        machine.run("systemctl", "restart", "assistant.service")
        board.wait_ready()
        wait_until(lambda: limits_in_force(board) == planned(board), 20, "the new plan's limits are in force")
        assert limits_in_force(board)["llm"] < before["llm"]
    finally:
        machine.write(settings, text)
        machine.run("systemctl", "restart", "assistant.service")
        board.wait_ready()


def limits_in_force(board: Board) -> dict[str, int]:
    return {name: int(board.machine.show(f"assistant-{name}.service", "MemoryMax")) for name in STAGES}


def planned(board: Board) -> dict[str, int]:
    """One and a half of what the plan expects of each stage, and what the kernel keeps for it."""
    status = json.loads(board.machine.run("assistant", "status", "--json", check=False).stdout)
    return {name: status["stages"][name]["predicted_bytes"] * 3 // 2 + 64 * MIB for name in STAGES}


def test_ten_questions_leave_a_line_each_and_no_word(board: Board) -> None:
    """Nothing said or typed is in the journal, in what was written anywhere, or in a support bundle."""
    machine, bundle = board.machine, "/var/tmp/bundle"
    machine.run("touch", "/run/before")
    machine.write("/var/tmp/control", "A file with the word Berlin is found.")
    cursor = machine.cursor()
    try:
        for name in SPOKEN:
            with board.watching() as events:
                board.speak(name)
                assert events.wait_for(TurnFinished).outcome == "answered"
        for question, answer in TYPED.items():
            assert machine.run("assistant", "ask", question).stdout.strip() == answer
        machine.run("assistant", "doctor", "--bundle", f"{bundle}.tar.gz", check=False)
        machine.shell(f"mkdir {bundle}; tar -xzf {bundle}.tar.gz -C {bundle}")
        entries = machine.journal(after=cursor, output="json")
        places = "-path /proc -o -path /sys -o -path /dev -o -path /test"
        written = machine.shell(
            f"find / \\( {places} \\) -prune -o -type f -newer /run/before -print0 > /run/written;"
            f"xargs -0 grep -laiwE '{'|'.join(WORDS)}' < /run/written; tr '\\0' '\\n' < /run/written >&2"
        )
    finally:
        machine.run(
            "rm", "-rf", bundle, f"{bundle}.tar.gz", "/var/tmp/control", "/run/before", "/run/written"
        )
    assert re.search(rf"\b({'|'.join(WORDS)})\b", entries, re.IGNORECASE) is None
    assert written.split() == ["/var/tmp/control"]
    lines = [json.loads(line) for line in entries.splitlines()]
    daemon = [line for line in lines if line.get("_SYSTEMD_UNIT") == "assistant.service"]
    assert [line["MESSAGE"].split()[0:3:2] for line in daemon] == [["turn", "answered:"]] * 10
    assert {line["PRIORITY"] for line in daemon} == {"6"}


def test_silence_costs_nothing(board: Board, record_property: Callable[[str, object], None]) -> None:
    """Nothing is written to the SD card, and nothing to the journal; how busy the processor is, is noted."""
    machine = board.machine
    wait_until(lambda: is_idle(board), 30, "it is idle")
    pids = {unit: machine.main_pid(unit) for unit in UNITS}
    cursor = machine.cursor()
    machine.run("touch", "/run/before")
    before = {unit: effort(board, pid) for unit, pid in pids.items()}
    time.sleep(SILENCE_S)
    after = {unit: effort(board, pid) for unit, pid in pids.items()}
    changed = machine.shell("find / -xdev -path /var/log/journal -prune -o -type f -newer /run/before -print")
    busy = {unit: round((after[unit][1] - before[unit][1]) / SILENCE_S, 4) for unit in UNITS}
    record_property("busy", busy)
    assert {unit: after[unit][0] - before[unit][0] for unit in UNITS} == dict.fromkeys(UNITS, 0)
    assert changed.split() == []
    assert machine.journal("assistant*", after=cursor) == ""
    assert sum(busy.values()) < 0.5


def is_idle(board: Board) -> bool:
    status = json.loads(board.machine.run("assistant", "status", "--json", check=False).stdout)
    return bool(status["state"] == "idle")


def effort(board: Board, pid: int) -> tuple[int, float]:
    """Bytes that the process has had written to disks, and seconds of a processor that it has had."""
    io, times = (board.machine.run("cat", f"/proc/{pid}/{name}").stdout for name in ("io", "stat"))
    ticks = times.rpartition(")")[2].split()
    match = re.search(r"^write_bytes: (\d+)$", io, re.MULTILINE)
    assert match
    return int(match[1]), (int(ticks[11]) + int(ticks[12])) / TICKS_HZ
