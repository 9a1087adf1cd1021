"""`assistant limits`: real processes, and a `systemctl` that writes down what it is told."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from command_line import MODELS, assistant, said

from assistant.daemon.limits import NAME, limits, write_limits
from assistant.plan.candidates import of_path
from assistant.plan.selection import Plan, select
from assistant.plan.sets import Facts

MIB = 1 << 20
GOOD = {"MemoryHigh": 100 * MIB, "MemoryMax": 200 * MIB}


@pytest.fixture(autouse=True)
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file with what systemctl was told, a line for each time; it refuses what is for `tts`."""
    record = tmp_path / "told"
    command = tmp_path / "bin" / "systemctl"
    command.parent.mkdir()
    command.write_text(
        f"#!/bin/sh\necho \"$@\" >> '{record}'\n"
        'case "$*" in *assistant-tts*) echo "Access denied" >&2; exit 1;; esac\n'
    )
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}:{os.environ['PATH']}")
    return record


def plan(voice: bool) -> Plan:
    stt, tts = ("whisper-tiny-test", "en_US-tiny-medium.onnx")
    return select(
        Facts(
            1 << 50,
            2,
            frozenset(),
            (of_path("stt", MODELS / stt),) if voice else (),
            (of_path("llm", MODELS / "tiny-chat-q8_0.gguf"),),
            (of_path("tts", MODELS / tts),) if voice else (),
        )
    )


def test_systemd_is_told_what_the_daemon_wrote(tmp_path: Path, told: Path) -> None:
    text = plan(voice=False)
    write_limits(text, tmp_path)
    done = assistant("limits", tmp_path / NAME)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    llm = limits(text)["llm"]
    assert told.read_text().splitlines() == [
        "set-property --runtime assistant-llm.service "
        f"MemoryHigh={llm['MemoryHigh']} MemoryMax={llm['MemoryMax']}"
    ]


def test_a_plan_that_comes_meanwhile_is_told_as_well(tmp_path: Path, told: Path) -> None:
    """systemd does not look at the file while the command runs."""
    newer = {"MemoryHigh": 300 * MIB, "MemoryMax": 400 * MIB}
    (tmp_path / NAME).write_text(json.dumps({"llm": GOOD}))
    (tmp_path / "newer").write_text(json.dumps({"llm": newer}))
    with (tmp_path / "bin" / "systemctl").open("a") as command:
        command.write(f"mv '{tmp_path}/newer' '{tmp_path / NAME}' 2>/dev/null || true\n")
    assert assistant("limits", tmp_path / NAME).returncode == 0
    assert [line.split()[-1] for line in told.read_text().splitlines()] == [
        f"MemoryMax={200 * MIB}",
        f"MemoryMax={400 * MIB}",
    ]


def test_each_stage_of_a_plan_is_told_and_a_refusal_is_said(tmp_path: Path, told: Path) -> None:
    write_limits(plan(voice=True), tmp_path)
    sentence = said(assistant("limits", tmp_path / NAME))
    assert sentence == "systemd did not take the memory limits of tts: Access denied."
    units = [line.split()[2] for line in told.read_text().splitlines()]
    assert sorted(units) == [f"assistant-{stage}.service" for stage in ("llm", "stt", "tts", "vad")]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"garbage",
        b"\xff\xfe",
        bytes(100),
        b"[]",
        b"3",
        b'{"llm": 3}',
        b'{"llm": []}',
        b'{"llm": {"MemoryHigh": "100M", "MemoryMax": 1}}',
        b'{"llm": {"MemoryHigh": 1.5, "MemoryMax": 2}}',
        b'{"llm": {"MemoryHigh": true, "MemoryMax": 2}}',
        b'{"llm": {"MemoryHigh": null, "MemoryMax": 2}}',
        b'{"llm": {"MemoryHigh": 1e400, "MemoryMax": 2}}',
        b'{"llm": {"Memory\xff": 1, "MemoryMax": 2}}',
        b'{"\xff": {"MemoryHigh": 1, "MemoryMax": 2}}',
        b'{"llm":' * 100_000,
    ],
)
def test_what_is_no_table_of_numbers_is_refused(tmp_path: Path, told: Path, content: bytes) -> None:
    (tmp_path / NAME).write_bytes(content)
    sentence = said(assistant("limits", tmp_path / NAME))
    assert f"limits in {tmp_path / NAME} cannot be read" in sentence
    assert len(sentence) < 400
    assert not told.exists()


@pytest.mark.parametrize(
    "table",
    [
        {"": GOOD},
        {"daemon": GOOD},
        {"ssh": GOOD},
        {"../ssh": GOOD},
        {"llm.service ssh": GOOD},
        {"LLM": GOOD},
        {"llm": {}},
        {"llm": {"MemoryMax": 1}},
        {"llm": GOOD | {"ExecStart": 1}},
        {"llm": {"MemoryHigh": 1, "CPUQuota": 1}},
        {"llm": GOOD | {"MemoryMax": 0}},
        {"llm": GOOD | {"MemoryHigh": -1}},
        {"llm": GOOD | {"MemoryMax": 1 << 40}},
        {"llm": GOOD | {"MemoryMax": 10**30}},
        {"llm": GOOD, "stt": GOOD | {"MemoryMax": -1}},  # nothing of it is taken
    ],
)
def test_what_is_not_about_the_memory_of_a_stage_is_refused(
    tmp_path: Path, told: Path, table: dict[str, dict[str, int]]
) -> None:
    (tmp_path / NAME).write_text(json.dumps(table))
    sentence = said(assistant("limits", tmp_path / NAME))
    assert sentence.startswith(f"The plan's memory limits in {tmp_path / NAME}")
    assert not told.exists()


def test_a_file_that_is_not_there_is_said(tmp_path: Path, told: Path) -> None:
    assert "No such file" in said(assistant("limits", tmp_path / NAME))
    assert not told.exists()


@pytest.mark.parametrize("kind", ["a link", "a pipe", "an endless file", "a long file"])
def test_the_daemon_cannot_lead_root_astray(tmp_path: Path, told: Path, kind: str) -> None:
    """The folder is the daemon's: it may put anything there, and the one that reads it is root."""
    file = tmp_path / NAME
    if kind == "a pipe":
        os.mkfifo(file)
    elif kind == "a link":
        (tmp_path / "secret").write_text(json.dumps({"llm": GOOD}))
        file.symlink_to(tmp_path / "secret")
    elif kind == "an endless file":
        file.symlink_to("/dev/zero")
    else:
        file.touch()
        os.truncate(file, 1 << 40)
    sentence = said(assistant("limits", file))
    assert "limits in" in sentence
    assert not told.exists()


def test_without_systemd_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / NAME).write_text(json.dumps({"llm": GOOD}))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "systemctl" in said(assistant("limits", tmp_path / NAME))
