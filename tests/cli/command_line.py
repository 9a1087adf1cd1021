"""What the tests of the command line share: real processes, in a folder of the test's own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

TESTS = Path(__file__).parents[1]
AUDIO = TESTS / "audio"
MODELS = TESTS / "models"
COMMAND = [sys.executable, "-m", "assistant"]
CAPITAL = "What is the capital of Germany?"
BERLIN = "The capital of Germany is Berlin."
STORY = (
    "Once there was a little robot. It lived in a small house by the sea. Every day it counted the birds. "
    "One day a bird asked for its name. The robot had no name. So the bird called it friend. They were happy."
)
DEADLINE_S = 30.0


def assistant(
    *words: str | Path, stdin: str | bytes = b"", config: Path | None = None, **how: object
) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    options = ["--config", str(config)] if config else []
    done = subprocess.run(
        [*COMMAND, *options, *map(str, words)],
        input=stdin if isinstance(stdin, bytes) else stdin.encode(),
        timeout=90,
        **{"capture_output": True, **how},  # type: ignore[call-overload] # subprocess has no type for options
    )
    out, err = ((output or b"").decode(errors="replace") for output in (done.stdout, done.stderr))
    return subprocess.CompletedProcess(done.args, done.returncode, out, err)


@contextlib.contextmanager
def started(
    *words: str | Path,
    config: Path | None = None,
    env: dict[str, str] | None = None,
    before: Sequence[str] = (),
) -> Iterator[subprocess.Popen[bytes]]:
    """A command that runs, its streams in pipes; killed if the test does not end it."""
    options = ["--config", str(config)] if config else []
    pipe = subprocess.PIPE
    command = [*before, *COMMAND, *options, *map(str, words)]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=env) as process:
        try:
            yield process
        finally:
            process.kill()


def said(done: subprocess.CompletedProcess[str], exit_code: int = 1) -> str:
    """The one sentence on standard error of a command that failed."""
    assert done.returncode == exit_code, done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("assistant: ")
    assert lines[0].endswith((".", "?", '"'))
    assert not done.stdout
    return lines[0].removeprefix("assistant: ")


def until(reached: Callable[[], bool], what: str, deadline_s: float = DEADLINE_S) -> None:
    """Ask again and again."""
    give_up_s = time.monotonic() + deadline_s
    pause = threading.Event()
    while not reached():
        pause.wait(0.01)
        assert time.monotonic() < give_up_s, f"{what}: not within {deadline_s} s"


def processes(mark: str) -> dict[int, str]:
    """The processes of ours whose command line or environment has `mark` in it, and their command lines."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes()
                if mark.encode() in words + (entry / "environ").read_bytes() and b"assistant" in words:
                    found[int(entry.name)] = words.replace(b"\0", b" ").decode()
    return found


def toml(folder: Path, text: str, name: str = "config.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


@contextlib.contextmanager
def daemon(folder: Path, *words: str) -> Iterator[tuple[Path, subprocess.Popen[bytes]]]:
    """A daemon that listens in `folder`; gives the config.toml that leads to it, and its process."""
    config = toml(folder, f'[daemon]\nsocket = "{folder / "daemon.sock"}"\n[audio]\nmicrophone = "none"\n')
    process = subprocess.Popen(
        [*COMMAND, "--config", str(config), "daemon", *words], stderr=subprocess.DEVNULL
    )
    try:
        until((folder / "daemon.sock").exists, "the daemon listens")
        yield config, process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(10)


def recording(
    folder: Path, *names: str, gap_s: float = 1.2, rate_hz: int = 16_000, channels: int = 1
) -> Path:
    """One recording of several questions, silence behind each."""
    parts: list[npt.NDArray[np.int16]] = []
    for name in names:
        samples, recorded_hz = soundfile.read(AUDIO / f"{name}.wav", dtype="int16", always_2d=True)
        assert recorded_hz == 16_000
        parts += [samples[:, 0], np.zeros(int(gap_s * recorded_hz), np.int16)]
    sound = np.repeat(np.concatenate(parts), rate_hz // 16_000)
    path = folder / "questions.wav"
    soundfile.write(path, np.repeat(sound[:, None], channels, axis=1), rate_hz)
    return path
