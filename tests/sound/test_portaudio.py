"""The real path to sound devices, PortAudio and ALSA, into a PulseAudio server of the test's own."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from pulse_server import NEEDS_PULSE, SPEAKER_HZ, Server

from assistant.audio.files import write_wav

Int16 = npt.NDArray[np.int16]
Run = Callable[[Callable[[], object]], threading.Thread]

pytestmark = NEEDS_PULSE


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("pulse"))
    yield server
    server.process.kill()
    server.process.wait()


def line(process: subprocess.Popen[str]) -> str:
    """The next line of its output; what it complained about, if there is none."""
    assert process.stdout
    assert process.stderr
    said = process.stdout.readline().strip()
    assert said, process.stderr.read()
    return said


def noise(samples: int) -> Int16:
    drawn = np.random.default_rng(3).integers(1_000, 20_000, samples)
    return (drawn * np.where(np.arange(samples) % 2, 1, -1)).astype(np.int16)


def loud(sound: Int16) -> npt.NDArray[np.intp]:
    return np.flatnonzero(np.abs(sound.astype(int)) > 2)


LIST = """
import json
from assistant.audio.devices import find, list_devices
print(json.dumps([(d.kind, d.name, d.description) for d in list_devices()]))
print(find("microphone", "auto").name, find("speaker", "PULSE").name)
"""


def test_the_server_is_listed_and_nothing_else_is_printed(server: Server) -> None:
    with server.python(LIST) as process:
        out, err = process.communicate(timeout=20)
    assert err == "", "what ALSA complains about is kept from people"
    devices, found = out.splitlines()
    assert ["microphone", "default", "the system's choice"] in json.loads(devices)
    assert ["speaker", "pulse", "sound server"] in json.loads(devices)
    assert found == "default pulse"


HEAR = """
import sys
from assistant.audio.microphone import open_microphone
microphone = open_microphone("auto")
frames = [microphone.read(10)]
print("first", flush=True)
while not (len(frames) > 10 and frames[-10:] == [bytes(640)] * 10 and any(map(any, frames))):
    frame = microphone.read(10)
    assert frame and len(frame) == 640
    frames.append(frame)
assert microphone.position == 320 * len(frames)
assert microphone.read(0) in (None, bytes(640))
microphone.close()
open(sys.argv[1], "wb").write(b"".join(frames))
print("closed", flush=True)
"""


def test_a_microphone_hears_what_is_played_bit_for_bit(server: Server, tmp_path: Path) -> None:
    played = noise(16_000)
    write_wav(tmp_path / "played.wav", played, 16_000)
    with server.python(HEAR, str(tmp_path / "heard")) as process:
        assert line(process) == "first"
        command = ["paplay", "--device=micbus", str(tmp_path / "played.wav")]
        subprocess.run(command, env=server.env, check=True, timeout=20)
        assert line(process) == "closed"
    heard = np.frombuffer((tmp_path / "heard").read_bytes(), np.int16)
    begin = loud(heard)[0]
    assert np.abs(heard[begin : begin + len(played)].astype(int) - played).max() <= 1


LATE = """
import time
from assistant.audio import device_microphone
from assistant.audio.microphone import open_microphone
device_microphone.MOST_WAITING_FRAMES = 5
microphone = open_microphone("auto")
while microphone.read(10) and microphone.position < 20 * 320:
    pass
before, before_s = microphone.position, microphone.captured_at_s
while time.monotonic() < before_s + 0.5:
    pass
microphone.read(10)
lost_s = (microphone.position - before) / 16_000 - 0.02
late_s = time.monotonic() - microphone.captured_at_s
print(lost_s > 0.2, late_s < 0.3, abs(lost_s - (microphone.captured_at_s - before_s)) < 0.1, flush=True)
"""


def test_sound_that_nobody_reads_is_dropped_and_missed(server: Server) -> None:
    with server.python(LATE) as process:
        assert line(process) == "True True True"


SPEAK = """
import threading, time
pause = threading.Event()
import numpy as np
from assistant.audio.speaker import open_speaker
speaker = open_speaker("auto", 22_050)
def ask_until(reached):
    while not reached():
        pause.wait(0.001)
print(speaker.rate_hz, flush=True)
drawn = np.random.default_rng(3).integers(1_000, 20_000, 44_100)
pcm = (drawn * np.where(np.arange(44_100) % 2, 1, -1)).astype(np.int16)
before_s = time.monotonic()
speaker.write(pcm[:11_025])
ask_until(lambda: speaker.pending() == 0)
took_s = time.monotonic() - before_s
first_s, last_s = speaker.heard_at_s(0), speaker.heard_at_s(11_024)
assert before_s <= first_s < last_s <= before_s + took_s
assert abs(last_s - first_s - 0.5) < 0.25
writing = threading.Thread(target=speaker.write, args=(pcm,))
writing.start()
ask_until(lambda: speaker.played() > 11_025 + 4_410)
before_s = time.monotonic()
speaker.stop()
stopping_s = time.monotonic() - before_s
writing.join()
assert speaker.pending() == 0
print(speaker.played() - 11_025, stopping_s, flush=True)
speaker.write(pcm[:2_205])
ask_until(lambda: speaker.pending() == 0)
ask_until(lambda: time.monotonic() > before_s + 0.4)
speaker.close()
print("closed", flush=True)
"""


def test_a_speaker_plays_and_stops(server: Server, run: Run) -> None:
    command = ["parec", "--device=spk.monitor", "--rate=22050", "--channels=2", "--format=s16le", "--raw"]
    command += ["--latency-msec=20"]
    with subprocess.Popen(command, env=server.env, stdout=subprocess.PIPE) as recorder:
        assert recorder.stdout
        out = recorder.stdout
        # once something is recorded, nothing that is played later is missed
        recorded = [out.read(4_000)]
        draining = run(lambda: recorded.extend(iter(lambda: out.read(4_000), b"")))
        with server.python(SPEAK) as process:
            assert line(process) == str(SPEAKER_HZ)
            heard, stopping_s = map(float, line(process).split())
            assert stopping_s < 1
            assert line(process) == "closed"
        recorder.terminate()
        draining.join(5)
    sound = b"".join(recorded)
    left, right = np.frombuffer(sound[: len(sound) // 4 * 4], np.int16).reshape(-1, 2).T
    assert np.array_equal(left, right)
    begin = loud(left)[0]
    assert np.abs(left[begin : begin + 11_025].astype(int) - noise(44_100)[:11_025]).max() <= 1
    rest = left[begin + 11_025 :]
    second = rest[loud(rest)[0] :]
    stopped = np.flatnonzero(np.convolve(np.abs(second.astype(int)) > 2, np.ones(200), "valid") == 0)[0]
    assert np.abs(second[:stopped].astype(int) - noise(44_100)[:stopped]).max() <= 1
    assert abs(stopped - heard) < 0.15 * SPEAKER_HZ


SAY = """
import sys, threading
import numpy as np
from assistant.audio.clip import Verdict, whole
from assistant.audio.playback import Player
class Clip:
    waits, answer = True, (1, 0)
    def __init__(self):
        self.sound = whole(np.full(4_410, 5_000, np.int16))
        self.over = threading.Event()
    def verdict(self): return Verdict.PLAY
    def volume(self): return 1.0
    def started(self, at_s): pass
    def gap(self, duration_ms, at_s): print("gap", flush=True)
    def dropped(self, reason): print(reason, flush=True)
    def progress(self, fraction):
        if fraction == 1.0:
            self.over.set()
player = Player("auto", 22_050, idle_s=0.2)
for _ in sys.stdin:
    clip = Clip()
    player.play(clip)
    clip.over.wait(20)
    print("over", flush=True)
"""


def test_a_speaker_is_let_go_and_opened_again(server: Server) -> None:
    def is_open() -> bool:
        command = ["pactl", "list", "short", "sink-inputs"]
        return bool(subprocess.run(command, env=server.env, stdout=subprocess.PIPE, check=True).stdout)

    with server.python(SAY) as process:
        assert process.stdin
        for said in ("over", "gap over"):
            print(file=process.stdin, flush=True)
            for word in said.split():
                assert line(process) == word
            deadline_s = time.monotonic() + 20
            while is_open():
                assert time.monotonic() < deadline_s
        process.stdin.close()


GONE = """
import sys
from assistant.audio.microphone import open_microphone
from assistant.errors import AudioError
microphone = open_microphone("auto")
microphone.read(10)
print("first", flush=True)
try:
    while microphone.read(10):
        pass
except AudioError as error:
    print(error, flush=True)
microphone.close()
try:
    open_microphone("auto")
except AudioError as error:
    print(error, flush=True)
"""


def test_a_microphone_that_goes_away_is_an_error(tmp_path: Path) -> None:
    server = Server(tmp_path)
    try:
        with server.python(GONE) as process:
            assert line(process) == "first"
            server.process.kill()
            assert line(process) == 'The microphone "default" stopped working; is it still plugged in?'
            assert line(process).startswith('The microphone "default" cannot be opened')
    finally:
        server.process.kill()
        server.process.wait()


LISTEN = """
from assistant.audio.microphone import open_microphone
from assistant.errors import AudioError
device = open_microphone("auto")
device.read(10)
print("runs", flush=True)
try:
    for _ in range(60):
        device.read(0.5)
except AudioError as error:
    print(error)
device.close()
"""

PLAY = """
import sys, time
import numpy as np
from assistant.audio.speaker import open_speaker
from assistant.errors import AudioError
device = open_speaker("auto", 22_050)
device.write(np.ones(4_410, np.int16))
print("runs", flush=True)
sys.stdin.readline()
deadline_s = time.monotonic() + 30
try:
    device.write(np.ones(441, np.int16))
    while time.monotonic() < deadline_s:
        {}
except AudioError as error:
    print(error)
device.close()
"""


@pytest.mark.parametrize("end", [signal.SIGSTOP, signal.SIGKILL])
def test_a_device_that_blocks_or_fails_is_gone_and_keeps_nobody(tmp_path: Path, end: signal.Signals) -> None:
    """What goes away while PortAudio waits for it may never answer: the stopped server does not."""
    uses = ["device.write(np.ones(441, np.int16))", "device.played()", "device.pending()", "device.stop()"]
    server = Server(tmp_path)
    users = [server.python(script) for script in (LISTEN, *map(PLAY.format, uses))]
    try:
        for user in users:
            assert line(user) == "runs"
        server.process.send_signal(end)
        for user, kind in zip(users, ["microphone", *["speaker"] * len(uses)], strict=True):
            out, _ = user.communicate("\n", timeout=20)
            assert out == f'The {kind} "default" stopped working; is it still plugged in?\n'
            assert user.returncode == 0
    finally:
        server.process.kill()
        server.process.wait()
        for user in users:
            user.kill()
            user.communicate()
