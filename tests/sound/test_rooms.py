"""`assistant doctor --sound`, with PulseAudio as the room that sound comes back from."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pulse_server import MICROPHONE_HZ, NEEDS_PULSE, Server

pytestmark = NEEDS_PULSE

CAPITAL = "The capital of Germany is Berlin."
NOISE_DBFS = -42.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("pulse"))
    yield server
    server.process.kill()
    server.process.wait()


def asked(server: Server, *words: str) -> str:
    return subprocess.run(
        ["pactl", *words], env=server.env, stdout=subprocess.PIPE, check=True, text=True
    ).stdout


@contextlib.contextmanager
def room(server: Server, delay_ms: int, loss_db: int) -> Iterator[None]:
    """What is played comes back so late and so much softer."""
    loop = ["module-loopback", "source=spk.monitor", "sink=micbus", f"latency_msec={delay_ms}"]
    module = asked(server, "load-module", *loop).strip()
    try:
        number = asked(server, "list", "short", "sink-inputs").split()[0]
        server.tell("set-sink-input-volume", number, f"-{loss_db}dB")
        yield
    finally:
        server.tell("unload-module", module)


@contextlib.contextmanager
def noise(server: Server, folder: Path) -> Iterator[None]:
    """The microphone hears white noise."""
    deviation = 32_768 * 10 ** (NOISE_DBFS / 20)
    drawn = np.random.default_rng(5).normal(0, deviation, 90 * MICROPHONE_HZ)
    (folder / "noise").write_bytes(np.rint(drawn).astype(np.int16).tobytes())
    command = ["pacat", "--playback", "--device=micbus", f"--rate={MICROPHONE_HZ}", "--channels=1"]
    with (
        (folder / "noise").open("rb") as sound,
        subprocess.Popen([*command, "--format=s16le", "--raw"], env=server.env, stdin=sound) as player,
    ):
        try:
            yield
        finally:
            player.kill()


def command(folder: Path, settings: str, *words: str) -> list[str]:
    config = folder / "config.toml"
    config.write_text(f'{settings}[daemon]\nsocket = "{folder / "d.sock"}"\n[models]\nfolder = "{folder}"\n')
    return [sys.executable, "-m", "assistant", "--config", str(config), "doctor", "--sound", *words]


def test_a_room_is_measured_and_the_sentence_understood(server: Server, tmp_path: Path) -> None:
    with room(server, delay_ms=100, loss_db=20):
        done = subprocess.run(
            command(tmp_path, "", "--json"), env=server.env, capture_output=True, text=True, timeout=90
        )
    first, second = done.stderr.splitlines()
    assert first.startswith("Plays a chirp and a sentence")
    assert second.startswith("Keep quiet for ")
    found = json.loads(done.stdout)
    assert found["verdict"]["state"] == "ok"
    assert found["echo"]["loss_db"] == pytest.approx(20, abs=1)
    # measured 80 to 106 ms; a busy server may take longer than it was asked to
    assert 70 < found["echo"]["delay_ms"] < 180
    assert found["echo"]["snr_db"] > 40
    assert found["clipped_share"] == 0
    assert found["words"]["recognised"] == CAPITAL
    assert found["words"]["right"] == found["words"]["of"] == 6
    assert done.returncode == 0
    assert not list(tmp_path.glob("*.wav"))


def test_a_speaker_that_is_off(server: Server, tmp_path: Path) -> None:
    with noise(server, tmp_path):
        done = subprocess.run(
            command(tmp_path, '[stt]\nlanguage = "pl"\n'),
            env=server.env,
            capture_output=True,
            text=True,
            timeout=90,
        )
    lines = done.stdout.splitlines()
    assert lines[-1].startswith("The chirp was not heard: turn the speaker on")
    assert lines[-2] == ""
    table = {line[:13].strip(): line[14:] for line in lines[:-2]}
    assert float(table["noise floor"].removesuffix(" dBFS")) == pytest.approx(NOISE_DBFS, abs=1)
    assert table["echo"] == "not heard"
    assert table["words"] == 'not tested: there is no test sentence in "pl"'
    assert done.returncode == 1


def test_ctrl_c_lets_everything_go(server: Server, tmp_path: Path) -> None:
    def in_use() -> list[str]:
        return [asked(server, "list", "short", kind) for kind in ("source-outputs", "sink-inputs")]

    before = in_use()
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command(tmp_path, ""), env=server.env, stdout=pipe, stderr=pipe, text=True
    ) as process:
        assert process.stderr
        assert process.stdout
        while not process.stderr.readline().startswith("Keep quiet"):
            assert process.poll() is None
        assert all(one != other for one, other in zip(before, in_use(), strict=True))
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 128 + signal.SIGINT
        assert process.stderr.read() == ""
        assert process.stdout.read() == ""
    assert in_use() == before
    assert not [entry for entry in Path("/proc").glob("[0-9]*/cmdline") if _has(entry, tmp_path)]


def _has(entry: Path, folder: Path) -> bool:
    with contextlib.suppress(OSError):  # it has just ended
        return bytes(folder) in entry.read_bytes()
    return False
