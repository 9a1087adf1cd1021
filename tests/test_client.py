"""The three lines of Python, against real daemons and the tiny models."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
import soundfile

from assistant import Assistant
from assistant.audio.formats import RATE_HZ
from assistant.audio.resampling import Resampler
from assistant.engines import silero
from assistant.errors import AnswerError, AudioError, DaemonError, ModelError
from assistant.messages import Ask, Recognise

AUDIO = Path(__file__).parent / "audio"
CAPITAL = "What is the capital of Germany?"
BERLIN = "The capital of Germany is Berlin."
STORY = "Tell me a story."


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """config.toml of a daemon that nobody has started yet."""
    folder = tmp_path_factory.mktemp("client")
    path = folder / "config.toml"
    path.write_text(f'[daemon]\nsocket = "{folder / "daemon.sock"}"\n[audio]\nspeaker = "none"\n')
    return path


@contextlib.contextmanager
def daemon(config: Path, workers: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "assistant", "--config", str(config), "daemon", "--workers", workers]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    pause = threading.Event()
    try:
        for _ in range(2000):
            if (config.parent / "daemon.sock").exists():
                break
            pause.wait(0.01)
        yield process
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(scope="module")
def running(config: Path) -> Iterator[Path]:
    """config.toml of a daemon that runs."""
    with daemon(config, "llm,stt,tts"):
        yield config


@pytest.fixture
def assistant(running: Path) -> Iterator[Assistant]:
    with Assistant.open(running) as assistant:
        assert assistant.is_attached
        yield assistant


def answer(assistant: Assistant, question: str) -> str:
    return "".join(assistant.ask(question)).strip()


def test_three_lines_of_python() -> None:
    with Assistant.open() as a:
        assert "".join(a.ask(CAPITAL)).strip() == BERLIN


def test_an_answer_comes_in_pieces_and_is_remembered(assistant: Assistant) -> None:
    assert len(list(assistant.ask(STORY))) > 10
    assert answer(assistant, "My name is Anna.") == "Nice to meet you, Anna."
    assert answer(assistant, "What is my name?") == "Your name is Anna."
    assistant.forget()
    assert answer(assistant, "What is my name?") == "I do not know that."


def test_clients_have_conversations_of_their_own(assistant: Assistant, running: Path) -> None:
    with Assistant.open(running) as other:
        assert answer(assistant, "My name is Anna.") == "Nice to meet you, Anna."
        assert answer(other, "My name is Tom.") == "Nice to meet you, Tom."
        assert answer(assistant, "What is my name?") == "Your name is Anna."
        assert answer(other, "What is my name?") == "Your name is Tom."


def test_clients_that_ask_at_the_same_time_get_their_own_answers(running: Path) -> None:
    answers: dict[str, str] = {}

    def ask(city: str, country: str) -> None:
        with Assistant.open(running) as assistant:
            answers[city] = answer(assistant, f"What is the capital of {country}?")

    pairs = [("Berlin", "Germany"), ("Madrid", "Spain"), ("Warsaw", "Poland"), ("Rome", "Italy")]
    threads = [threading.Thread(target=ask, args=pair) for pair in pairs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert answers == {city: f"The capital of {country} is {city}." for city, country in pairs}


def test_a_question_ends_the_answer_before_it(assistant: Assistant) -> None:
    story = assistant.ask(STORY)
    assert next(story)
    assert answer(assistant, CAPITAL).startswith(BERLIN)  # the tiny model may ramble after half a story
    assert list(story) == []


def test_an_answer_that_is_not_read_to_its_end_is_stopped(assistant: Assistant) -> None:
    story = assistant.ask(STORY)
    next(story)
    story.close()
    assistant.forget()
    assert answer(assistant, CAPITAL) == BERLIN


def test_an_interrupted_request_is_not_taken_for_the_next_one(assistant: Assistant) -> None:
    """As by Ctrl-C between the question and the daemon's confirmation."""
    assistant._link.post(Ask(STORY))
    assert answer(assistant, CAPITAL).startswith(BERLIN)


def test_speech_there_and_back(assistant: Assistant, tmp_path: Path) -> None:
    text = "The capital of Germany is Berlin. Two plus three is five."
    assistant.say(text, tmp_path / "said.wav")
    sound = soundfile.info(tmp_path / "said.wav")
    assert (sound.samplerate, sound.channels, sound.subtype) == (22_050, 1, "PCM_16")
    assert assistant.transcribe(tmp_path / "said.wav") == text


def test_a_recording_is_heard_with_what_the_plan_has_room_for(
    assistant: Assistant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(silero, "FILE", Path("assets") / "other.onnx")  # it cannot be had
    planned = assistant._link.config
    for second_opinion in (True, False):
        vad = msgspec.structs.replace(planned.vad, second_opinion=second_opinion)
        monkeypatch.setattr(assistant._link, "config", msgspec.structs.replace(planned, vad=vad))
        with pytest.raises(ModelError) if second_opinion else contextlib.nullcontext():
            assert assistant.transcribe(AUDIO / "q00.wav") == CAPITAL


def test_segments_say_when(assistant: Assistant, tmp_path: Path) -> None:
    question, rate_hz = soundfile.read(AUDIO / "q00.wav", dtype="int16")
    pause = np.zeros(2 * rate_hz, np.int16)
    soundfile.write(tmp_path / "two.wav", np.concatenate([pause, question, pause, question]), rate_hz)
    first, second = assistant.segments(tmp_path / "two.wav")
    assert first.text == second.text == CAPITAL
    length_s = len(question) / rate_hz
    assert 1.6 < first.start_s < first.end_s <= 2 + length_s
    assert 1.6 < second.start_s - length_s - 2 < second.end_s - length_s - 2 <= 2 + length_s
    assert first.confidence > 0.9
    assert first.language == "en"


@pytest.mark.parametrize("text", ["", "🎉", "***", "\x01 \x1b[31m"])
def test_nothing_that_can_be_spoken(text: str, assistant: Assistant, tmp_path: Path) -> None:
    with pytest.raises(AnswerError, match="nothing to say"):
        assistant.say(text, tmp_path / "no.wav")
    assert not (tmp_path / "no.wav").exists()


def test_speech_and_its_words_need_no_file(assistant: Assistant) -> None:
    (speech,) = assistant.speech(BERLIN)
    resampler = Resampler(speech.rate_hz, RATE_HZ)
    sound = np.concatenate([resampler.feed(np.frombuffer(speech.pcm, np.int16)), resampler.end()])
    assert assistant.recognise(Recognise(sound.tobytes(), RATE_HZ, 1000 * len(sound) // RATE_HZ)) == BERLIN
    assert assistant.recognise(Recognise(bytes(2 * RATE_HZ), RATE_HZ, 0)) == ""
    with pytest.raises(AnswerError, match="nothing to say"):
        assistant.speech("!!!")


def test_errors_leave_the_assistant_usable(assistant: Assistant) -> None:
    with pytest.raises(AudioError, match="no sound file"):
        assistant.transcribe(AUDIO / "missing.wav")
    with pytest.raises(AnswerError, match="too long"):
        answer(assistant, 20_000 * "word ")
    with pytest.raises(AnswerError, match="speaker"):
        assistant.say("Hello.")
    assert answer(assistant, CAPITAL) == BERLIN


def test_a_killed_worker_gives_the_whole_answer_once(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(f'[daemon]\nsocket = "{tmp_path / "daemon.sock"}"\n[llm]\ntemperature = 0.0\n')
    with daemon(path, "llm") as process, Assistant.open(path) as assistant:
        whole = "".join(assistant.ask(STORY))
        assistant.forget()
        for kill_at in (1, 8):
            parts = []
            for part in assistant.ask(STORY):
                parts.append(part)
                if len(parts) == kill_at:
                    for pid in children(process.pid):
                        os.kill(pid, signal.SIGKILL)
            assert "".join(parts) == whole
            assistant.forget()


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_daemon_that_dies_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(f'[daemon]\nsocket = "{tmp_path / "daemon.sock"}"\n')
    with daemon(path, "none") as process, Assistant.open(path) as assistant:
        killing = threading.Timer(0.2, process.kill)
        killing.start()
        with pytest.raises(DaemonError, match="went away"):
            answer(assistant, CAPITAL)
        killing.join()
    assert (tmp_path / "daemon.sock").exists()
    with Assistant.open(path) as assistant:  # what was left behind does not matter
        assert not assistant.is_attached
        assert answer(assistant, CAPITAL) == BERLIN


def test_an_empty_question_is_said_to_be_one(running: Path) -> None:
    with Assistant.open(running) as assistant, pytest.raises(AnswerError, match="empty"):
        list(assistant.ask(" \0 "))


def test_a_closed_assistant_says_so(running: Path) -> None:
    with Assistant.open(running) as assistant:
        pass
    with pytest.raises(DaemonError, match="closed"):
        list(assistant.ask(CAPITAL))
