"""Every rate and number of channels a microphone may have, through PortAudio and a PulseAudio server."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from pulse_server import NEEDS_PULSE, Server

RATES_HZ = (8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 88_200, 96_000)
CHANNELS = (1, 2, 4, 6, 8)
MAP = "front-left front-right rear-left rear-right front-center lfe side-left side-right".split()  # noqa: SIM905 - as PulseAudio names them
AMPLITUDE = 0.4
HEARD_HZ = 16_000

pytestmark = NEEDS_PULSE

Float64 = npt.NDArray[np.float64]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("pulse"))
    yield server
    server.process.kill()
    server.process.wait()


def pitch_hz(channel: int) -> int:
    return 300 + 170 * channel


# One process hears all of them: mixed, and the last channel alone.  The server would give any form: where
# it is forced, what the microphone has is the only one that is asked for.
HEAR = """
import os, sys
from assistant.audio import devices
from assistant.audio.device_microphone import DeviceMicrophone
folder, rate_hz, *counts = sys.argv[1:]
forced = rate_hz != "any"
if forced:
    devices.MICROPHONE_RATES_HZ = (int(rate_hz),)
microphones = {}
for count in map(int, counts):
    os.environ["PULSE_SOURCE"] = f"bus{count}.monitor"
    for channel in {0, count} if count > 1 else {0}:
        if forced:
            devices.channel_counts = lambda device, channel: (count,)
        microphones[count, channel] = DeviceMicrophone("auto", channel)
heard = {form: [microphone.read(10)] for form, microphone in microphones.items()}
print("first", flush=True)
def over(frames):
    return any(map(any, frames)) and not any(map(any, frames[-20:]))
while not all(map(over, heard.values())):
    for form, microphone in microphones.items():
        frame = microphone.read(10)
        if frame and not over(heard[form]):
            heard[form].append(frame)
for (count, channel), frames in heard.items():
    open(f"{folder}/{count}-{channel}", "wb").write(b"".join(frames))
print("closed", all(microphone.close() for microphone in microphones.values()), flush=True)
"""


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_what_is_heard_is_what_was_played(server: Server, tmp_path: Path, rate_hz: int) -> None:
    check_all(server, tmp_path, rate_hz, str(rate_hz))


def test_a_server_that_gives_any_form_gives_the_channel_that_is_wanted(
    server: Server, tmp_path: Path
) -> None:
    check_all(server, tmp_path, 48_000, "any")


def check_all(server: Server, tmp_path: Path, rate_hz: int, asked_hz: str) -> None:
    modules = []
    commands = []
    for count in CHANNELS:
        channel_map = ",".join(MAP[:count]) if count > 1 else "mono"
        form = [f"rate={rate_hz}", f"channels={count}", f"channel_map={channel_map}"]
        modules.append(server.load("module-null-sink", f"sink_name=bus{count}", *form))
        at_s = np.arange(rate_hz) / rate_hz
        tones = [AMPLITUDE * np.sin(2 * np.pi * pitch_hz(number) * at_s) for number in range(1, count + 1)]
        soundfile.write(tmp_path / f"{count}.wav", np.stack(tones, axis=1), rate_hz)
        wav = [f"--channel-map={channel_map}", str(tmp_path / f"{count}.wav")]
        commands.append(["paplay", f"--device=bus{count}", *wav])
    with server.python(HEAR, str(tmp_path), asked_hz, *map(str, CHANNELS)) as process:
        assert process.stdout
        assert process.stdout.readline() == "first\n"
        players = [subprocess.Popen(command, env=server.env) for command in commands]
        assert process.stdout.readline() == "closed True\n"
        assert [player.wait() for player in players] == [0] * len(players)
    for module in modules:
        server.tell("unload-module", module)

    for count in CHANNELS:
        mixed = dict.fromkeys(range(1, count + 1), AMPLITUDE / count)
        check(tmp_path / f"{count}-0", mixed)
        if count > 1:
            check(tmp_path / f"{count}-{count}", {number: AMPLITUDE * (number == count) for number in mixed})


def check(path: Path, amplitudes: dict[int, float]) -> None:
    """The recording holds these tones at these levels, and nothing else: no gap, no click, no step.

    A busy computer may tear a hole into what is played; what the microphone does wrong it does everywhere.
    """
    heard = np.fromfile(path, np.int16) / 32_768
    begin = int(np.flatnonzero(np.abs(heard) > 0.01)[0])
    pieces = np.array_split(heard[begin + 800 : begin + HEARD_HZ - 800], 6)
    assert sum(holds(piece, amplitudes) for piece in pieces) > len(pieces) / 2


def holds(sound: Float64, amplitudes: dict[int, float]) -> bool:
    at_s = np.arange(len(sound)) / HEARD_HZ
    turns = 2 * np.pi * np.array([pitch_hz(number) for number in amplitudes])[:, None] * at_s
    waves: Float64 = np.concatenate([np.sin(turns), np.cos(turns)]).T
    parts, *_ = np.linalg.lstsq(waves, sound)
    found = np.hypot(*parts.reshape(2, -1))
    off = np.abs(found - list(amplitudes.values())).max()
    return bool(max(off, np.abs(sound - waves @ parts).max()) < 0.01 * AMPLITUDE)
