"""`assistant doctor` as people run it."""

from __future__ import annotations

import getpass
import gzip
import json
import os
import re
import signal
import socket
from pathlib import Path

import pytest
from command_line import MODELS, assistant, daemon, said, toml, until

from assistant.cli.doctor import line, summary
from assistant.cli.doctor.check import Check, plain
from assistant.client import attach
from assistant.config import load

NAMES = [
    *("system", "board", "memory", "power, heat", "disk", "clock", "microphone", "speaker", "permissions"),
    *("settings", "models", "services", "daemon", "no network"),
]
SECRET = "xqzalice"


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def own_models(folder: Path) -> Path:
    """Settings that name models, so that nothing has to be chosen or measured."""
    models = {"stt": "whisper-tiny-test", "llm": "tiny-chat-q8_0.gguf", "tts": "en_US-tiny-medium.onnx"}
    text = "".join(f'[{kind}]\nmodel = "{MODELS / name}"\n' for kind, name in models.items())
    return toml(folder, f'{text}[daemon]\nsocket = "{folder / "none.sock"}"\n')


def test_a_line_for_each_check(tmp_path: Path) -> None:
    done = assistant("doctor", config=own_models(tmp_path))
    assert done.stderr == ""
    *lines, empty, total = done.stdout.splitlines()
    checks = [found for line in lines if (found := re.fullmatch(r"([✓!✗–]) (.{13}) (\S.*)", line))]  # noqa: RUF001 - the marks
    names = [check[2].rstrip() for check in checks]
    assert names[: len(NAMES)] == NAMES
    assert names[len(NAMES) :] in ([], ["fault sounds"])
    mends = [line for line in lines if re.fullmatch(r" {16}→ \S.*", line)]
    assert len(checks) + len(mends) == len(lines)
    # Every warning and every fault has something that mends it, on the next line.
    for text, following in zip(lines, [*lines[1:], ""], strict=True):
        assert text[0] == " " or (text[0] in "!✗") == following.startswith(" " * 16 + "→")
    faults = sum(check[1] == "✗" for check in checks)
    assert done.returncode == (1 if faults else 0)
    assert empty == ""
    assert (f"{faults} fault" in total) == bool(faults)


def test_for_programs(tmp_path: Path) -> None:
    done = assistant("doctor", "--json", "--full", config=own_models(tmp_path))
    assert done.stderr == ""
    checks = json.loads(done.stdout)
    assert [check["name"] for check in checks][: len(NAMES)] == NAMES
    for check in checks:
        assert check.keys() == {"name", "state", "what", "mend"}
        assert check["state"] in ("ok", "warning", "fault", "skipped")
        assert bool(check["mend"]) == (check["state"] in ("warning", "fault"))
        assert "\n" not in check["what"] + check["mend"]
    assert done.returncode == int(any(check["state"] == "fault" for check in checks))


def found(done_stdout: str, name: str) -> dict[str, str]:
    checks: list[dict[str, str]] = json.loads(done_stdout)
    return next(check for check in checks if check["name"] == name)


def test_settings_that_are_wrong_are_one_line_among_others(tmp_path: Path) -> None:
    done = assistant("doctor", "--json", config=toml(tmp_path, "[llm]\ntemprature = 1\n"))
    check = found(done.stdout, "settings")
    assert (done.returncode, done.stderr, check["state"]) == (1, "", "fault")
    assert "did you mean llm.temperature" in check["what"]
    assert found(done.stdout, "board")["state"] == "ok"


def test_a_daemon_that_runs_and_one_that_hangs(tmp_path: Path) -> None:
    with daemon(tmp_path, "--workers", "none") as (config, process):
        link = attach(load(config), "watcher")
        assert link is not None
        link.close()
        check = found(assistant("doctor", "--json", config=config).stdout, "daemon")
        assert check["what"].startswith("it runs")
        network = found(assistant("doctor", "--json", config=config).stdout, "no network")
        assert "no internet socket" in network["what"] or network["state"] == "skipped"
        process.send_signal(signal.SIGSTOP)
        try:
            check = found(assistant("doctor", "--json", config=config).stdout, "daemon")
        finally:
            process.send_signal(signal.SIGCONT)
        assert (check["state"], check["what"]) == ("fault", "it does not answer")
    until(lambda: not (tmp_path / "daemon.sock").exists() or process.poll() is not None, "the daemon ends")


def test_a_bundle_tells_nothing_of_the_person(tmp_path: Path) -> None:
    """Secrets stand in the settings, paths, names of files, and in all that other programs print."""
    home = tmp_path / SECRET
    programs = home / "bin"
    programs.mkdir(parents=True)
    for name in ("systemctl", "journalctl", "timedatectl", "vcgencmd"):
        (programs / name).write_text(
            f"#!/bin/sh\necho 'Id={SECRET}'\necho '{SECRET}=0x5 {SECRET} 192.0.2.7'\n"
        )
        (programs / name).chmod(0o755)
    config = toml(
        home,
        f'[audio]\nmicrophone = "{SECRET}"\nspeaker = "{SECRET}"\n[llm]\nmodel = "{SECRET}.gguf"\n'
        f'system_prompt = "You are {SECRET}."\n[stt]\nmodel = "{home}/whisper"\n[models]\nfolder = "{home}"\n'
        f'[daemon]\nsocket = "{home}/{SECRET}.sock"\n[log]\nwords = true\n',
    )
    path = home / f"{SECRET}.tar.gz"
    names = dict.fromkeys(("USER", "LOGNAME", "HOSTNAME", "SSID"), SECRET)
    env = {**os.environ, **names, "HOME": str(home), "PATH": f"{programs}:{os.environ['PATH']}"}
    done = assistant("doctor", "--bundle", path, config=config, env=env)
    assert SECRET in done.stdout  # the person is told
    assert done.stderr == f"{path} is for somebody who is to help; README.txt in it says what it holds.\n"
    raw = path.read_bytes()
    unpacked = gzip.decompress(raw).decode()
    for secret in (SECRET, "192.0.2.7", str(tmp_path), socket.gethostname(), str(Path.home())):
        assert secret not in unpacked, secret
    if getpass.getuser() != "root":  # "root" is a word of ours
        assert getpass.getuser() not in unpacked
    assert path.stat().st_mode & 0o777 == 0o644
    again = assistant("doctor", "--bundle", path, config=config, env=env)
    assert said(again) == f"{path} is there already; delete it, or give the bundle another name."
    assert path.read_bytes() == raw


def test_lines_on_terminals_that_know_few_letters() -> None:
    check = Check("disk", "fault", "full", "rm x")
    assert line(check, "utf-8") == "✗ disk          full\n                → rm x"
    assert line(check, "ascii") == "X disk          full\n                -> rm x"
    assert line(plain("disk", "ok", "fine"), "latin-1") == "+ disk          fine"


@pytest.mark.parametrize(
    ("states", "text"),
    [
        (["ok", "skipped"], "All is well."),
        (["warning", "ok"], "1 warning."),
        (["fault", "warning", "fault"], "2 faults, 1 warning."),
    ],
)
def test_the_last_line(states: list[str], text: str) -> None:
    assert summary([Check("name", state, "what") for state in states]) == text  # type: ignore[arg-type] # a State
