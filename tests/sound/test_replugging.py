"""Devices that are pulled out and plugged in again, on a PulseAudio server of the test's own."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from pulse_server import NEEDS_PULSE, Server

TESTS = Path(__file__).parents[1]
STEP_S = 0.02

pytestmark = NEEDS_PULSE


class UsbMicrophone:
    """A microphone that hears a tone, can be pulled out, and is the only one: a server that has another moves
    whoever listens to that.
    """

    def __init__(self, server: Server, folder: Path) -> None:
        self._server = server
        self._fifo = folder / "usbmic"
        self._stop = threading.Event()

    def plug(self, rate_hz: int, channels: int) -> float:
        """When it was there; its number of channels and its rate may be others than before."""
        form = [f"rate={rate_hz}", f"channels={channels}", "format=s16le"]
        self._module = self._server.load(
            "module-pipe-source", "source_name=usbmic", f"file={self._fifo}", *form
        )
        self._stop = threading.Event()
        self._speaking = threading.Thread(target=self._speak, args=(rate_hz, channels))
        self._speaking.start()
        return time.monotonic()

    def pull(self) -> float:
        """When it was gone."""
        self.mute()
        self._server.tell("unload-module", self._module)
        return time.monotonic()

    def mute(self) -> float:
        """It gives no more sound, not even silence: when that began."""
        self._stop.set()
        self._speaking.join()
        return time.monotonic()

    def _speak(self, rate_hz: int, channels: int) -> None:
        sample, began_s = 0, time.monotonic()
        with contextlib.suppress(BrokenPipeError), open(self._fifo, "wb", buffering=0) as out:
            while not self._stop.wait(STEP_S):
                due = int((time.monotonic() - began_s) * rate_hz)
                wave = 8_192 * np.sin(2 * np.pi * 440 / rate_hz * np.arange(sample, due))
                out.write(np.repeat(wave.astype(np.int16)[:, None], channels, axis=1).tobytes())
                sample = due


# A vad stage on the real microphone says each change of its state, when it was, and the level it hears.
STAGE = f"""
import sys, time
sys.path[:0] = [{str(TESTS / "stages")!r}]
from stage_hub import MemoryDaemon
from assistant.config import Config
from assistant.messages import MicrophoneLevel, NextTurn, SpeechStarted, StageState
from assistant.stages.vad import VadStage
def heard(message):
    if isinstance(message, StageState):
        print(message.state, message.fault, time.monotonic(), flush=True)
    elif isinstance(message, MicrophoneLevel):
        print("level", round(message.rms_dbfs), message.lost_frames, flush=True)
    elif isinstance(message, SpeechStarted):
        daemon.broker.notify("vad", NextTurn(message.turn + 1))
daemon = MemoryDaemon(Config())
daemon.owner.when_posted = heard
link = daemon.connect("vad")
stage = VadStage(link)
daemon.broker.notify("vad", NextTurn(1))
for message in stage.listen():
    link.post(message)
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path, with_devices=False)
    yield server
    server.process.kill()
    server.process.wait()


def said(process: subprocess.Popen[str], *beginning: str) -> list[str]:
    """The words of the next line that begins so."""
    assert process.stdout
    assert process.stderr
    for line in process.stdout:
        if tuple(line.split()[: len(beginning)]) == beginning:
            return line.split()
    raise AssertionError(process.stderr.read())


def test_a_microphone_comes_back_in_another_form(server: Server, tmp_path: Path) -> None:
    microphone = UsbMicrophone(server, tmp_path)
    microphone.plug(48_000, 1)
    with server.python(STAGE) as process:
        try:
            for rate_hz, channels in ((44_100, 2), (16_000, 4), (96_000, 1)):
                assert said(process, "level", "-15", "0")
                gone_s = microphone.pull()
                noticed_s = float(said(process, "gone", "microphone")[2])
                back_s = microphone.plug(rate_hz, channels)
                heard_s = float(said(process, "ready", "None")[2])
                assert noticed_s - gone_s < 5, "it is given less time than to start"
                assert heard_s - back_s < 10
            assert said(process, "level", "-15", "0")
        finally:
            microphone.pull()
            process.kill()


def test_a_microphone_that_falls_silent_is_noticed_though_no_call_fails(
    server: Server, tmp_path: Path
) -> None:
    microphone = UsbMicrophone(server, tmp_path)
    microphone.plug(48_000, 1)
    with server.python(STAGE) as process:
        try:
            assert said(process, "level", "-15", "0")
            silent_s = microphone.mute()
            noticed_s = float(said(process, "gone", "microphone")[2])
            assert 0.5 < noticed_s - silent_s < 5, "later than a frame may be, sooner than the first one"
        finally:
            microphone.pull()
            process.kill()


def test_a_program_that_was_suspended_has_not_lost_its_microphone(server: Server, tmp_path: Path) -> None:
    microphone = UsbMicrophone(server, tmp_path)
    microphone.plug(48_000, 1)
    with server.python(STAGE) as process:
        try:
            said(process, "level", "-15")
            process.send_signal(signal.SIGSTOP)
            threading.Event().wait(2.0)
            process.send_signal(signal.SIGCONT)
            assert process.stdout
            for _ in range(4):
                assert process.stdout.readline().startswith("level -15")
        finally:
            microphone.pull()
            process.kill()


# An answer of two sentences, each a tone that rises: what is heard tells where in them it is.
SAY = """
import threading
import numpy as np
import numpy.typing as npt
from assistant.audio.clip import Verdict, whole
from assistant.audio.playback import Player
from assistant.audio.resampling import Resampler
RATE_HZ = 16_000
class Clip:
    waits, answer = True, (1, 0)
    def __init__(self, number, seconds):
        self.number = number
        self.sound = whole((1_000 + np.arange(int(seconds * RATE_HZ)) % 30_000).astype(np.int16))
        self.over = threading.Event()
    def verdict(self): return Verdict.PLAY
    def volume(self): return 1.0
    def started(self, at_s): print("started", self.number, flush=True)
    def gap(self, duration_ms, at_s): print("gap", duration_ms, flush=True)
    def dropped(self, reason):
        print("dropped", self.number, reason, flush=True)
        self.over.set()
    def progress(self, fraction):
        print("progress", self.number, fraction, flush=True)
        if fraction == 1.0:
            self.over.set()
player = Player("auto", RATE_HZ)
clips = [Clip(0, 1.5), Clip(1, 1.0)]
for clip in clips:
    player.play(clip)
for clip in clips:
    clip.over.wait(30)
print("over", flush=True)
"""


class Recorder:
    """Keeps what a sink plays, from when it is made."""

    def __init__(self, server: Server, sink: str) -> None:
        command = ["parec", f"--device={sink}.monitor", "--rate=16000", "--channels=1", "--raw"]
        command += ["--format=s16le", "--latency-msec=20"]
        self._process = subprocess.Popen(command, env=server.env, stdout=subprocess.PIPE)
        assert self._process.stdout
        self._out = self._process.stdout
        self._pieces = [self._out.read(640)]
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def heard(self) -> npt.NDArray[np.int16]:
        """All that was audible, without the silence in between."""
        self._process.terminate()
        self._reading.join()
        self._process.wait()
        self._out.close()
        sound = np.frombuffer(b"".join(self._pieces), np.int16)
        return sound[sound > 500]

    def _read(self) -> None:
        while piece := self._out.read(640):
            self._pieces.append(piece)


OPEN_TWICE = """
from assistant.audio.speaker import open_speaker
from assistant.errors import AudioError
for look_again in (False, True):
    try:
        open_speaker("auto", 16_000, look_again)
    except AudioError as error:
        print(type(error).__name__, flush=True)
        if type(error).__name__ == "DeviceStuck":
            break
"""


@pytest.mark.parametrize(
    ("script", "last", "code"), [(OPEN_TWICE, "DeviceStuck", 0), (SAY, "", 1)], ids=["alone", "player"]
)
def test_a_speaker_that_opens_and_does_not_start_crashes_nothing(
    server: Server, script: str, last: str, code: int
) -> None:
    """PortAudio must not end under a write that hangs: the process does, and another one begins anew."""
    server.load("module-null-sink", "sink_name=usb", "rate=16000", "channels=1")
    server.tell("suspend-sink", "usb", "1")
    with server.python(script) as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert out.strip() == last
    assert ("Another process begins anew." in err) == bool(code)


@pytest.mark.parametrize("back", ["hdmi", "usb"], ids=["another", "the same again"])
def test_an_answer_goes_on_where_it_was_when_its_speaker_goes(server: Server, back: str) -> None:
    form = ["rate=16000", "channels=1"]
    module = server.load("module-null-sink", "sink_name=usb", *form)
    usb = Recorder(server, "usb")
    with server.python(SAY) as process:
        said(process, "started", "0")
        while float(said(process, "progress", "0")[2]) < 0.3:
            pass
        server.tell("unload-module", module)
        server.load("module-null-sink", f"sink_name={back}", *form)
        other = Recorder(server, back)
        assert process.stdout
        told = process.stdout.read().splitlines()
    before, after = usb.heard(), other.heard()
    assert told[-1] == "over"
    assert {line.split()[0] for line in told} == {"progress", "started", "gap", "over"}
    assert "started 0" not in told
    # the second sentence begins low again; of the first the rest was heard, from shortly before it broke off
    (begin,) = np.flatnonzero(np.diff(after.astype(int)) < -5_000) + 1
    assert abs(int(after[0]) - int(before[-1])) < 0.5 * 16_000
    first, second = after[:begin], after[begin:]
    assert (first[-1], second[0], second[-1]) == (1_000 + 1.5 * 16_000 - 1, 1_000, 1_000 + 16_000 - 1)
    # a busy processor may tear holes into what is played or recorded; nothing is heard twice
    for part in (first, second):
        assert (np.diff(part) > 0).all()
        assert len(part) > 0.8 * (part[-1] - part[0])
