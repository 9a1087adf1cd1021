"""`assistant alert`: faults are heard from a sound card of files, and from PulseAudio's."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import get_args

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from pulse_server import NEEDS_PULSE, SPEAKER_HZ, Server

from assistant.audio.card import SoundCard
from assistant.audio.card_link import SPEAKER_SOCKET, speaker_name
from assistant.audio.fault_sounds import path
from assistant.audio.files import write_wav
from assistant.messages import Fault

COMMAND = [sys.executable, "-m", "assistant"]
AS_SERVICE = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
os.execv(sys.argv[2], sys.argv[2:])
"""
"""What systemd does: the socket as descriptor 3, and a word to the process that it is meant for."""

Int16 = npt.NDArray[np.int16]
Card = Callable[..., SoundCard]


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    """A folder with a short sound for each fault, every sample its number."""
    folder = tmp_path / "sounds"
    folder.mkdir()
    for number, fault in enumerate(get_args(Fault), 1):
        write_wav(path(folder, fault), np.full(2_205, 1_000 * number, np.int16), SPEAKER_HZ)
    return folder


@pytest.fixture
def card(tmp_path: Path, open_card: Card) -> SoundCard:
    """A sound card that writes what it plays to card.wav."""
    soundfile.write(tmp_path / "silence.wav", np.zeros(1600, np.int16), 16_000)
    return open_card(tmp_path / "silence.wav", tmp_path / "card.wav", rate_hz=SPEAKER_HZ)


def configured(sounds: Path, speaker: str, rest: str = "") -> list[str]:
    """The command that plays `sounds`, with a config.toml that names a speaker."""
    config = sounds.with_name("config.toml")
    config.write_text(f'[audio]\nspeaker = "{speaker}"\n{rest}')
    return [*COMMAND, "--config", str(config), "alert", "--sounds", str(sounds)]


def numbers(sound: Int16) -> list[int]:
    """Which faults were heard, one behind the other, each of them whole."""
    steps = sound[sound != 0]
    assert len(steps) % 2_205 == 0
    found = steps.reshape(-1, 2_205)
    assert (found == found[:, :1]).all()
    return [int(value) // 1_000 for value in found[:, 0]]


def heard(card: SoundCard, folder: Path) -> list[int]:
    card.close()
    sound: Int16 = soundfile.read(folder / "card.wav", dtype="int16")[0]
    return numbers(sound)


def test_named_faults_are_heard_in_order(tmp_path: Path, sounds: Path, card: SoundCard) -> None:
    card.start()
    command = configured(sounds, card.speaker_name)
    done = subprocess.run([*command, "hot", "memory"], capture_output=True, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert heard(card, tmp_path) == [4, 3]


def test_a_speaker_that_another_program_uses_is_waited_for(
    tmp_path: Path, sounds: Path, open_card: Card
) -> None:
    folder = tmp_path / "card0"  # where `open_card` will make its card
    folder.mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as busy:
        busy.bind(str(folder / SPEAKER_SOCKET))
        busy.listen()
        busy.settimeout(20)
        command = [*configured(sounds, speaker_name(folder)), "power"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            refused, _ = busy.accept()
            refused.close()
            (folder / SPEAKER_SOCKET).unlink()
            soundfile.write(tmp_path / "silence.wav", np.zeros(1600, np.int16), 16_000)
            card = open_card(tmp_path / "silence.wav", tmp_path / "card.wav", rate_hz=SPEAKER_HZ)
            card.start()
            assert process.communicate(timeout=30)[1] == ""
            assert process.returncode == 0
    assert heard(card, tmp_path) == [5]


def test_a_speaker_that_does_not_come_is_one_sentence(tmp_path: Path, sounds: Path) -> None:
    command = configured(sounds, f"card:{tmp_path / 'nowhere.sock'}")
    done = subprocess.run([*command, "hot"], capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert done.stderr.startswith("assistant: The sound card ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["fish"], 2, 'there is no fault "fish", only microphone, model,'),
        ([], 2, "Name the faults to play (microphone, "),
        (["hot", "--activated"], 2, "Name the faults to play (microphone, "),
        (["--activated"], 2, "--activated is for systemd, which passes one socket"),
        (["--sounds", "/nowhere", "hot"], 1, "/nowhere/hot.wav cannot be read"),
    ],
)
def test_mistakes_are_said(words: list[str], code: int, said: str) -> None:
    done = subprocess.run([*COMMAND, "alert", *words], capture_output=True, text=True, timeout=30)
    assert done.returncode == code
    assert said in done.stderr


@contextlib.contextmanager
def activated(
    folder: Path, command: list[str], *told: bytes, env: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """The command as systemd starts it, names waiting in its socket already."""
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender,
    ):
        receiver.bind(str(folder / "alert.sock"))
        for name in told:
            sender.sendto(name, str(folder / "alert.sock"))
        number = receiver.fileno()
        starter = [sys.executable, "-c", AS_SERVICE, str(number), *command, "--activated"]
        with subprocess.Popen(
            starter, env=env, stderr=subprocess.PIPE, text=True, pass_fds=[number]
        ) as process:
            try:
                yield process
            finally:
                process.kill()


def test_a_service_plays_what_it_is_told_and_ends(tmp_path: Path, sounds: Path, card: SoundCard) -> None:
    """What is told twice at a time is heard once; what is no fault is not heard, and said."""
    card.start()
    command = configured(sounds, card.speaker_name)
    told = (b"fish", b"crash\n", b"model", b"crash", b"\xff\0")
    with activated(tmp_path, command, *told) as process:
        _, complaints = process.communicate(timeout=30)
    assert process.returncode == 0
    warnings = complaints.splitlines()
    assert [line.partition(",")[0] for line in warnings] == [
        'assistant-alert: WARNING: there is no fault "fish"',
        'assistant-alert: WARNING: there is no fault "\N{REPLACEMENT CHARACTER}\0"',
    ]
    assert heard(card, tmp_path) == [6, 2]


def test_a_service_that_is_turned_off_is_silent(tmp_path: Path, sounds: Path, card: SoundCard) -> None:
    card.start()
    command = configured(sounds, card.speaker_name, "[sounds]\nfaults = false\n")
    with activated(tmp_path, command, b"crash") as process:
        assert process.communicate(timeout=30)[1] == ""
    assert process.returncode == 0
    assert heard(card, tmp_path) == []


def test_a_service_tells_what_it_could_not_play(tmp_path: Path, sounds: Path, card: SoundCard) -> None:
    """And plays the others."""
    card.start()
    path(sounds, "crash").unlink()
    with activated(tmp_path, configured(sounds, card.speaker_name), b"crash", b"hot") as process:
        _, complaints = process.communicate(timeout=30)
    assert process.returncode == 1
    assert complaints.startswith("assistant-alert: ERROR: the fault crash was not heard: The sound ")
    assert complaints.count("\n") == 1
    assert heard(card, tmp_path) == [4]


@NEEDS_PULSE[0]
@NEEDS_PULSE[1]
@NEEDS_PULSE[2]
def test_a_mistake_in_the_settings_is_heard_from_a_real_speaker(
    tmp_path: Path, sounds: Path, run: Callable[[Callable[[], object]], Thread]
) -> None:
    server = Server(tmp_path)
    record = [
        "parec",
        "--device=spk.monitor",
        f"--rate={SPEAKER_HZ}",
        "--channels=1",
        "--format=s16le",
        "--raw",
    ]
    try:
        with subprocess.Popen(record, env=server.env, stdout=subprocess.PIPE) as recorder:
            assert recorder.stdout
            out = recorder.stdout
            pieces = [out.read(4_000)]  # once something is recorded, nothing that is played later is missed
            draining = run(lambda: pieces.extend(iter(lambda: out.read(4_000), b"")))
            command = configured(sounds, "auto", "volume = [")
            with activated(tmp_path, command, b"config", env=server.env) as process:
                _, complaints = process.communicate(timeout=30)
            recorder.send_signal(signal.SIGTERM)
            draining.join(5)
    finally:
        server.process.kill()
        server.process.wait()
    assert process.returncode == 0
    assert "is not valid TOML" in complaints
    assert "Faults are told through the first speaker that is found." in complaints
    sound = np.frombuffer(b"".join(pieces), np.int16)
    assert np.count_nonzero(np.abs(sound.astype(int) - 7_000) <= 1) == 2_205
