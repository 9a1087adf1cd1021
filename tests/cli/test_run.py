"""`assistant run`: streams, signals and settings.  (The turns themselves are tested in test_chain.py.)"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
import pytest
import soundfile
from command_line import AUDIO, BERLIN, CAPITAL, MODELS, assistant, processes, recording, started, toml, until

from assistant.cli.timeline import Event

RATE_HZ = 16_000
UNKNOWN_LENGTH = 0xFFFFFFFF


def wav_header(rate_hz: int = RATE_HZ) -> bytes:
    """The header that a program writes which does not know how long its sound will be."""
    whole = io.BytesIO()
    soundfile.write(whole, np.zeros(0, np.int16), rate_hz, format="WAV")
    header = whole.getvalue()
    assert len(header) == 44
    unknown = UNKNOWN_LENGTH.to_bytes(4, "little")
    return header[:4] + unknown + header[8:40] + unknown


def question(name: str) -> bytes:
    samples, rate_hz = soundfile.read(AUDIO / f"{name}.wav", dtype="int16")
    assert rate_hz == RATE_HZ
    return bytes(np.asarray(samples, "<i2").tobytes())


SILENCE = bytes(2 * RATE_HZ // 10)


class Voice:
    """A person at a microphone: silent in real time, unless told to `ask`; `stop` closes the stream."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out = out
        self._sound = bytearray()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._speaking = threading.Thread(target=self._speak)
        self._speaking.start()

    def ask(self, name: str) -> None:
        with self._lock:
            self._sound += question(name)

    def stop(self) -> None:
        self._stopped.set()
        self._speaking.join()

    def _speak(self) -> None:
        # the other end may go away, which is noticed on closing, too
        with contextlib.suppress(BrokenPipeError), self._out:
            self._out.write(wav_header())
            while not self._stopped.wait(0.1):
                with self._lock:
                    piece = bytes(self._sound[: len(SILENCE)])
                    del self._sound[: len(SILENCE)]
                self._out.write(piece.ljust(len(SILENCE), b"\0"))
                self._out.flush()


def await_event(lines: Iterator[bytes], name: str) -> Event:
    for line in lines:
        event: Event = json.loads(line)
        if event["event"] == name:
            return event
    raise AssertionError(f"{name} never came")


@pytest.fixture
def runtime() -> Iterator[Path]:
    """A folder for sockets, with a path as short as they need."""
    with tempfile.TemporaryDirectory(prefix="run-", dir="/tmp") as folder:
        yield Path(folder)


def test_one_process_answers_question_after_question(tmp_path: Path) -> None:
    """Live from standard input to standard output, the events on standard error."""
    with started("run", "--mic", "-", "--speaker", "-", "--json") as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        heard: list[bytes] = []
        listening = threading.Thread(target=lambda: heard.extend(iter(lambda: os.read(out, 65_536), b"")))
        out = process.stdout.fileno()
        listening.start()
        voice = Voice(process.stdin)
        events = iter(process.stderr)
        await_event(events, "listening")
        for turn, (name, answer) in enumerate([("q00", BERLIN), ("q12", "Mars is the red planet.")], start=1):
            voice.ask(name)
            told = await_event(events, "answer")
            assert (told["turn"], told["text"]) == (turn, answer)
            await_event(events, "first_sound")
            until(lambda: b"".join(heard).rstrip(b"\0")[-1:] != b"", "it is heard")
            await_event(events, "done")
        voice.stop()
        process.stdin = None
        assert process.wait(10) == 0
        listening.join(5)
        (last,) = map(json.loads, events)
        assert (last["event"], last["hits"], last["misses"]) == ("speculation", 2, 0)
    (tmp_path / "heard.wav").write_bytes(b"".join(heard))
    assert (
        assistant("transcribe", tmp_path / "heard.wav").stdout.split()
        == f"{BERLIN} Mars is the red planet.".split()
    )


def test_fifos_for_both(tmp_path: Path) -> None:
    mic, speaker = tmp_path / "mic", tmp_path / "speaker"
    os.mkfifo(mic)
    os.mkfifo(speaker)
    with started("run", "--mic", mic, "--speaker", speaker, "--json") as process:
        assert process.stdout
        heard: list[bytes] = []
        listening = threading.Thread(target=lambda: heard.append(speaker.read_bytes()))
        listening.start()
        voice = Voice(mic.open("wb"))
        events = iter(process.stdout)
        voice.ask("q00")
        assert await_event(events, "answer")["text"] == BERLIN
        voice.stop()
        await_event(events, "done")
        assert process.wait(10) == 0
        listening.join(5)
    (tmp_path / "heard.wav").write_bytes(heard[0])
    assert assistant("transcribe", tmp_path / "heard.wav").stdout == f"{BERLIN}\n"


def test_a_writer_that_goes_away_in_mid_question(tmp_path: Path) -> None:
    half = wav_header() + question("q00")[: 3 * RATE_HZ // 2]
    out = tmp_path / "out.wav"
    done = assistant("run", "--mic", "-", "--speaker", out, "--json", stdin=half)
    assert (done.returncode, done.stderr) == (0, "")
    names = [json.loads(line)["event"] for line in done.stdout.splitlines()]
    assert names[-2:] == ["done", "speculation"]
    assert soundfile.info(out).frames > 0


@pytest.mark.parametrize(("stream", "complaint"), [(b"", "is empty"), (b"text\n" * 99, "is not WAV")])
def test_a_stream_that_is_no_sound(stream: bytes, complaint: str) -> None:
    done = assistant("run", "--mic", "-", stdin=stream)
    assert done.returncode == 1
    assert complaint in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("kind", ["pipe", "fifo"])
def test_a_listener_that_goes_away_ends_it(kind: str, tmp_path: Path) -> None:
    fifo = tmp_path / "speaker"
    os.mkfifo(fifo)
    speaker = "-" if kind == "pipe" else str(fifo)
    with started("run", "--mic", "-", "--speaker", speaker) as process:
        assert process.stdin
        assert process.stdout
        voice = Voice(process.stdin)
        process.stdin = None
        ear = process.stdout if kind == "pipe" else fifo.open("rb")
        assert ear.read(44)[:4] == b"RIFF"
        ear.close()
        assert process.wait(10) == 1
        voice.stop()
        assert process.stderr
        assert b"Nobody takes the answers' sound any more" in process.stderr.read()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["first_sound", "speech_start"])
def test_a_signal_ends_all_of_it(number: signal.Signals, moment: str, tmp_path: Path, runtime: Path) -> None:
    out = tmp_path / "out.wav"
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(runtime)}
    mic = recording(tmp_path, "q00", "q04")
    with started("run", "--mic", mic, "--speaker", out, "--json", env=environment) as process:
        assert process.stdout
        await_event(iter(process.stdout), moment)
        assert len(processes(str(runtime))) >= 6
        process.send_signal(number)
        process.wait(2.5)
        assert process.returncode == 128 + number
        assert process.stderr
        assert process.stderr.read() == b""
    assert not processes(str(runtime))
    assert not list(runtime.glob("*"))
    sound, _ = soundfile.read(out, dtype="int16")
    assert len(sound) > 0
    assert sound.any() == (moment == "first_sound")


@pytest.mark.parametrize("words", [["run", "--mic"], ["--text"]], ids=["run", "text"])
def test_nothing_outlives_a_killed_command(words: list[str], tmp_path: Path, runtime: Path) -> None:
    mic = [recording(tmp_path, "q00")] if words[0] == "run" else []
    with started(*words, *mic, env={**os.environ, "XDG_RUNTIME_DIR": str(runtime)}) as process:
        until(lambda: any(" worker llm " in words for words in processes(str(runtime)).values()), "it works")
        process.kill()
        until(lambda: not processes(str(runtime)), "all have ended", 5)


# ---------------------------------------------------------------- settings


def test_faster_than_real_time(tmp_path: Path) -> None:
    done = assistant("run", "--mic", recording(tmp_path, "q00"), "--json", "--speed", "4")
    events = {event["event"]: event for event in map(json.loads, done.stdout.splitlines())}
    assert events["answer"]["text"] == BERLIN
    assert events["end_of_turn"]["t"] - events["listening"]["t"] < len(question("q00")) / 2 / RATE_HZ / 2


def test_for_people_it_prints_a_timeline(tmp_path: Path) -> None:
    done = assistant("run", "--mic", recording(tmp_path, "q00"), "--speed", "4")
    lines = done.stdout.splitlines()
    assert lines[:4] == ["Listening.", "Turn 1", f"  heard:  {CAPITAL}", f"  answer: {BERLIN}"]
    assert lines.pop() == "Times that work began before the end of the turn: 1; for nothing: 0"
    shown = [line.partition(" ms  ")[2] for line in lines[4:]]
    assert [int(line.split()[0]) for line in lines[4:]] == sorted(int(line.split()[0]) for line in lines[4:])
    # work begins before the turn has ended, and is heard when it has
    assert [step for step in shown if step != "end of turn"] == [
        "transcript",
        "first token",
        "first sentence",
        "first sound",
        "done",
    ]
    assert shown.index("end of turn") < shown.index("first sound")


def test_what_config_toml_says_happens(tmp_path: Path) -> None:
    mic = recording(tmp_path, "q00", gap_s=2.0)
    out = tmp_path / "out.wav"

    def run(text: str) -> dict[str, Event]:
        config = toml(tmp_path, text)
        done = assistant("run", "--mic", mic, "--speaker", out, "--json", config=config)
        assert (done.returncode, done.stderr) == (0, "")
        return {event["event"]: event for event in map(json.loads, done.stdout.splitlines())}

    def waited_s(events: dict[str, Event]) -> float:
        return float(events["end_of_turn"]["t"]) - float(events["end_of_turn"]["speech_end"])

    low = MODELS / "en_US-tiny-low.onnx"
    short = run(f'[vad]\nhangover_ms = 300\n[llm]\nmax_tokens = 3\n[tts]\nmodel = "{low}"\n')
    assert waited_s(short) == pytest.approx(0.3, abs=0.15)
    assert short["answer"]["text"]
    assert len(str(short["answer"]["text"]).split()) <= 3
    assert soundfile.info(out).samplerate == 16_000
    long = run("[vad]\nhangover_ms = 1500\n")
    assert waited_s(long) == pytest.approx(0.5, abs=0.15)  # it reads as finished
    assert soundfile.info(out).samplerate == 22_050


def test_a_seed_repeats_an_answer(tmp_path: Path) -> None:
    answers = set()
    for _ in range(3):
        config = toml(
            tmp_path, "[llm]\ntemperature = 2.0\ntop_k = 0\ntop_p = 1.0\nmax_tokens = 20\nseed = 7\n"
        )
        answers.add(assistant("ask", "Tell me a story.", config=config).stdout)
    assert len(answers) == 1
    config = toml(tmp_path, "[llm]\ntemperature = 2.0\ntop_k = 0\ntop_p = 1.0\nmax_tokens = 20\nseed = 8\n")
    assert assistant("ask", "Tell me a story.", config=config).stdout not in answers


# ---------------------------------------------------------------- privacy


def test_words_and_sound_stay_in_memory(tmp_path: Path) -> None:
    """Neither files nor log lines hold what was said, and nothing needs a network."""
    folders = (
        "HOME",
        "TMPDIR",
        "XDG_RUNTIME_DIR",
        "XDG_CONFIG_HOME",
        "XDG_CACHE_HOME",
        "XDG_DATA_HOME",
        "XDG_STATE_HOME",
    )
    environment = {"PATH": os.environ["PATH"]}
    for name in folders:
        environment[name] = str(tmp_path / name)
        (tmp_path / name).mkdir(mode=0o700)
    config = toml(tmp_path / "HOME", '[log]\nlevel = "debug"\n')
    commands = [
        ["--debug", "ask", CAPITAL],
        ["--debug", "transcribe", str(AUDIO / "q00.wav")],
        ["--debug", "run", "--mic", str(AUDIO / "q00.wav"), "--speed", "4"],
        ["--debug", "say", BERLIN, "-o", "/dev/null"],
    ]
    no_network = ["unshare", "--net", "--map-root-user"]
    if subprocess.run([*no_network, "true"], capture_output=True).returncode:
        no_network = []  # not allowed here
    for words in commands:
        with started(*words, config=config, env=environment, before=no_network) as process:
            _, err = process.communicate(timeout=60)
            assert process.returncode == 0, err.decode()
            assert err, "it logs"
            assert b"Berlin" not in err
            assert b"Germany" not in err
    left = [path for path in tmp_path.rglob("*") if not path.is_dir() and path != config]
    assert not left
