"""The main job, on real sound: recorded questions in, the right answers recognised from the spoken WAV out.

Everything here is real: the processes, the sockets, the engines (on the tiny models), the signals.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from assistant import Assistant
from assistant.cli.timeline import Event

TESTS = Path(__file__).parent
AUDIO = TESTS / "audio"
COMMAND = [sys.executable, "-m", "assistant"]
STEPS = ["end_of_turn", "transcript", "first_token", "answer", "first_sound", "done"]
QUESTIONS = {
    "q00": ("What is the capital of Germany?", "The capital of Germany is Berlin."),
    "q04": ("What is the opposite of old?", "The opposite of old is young."),
    "q12": ("Which planet is red?", "Mars is the red planet."),
    "q13": ("How many months does a year have?", "There are twelve months in a year."),
}


def spoken(*names: str, gap_s: float = 1.2, folder: Path) -> Path:
    """One recording of several questions, silence behind each, at 16 kHz."""
    parts = []
    for name in names:
        samples, rate_hz = soundfile.read(AUDIO / f"{name}.wav", dtype="int16", always_2d=True)
        assert rate_hz == 16000
        parts += [samples[:, 0], np.zeros(int(gap_s * rate_hz), np.int16)]
    path = folder / "questions.wav"
    soundfile.write(path, np.concatenate(parts), 16000)
    return path


def run(*words: str | Path, timeout_s: float = 90, **how: object) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, **how)  # type: ignore[call-overload,no-any-return] # subprocess has no type for options passed on


def events_of(output: str) -> list[Event]:
    return [json.loads(line) for line in output.splitlines()]


def texts(events: list[Event], name: str) -> list[str]:
    return [str(event["text"]) for event in events if event["event"] == name]


@pytest.fixture(scope="module")
def ear() -> Iterator[Assistant]:
    """Reads back what the assistant has said."""
    with Assistant.open(workers=["stt"]) as assistant:
        yield assistant


@pytest.mark.parametrize("name", ["q00", "q13"])
def test_a_recorded_question_is_answered_aloud(name: str, tmp_path: Path, ear: Assistant) -> None:
    question, answer = QUESTIONS[name]
    out = tmp_path / "out.wav"
    done = run("run", "--mic", AUDIO / f"{name}.wav", "--speaker", out, "--json")
    assert done.returncode == 0, done.stderr
    events = events_of(done.stdout)
    assert texts(events, "transcript") == [question]
    assert texts(events, "answer") == [answer]
    order = [str(event["event"]) for event in events]
    work = [str(event["text"]) for event in events if event["event"] == "worked"]
    assert {*work} == {"llm", "stt", "tts"}
    assert [name for name in order if name not in ("pause", "worked")] == [
        "listening",
        "speech_start",
        *STEPS,
        "speculation",
    ]
    assert ear.transcribe(out) == answer


def test_the_answer_stands_in_the_file_when_it_would_have_been_heard(tmp_path: Path) -> None:
    out = tmp_path / "out.wav"
    done = run("run", "--mic", AUDIO / "q00.wav", "--speaker", out, "--json")
    times = {str(event["event"]): float(event["t"]) for event in events_of(done.stdout)}
    samples, rate_hz = soundfile.read(out, dtype="int16")
    first = np.flatnonzero(np.abs(samples.astype(np.int32)) >= 200)[0] / rate_hz
    assert first == pytest.approx(times["first_sound"] - times["listening"], abs=0.05)


def test_several_questions_in_one_recording_are_several_turns(tmp_path: Path, ear: Assistant) -> None:
    names = ["q00", "q04", "q12"]
    out = tmp_path / "out.wav"
    mic = spoken(*names, folder=tmp_path)
    done = run("run", "--mic", mic, "--speaker", out, "--json", "--speed", "2")
    events = events_of(done.stdout)
    assert texts(events, "transcript") == [QUESTIONS[name][0] for name in names]
    assert texts(events, "answer") == [QUESTIONS[name][1] for name in names]
    assert [event["turn"] for event in events if event["event"] == "done"] == [1, 2, 3]
    assert ear.transcribe(out) == " ".join(QUESTIONS[name][1] for name in names)


def test_a_pipe_that_gives_everything_at_once_loses_no_question(tmp_path: Path) -> None:
    """More questions than the queue holds, faster than they can be answered: the recording waits."""
    names = ["q00", "q04", "q12"] * 4
    mic = spoken(*names, folder=tmp_path)
    with mic.open("rb") as sound:
        done = run("run", "--mic", "-", "--speed", "8", "--json", stdin=sound)
    assert texts(events_of(done.stdout), "answer") == [QUESTIONS[name][1] for name in names]


@pytest.mark.parametrize("name", ["silence", "white", "hum", "music", "gust", "clicks"])
def test_noise_is_not_answered(name: str, tmp_path: Path) -> None:
    out = tmp_path / "out.wav"
    done = run(
        "run", "--mic", AUDIO / "nonspeech" / f"{name}.wav", "--speaker", out, "--json", "--speed", "4"
    )
    events = events_of(done.stdout)
    assert done.returncode == 0
    assert not texts(events, "answer")
    assert not any(texts(events, "transcript"))
    samples, _ = soundfile.read(out, dtype="int16")
    assert not samples.any()


def test_a_pause_in_mid_sentence_is_one_question(tmp_path: Path) -> None:
    """A pause longer than the tentative one, and shorter than any that ends a turn: one whole question.

    It is within the last word, of which the recogniser guesses the rest: the sentence reads as finished.
    """
    samples, rate_hz = soundfile.read(AUDIO / "q00.wav", dtype="int16")
    quiet = len(samples) // 2 + int(
        np.argmin(np.convolve(np.abs(samples[len(samples) // 2 : -rate_hz // 2].astype(float)), np.ones(800)))
    )
    paused = np.concatenate([samples[:quiet], np.zeros(rate_hz * 15 // 100, np.int16), samples[quiet:]])
    mic = tmp_path / "paused.wav"
    soundfile.write(mic, np.concatenate([paused, np.zeros(rate_hz, np.int16)]), rate_hz)
    done = run("run", "--mic", mic, "--speaker", tmp_path / "out.wav", "--json")
    events = events_of(done.stdout)
    assert len(texts(events, "end_of_turn")) == 1
    assert texts(events, "answer") == ["The capital of Germany is Berlin."]
    assert len(texts(events, "transcript")) == 1


def test_a_question_that_reads_as_unfinished_is_waited_for(tmp_path: Path) -> None:
    """ "What is the capital of …", then 0.8 s, longer than the hangover, then "… Germany?": one question."""
    samples, rate_hz = soundfile.read(AUDIO / "q00.wav", dtype="int16")
    loud = np.flatnonzero(np.abs(samples.astype(np.int32)) > 0.03 * np.abs(samples.astype(np.int32)).max())
    cut = loud[0] + (loud[-1] - loud[0]) * 7 // 10
    pause, silence = np.zeros(rate_hz * 8 // 10, np.int16), np.zeros(rate_hz, np.int16)
    mic = tmp_path / "paused.wav"
    soundfile.write(mic, np.concatenate([samples[:cut], pause, samples[cut:], silence]), rate_hz)
    config = tmp_path / "config.toml"
    config.write_text("[vad]\nhangover_ms = 500\n")
    done = run("--config", config, "run", "--mic", mic, "--speaker", tmp_path / "out.wav", "--json")
    events = events_of(done.stdout)
    assert len(texts(events, "end_of_turn")) == 1
    assert texts(events, "answer") == ["The capital of Germany is Berlin."]
    (counted,) = (event for event in events if event["event"] == "speculation")
    assert (counted["hits"], counted["misses"]) == (1, 1)
    assert float(counted["wasted_s"]) > 0


def workers_of(process: subprocess.Popen[str], stage: str) -> list[int]:
    """The processes of a stage that descend from `process`."""
    parents: dict[int, int] = {}
    names: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                pid = int(entry.name)
                parents[pid] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                names[pid] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except (OSError, ValueError):
                continue

    def descends(pid: int) -> bool:
        while pid in parents:
            if pid == process.pid:
                return True
            pid = parents[pid]
        return False

    return [pid for pid, name in names.items() if f"worker {stage} " in name and descends(pid)]


def killed_run(mic: Path, out: Path, kill: dict[str, str]) -> list[Event]:
    """Run, and kill the worker `kill[event]` with SIGKILL when that event comes, once each."""
    command = [*COMMAND, "run", "--mic", str(mic), "--speaker", str(out), "--json"]
    events: list[Event] = []
    waiting = dict(kill)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            events.append(json.loads(line))
            stage = waiting.pop(str(events[-1]["event"]), None)
            if stage is not None:
                for pid in workers_of(process, stage):
                    os.kill(pid, signal.SIGKILL)
    assert process.returncode == 0
    assert not waiting
    return events


@pytest.mark.parametrize(
    ("event", "stage"),
    [
        ("listening", "stt"),
        ("listening", "llm"),
        ("listening", "tts"),
        ("speech_start", "vad"),
        ("speech_start", "stt"),
        ("end_of_turn", "vad"),
        ("end_of_turn", "stt"),
        ("end_of_turn", "llm"),
        ("transcript", "llm"),
        ("first_token", "llm"),
        ("first_token", "tts"),
        ("answer", "tts"),
        ("first_sound", "tts"),
        ("first_sound", "vad"),
    ],
)
def test_a_killed_worker_does_not_cost_the_answer(
    event: str, stage: str, tmp_path: Path, ear: Assistant
) -> None:
    question, answer = QUESTIONS["q00"]
    out = tmp_path / "out.wav"
    events = killed_run(spoken("q00", folder=tmp_path), out, {event: stage})
    assert texts(events, "transcript") == [question]
    assert texts(events, "answer") == [answer]
    assert texts(events, "done") == [""]
    if (event, stage) != ("first_sound", "tts"):  # that answer has a gap, where its first worker died
        assert ear.transcribe(out) == answer


@pytest.mark.parametrize("seed", range(3))
def test_random_kills_lose_no_turn(seed: int, tmp_path: Path) -> None:
    """Every turn is answered, or apologised for; the run ends."""
    random_events = random.Random(seed)
    steps = ["speech_start", *STEPS[:-1]]
    kill = {
        step: random_events.choice(["vad", "stt", "llm", "tts"]) for step in random_events.sample(steps, 3)
    }
    events = killed_run(spoken("q00", "q04", folder=tmp_path), tmp_path / "out.wav", kill)
    assert len(texts(events, "done")) == 2
    for answer in texts(events, "answer"):
        assert (
            answer in ("The capital of Germany is Berlin.", "The opposite of old is young.")
            or "Sorry" in answer
        )
