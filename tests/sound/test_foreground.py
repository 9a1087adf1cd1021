"""`assistant`, without a command: a person speaks to the microphone and hears the answer from the speaker."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
from pulse_server import NEEDS_PULSE, SPEAKER_HZ, Server

from assistant import Assistant
from assistant.audio.files import write_wav

AUDIO = Path(__file__).parents[1] / "audio"
Run = Callable[[Callable[[], object]], threading.Thread]

pytestmark = NEEDS_PULSE


def ours(folder: Path) -> list[str]:
    """The command lines of the processes that know `folder` from their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            environment, words = (entry / "environ").read_bytes(), (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if bytes(folder) in environment and b"assistant\0" in words:
            found.append(words.replace(b"\0", b" ").decode())
    return found


def test_a_spoken_question_is_answered_aloud(tmp_path: Path, run: Run) -> None:
    server = Server(tmp_path)
    config = tmp_path / "config.toml"
    config.write_text(f'[daemon]\nsocket = "{tmp_path / "daemon.sock"}"\n')
    command = [sys.executable, "-m", "assistant", "--config", str(config)]
    record = [
        "parec",
        "--device=spk.monitor",
        f"--rate={SPEAKER_HZ}",
        "--channels=1",
        "--format=s16le",
        "--raw",
    ]
    pipe = subprocess.PIPE
    try:
        with (
            subprocess.Popen(record, env=server.env, stdout=pipe) as recorder,
            subprocess.Popen(command, env=server.env, stdout=pipe, stderr=pipe, text=True) as assistant,
        ):
            assert recorder.stdout
            assert assistant.stdout
            assert assistant.stderr
            out = recorder.stdout
            heard: list[bytes] = []
            listening = run(lambda: heard.extend(iter(lambda: out.read(4_000), b"")))
            try:
                lines = iter(assistant.stdout.readline, "")
                assert "Listening.\n" in lines
                for name, question, answer in [
                    ("q00", "What is the capital of Germany?", "The capital of Germany is Berlin."),
                    ("q12", "Which planet is red?", "Mars is the red planet."),
                ]:
                    play = ["paplay", "--device=micbus", str(AUDIO / f"{name}.wav")]
                    subprocess.run(play, env=server.env, check=True, timeout=20)
                    assert next(lines) == "\n"
                    assert next(lines) == f"You:       {question}\n"
                    assert next(lines) == f"Assistant: {answer}\n"
                    until_quiet(heard)
                assert len(ours(tmp_path)) == 6
                assistant.send_signal(signal.SIGINT)
                assert assistant.wait(2.5) == 128 + signal.SIGINT
                assert assistant.stderr.read() == ""
                assert not ours(tmp_path)
                assert not (tmp_path / "daemon.sock").exists()
            finally:
                assistant.kill()
                recorder.terminate()
            listening.join(5)
    finally:
        server.process.kill()
        server.process.wait()
    sound = np.frombuffer(b"".join(heard)[: sum(map(len, heard)) // 2 * 2], np.int16)
    write_wav(tmp_path / "heard.wav", sound, SPEAKER_HZ)
    with Assistant.open(workers=["stt"]) as ear:
        assert ear.transcribe(tmp_path / "heard.wav") == (
            "The capital of Germany is Berlin. Mars is the red planet."
        )


def until_quiet(heard: list[bytes]) -> None:
    """Wait until something was heard, and then half a second of nothing."""
    pause = threading.Event()
    begin = len(heard)
    for _ in range(2_000):
        pieces = b"".join(heard[begin:])
        if pieces.strip(b"\0") and not pieces[-SPEAKER_HZ:].strip(b"\0"):
            return
        pause.wait(0.01)
    raise AssertionError("no answer is heard")


def test_a_misspelt_speaker_is_said_at_the_start(tmp_path: Path) -> None:
    """Without any sound, even that of readiness; the stage is ready all the same."""
    server = Server(tmp_path)
    config, socket = tmp_path / "config.toml", tmp_path / "daemon.sock"
    config.write_text(
        f'[daemon]\nsocket = "{socket}"\n[audio]\nspeaker = "defualt"\n[sounds]\nearcons = false\n'
    )
    assistant = [sys.executable, "-m", "assistant", "--config", str(config)]
    with subprocess.Popen(
        [*assistant, "daemon"], env=server.env, stderr=subprocess.PIPE, text=True
    ) as daemon:
        try:
            assert daemon.stderr
            why = 'There is no speaker called "defualt"; did you mean "default"?'
            said = f"assistant: WARNING: tts lacks something: {why}\n"
            assert said in iter(daemon.stderr.readline, "")
            status = [*assistant, "status", "--json"]
            shown = subprocess.run(status, env=server.env, capture_output=True, check=False, timeout=60)
            tts = json.loads(shown.stdout)["stages"]["tts"]
            assert (tts["state"], tts["detail"]) == ("ready", why)
            streams = subprocess.run(
                ["pactl", "list", "short", "sink-inputs"], env=server.env, capture_output=True, check=True
            )
            assert streams.stdout == b"", "the speaker is only looked for"
        finally:
            daemon.terminate()
            daemon.communicate(timeout=20)
            server.process.kill()
            server.process.wait()
