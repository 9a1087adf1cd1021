"""A support bundle holds nothing of what people said, wrote or named."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.board.recognise import Board
from assistant.cli.doctor import bundle
from assistant.cli.doctor.check import Check, plain
from assistant.config import Config
from assistant.errors import AssistantError
from assistant.messages import (
    STAGES,
    MicrophoneLevel,
    PlanStatus,
    StageStatus,
    Status,
    TurnStatus,
    Volume,
)

SECRET = "alice"
BOARD = Board("Raspberry Pi 5", 8_000_000_000, 8, 4, "aarch64", frozenset({"asimddp"}))


def secret_config() -> Config:
    """Every text of config.toml is a secret, whatever its type."""
    tree = msgspec.to_builtins(Config())
    for section in tree.values():
        for key, value in section.items():
            if isinstance(value, str):
                section[key] = SECRET
    config = Config()
    for name, values in tree.items():
        section = msgspec.structs.replace(getattr(config, name), **values)
        config = msgspec.structs.replace(config, **{name: section})
    return config


def secret_status() -> Status:
    stages = tuple(
        StageStatus(stage, "gone", SECRET, "model", True, 7, 1, 0, 0, 5, 6, SECRET) for stage in STAGES
    )
    plan = PlanStatus(True, True, 2048, SECRET, 5, 6)
    turn = TurnStatus(3, "answered", 1.0, 0.5, 0.5, 0.5, 0.5, 0.5)
    level = MicrophoneLevel(-40.0, -10.0, 50, 0, 1.0)
    return Status("1", 4, 0.0, 1.0, "faulty", stages, plan, 1, 2, SECRET, level, (turn,), Volume(1.0, 1.0))


def line(**fields: object) -> str:
    entry = {
        "__REALTIME_TIMESTAMP": "1763683200000000",
        "_SYSTEMD_UNIT": "assistant-llm.service",
        "PRIORITY": "4",
        "MESSAGE": f"{SECRET} said hello",
        "_HOSTNAME": SECRET,
    }
    return json.dumps({**entry, **fields})


def contents() -> dict[str, bytes]:
    checks = [
        Check("microphone", "ok", f"the headset of {SECRET}", f"kill {SECRET}", "USB, 48000 Hz"),
        Check("settings", "fault", SECRET, SECRET),
        plain("clock", "ok", "set by the network"),
    ]
    units = {
        "assistant.service": {"ActiveState": "active", "Result": f"of {SECRET}", "NRestarts": "3"},
        f"{SECRET}.service": {"ActiveState": "active"},
    }
    journal = [line(), line(PRIORITY="3"), line(_SYSTEMD_UNIT=f"{SECRET}.service"), SECRET, "[]", "{}"]
    return bundle.contents(checks, secret_config(), ["tinyllama"], BOARD, units, secret_status(), journal)


def test_no_secret_is_in_it(tmp_path: Path) -> None:
    path = tmp_path / f"{SECRET}.tar.gz"
    bundle.write(path, contents())
    raw = path.read_bytes()
    assert SECRET.encode() not in raw
    assert SECRET.encode() not in gzip.decompress(raw)
    with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
        for member in archive.getmembers():
            assert (member.uid, member.gid, member.uname, member.gname, member.mtime) == (0, 0, "", "", 0)
        names = archive.getnames()
    assert sorted(names) == sorted(f"assistant-support/{name}" for name in contents())


def test_what_helps_is_in_it() -> None:
    files = {name: json.loads(content) for name, content in contents().items() if name.endswith(".json")}
    assert files["doctor.json"] == [
        {"name": "microphone", "state": "ok", "what": "USB, 48000 Hz"},
        {"name": "settings", "state": "fault", "what": ""},
        {"name": "clock", "state": "ok", "what": "set by the network"},
    ]
    assert files["board.json"]["name"] == "Raspberry Pi 5"
    assert files["units.json"] == {"assistant.service": {"ActiveState": "active", "NRestarts": "3"}}
    assert files["journal.json"] == {"2025-11-21": {"assistant-llm.service": {"error": 1, "warning": 1}}}
    assert files["versions.json"]["msgspec"] == msgspec.__version__
    assert files["config.json"]["vad"]["hangover_ms"] == 700
    assert files["config.json"]["llm"]["system_prompt"] == bundle.LEFT_OUT
    llm = files["status.json"]["stages"][2]
    assert (llm["stage"], llm["state"], llm["fault"], llm["restarts"]) == ("llm", "gone", "model", 1)
    assert (llm["detail"], llm["model"]) == (bundle.LEFT_OUT, bundle.LEFT_OUT)
    assert files["status.json"]["turns"][0]["outcome"] == "answered"
    # Each file is told of in the README.
    readme = contents()["README.txt"].decode()
    assert all(name in readme for name in files)


def test_settings_that_nobody_named_are_shown() -> None:
    config = msgspec.convert(
        {
            "log": {"level": "debug", "words": True},
            "llm": {"model": "tinyllama", "template": "zephyr"},
            "plan": {"prefer": "speed"},
            "stt": {"model": "/home/alice/whisper"},
        },
        Config,
    )
    shown = bundle.shown(config, frozenset({"tinyllama"}))
    assert shown["log"] == {"level": "debug", "words": True}
    assert (shown["llm"]["model"], shown["llm"]["template"]) == ("tinyllama", "zephyr")
    assert shown["llm"]["system_prompt"].startswith("You are")
    assert shown["plan"] == {"prefer": "speed"}
    assert shown["stt"]["model"] == bundle.LEFT_OUT


@given(
    st.lists(st.text(max_size=30) | st.builds(line, PRIORITY=st.integers() | st.text(max_size=3)), max_size=5)
)
def test_no_journal_is_too_strange(lines: list[str]) -> None:
    counted = bundle.count_lines(lines)
    assert SECRET not in json.dumps(counted)


@pytest.mark.parametrize(
    "strange",
    [
        line(__REALTIME_TIMESTAMP=10**40),
        line(__REALTIME_TIMESTAMP="9" * 25),
        line(_SYSTEMD_UNIT=[1]),
        line(_SYSTEMD_UNIT={}),
        line(PRIORITY="8"),
        line(PRIORITY=None),
        "1" * 6000,
        "[" * 100_000,
        "null",
        '"text"',
    ],
)
def test_lines_that_are_not_counted(strange: str) -> None:
    assert bundle.count_lines([strange]) == {}


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "bundle.tar.gz"
    path.write_text("a letter")
    with pytest.raises(AssistantError, match="is there already; delete it"):
        bundle.write(path, {})
    assert path.read_text() == "a letter"
    path.unlink()
    path.symlink_to("nowhere")
    with pytest.raises(AssistantError, match="is there already"):
        bundle.write(path, {})


def test_a_folder_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(AssistantError, match="No such file or directory; choose another folder"):
        bundle.write(tmp_path / "not/there.tar.gz", {})


def test_nothing_half_written_stays(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        bundle.write(tmp_path / "bundle.tar.gz", {"a": 5})  # type: ignore[dict-item] # on purpose
    assert list(tmp_path.iterdir()) == []
