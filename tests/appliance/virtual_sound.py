"""A USB microphone and a speaker for a machine that has none: a PulseAudio server that is always there.

What is played into `micbus` comes out of the microphone; what the assistant plays into `spk` can be recorded.
ALSA's default device stands on these two alone: an unplugged microphone is none, not the speaker's monitor.
"""

from __future__ import annotations

import socket
from pathlib import Path
from types import TracebackType
from typing import Literal

import numpy as np
import numpy.typing as npt
import soundfile
from container import Container, wait_until

Device = Literal["microphone", "speaker"]
Int16 = npt.NDArray[np.int16]

RATE_HZ = 16_000
"""Of recordings; PulseAudio resamples."""
LOUD = 200
"""A sample of more than this is sound."""
GAP_S, MARGIN_S = 0.5, 0.1
EARCON_S = 0.6
"""No earcon is longer, no answer shorter."""

SERVER, COMMANDS = "unix:/run/sound/native", "/run/sound/commands"
PULSE = {"PULSE_SERVER": SERVER}
MODULES: dict[Device, tuple[str, ...]] = {
    "microphone": ("module-remap-source", "source_name=usbmic", "master=micbus.monitor", "channels=1"),
    "speaker": ("module-null-sink", "sink_name=spk", "channels=2"),
}

FILES = {
    # Ready before anything else starts, as a plugged-in card is.
    "/etc/systemd/system/sound.service": f"""[Unit]
DefaultDependencies=no
After=systemd-tmpfiles-setup.service
Before=basic.target

[Service]
Type=notify
Environment=HOME=/run/sound
RuntimeDirectory=sound
ExecStart=/usr/bin/pulseaudio -n --daemonize=no --exit-idle-time=-1 --log-level=error --disable-shm=yes \\
    -L "module-native-protocol-unix auth-anonymous=1 socket={SERVER.removeprefix("unix:")}" \\
    -L "module-cli-protocol-unix socket={COMMANDS}" \\
    -L "module-null-sink sink_name=micbus rate=48000 channels=1" \\
    -L "{" ".join(MODULES["microphone"])} rate=48000" \\
    -L "{" ".join(MODULES["speaker"])} rate=48000"
""",
    "/etc/asound.conf": f"""pcm.!default {{
    type asym
    capture.pcm {{ type pulse server "{SERVER}" device usbmic }}
    playback.pcm {{ type pulse server "{SERVER}" device spk }}
}}
ctl.!default {{ type pulse server "{SERVER}" }}
""",
    "/etc/pulse/client.conf": "autospawn = no\nenable-shm = no\nenable-memfd = no\n",
}


class Recording:
    """What the speaker plays from now on; also a context manager that ends it."""

    def __init__(self, machine: Container, file: Path) -> None:
        self.file = file
        words = ["parec", "-d", "spk.monitor", "--raw", "--format=s16le", "--channels=1", "--latency-msec=50"]
        with file.open("wb") as raw:
            self._process = machine.start(*words, f"--rate={RATE_HZ}", env=PULSE, stdout=raw)
        wait_until(lambda: self.length_s() or None, 10, "the speaker can be recorded")

    def samples(self) -> Int16:
        """Mono, at `RATE_HZ`, all so far."""
        raw = self.file.read_bytes()
        return np.frombuffer(raw[: len(raw) // 2 * 2], np.int16)

    def length_s(self) -> float:
        return self.file.stat().st_size / 2 / RATE_HZ

    def sounds(self) -> list[tuple[float, float]]:
        """(begin, end) of every stretch of sound, in seconds; shorter gaps than `GAP_S` belong to it."""
        loud = np.flatnonzero(np.abs(self.samples().astype(np.int32)) > LOUD) / RATE_HZ
        if not len(loud):
            return []
        cuts = np.flatnonzero(np.diff(loud) > GAP_S)
        begins, ends = loud[[0, *(cuts + 1)]], loud[[*cuts, -1]]
        return [(float(begin), float(end)) for begin, end in zip(begins, ends, strict=True)]

    def speech(self) -> list[tuple[float, float]]:
        """The sounds that are too long to be earcons."""
        return [(begin, end) for begin, end in self.sounds() if end - begin > EARCON_S]

    def wait_for_speech(self, within_s: float = 30.0, after_s: float = 0.0) -> float:
        """Until the speaker has begun to speak, not before `after_s`.  When, in seconds of the recording."""
        later = lambda: [begin for begin, _ in self.speech() if begin >= after_s]  # noqa: E731 # read once, here
        return wait_until(
            later, within_s, f"something is said after {after_s:.1f} s; so far {self.sounds()}"
        )[0]

    def quiet_since(self, quiet_s: float = 1.5, after_s: float = 0.0) -> float:
        """When the last speech ended, if that is later than `after_s` and `quiet_s` ago; else 0."""
        ends = [end for _, end in self.speech() if end > after_s]
        return ends[-1] if ends and self.length_s() - ends[-1] > quiet_s else 0.0

    def wait_for_quiet(self, within_s: float = 60.0, after_s: float = 0.0) -> float:
        """Until something has been said, later than `after_s`, and it is quiet again.  When that ended."""
        return wait_until(lambda: self.quiet_since(after_s=after_s), within_s, f"quiet after {after_s:.1f} s")

    def save(self, path: Path) -> Path:
        """What was said, without earcons, as a WAV file."""
        samples, kept = self.samples(), np.zeros(int(self.length_s() * RATE_HZ), np.int16)
        for begin, end in self.speech():
            said = slice(int((begin - MARGIN_S) * RATE_HZ), int((end + MARGIN_S) * RATE_HZ))
            kept[said] = samples[: len(kept)][said]
        soundfile.write(path, kept, RATE_HZ)
        return path

    def __enter__(self) -> Recording:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        Container.stop(self._process)


class Sound:
    """The devices of one machine.  `install` is for a machine that is off."""

    def __init__(self, machine: Container) -> None:
        self.machine = machine

    def install(self) -> None:
        for path, text in FILES.items():
            self.machine.write(path, text)
        # ALSA's own "pulse" leads to whatever device is left, and would hide an unplugged one.
        self.machine.off_run(
            "sh", "-euc", "rm -f /etc/alsa/conf.d/*pulse*; systemctl -q add-wants basic.target sound"
        )

    def speak(self, path: str) -> None:
        """Play a sound file of the machine into the microphone, to its end."""
        # people do not wait for a processor: where it is late for 50 ms, the question would be torn
        at_once = ("nice", "-n", "-15")
        self.machine.run(*at_once, "paplay", "--device=micbus", "--latency-msec=50", path, env=PULSE)

    def record(self, file: Path) -> Recording:
        """`file` takes raw samples."""
        return Recording(self.machine, file)

    def unplug(self, device: Device) -> None:
        """Whoever uses it gets an error, as from a card that is gone; a recording of the speaker ends."""
        module, name = MODULES[device][:2]
        kind, stream = ("sources", "source-output") if device == "microphone" else ("sinks", "sink-input")
        (index,) = [row[0] for row in self._rows(kind) if f"_name={row[1]}" in name]
        streams = [row[0] for row in self._rows(f"{stream}s") if row[1] == index]
        for row in self._rows("modules"):
            if row[1] == module and name in row[2]:
                self._pactl("unload-module", row[0])
        # PulseAudio has moved them to another device, which hardware does not do.
        with socket.socket(socket.AF_UNIX) as server:
            server.connect(str(self.machine.path(COMMANDS)))
            server.sendall("".join(f"kill-{stream} {number}\n" for number in streams).encode())

    def plug_in(self, device: Device, rate_hz: int = 48_000) -> None:
        """Again, perhaps as one of another rate."""
        self._pactl("load-module", *MODULES[device], f"rate={rate_hz}")

    def _rows(self, kind: str) -> list[list[str]]:
        return [line.split("\t") for line in self._pactl("list", "short", kind).splitlines()]

    def _pactl(self, *words: str) -> str:
        return self.machine.run("pactl", *words, env=PULSE).stdout
