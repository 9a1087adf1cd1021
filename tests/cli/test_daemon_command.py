"""`assistant daemon`, as systemd starts it: with a mistake in the settings, too, it runs."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from command_line import COMMAND, DEADLINE_S, MODELS, assistant, said, toml

from assistant import config as configuration
from assistant.cli.daemon import _of_appliance
from assistant.config import Config, Llm
from assistant.queues.socket import connect
from assistant.state import GOOD, keep_good, last_good

GOOD_TEXT = "[llm]\nseed = 7\n"
BAD_TEXT = "[llm]\nseed = 'seven'\n"


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def file(tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch) -> Path:  # noqa: ARG001 - with it
    """The board's config.toml."""
    path = tmp_path / "config.toml"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(configuration, "places", lambda: (tmp_path / "none.toml", path))
    monkeypatch.setattr(configuration, "BOOT_PLACES", (tmp_path / "assistant.toml",))
    return path


def test_settings_that_can_be_used_are_kept(file: Path) -> None:
    file.write_text(GOOD_TEXT)
    assert _of_appliance() == (Config(llm=Llm(seed=7)), ())
    assert last_good() == Config(llm=Llm(seed=7))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (BAD_TEXT, 'llm.seed = "seven" is impossible'),
        ("[llm\n", "is not valid TOML"),
        ("[vat]\n", "did you mean vad?"),
        ('[llm]\nmodel = "/nowhere/x.gguf"\n', "/nowhere/x.gguf"),
        ('[stt]\nmodel = "/nowhere/whisper"\n', "/nowhere/whisper"),
        ('[tts]\nmodel = "x.onnx"\n', "x.onnx"),
        ('[llm]\nmodel = "no-such-model"\n', "no-such-model"),
    ],
)
@pytest.mark.parametrize("before", [None, Config(llm=Llm(seed=7))])
def test_with_a_mistake_the_last_good_ones_run(
    file: Path, text: str, why: str, before: Config | None, caplog: pytest.LogCaptureFixture
) -> None:
    if before is not None:
        keep_good(before)
    file.write_text(text)
    assert _of_appliance() == (before or Config(), ("config",))
    assert last_good() == before, "a mistake is not kept"
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert why in record.message
    assert record.message.endswith(f"Until then the {'last good settings' if before else 'defaults'} run.")


def test_a_mistake_on_the_boot_partition_too(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    file.write_text(GOOD_TEXT)
    (file.parent / "assistant.toml").write_text("[audio]\nauto_gain = false\n")
    config, faults = _of_appliance()
    assert (config.llm.seed, config.audio.auto_gain, faults) == (7, False, ())
    (file.parent / "assistant.toml").write_text("[audio]\nauto_gain = nein\n")
    assert _of_appliance() == (config, ("config",))
    assert "assistant.toml is not valid TOML" in caplog.text


def test_a_mistake_that_is_corrected_is_forgotten(file: Path) -> None:
    for text, found in ((GOOD_TEXT, ()), (BAD_TEXT, ("config",)), ("[llm]\nseed = 8\n", ())):
        file.write_text(text)
        config, faults = _of_appliance()
        assert faults == found
    assert config.llm.seed == 8
    assert last_good() == config


@pytest.mark.parametrize("kept", [b"", b"garbage", b'{"llm": {"model": "\xff"}}', bytes(4096)])
def test_where_nothing_can_be_used_the_defaults_run(file: Path, state: Path, kept: bytes) -> None:
    file.write_text(BAD_TEXT)
    state.mkdir()
    (state / GOOD).write_bytes(kept)
    assert _of_appliance() == (Config(), ("config",))


def test_models_that_are_there_are_no_mistake(file: Path) -> None:
    file.write_text(
        f'[llm]\nmodel = "{MODELS / "tiny-chat-q8_0.gguf"}"\n'
        f'[stt]\nmodel = "{MODELS / "whisper-tiny-test"}"\n'
        f'[tts]\nmodel = "{MODELS / "en_US-tiny-low.onnx"}"\n'
    )
    assert _of_appliance()[1] == ()


def test_the_file_that_names_a_model_is_named(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    file.write_text('[llm]\nmodel = "tinylama"\n')
    for place in (file, file.parent / "assistant.toml"):
        place.write_text('[llm]\nmodel = "tinylama"\n')
        assert _of_appliance() == (Config(), ("config",))
        assert f"llm.model in {place} is a mistake: " in caplog.records[-1].message
        assert "did you mean tinyllama" in caplog.records[-1].message


def test_a_model_that_was_harmed_since_is_no_mistake_of_the_settings(file: Path) -> None:
    """Its worker tells of it."""
    model = file.parent / "own.gguf"
    model.write_bytes((MODELS / "tiny-chat-q8_0.gguf").read_bytes())
    file.write_text(f'[llm]\nmodel = "{model}"\n')
    good = _of_appliance()
    os.truncate(model, 10)
    assert _of_appliance() == good == (Config(llm=Llm(model=str(model))), ())


# ---------------------------------------------------------------- real processes

AS_SYSTEMD_DOES = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
"""


class Board:
    """systemd's sockets, and the files of a board."""

    def __init__(self, folder: Path, listening: socket.socket, manager: socket.socket) -> None:
        self.path = folder / "assistant.sock"
        self._listening = listening
        self._manager = manager
        self._env = os.environ | {
            "XDG_CONFIG_HOME": str(folder),
            "STATE_DIRECTORY": str(folder / "state"),
            "NOTIFY_SOCKET": str(folder / "notify"),
        }
        (folder / "assistant").mkdir()
        self.config = folder / "assistant" / "config.toml"

    @contextlib.contextmanager
    def daemon(self) -> Iterator[subprocess.Popen[bytes]]:
        number = self._listening.fileno()
        command = [*COMMAND, "daemon", "--workers", "none", "--socket", str(self.path)]
        with subprocess.Popen(
            [sys.executable, "-c", AS_SYSTEMD_DOES, str(number), *command],
            pass_fds=[number],
            env=self._env,
            stderr=subprocess.PIPE,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def told(self) -> str:
        """What systemd is told next."""
        return self._manager.recv(1000).decode()


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Board]:
    with (
        socket.socket(socket.AF_UNIX) as listening,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
    ):
        listening.bind(str(tmp_path / "assistant.sock"))
        listening.listen()
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(DEADLINE_S)
        yield Board(tmp_path, listening, manager)


def test_systemd_starts_it_with_a_mistake_and_without(board: Board) -> None:
    """Who came before it is served, the socket stays, and a mistake costs nobody the assistant."""
    before = board.path.stat().st_ino
    for text in (GOOD_TEXT, BAD_TEXT):
        board.config.write_text(text)
        with socket.socket(socket.AF_UNIX) as early, board.daemon() as daemon:
            early.connect(str(board.path))
            while board.told() != "READY=1":
                pass
            with contextlib.closing(connect(board.path, "client")) as client:
                assert client.written.llm.seed == 7
            daemon.send_signal(signal.SIGTERM)
            while board.told() != "STOPPING=1":
                pass
            _, err = daemon.communicate(timeout=DEADLINE_S)
            assert daemon.returncode == 0
        mistake = [line for line in err.decode().splitlines() if "seven" in line]
        assert len(mistake) == (text == BAD_TEXT)
        assert board.path.stat().st_ino == before


def test_one_that_is_killed_is_followed_by_another(board: Board) -> None:
    board.config.write_text("")
    for _ in range(2):
        with board.daemon() as daemon:
            with contextlib.closing(connect(board.path, "client")) as client:
                assert client.written == msgspec.structs.replace(Config(), models=client.written.models)
            daemon.kill()
            daemon.wait(DEADLINE_S)


def test_a_file_that_is_named_must_be_without_a_mistake(tmp_path: Path) -> None:
    """A person sits before it."""
    path = toml(tmp_path, BAD_TEXT)
    done = assistant("daemon", "--workers", "none", "--socket", tmp_path / "a.sock", config=path)
    assert "seven" in said(done, exit_code=2)
