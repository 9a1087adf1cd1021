"""Checks of what runs: systemd's units, the daemon and its stages, and that none of them has a network."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import get_args

import msgspec

from assistant.cli.doctor.check import Check, asked, count, plain
from assistant.cli.doctor.processes import Process
from assistant.cli.status import ask
from assistant.client import attach
from assistant.config import Config
from assistant.errors import AssistantError, one_line
from assistant.messages import STAGES, Fault, StageStatus, Status

UNIT_FOLDERS = ("usr/local/lib/systemd/system", "etc/systemd/system", "usr/lib/systemd/system")
SERVICES = ("assistant.service", *(f"assistant-{stage}.service" for stage in STAGES))
HELPERS = tuple(
    f"assistant-{name}" for name in ("alert.socket", "alert.service", "limits.path", "limits.service")
)
UNITS = ("assistant.target", "assistant.socket", *SERVICES, *HELPERS)
PROPERTIES = [
    "Id",
    "LoadState",
    "UnitFileState",
    "ActiveState",
    "SubState",
    "Result",
    "NRestarts",
    "ExecMainStatus",
    "PrivateNetwork",
]
MANY_RESTARTS = 3
ANSWERS_WITHIN_S = 3.0

INSTALL = "sudo ./install.sh"
START = "sudo systemctl enable --now assistant.target"

Unit = dict[str, str]


def is_installed(root: Path) -> bool:
    return any((root / folder / "assistant.service").exists() for folder in UNIT_FOLDERS)


def gather_units() -> dict[str, Unit]:
    """systemd's properties of each of `UNITS`; empty where systemd does not run."""
    said = asked(["systemctl", "show", f"--property={','.join(PROPERTIES)}", *UNITS])
    return parse_units(said or "")


def parse_units(text: str) -> dict[str, Unit]:
    """What `systemctl show` prints: a line a property, an empty one between units; others are ignored."""
    units = {}
    for block in re.split(r"\n\s*\n", text):
        lines = (line.partition("=") for line in block.splitlines())
        unit = {name: value for name, equals, value in lines if equals and name in PROPERTIES}
        if unit.get("Id") in UNITS:
            units[unit["Id"]] = unit
    return units


def check_units(units: dict[str, Unit]) -> Check:
    if not units:
        return plain("services", "skipped", "systemd does not answer, so nothing is known of them")
    for name in UNITS:
        unit = units.get(name, {})
        if unit.get("LoadState") != "loaded":
            return plain("services", "fault", f"{name} is not installed as it should be", INSTALL)
    for name in UNITS:
        if units[name].get("ActiveState") == "failed":
            why = {"oom-kill": ": it was killed for want of memory", "watchdog": ": it hung"}
            what = f"{name} has failed{why.get(units[name].get('Result', ''), '')}"
            return plain("services", "fault", what, _look_at(name, f"sudo systemctl restart {name}"))
    target = units["assistant.target"]
    if target.get("ActiveState") != "active":
        return plain("services", "fault", "they do not run", START)
    for name in SERVICES:
        if units[name].get("SubState") != "running":
            result = units[name].get("Result", "success")
            if units[name].get("ActiveState") == "activating" and result == "success":
                return plain("services", "warning", f"{name} is still starting", _look_at(name))
            what = f"{name} does not run"
            if units[name].get("SubState") == "auto-restart":
                what = f"{name} ends again and again ({_restarts(units[name])} restarts)"
            return plain("services", "fault", what, _look_at(name))
    if target.get("UnitFileState") not in ("enabled", "enabled-runtime", "static", "generated"):
        what = "they run, but will not start with the board"
        return plain("services", "warning", what, "sudo systemctl enable assistant.target")
    often = {name: number for name in SERVICES if (number := _restarts(units[name])) >= MANY_RESTARTS}
    if often:
        worst = max(often, key=lambda name: often[name])
        what = f"all run, but {worst} was restarted {often[worst]} times"
        return plain("services", "warning", what, _look_at(worst))
    restarts = sum(_restarts(units[name]) for name in SERVICES)
    return plain("services", "ok", f"all {len(SERVICES)} run, {count(restarts, 'restart')}")


def _restarts(unit: Unit) -> int:
    number = unit.get("NRestarts", "")
    return int(number) if re.fullmatch(r"[0-9]{1,9}", number) else 0


def _look_at(name: str, then: str = "") -> str:
    look = f"journalctl -u {name} -n 30 (says why)"
    return f"{look}; {then}" if then else look


class Running(msgspec.Struct, frozen=True):
    """What the daemon said; `failure` is why it cannot be asked.  Without either, none runs."""

    failure: str = ""
    status: Status | None = None


def gather_running(config: Config) -> Running:
    """Ask the running daemon, if one does; it gets `ANSWERS_WITHIN_S`, as it may hang."""
    answers: list[Running] = []
    asking = threading.Thread(target=lambda: answers.append(_ask(config)), daemon=True)
    asking.start()
    asking.join(ANSWERS_WITHIN_S)
    return answers[0] if answers else Running("it does not answer")


def _ask(config: Config) -> Running:
    try:
        link = attach(config, "watcher")
        if link is None:
            return Running()
        link.close()
        return Running(status=ask(config))
    except AssistantError as error:
        return Running(str(error).partition("; ")[0].rstrip("."))


def check_running(facts: Running, is_installed: bool) -> Check:
    restart = (
        "sudo systemctl restart assistant.service"
        if is_installed
        else "end the program that started it, and start that again"
    )
    if facts.failure:
        return Check("daemon", "fault", facts.failure, restart, "it cannot be asked")
    if facts.status is None:
        if is_installed:
            return plain("daemon", "fault", "it does not run", START)
        return plain("daemon", "skipped", "none runs; a command that needs one starts its own")
    stages = [stage for stage in facts.status.stages if stage.wanted or stage.state != "gone" or stage.detail]
    states = [f"{stage.stage} {_state(stage)}" for stage in stages]
    what = f"it runs; {', '.join(states) or 'stages start when they are needed'}"
    for stage in stages:
        if stage.detail:  # a sentence of its own: what failed, why, what to do
            why, mend = _remedy(one_line(stage.detail), restart)
            if stage.fault == "microphone":
                mend += " (it is heard again as soon as it is there)"
            return Check("daemon", "fault", f"{what}. {why}", mend, what)
    if any(stage.hinders for stage in stages):
        return plain("daemon", "warning", what, "wait some minutes; `assistant status` shows how it goes on")
    if facts.status.muted:
        return plain(
            "daemon", "warning", f"{what}. The microphone is muted: nothing is heard", "assistant unmute"
        )
    return plain("daemon", "ok", what)


def _state(stage: StageStatus) -> str:
    if stage.state == "gone":
        return "cannot work" if stage.detail else "gone"
    return stage.state


def _remedy(sentence: str, otherwise: str) -> tuple[str, str]:
    """What is wrong by a stage's `sentence`, and what to do by it: behind its semicolon, or the command
    between its backticks.
    """
    why, _, remedy = sentence.partition("; ")
    if remedy:
        return why, remedy.rstrip(".")
    found = re.search(r"`([^`]+)`", sentence)
    return sentence.rstrip("."), found[1] if found else otherwise


def check_isolation(units: dict[str, Unit], processes: Iterable[Process], is_installed: bool) -> Check:
    """No process of the assistant may have an internet socket, nor a service a network to open one on."""
    ours = [process for process in processes if process.stage]
    for process in ours:
        if process.inet_sockets:
            sockets = count(process.inet_sockets, "internet socket")
            what = f"{process.stage} (process {process.pid}) has {sockets}"
            mend = "sudo systemctl restart assistant.target" if is_installed else f"kill {process.pid}"
            return plain("no network", "fault", what, mend)
    open_to = [name for name in SERVICES if units.get(name, {}).get("PrivateNetwork", "yes") != "yes"]
    if is_installed and open_to:
        what = f"{open_to[0]} may use the network (PrivateNetwork=no)"
        return plain("no network", "fault", what, f"{INSTALL}, or sudo systemctl revert {open_to[0]}")
    if any(process.inet_sockets is None for process in ours):
        what = "not every process may be looked at by you; `sudo assistant doctor` sees all"
        return plain("no network", "skipped", what)
    if not ours:
        return plain("no network", "skipped", "no process of the assistant runs")
    closed = "the services have no network, " if is_installed and units else ""
    processes_seen = f"{len(ours)} process{'es have' if len(ours) > 1 else ' has'}"
    return plain("no network", "ok", f"{closed}{processes_seen} no internet socket")


def gather_fault_sounds(folder: Path) -> list[str]:
    """The faults whose rendered sound is missing in `folder`."""
    return [name for name in get_args(Fault) if not _has_bytes(folder / f"{name}.wav")]


def _has_bytes(path: Path) -> bool:
    try:
        return path.stat().st_size > 44  # more than the header of a WAV file
    except OSError:
        return False


def check_fault_sounds(missing: list[str], folder: Path, is_wanted: bool) -> Check:
    if not is_wanted:
        return plain("fault sounds", "ok", "turned off in config.toml")
    if missing:
        what = f"not rendered: {', '.join(missing)}"
        return plain("fault sounds", "warning", what, f"sudo assistant sounds --folder {folder}")
    return plain("fault sounds", "ok", f"all {len(get_args(Fault))} are there")
