"""`assistant status`: what it prints of a status, and the command with real daemons."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import threading
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Literal

import msgspec
import pytest
from command_line import COMMAND, assistant, daemon, said, started, toml

from assistant.board.health import Health
from assistant.cli.glance import age, lines
from assistant.cli.status import _glance, as_tree, exit_code, hears_itself
from assistant.config import Config, Wake
from assistant.messages import (
    InputTrouble,
    MicrophoneLevel,
    PlanStatus,
    StageStatus,
    Status,
    StatusWanted,
    TurnStatus,
    Volume,
)

MIB = 2**20
NO_SPEAKER = 'There is no speaker called "spkr"; did you mean "speaker"?'
NO_MICROPHONE = "No microphone was found, because none is connected; plug one in, or use `assistant --text`."
STAGES = (
    StageStatus("vad", "ready", "", None, True, 4711, 0, 0, 0, 34 * MIB, 36 * MIB, ""),
    StageStatus("stt", "ready", "", None, True, 4712, 2, 0, 1, 210 * MIB, 310 * MIB, "whisper-base.en"),
    StageStatus("llm", "starting", "", None, True, 4713, 0, 2, 0, 99 * MIB, 1200 * MIB, "tinyllama-1.1b-q4"),
    StageStatus("tts", "ready", "", None, True, 4714, 0, 0, 0, 110 * MIB, 190 * MIB, "en_US-lessac-medium"),
)
STATUS = Status(
    version="0.1.0",
    pid=4710,
    started_at_s=1000.0,
    at_s=8_383.0,
    state="thinking",
    stages=STAGES,
    plan=PlanStatus(True, True, 2048, "q8_0", 1500 * MIB, 1800 * MIB),
    held_bytes=474 * MIB,
    available_bytes=1234 * MIB,
    limited_by="the memory that is free",
    microphone=MicrophoneLevel(-52.4, -31.2, 50, 0, 8_382.5),
    turns=(
        TurnStatus(11, "cancelled", 8_000.0, None, None, None, None, 1.26),
        TurnStatus(12, "answered", 8_371.0, 2.31, 0.32, 0.71, 0.94, 4.12),
    ),
    volume=Volume(0.6, 1.0),
)
WELL = Health(54.2, False, None, 1_500_000_000, 1_800_000_000)
HOT = Health(84.6, True, True, None, None)
UNKNOWN = Health(None, None, None, None, None)
NOW = datetime(2026, 5, 20, 12, 30)
SEEN = """\
assistant 0.1.0 is thinking; running since 10:26 (2 h 3 min)

Plan        whisper-base.en, tinyllama-1.1b-q4, en_US-lessac-medium; 2048 tokens
            (q8_0)
Memory      474 MiB taken, at most 1,500 as planned; 1,234 MiB available
Microphone  -52 dBFS, peak -31 dBFS
Volume      answers 60%, earcons 100%
Board       54 °C, power is fine

STAGE  STATE     PROCESS  RESTARTS  WORK  MiB  AT MOST
vad    ready     4711            0     0   34       36
stt    ready     4712            2     1  210      310
llm    starting  4713            0     2   99    1,200
tts    ready     4714            0     0  110      190

TURN  AGO    OUTCOME    SPEECH  TRANSCRIPT  TOKEN  SOUND  IN ALL
12    12 s   answered      2.3         0.3    0.7    0.9     4.1
11    6 min  cancelled       -           -      -      -     1.3
(seconds; after the end of speech, or after a client's request)
"""


def seen(status: Status = STATUS, health: Health = WELL, call: str = "") -> str:
    return "".join(line + "\n" for line in lines(status, health, NOW, call=call))


def with_tts(**changes: object) -> Status:
    tts = msgspec.structs.replace(STAGES[3], **changes)
    return msgspec.structs.replace(STATUS, stages=(*STAGES[:3], tts), state="faulty")


def with_vad(**changes: object) -> Status:
    vad = msgspec.structs.replace(STAGES[0], **changes)
    return msgspec.structs.replace(STATUS, stages=(vad, *STAGES[1:]))


def test_what_a_person_sees() -> None:
    assert seen() == SEEN


def changed(**changes: object) -> Status:
    return msgspec.structs.replace(STATUS, **changes)


def heard(
    rms_dbfs: float,
    peak_dbfs: float,
    lost_frames: int = 0,
    at_s: float = 8_382.5,
    gain_db: float = 0.0,
    trouble: InputTrouble | None = None,
) -> Status:
    return changed(microphone=MicrophoneLevel(rms_dbfs, peak_dbfs, 50, lost_frames, at_s, gain_db, trouble))


@pytest.mark.parametrize(
    ("status", "health", "line"),
    [
        (changed(started_at_s=-200_000.0), WELL, "since 18 May 02:36 (2 d 9 h)"),
        (changed(state="idle"), WELL, "assistant 0.1.0 is idle; "),
        (changed(state="faulty"), WELL, "assistant 0.1.0 cannot work; "),
        (changed(state="deaf"), WELL, "assistant 0.1.0 cannot listen; "),
        (changed(plan=None), WELL, "Plan        none: there is no language model\n"),
        (changed(plan=None), WELL, "Memory      474 MiB taken; 1,234 MiB available\n"),
        (
            changed(plan=PlanStatus(True, False, 512, "f16", 1, 0)),
            WELL,
            "512 tokens\n            (f16); it does not fit this board\n",
        ),
        (changed(microphone=None), WELL, "Microphone  nothing has come from it yet\n"),
        (heard(-50.0, -30.0, at_s=8_263.0), WELL, "Microphone  nothing has come from it for 2 min\n"),
        (heard(-3.0, 0.0), WELL, "Microphone  -3 dBFS, peak 0 dBFS\n"),
        (heard(-50.0, -30.0, gain_db=12.2), WELL, "peak -30 dBFS, amplified by 12 dB\n"),
        (
            heard(-3.0, 0.0, trouble="clipping"),
            WELL,
            "peak 0 dBFS; it is too loud and distorts: lower it with\n            alsamixer (F4)\n",
        ),
        (heard(-50.0, -30.0, 3), WELL, "Microphone  -50 dBFS, peak -30 dBFS, 3 of 50 frames lost\n"),
        (
            STATUS,
            Health(84.6, True, True, None, None),
            "Board       85 °C, too hot: give it a cooler, slowed",
        ),
        (
            STATUS,
            HOT,
            "Board       85 °C, too hot: give it a cooler, slowed down by its firmware,\n"
            "            under-voltage: use a stronger power supply\n",
        ),
        (STATUS, Health(None, False, None, None, None), "Board       power is fine\n"),
        (with_vad(state="gone", pid=0), WELL, "vad    gone      -               0     0"),
        (with_vad(state="gone", wanted=False), WELL, "vad    not needed  4711"),
        (with_vad(state="gone", detail=NO_MICROPHONE), WELL, "vad    cannot work  4711"),
        (
            with_vad(state="gone", detail=NO_MICROPHONE),
            WELL,
            "  vad       No microphone was found, because none is connected; plug one in, or\n"
            "            use `assistant --text`.\n",
        ),
        (
            with_vad(state="ready", detail="The button on GPIO 17 cannot be used."),
            WELL,
            "  vad       The button on GPIO 17 cannot be used.\n",
        ),
        (
            changed(muted=True),
            WELL,
            "Microphone  muted until `assistant unmute`; -52 dBFS, peak -31 dBFS\n",
        ),
        (with_vad(state="gone", detail="\x1b[2Jgone"), WELL, "  vad       gone\n"),
        (
            msgspec.structs.replace(with_vad(state="gone", detail="No.", fault="microphone"), state="deaf"),
            WELL,
            "assistant 0.1.0 has no microphone; ",
        ),
        (
            msgspec.structs.replace(with_vad(state="gone", detail="No.", fault="microphone"), state="deaf"),
            WELL,
            "Microphone  nothing has come from it for 0 s\n",
        ),
        (with_tts(detail=NO_SPEAKER), WELL, "assistant 0.1.0 has no speaker; "),
        (with_tts(state="gone", detail="The voice is missing."), WELL, "assistant 0.1.0 cannot work; "),
    ],
)
def test_lines(status: Status, health: Health, line: str) -> None:
    text = seen(status, health)
    assert line in text
    assert max(map(len, text.splitlines())) <= 80


def test_how_it_is_called() -> None:
    assert 'Call        Say "Okay Nabu".\n' in seen(call='Say "Okay Nabu".')
    assert "Call" not in seen(with_vad(wanted=False, state="gone"), call='Say "Okay Nabu".')


@pytest.mark.parametrize(("wake", "shown"), [("open", False), ("word", True)])
def test_how_it_is_called_is_said_by_its_settings(wake: Literal["open", "word"], shown: bool) -> None:
    text = _glance(Config(wake=Wake(mode=wake)), STATUS)
    assert ('Say "Okay Nabu".' in text) == shown


def test_a_microphone_that_is_what_the_board_plays_has_nothing_to_unmute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says what the doctor says; who hears sound is not asked about, and nobody once a second."""
    silent = heard(-100.0, -100.0, trouble="silent")
    assert "unmute it" in seen(silent)
    pactl = tmp_path / "pactl"
    pactl.write_text(
        """#!/bin/sh
echo >> "$0.asked"
case "$*" in
*sources) echo '[{"index": 5, "monitor_source": "hdmi"}]' ;;
*) echo '[{"source": 5, "properties": {"application.process.id": "4711"}}]' ;;
esac
"""
    )
    pactl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for _ in range(3):
        assert hears_itself(silent)
        ready = msgspec.structs.replace(silent, stages=tuple(s for s in STAGES if s.state == "ready"))
        assert exit_code(ready) == 3, "that is no microphone"
        tree = json.loads(json.dumps(as_tree(ready, WELL)))
        assert (tree["ready"], tree["microphone"]["hears_itself"]) == (False, True)
    assert (tmp_path / "pactl.asked").read_text() == "\n" * 2, "of sources and streams, once"
    assert not hears_itself(STATUS)
    assert exit_code(msgspec.structs.replace(ready, microphone=STATUS.microphone)) == 0
    assert not hears_itself(changed(microphone=None))
    text = " ".join(" ".join(lines(silent, WELL, NOW, hears_itself=True)).split())
    assert "pactl set-default-source" in text
    assert "unmute it" not in text


def test_what_is_not_there_is_no_line() -> None:
    status = msgspec.structs.replace(with_vad(state="gone"), microphone=None, turns=())
    text = seen(status, UNKNOWN)
    assert not any(word in text for word in ("Microphone", "Board", "TURN"))


def test_the_last_turns_alone_are_shown() -> None:
    turns = tuple(TurnStatus(n, "answered", 8_000.0, None, None, None, None, 1.0) for n in range(10, 20))
    rows = [line.split()[0] for line in seen(changed(turns=turns)).splitlines() if "answered" in line]
    assert rows == ["19", "18", "17", "16", "15"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 s"),
        (59.4, "59 s"),
        (59.9, "59 s"),
        (60.0, "1 min"),
        (3_599.0, "59 min"),
        (3_600.0, "1 h 0 min"),
        (86_399.0, "23 h 59 min"),
        (86_400.0, "1 d 0 h"),
        (400 * 86_400.0, "400 d 0 h"),
    ],
)
def test_age(seconds: float, text: str) -> None:
    assert age(seconds) == text


def test_for_programs() -> None:
    tree = json.loads(json.dumps(as_tree(STATUS, WELL)))
    assert tree["stages"].pop("stt") == {
        "state": "ready",
        "detail": "",
        "fault": None,
        "wanted": True,
        "pid": 4712,
        "restarts": 2,
        "waiting": 0,
        "in_work": 1,
        "held_bytes": 210 * MIB,
        "predicted_bytes": 310 * MIB,
        "model": "whisper-base.en",
    }
    assert list(tree.pop("stages")) == ["vad", "llm", "tts"]
    assert tree.pop("turns")[0] == {
        "turn": 12,
        "outcome": "answered",
        "speech_s": 2.31,
        "transcript_s": 0.32,
        "first_token_s": 0.71,
        "first_sound_s": 0.94,
        "done_s": 4.12,
        "ago_s": 12.0,
    }
    assert tree == {
        "version": "0.1.0",
        "pid": 4710,
        "running_s": 7_383.0,
        "state": "thinking",
        "ready": False,
        "plan": {
            "has_voice": True,
            "fits": True,
            "context_tokens": 2048,
            "kv_type": "q8_0",
            "predicted_bytes": 1500 * MIB,
            "budget_bytes": 1800 * MIB,
        },
        "memory": {
            "held_bytes": 474 * MIB,
            "available_bytes": 1234 * MIB,
            "limited_by": "the memory that is free",
        },
        "muted": False,
        "microphone": {
            "rms_dbfs": -52.4,
            "peak_dbfs": -31.2,
            "frames": 50,
            "lost_frames": 0,
            "gain_db": 0.0,
            "trouble": None,
            "ago_s": 0.5,
            "hears_itself": False,
        },
        "volume": {"answers": 0.6, "earcons": 1.0},
        "board": {
            "celsius": 54.2,
            "is_under_voltage": False,
            "is_throttled": None,
            "frequency_hz": 1_500_000_000,
            "most_hz": 1_800_000_000,
        },
    }


@pytest.mark.parametrize(
    ("state", "detail", "wanted", "code"),
    [
        ("ready", "", True, 0),
        ("ready", "It waits.", True, 0),
        ("ready", "", False, 0),
        ("gone", "", False, 0),
        ("gone", "", True, 3),
        ("starting", "", True, 3),
        ("starting", "", False, 0),
        ("gone", "No model.", False, 3),
    ],
)
def test_exit_code(state: str, detail: str, wanted: bool, code: int) -> None:
    llm = msgspec.structs.replace(STAGES[2], state=state, detail=detail, wanted=wanted)
    assert exit_code(changed(stages=(*STAGES[:2], llm, STAGES[3]))) == code


def test_without_a_speaker_it_cannot_do_what_it_should() -> None:
    """But for who starts stages when they are needed: then one that is ready need not be for speaking."""
    assert exit_code(changed(stages=(STAGES[3],))) == 0
    assert exit_code(changed(stages=(msgspec.structs.replace(STAGES[3], detail=NO_SPEAKER),))) == 3
    spared = msgspec.structs.replace(STAGES[3], detail=NO_SPEAKER, wanted=False)
    assert exit_code(changed(stages=(spared,))) == 0


# ---------------------------------------------------------------- real daemons


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """config.toml of a daemon that starts its stages when they are needed."""
    with daemon(tmp_path_factory.mktemp("daemon"), "--workers", "") as (config, _):
        yield config


def test_a_daemon_of_which_nothing_is_wanted_is_well(running: Path) -> None:
    done = assistant("status", config=running)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("assistant 0.1.0 is idle; running since ")
    assert "whisper-tiny-test, tiny-chat-q8_0.gguf, en_US-tiny-medium.onnx; " in done.stdout


def test_after_a_question(running: Path) -> None:
    assert assistant("ask", "Why?", config=running).returncode == 0
    done = assistant("status", "--json", config=running)
    told = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (0, "")
    (turn,) = told["turns"]
    assert (turn["outcome"], turn["speech_s"], turn["first_sound_s"]) == ("answered", None, None)
    assert 0 <= turn["first_token_s"] <= turn["done_s"] < 60
    llm = told["stages"]["llm"]
    assert (llm["state"], llm["wanted"], llm["restarts"], llm["waiting"]) == ("ready", False, 0, 0)
    assert llm["held_bytes"] > 10 * MIB
    os.kill(llm["pid"], signal.SIGKILL)
    assert assistant("ask", "Why?", config=running).returncode == 0
    after = json.loads(assistant("status", "--json", config=running).stdout)["stages"]["llm"]
    assert after["restarts"] == 1
    assert after["pid"] != llm["pid"]


def test_a_stage_that_cannot_work(tmp_path: Path) -> None:
    with daemon(tmp_path, "--workers", "vad") as (config, _):
        done = assistant("status", config=config)
        while "is starting" in done.stdout:
            done = assistant("status", config=config)
    assert done.returncode == 3
    assert "assistant 0.1.0 has no microphone; " in done.stdout
    assert "\n  vad       No microphone" in done.stdout


@pytest.mark.parametrize("options", [(), ("--json",), ("--watch",)])
def test_without_a_daemon(options: tuple[str, ...], tmp_path: Path) -> None:
    config = toml(tmp_path, f'[daemon]\nsocket = "{tmp_path / "none.sock"}"\n')
    assert said(assistant("status", *options, config=config)).startswith("No daemon runs; ")


def test_a_daemon_that_does_not_know_the_message(tmp_path: Path) -> None:
    """An older one cannot decode it, and says goodbye."""
    refusal = f"The peer sent a frame that is none of ours: Invalid value '{StatusWanted.__name__}'."
    code = (
        "import sys, asyncio\n"
        "from pathlib import Path\n"
        "from assistant.config import Config\n"
        "from assistant.daemon.daemon import Daemon\n"
        "class Older(Daemon):\n"
        "    def posted(self, peer, message):\n"
        f"        self.broker.dismiss(peer, {refusal!r})\n"
        "asyncio.run(Older(Config(), Path(sys.argv[1]), None).run(asyncio.Event()))\n"
    )
    config = toml(tmp_path, f'[daemon]\nsocket = "{tmp_path / "daemon.sock"}"\n')
    with subprocess.Popen([COMMAND[0], "-c", code, tmp_path / "daemon.sock"]) as older:
        try:
            done = assistant("status", config=config)
            while "No daemon runs" in done.stderr:
                done = assistant("status", config=config)
        finally:
            older.kill()
    assert said(done) == "The running daemon is of another version than this command; restart it."


def test_watching_in_a_pipe(running: Path) -> None:
    with started("status", "--watch", "--json", config=running) as process:
        assert process.stdout is not None
        looks = [json.loads(process.stdout.readline()) for _ in range(3)]
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 128 + signal.SIGINT
    assert looks[0]["running_s"] < looks[1]["running_s"] < looks[2]["running_s"]
    with started("status", "--watch", config=running) as process:
        assert process.stdout is not None
        heads = 0
        while heads < 2:
            heads += process.stdout.readline().startswith(b"assistant 0.1.0 ")


def test_watching_on_a_terminal_until_ctrl_c(tmp_path: Path) -> None:
    """It goes on when the daemon has gone."""
    main, terminal = pty.openpty()
    out = b""

    def until(mark: bytes) -> None:
        nonlocal out
        while mark not in out:
            assert select.select([main], [], [], 30.0)[0], out
            out += os.read(main, 4096)

    with daemon(tmp_path, "--workers", "") as (config, _):
        process = subprocess.Popen(
            [*COMMAND, "--config", config, "status", "--watch"],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "24"},
        )
        os.close(terminal)
        until(b"is idle; running since")
    until(b"No daemon runs")
    process.send_signal(signal.SIGINT)
    # back from the alternate screen
    drained = threading.Thread(target=until, args=(b"\x1b[?1049l",), daemon=True)
    drained.start()
    try:
        assert process.wait(10) == 128 + signal.SIGINT
    finally:
        process.kill()
        process.wait()
    drained.join(10)
    os.close(main)
    assert b"Traceback" not in out
