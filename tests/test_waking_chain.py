"""An assistant that has to be called, on real sound, and one that is muted: real processes and engines."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from assistant.errors import DaemonError
from assistant.messages import AnyMessage, Muted
from assistant.queues.socket import connect

AUDIO = Path(__file__).parent / "audio"
COMMAND = [sys.executable, "-m", "assistant"]
RATE_HZ = 16_000
PATIENCE_S = 60.0

Int16 = npt.NDArray[np.int16]


def sound(name: str) -> Int16:
    """A recording, from its first sound to its last."""
    samples, rate_hz = soundfile.read(AUDIO / f"{name}.wav", dtype="int16")
    assert rate_hz == RATE_HZ
    loud = np.flatnonzero(np.abs(samples.astype(np.int32)) > 300)
    return np.asarray(samples[loud[0] : loud[-1] + 1], np.int16)


def answered(folder: Path, wake: str, *scene: str | float) -> list[str]:
    """The questions that were answered in a scene of recordings and seconds of a quiet room."""
    room = np.random.default_rng(1).integers(-8, 9, 60 * RATE_HZ).astype(np.int16)
    parts = [sound(part) if isinstance(part, str) else room[: int(part * RATE_HZ)] for part in scene]
    soundfile.write(folder / "scene.wav", np.concatenate(parts), RATE_HZ)
    (folder / "config.toml").write_text(f"[wake]\n{wake}\n")
    words = ["--config", folder / "config.toml", "run", "--mic", folder / "scene.wav", "--json"]
    done = subprocess.run(
        [*COMMAND, *map(str, words), "--speed", "2"], capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    texts = {event["turn"]: event["text"] for event in events if event["event"] == "transcript"}
    return [texts[event["turn"]] for event in events if event["event"] == "answer"]


GERMANY = "What is the capital of Germany?"
SWEDEN = "Which city is the capital of Sweden?"
OLD = "What is the opposite of old?"


def test_a_wake_word_and_the_question_in_one_breath(tmp_path: Path) -> None:
    """Before it nothing is heard; after the answer a question needs none for a while, but may have one."""
    wake = 'mode = "word"\nfollow_up_s = 3'
    call = "calls/okay_nabu"
    scene = ("q12", 1.5, call, 0.1, "q00", 4.0, "q04", 4.0, call, 0.1, "q02", 14.0, "q12", 2.0)
    assert answered(tmp_path, wake, *scene) == [GERMANY, OLD, SWEDEN]


def test_a_name_in_what_is_said(tmp_path: Path) -> None:
    """It calls before the question or alone, and what is said without it is for others."""
    wake = 'mode = "phrase"\nphrase = "computer"\nfollow_up_s = 0'
    scene = ("q12", 2.0, "calls/computer", 0.15, "q00", 14.0, "q12", 2.0, "calls/computer", 2.0, "q04", 2.0)
    assert answered(tmp_path, wake, *scene) == [GERMANY, OLD]


class Kept:
    """A daemon whose state is kept in a folder: to be ended and begun again."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "config.toml"
        self.socket = folder / "daemon.sock"
        self.config.write_text(f'[daemon]\nsocket = "{self.socket}"\n')
        self._env = {**os.environ, "STATE_DIRECTORY": str(folder / "state")}
        self._process: subprocess.Popen[bytes] | None = None

    def begin(self) -> None:
        command = [*COMMAND, "--config", str(self.config), "daemon", "--workers", ""]
        self._process = subprocess.Popen(command, env=self._env, stderr=subprocess.DEVNULL)
        give_up_s = time.monotonic() + PATIENCE_S
        while True:
            try:
                return connect(self.socket, "watcher").close()
            except DaemonError:
                assert time.monotonic() < give_up_s
                assert self._process.poll() is None
                threading.Event().wait(0.05)

    def end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(PATIENCE_S)
            self._process = None

    def type(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [*COMMAND, "--config", str(self.config), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, env=self._env)

    def first_word_to_vad(self) -> AnyMessage | None:
        link = connect(self.socket, "vad")
        with contextlib.closing(link):
            return link.notice(PATIENCE_S)


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    daemon = Kept(tmp_path)
    yield daemon
    daemon.end(signal.SIGTERM)


def test_muting_survives_whatever_ends_the_daemon(kept: Kept) -> None:
    kept.begin()
    assert kept.first_word_to_vad() == Muted(False)
    done = kept.type("mute")
    assert (done.returncode, done.stdout) == (0, "The microphone is muted, also after a restart.\n")
    for how in (signal.SIGKILL, signal.SIGTERM):
        kept.end(how)
        kept.begin()
        assert kept.first_word_to_vad() == Muted(True)
    status = json.loads(kept.type("status", "--json").stdout)
    assert status["muted"] is True
    assert "Berlin" in kept.type("ask", GERMANY).stdout, "typed questions are answered"
    assert kept.type("unmute").stdout == "The microphone is heard.\n"
    kept.end(signal.SIGKILL)
    kept.begin()
    assert kept.first_word_to_vad() == Muted(False)


@pytest.mark.parametrize("command", ["mute", "unmute"])
def test_without_a_daemon_it_is_said_that_none_runs(kept: Kept, command: str) -> None:
    done = kept.type(command)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("assistant: No daemon runs")
    assert len(done.stderr.splitlines()) == 1
