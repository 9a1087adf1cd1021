"""What listening to silence costs: the processor time of the daemon and the four workers.

    python -m benchmarks.idle [--seconds 60] [--config FILE]

Microphone and speaker are devices to the assistant, PortAudio's, behind which is a PulseAudio server of the
benchmark's own: pulseaudio and ALSA's plugin for it (libasound2-plugins) are needed.  It measures when the
sound of readiness is over and the speaker is closed again.  Goal: 2 % of one core in all.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from assistant.audio.playback import IDLE_S
from assistant.messages import STAGES, StageState
from assistant.queues.socket import connect
from benchmarks.memory import processes
from benchmarks.report import report

MODELS = Path(__file__).parent.parent / "tests" / "models"
CONFIG = f"""
[stt]
model = "{MODELS / "whisper-tiny-test"}"
[llm]
model = "{MODELS / "tiny-chat-q8_0.gguf"}"
[tts]
model = "{MODELS / "en_US-tiny-medium.onnx"}"
"""
TAKES = "It takes about half a minute more than it measures: about 1.5 minutes as it is."
GOAL_PERCENT = 2.0
ANSWERS_WITHIN_S = 30.0

ALSA = """
</usr/share/alsa/alsa.conf>
pcm.!default {{ type pulse server "unix:{socket}" }}
ctl.!default {{ type pulse server "unix:{socket}" }}
"""
MODULES = (
    "module-native-protocol-unix auth-anonymous=1 socket={socket}",
    "module-null-sink sink_name=room rate=48000 channels=1",
    "module-remap-source source_name=microphone master=room.monitor channels=1",
    "module-null-sink sink_name=speaker rate=48000 channels=2",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog=TAKES)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long it measures")
    parser.add_argument("--config", type=Path, metavar="FILE", help="default: the small test models")
    words = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = words.config or folder / "config.toml"
        if not words.config:
            config.write_text(CONFIG)
        with _sound_server(folder) as environment, _daemon(config, folder / "daemon.sock", environment):
            time.sleep(IDLE_S + 5)
            rows = _measured(processes(os.getpid()), words.seconds)
    report("idle", rows)


@contextlib.contextmanager
def _sound_server(folder: Path) -> Iterator[dict[str, str]]:
    """A PulseAudio server; gives the environment in which its devices are the only ones."""
    socket = folder / "native"
    (folder / "asound.conf").write_text(ALSA.format(socket=socket))
    environment = os.environ | {
        "HOME": str(folder),
        "XDG_RUNTIME_DIR": str(folder),
        "PULSE_SERVER": f"unix:{socket}",
        "ALSA_CONFIG_PATH": f"{folder}/asound.conf",
    }
    modules = [word for module in MODULES for word in ("-L", module.format(socket=socket))]
    command = ["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--log-level=error", *modules]
    server = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    try:
        for setting in (("set-default-source", "microphone"), ("set-default-sink", "speaker")):
            _tell(environment, *setting)
        yield environment
    finally:
        server.kill()
        server.wait()


def _tell(environment: dict[str, str], *words: str) -> None:
    give_up_s = time.monotonic() + ANSWERS_WITHIN_S
    while subprocess.run(["pactl", *words], env=environment, stderr=subprocess.DEVNULL).returncode:
        if time.monotonic() > give_up_s:
            raise SystemExit("PulseAudio does not answer; is it installed?")
        time.sleep(0.05)


@contextlib.contextmanager
def _daemon(config: Path, socket: Path, environment: dict[str, str]) -> Iterator[None]:
    """A daemon whose workers are all ready."""
    command = [sys.executable, "-m", "assistant", "--config", str(config), "daemon", "--socket", str(socket)]
    daemon = subprocess.Popen(command, env=environment)
    try:
        while not socket.exists():
            if daemon.poll() is not None:
                raise SystemExit("the daemon did not start; its last line says why")
            time.sleep(0.05)
        missing = set(STAGES)
        with closing(connect(socket, "watcher")) as link:
            while missing:
                message = link.notice()
                if isinstance(message, StageState) and message.state == "ready":
                    missing.discard(message.stage)
        yield
    finally:
        daemon.terminate()
        daemon.wait()


def _measured(pids: dict[str, int], seconds: float) -> list[dict[str, object]]:
    """What each process takes in so many seconds from now on, and how often its threads wake up."""
    before = {name: _used(pid) for name, pid in pids.items()}
    began_s = time.monotonic()
    time.sleep(seconds)
    took_s = time.monotonic() - began_s
    rows: list[dict[str, object]] = []
    for name, pid in pids.items():
        cpu_s, wakes = (now - then for now, then in zip(_used(pid), before[name], strict=True))
        rows.append(_row(name, 100 * cpu_s / took_s, wakes / took_s))
    percent, wakes = (
        sum(float(str(row[key])) for row in rows) for key in ("percent_of_a_core", "wakes_per_s")
    )
    return [*rows, _row("all", percent, wakes), _row("goal", GOAL_PERCENT, "")]


def _row(process: str, percent: float, wakes_per_s: float | str) -> dict[str, object]:
    return {"process": process, "percent_of_a_core": percent, "wakes_per_s": wakes_per_s}


def _used(pid: int) -> tuple[float, int]:
    """Processor time so far, in seconds, and how often its threads waited for something (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    user_ticks, system_ticks = map(int, fields[11:13])
    waits = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        lines = (thread / "status").read_text().splitlines()
        waits += next(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))
    return (user_ticks + system_ticks) / os.sysconf("SC_CLK_TCK"), waits


if __name__ == "__main__":
    main()
