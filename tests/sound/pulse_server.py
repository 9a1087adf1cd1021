"""A PulseAudio server of the test's own, in place of sound devices."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

MICROPHONE_HZ, SPEAKER_HZ = 16_000, 22_050
"""What is played and recorded: PulseAudio changes nothing then."""

NEEDS_PULSE = [
    pytest.mark.skipif(not shutil.which("pulseaudio"), reason="pulseaudio is not installed"),
    pytest.mark.skipif(not shutil.which("paplay"), reason="paplay (pulseaudio-utils) is not installed"),
    pytest.mark.skipif(
        not Path("/usr/share/alsa/alsa.conf.d/50-pulseaudio.conf").exists()
        and not Path("/etc/alsa/conf.d/50-pulseaudio.conf").exists(),
        reason="ALSA's plugin for PulseAudio (libasound2-plugins) is not installed",
    ),
]

ALSA = """
</usr/share/alsa/alsa.conf>
pcm.!default {{ type pulse server "unix:{socket}" }}
ctl.!default {{ type pulse server "unix:{socket}" }}
"""


class Server:
    """A PulseAudio server with a microphone that hears what is played into `micbus`, and a speaker `spk`; or
    with neither.
    """

    def __init__(self, folder: Path, with_devices: bool = True) -> None:
        socket = folder / "native"
        (folder / "asound.conf").write_text(ALSA.format(socket=socket))
        self.env = dict(
            os.environ,
            HOME=str(folder),
            XDG_RUNTIME_DIR=str(folder),
            PULSE_SERVER=f"unix:{socket}",
            ALSA_CONFIG_PATH=str(folder / "asound.conf"),
        )
        modules: tuple[str, ...] = (f"module-native-protocol-unix auth-anonymous=1 socket={socket}",)
        devices = (
            f"module-null-sink sink_name=micbus rate={MICROPHONE_HZ} channels=1",
            "module-remap-source source_name=usbmic master=micbus.monitor channels=1",
            f"module-null-sink sink_name=spk rate={SPEAKER_HZ} channels=2",
        )
        command = ["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--log-level=error"]
        modules += devices if with_devices else ()
        command += [word for module in modules for word in ("-L", module)]
        self.process = subprocess.Popen(command, env=self.env, stderr=subprocess.DEVNULL)
        if with_devices:
            self.tell("set-default-source", "usbmic")
            self.tell("set-default-sink", "spk")
        else:
            self.tell("info")

    def tell(self, *words: str) -> None:
        for _ in range(200):
            if subprocess.run(["pactl", *words], env=self.env, stderr=subprocess.DEVNULL).returncode == 0:
                return
            assert self.process.poll() is None, "pulseaudio did not start"
        raise AssertionError("pulseaudio does not answer")

    def load(self, *words: str) -> str:
        """Load a module; gives back its number."""
        command = ["pactl", "load-module", *words]
        done = subprocess.run(command, env=self.env, stdout=subprocess.PIPE, text=True, check=True)
        return done.stdout.strip()

    def python(self, script: str, *words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", script, *words]
        return subprocess.Popen(
            command,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.PIPE,
            text=True,
        )
