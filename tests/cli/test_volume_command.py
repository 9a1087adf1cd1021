"""`assistant volume`, on a real daemon, a real voice, and a sound card made of sockets and files."""

from __future__ import annotations

import math
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from command_line import BERLIN, COMMAND, MODELS, STORY, assistant, daemon, said, toml, until
from hypothesis import given
from hypothesis import strategies as st

from assistant.audio.card import SoundCard
from assistant.audio.volume import gain
from assistant.cli.volume import STEP, percent

VOICE_HZ = 22_050
AUDIBLE = 200


@pytest.mark.parametrize(
    ("wanted", "now", "then"),
    [
        (60, 0.1, 60),
        (0, 1.0, 0),
        ("up", 0.5, 60),
        ("down", 0.5, 40),
        ("up", 0.95, 100),
        ("down", 0.05, 0),
        ("up", 1.0, 100),
        ("down", 0.0, 0),
        ("up", 0.655, 76),
    ],
)
def test_percent(wanted: int | str, now: float, then: int) -> None:
    assert percent(wanted, now) == then


@given(st.integers(0, 100), st.sampled_from(["up", "down"]))
def test_ten_steps_lead_to_the_end(now: int, way: str) -> None:
    for _ in range(100 // STEP):
        now = percent(way, now / 100)
    assert now == (100 if way == "up" else 0)


@pytest.mark.parametrize("wrong", ["101", "-1", "loud", "1.5", "1e1", "²", "", "%", "0100"])
def test_what_is_no_volume_is_said(wrong: str) -> None:
    done = assistant("volume", "--", wrong)
    assert done.returncode == 2
    assert "a whole number from 0 to 100" in done.stderr


def test_without_a_running_assistant_it_is_one_sentence(tmp_path: Path) -> None:
    config = toml(tmp_path, f'[daemon]\nsocket = "{tmp_path / "none.sock"}"\n')
    for words in (["volume"], ["volume", "60"]):
        assert said(assistant(*words, config=config)).startswith("No daemon runs")


def test_what_was_said_is_kept_until_the_settings_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    with daemon(tmp_path, "--workers", "") as (config, process):
        told = [
            assistant("volume", *words, config=config).stdout
            for words in ([], ["60"], ["up"], ["40%", "--earcons"], ["down", "--earcons"])
        ]
        assert told == [
            "answers 100%, earcons 100%\n",
            "answers 60%, earcons 100%\n",
            "answers 70%, earcons 100%\n",
            "answers 70%, earcons 40%\n",
            "answers 70%, earcons 30%\n",
        ]
        assert "Volume      answers 70%, earcons 30%\n" in assistant("status", config=config).stdout
        process.kill()
        (tmp_path / "daemon.sock").unlink()
    with daemon(tmp_path, "--workers", "") as (config, _):
        assert assistant("volume", config=config).stdout == "answers 70%, earcons 30%\n"


class Room:
    """A daemon with its voice, and the sound card that it plays on."""

    def __init__(self, folder: Path) -> None:
        soundfile.write(folder / "silence.wav", np.zeros(1600, np.int16), 16_000)
        self._file = folder / "out.wav"
        self.card = SoundCard(str(folder / "silence.wav"), str(self._file), VOICE_HZ, folder=folder / "card")
        self.card.start()
        self.config = toml(
            folder,
            f'[daemon]\nsocket = "{folder / "room.sock"}"\n[audio]\nspeaker = "{self.card.speaker_name}"\n'
            f'[tts]\nmodel = "{MODELS / "en_US-tiny-medium.onnx"}"\n',
            "room.toml",
        )

    def says(self, text: str) -> None:
        done = assistant("say", text, config=self.config)
        assert (done.returncode, done.stderr) == (0, "")

    def volume(self, *words: str) -> float:
        """Set it; when that was done, in seconds of CLOCK_MONOTONIC."""
        done = assistant("volume", *words, config=self.config)
        assert (done.returncode, done.stderr) == (0, "")
        return time.monotonic()

    def heard(self) -> npt.NDArray[np.int16]:
        self.card.close()
        samples: npt.NDArray[np.int16] = soundfile.read(self._file, dtype="int16")[0]
        return samples

    def sample(self, at_s: float) -> int:
        return round((at_s - self.card.started_at_s) * VOICE_HZ)


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Room]:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    room = Room(tmp_path)
    command = [*COMMAND, "--config", str(room.config), "daemon", "--workers", "tts"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        until((tmp_path / "room.sock").exists, "the daemon listens")
        yield room
        process.send_signal(signal.SIGTERM)
    room.card.close()


def rms(sound: npt.NDArray[np.int16]) -> float:
    return math.sqrt(float(np.mean(sound.astype(np.float64) ** 2)))


def test_half_the_volume_is_ten_decibels_less(room: Room) -> None:
    room.says(BERLIN)
    middle = room.sample(room.volume("50"))
    room.says(BERLIN)
    heard = room.heard()
    loud, soft = (part[part != 0] for part in (heard[:middle], heard[middle:]))
    assert np.abs(loud.astype(int)).max() > 10_000
    assert 20 * math.log10(rms(soft) / rms(loud)) == pytest.approx(20 * math.log10(gain(0.5)), abs=0.1)


def test_it_changes_in_mid_answer_and_at_once(room: Room) -> None:
    room.says(BERLIN)  # the voice is there, and the speaker open
    saying = threading.Thread(target=room.says, args=(" ".join([STORY] * 2),))
    saying.start()
    begun_s = time.monotonic()
    until(lambda: time.monotonic() > begun_s + 1.5, "it speaks")
    silent_s = room.volume("0")
    until(lambda: time.monotonic() > silent_s + 0.5, "it is silent")
    wanted_s = time.monotonic()
    loud_s = room.volume("100")
    saying.join()
    heard = np.abs(room.heard().astype(np.int32))
    silent = heard[room.sample(silent_s + 0.15) : room.sample(wanted_s)]
    assert len(silent) > 0.3 * VOICE_HZ
    assert not silent.any()
    assert (heard[room.sample(begun_s) : room.sample(silent_s)] > AUDIBLE).any()
    assert (heard[room.sample(loud_s + 0.15) :] > AUDIBLE).any()
