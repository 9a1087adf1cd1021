"""ask, say, transcribe, devices, daemon and the options before them, each as a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile
from command_line import (
    AUDIO,
    BERLIN,
    CAPITAL,
    assistant,
    daemon,
    processes,
    said,
    started,
    toml,
    until,
)

COMMANDS = ("ask", "say", "transcribe", "run", "devices", "models", "status", "daemon", "worker")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """config.toml of a daemon that runs."""
    with daemon(tmp_path_factory.mktemp("daemon"), "--workers", "llm,stt,tts") as (config, _):
        yield config


@pytest.mark.parametrize(
    ("words", "stdin"), [([CAPITAL], ""), (["-"], CAPITAL + "\n"), (CAPITAL.split(), "")]
)
def test_ask(words: list[str], stdin: str, running: Path) -> None:
    done = assistant("ask", *words, stdin=stdin, config=running)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{BERLIN}\n", "")


def test_other_models_than_the_running_daemon_has(running: Path, tmp_path: Path) -> None:
    """--config that asks for other settings of a model is not answered by a daemon that has not got them."""
    other = tmp_path / "config.toml"
    other.write_text(running.read_text() + "\n[llm]\nmax_tokens = 2\n")
    done = assistant("ask", CAPITAL, config=other)
    assert done.returncode == 0
    assert len(done.stdout) < len(BERLIN)


def test_ask_with_times(running: Path) -> None:
    done = assistant("ask", "--json", CAPITAL, config=running)
    told = json.loads(done.stdout)
    assert (told["question"], told["answer"]) == (CAPITAL, BERLIN)
    seconds = told["seconds"]
    assert 0 <= seconds["first_token"] <= seconds["answer"] < 30


def test_what_is_said_to_a_file_can_be_transcribed(running: Path, tmp_path: Path) -> None:
    out = tmp_path / "said.wav"
    text = f"**{BERLIN}** 🎉\n"
    done = assistant("say", "-", "-o", out, stdin=text, config=running)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    sound = soundfile.info(out)
    done = assistant("transcribe", "--json", out, config=running)
    told = json.loads(done.stdout)
    assert told["text"] == BERLIN
    assert told["seconds"] == pytest.approx(sound.duration, abs=0.001)
    (segment,) = told["segments"]
    assert 0 <= segment["start_s"] < segment["end_s"] <= told["seconds"] + 0.02


def test_say_to_standard_output(running: Path, tmp_path: Path) -> None:
    """`assistant say … -o - | aplay`."""
    with (tmp_path / "piped.wav").open("wb") as out:
        done = assistant("say", BERLIN, "-o", "-", config=running, capture_output=False, stdout=out)
    assert done.returncode == 0
    assert assistant("transcribe", tmp_path / "piped.wav", config=running).stdout == f"{BERLIN}\n"


def test_commands_attach_instead_of_starting_a_second_daemon(running: Path, tmp_path: Path) -> None:
    before = processes(str(running.parent))
    assert len(before) == 4
    runs = [("ask", CAPITAL), ("say", "Hello.", "-o", str(tmp_path / "o.wav")), ("--text",)]
    seen: set[int] = set()
    for words in runs:
        with started(*words, config=running, env={**os.environ, "MARK": str(tmp_path)}) as process:
            while process.poll() is None:
                seen |= processes(f"MARK={tmp_path}").keys()
                if words == ("--text",) and process.stdin:
                    process.stdin.close()
                    process.stdin = None
            assert process.returncode == 0
            seen -= {process.pid}
    assert not seen
    assert processes(str(running.parent)) == before


def test_a_second_daemon_is_refused(running: Path) -> None:
    assert "Another daemon (process " in said(assistant("daemon", "--workers", "none", config=running))


def test_speaking_beside_a_running_daemon_is_refused(running: Path) -> None:
    assert "The assistant runs already" in said(assistant(config=running))


def test_a_socket_path_that_is_too_long(tmp_path: Path) -> None:
    config = toml(tmp_path, f'[daemon]\nsocket = "{tmp_path / ("x" * 120)}"\n')
    assert "Linux allows 107" in said(assistant("daemon", config=config))
    done = assistant(config=config)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "Linux allows 107" in done.stderr
    assert assistant("ask", CAPITAL, config=config).stdout == f"{BERLIN}\n", "it needs no such socket"


def test_a_socket_that_a_killed_daemon_left(tmp_path: Path) -> None:
    with daemon(tmp_path, "--workers", "none") as (config, process):
        process.kill()
    assert (tmp_path / "daemon.sock").is_socket()
    assert assistant("ask", CAPITAL, config=config).stdout == f"{BERLIN}\n"
    with started("daemon", "--workers", "none", config=config):
        until(lambda: assistant("say", "", config=config).returncode == 1, "it listens")


def test_devices() -> None:
    listed = assistant("devices")
    assert listed.returncode == 0
    assert "microphones:" in listed.stdout
    for device in json.loads(assistant("devices", "--json").stdout):
        assert device["kind"] in ("microphone", "speaker")
        assert f'"{device["name"]}"' in listed.stdout


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help(command: str) -> None:
    done = assistant(*filter(None, [command]), "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: assistant {command}".rstrip())


@pytest.mark.parametrize(
    "words",
    [
        ["listen"],
        ["--text", "ask", "Hello."],
        ["ask"],
        ["--conf", "x", "ask", "Hello."],
        ["run", "--mic", "x.wav", "--speed", "fast"],
        ["run", "--mic", "x.wav", "--speed", "1000"],
        ["daemon", "--workers", "llm,ear"],
        ["worker", "ear"],
    ],
)
def test_what_cannot_be_understood(words: list[str]) -> None:
    done = assistant(*words)
    assert done.returncode == 2
    assert not done.stdout
    assert "Traceback" not in done.stderr
    assert "_" not in done.stderr.splitlines()[-1], "names of the program's own functions"


BAD_CONFIGS = [
    ("[llm]\nmax_token = 3\n", "did you mean llm.max_tokens?"),
    ('[llm]\nmax_tokens = "many"\n', 'llm.max_tokens = "many" is impossible'),
    ("[llm\n", "not valid TOML"),
    (None, "There is no configuration file"),
]


@pytest.mark.parametrize(
    ("command", "bad"),
    [(command, BAD_CONFIGS[0]) for command in ("", "--text", *COMMANDS) if command != "devices"]
    + [("ask", bad) for bad in BAD_CONFIGS[1:]],
    ids=lambda value: value if isinstance(value, str) else value[1],
)
def test_a_config_that_cannot_be(command: str, bad: tuple[str | None, str], tmp_path: Path) -> None:
    text, complaint = bad
    config = toml(tmp_path, text) if text is not None else tmp_path / "missing.toml"
    words = {"ask": ["Hello."], "say": ["Hello."], "transcribe": [str(AUDIO / "q00.wav")], "worker": ["llm"]}
    words["run"] = ["--mic", str(AUDIO / "q00.wav")]
    done = assistant(*filter(None, [command]), *words.get(command, []), config=config)
    assert complaint in said(done, exit_code=2)


def test_debug_shows_where(tmp_path: Path) -> None:
    done = assistant("--debug", "ask", "Hello.", config=tmp_path / "missing.toml")
    assert done.returncode == 2
    assert done.stderr.startswith("Traceback")
    assert done.stderr.splitlines()[-1].startswith("assistant: There is no configuration file")


def test_letters_that_the_terminal_does_not_have(running: Path) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = assistant("ask", "--json", "Grüße, ł!", config=running, env=environment)
    assert done.returncode == 0
    assert json.loads(done.stdout)["question"] == "Gr??e, ?!"


def test_help_is_instant_because_it_imports_nothing_heavy() -> None:
    script = "import sys; from assistant.cli import _parser; _parser().format_help(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"numpy", "asyncio", "rich"} & set(done.stdout.split())
