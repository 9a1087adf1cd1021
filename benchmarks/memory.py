"""Memory predicted against memory measured: of every process, and of the whole assistant.

    python -m benchmarks.memory [--set] [--contexts 512,2048] [GGUF…]

Needs the models of real shapes that `tests/models/recipes/build.sh inflate` makes.  Each block is one run of
the whole assistant on recorded questions, whose answers are spoken.  Measured is the proportional set size
(PSS) at its peak: of each process by the kernel's own record of the highest resident size, less what it
shares; of all together the highest sum of fifty looks a second.  `--set` runs TinyLlama, Whisper tiny.en and
a medium voice together; otherwise each GGUF runs beside the small test models.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path

import numpy as np

from assistant.audio.files import blocks, write_wav
from assistant.audio.formats import RATE_HZ
from assistant.client import Assistant
from assistant.config import load
from assistant.errors import DaemonError
from assistant.plan.planner import gather
from assistant.plan.prediction import MIB
from assistant.plan.selection import Plan, select
from assistant.queues.socket import connect
from benchmarks.report import report

TESTS = Path(__file__).parent.parent / "tests"
INFLATED = TESTS / "models" / "recipes" / "build" / "inflated"
TINY_STT = TESTS / "models" / "whisper-tiny-test"
REAL_STT = INFLATED / "whisper-inflated-tiny.en"
TINY_TTS = TESTS / "models" / "en_US-tiny-medium.onnx"
REAL_TTS = INFLATED / "en_US-inflated-medium.onnx"
TINYLLAMA = INFLATED / "tiny-chat-1.1b-q4_k_m.gguf"
PLENTY_BYTES = 1 << 50
QUESTIONS = ("q00", "q04", "q12")
# A piece as long as any that is spoken in one go (`text.sentences.LONGEST_CHARS`).
LONGEST = "The assistant is ready when you are " * 3 + "and it will be."
# Long enough to fill a step of the prompt.
SYSTEM_PROMPT = "You are a friendly voice assistant. " + "Answer in one or two short, plain sentences. " * 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--set", action="store_true", help="the real shapes of all three models together")
    parser.add_argument("--contexts", default="512,2048,4096", help="tokens, with commas between")
    parser.add_argument("--stt", type=Path, default=TINY_STT, metavar="FOLDER")
    parser.add_argument("--tts", type=Path, default=TINY_TTS, metavar="ONNX")
    parser.add_argument("--kv-type", default="f16", choices=["f16", "q8_0"])
    parser.add_argument("models", nargs="*", type=Path, metavar="GGUF", help="default: all that were made")
    words = parser.parse_args()
    models = words.models or ([TINYLLAMA] if words.set else sorted(INFLATED.glob("*.gguf")))
    stt, tts = (REAL_STT, REAL_TTS) if words.set else (words.stt.resolve(), words.tts.resolve())
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as folder:
        recording = _record(Path(folder) / "questions.wav")
        for model in models:
            for context in map(int, words.contexts.split(",")):
                config = Path(folder) / "config.toml"
                config.write_text(
                    f'[stt]\nmodel = "{stt}"\n[tts]\nmodel = "{tts}"\n[llm]\nmodel = "{model.resolve()}"\n'
                    f'context_tokens = {context}\nkv_type = "{words.kv_type}"\nmax_tokens = 40\n'
                    f'system_prompt = "{SYSTEM_PROMPT}"\n'
                )
                plan = select(gather(load(config), PLENTY_BYTES, only_on_disk=True))
                rows += _compare(model.stem, plan, _watched(config, recording))
    report("memory-set" if words.set else "memory", rows)


def _record(path: Path) -> Path:
    silence = np.zeros(2 * RATE_HZ, np.int16)
    audio = TESTS / "audio"
    parts = [part for name in QUESTIONS for part in (*blocks(audio / f"{name}.wav"), silence)]
    write_wav(path, np.concatenate(parts), RATE_HZ)
    return path


def _watched(config: Path, recording: Path) -> Watch:
    """One run of the whole assistant, and what it took."""
    command = [sys.executable, "-m", "assistant", "--config", str(config), "run", "--mic", str(recording)]
    run = subprocess.Popen([*command, "--speed", "4"], stdout=subprocess.DEVNULL)
    with run, Watch(run.pid) as watch:
        _say(LONGEST, run, recording.with_suffix(".out.wav"))
        run.wait()
    if run.returncode != 0:
        raise SystemExit("the run failed; its last line says why")
    return watch


def _say(text: str, run: subprocess.Popen[bytes], file: Path) -> None:
    """Have the run's own daemon make `text` into sound, beside all else."""
    while run.poll() is None:
        for _, words in _children(run.pid):
            if b"--socket" in words:
                socket = words[words.index(b"--socket") + 1].decode()
                with contextlib.suppress(DaemonError), closing(connect(Path(socket), "client")) as link:
                    Assistant(link, link.config, None).say(text, file)
                    return
        time.sleep(0.05)


def _compare(name: str, plan: Plan, watch: Watch) -> list[dict[str, object]]:
    predicted = {name: need.peak_bytes for name, need in plan.processes.items()} | {"all": plan.total_bytes}
    measured = {**watch.highest, "all": watch.highest_sum}
    return [
        {
            "model": name,
            "context": plan.context_tokens,
            "process": process,
            "predicted_mib": round(predicted[process] / MIB, 1),
            "measured_mib": round(measured[process] / MIB, 1),
            "error_percent": round(100 * (predicted[process] / measured[process] - 1), 1),
        }
        for process in predicted
    ]


class Watch:
    """Samples the memory of the daemon and its workers below `command_pid`, and keeps each one's highest."""

    def __init__(self, command_pid: int) -> None:
        self.highest: dict[str, int] = {}
        self.highest_sum = 0
        self._command_pid = command_pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(0.02):
            now = 0
            for name, pid in processes(self._command_pid).items():
                lines = _kib(f"/proc/{pid}/smaps_rollup") | _kib(f"/proc/{pid}/status")
                if "Pss" in lines and "VmHWM" in lines:
                    now += 1024 * lines["Pss"]
                    peak = 1024 * (lines["VmHWM"] - lines["Rss"] + lines["Pss"])
                    self.highest[name] = max(peak, self.highest.get(name, 0))
            self.highest_sum = max(self.highest_sum, now)


def processes(command_pid: int) -> dict[str, int]:
    """The process ids of the daemon below a command, and of its workers, by name."""
    found: dict[str, int] = {}
    for pid, words in _children(command_pid):
        if b"daemon" in words:
            found["daemon"] = pid
            for worker_pid, worker_words in _children(pid):
                if b"worker" in worker_words:
                    found[worker_words[worker_words.index(b"worker") + 1].decode()] = worker_pid
    return found


def _children(pid: int) -> list[tuple[int, list[bytes]]]:
    """The children of a process, with their command lines."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [(int(child), Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")) for child in children]
    except OSError:  # one ended meanwhile: the next look will tell
        return []


def _kib(path: str) -> dict[str, int]:
    """The lines of a file of /proc that end in kB; none if the process is gone."""
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return {}
    return {line.partition(":")[0]: int(line.split()[-2]) for line in lines if line.endswith(" kB")}


if __name__ == "__main__":
    main()
