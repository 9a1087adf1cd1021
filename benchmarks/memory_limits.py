"""Many turns under a memory limit, with `auto` choosing the models, and another program taking the memory.

    python -m benchmarks.memory_limits [--limits 1,2,4,8] [--turns 200] [--hog]

Runs the whole assistant on recorded questions in a control group of so many GiB, and counts the turns that
were answered, the processes that the kernel killed and the changes of the plan.  With `--hog`, a program in
the same group takes what is left after a third of the turns, and gives it back after two thirds.  Needs a
memory controller that this process may make groups of (root), and the models of real shapes that
`tests/models/recipes/build.sh inflate` makes: they stand in for those of the catalogue that have their shape.
Answers are cut to ten tokens: some stand-ins have random weights, and over their gibberish the test voice
takes several times as long, and as much memory, as over words.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import IO

import numpy as np

from assistant.audio.files import blocks, write_wav
from assistant.audio.formats import RATE_HZ
from assistant.board.cgroups import Group, groups_of
from assistant.catalogue.read import PATH
from benchmarks.memory import INFLATED, TESTS
from benchmarks.report import report

STAND_INS = {
    "whisper-tiny.en": "whisper-inflated-tiny.en",
    "tinyllama-1.1b-chat-q8_0": "tiny-chat-1.1b-q8_0.gguf",
    "tinyllama-1.1b-chat-q4_k_m": "tiny-chat-1.1b-q4_k_m.gguf",
    "tinyllama-1.1b-chat-q4_0": "tiny-chat-1.1b-q4_0.gguf",
    "smollm2-360m-instruct-q8_0": "random-smollm2-360m-q8_0.gguf",
    "smollm2-360m-instruct-q4_k_m": "random-smollm2-360m-q4_k_m.gguf",
    "smollm2-135m-instruct-q8_0": "random-smollm2-135m-q8_0.gguf",
    "en_US-amy-medium": "en_US-inflated-medium.onnx",
}
HOG = """
import sys, time
held = []
for _ in range(int(sys.argv[1]) >> 23):
    held.append(bytearray(b"x") * (8 << 20))
    time.sleep(0.08)
time.sleep(float(sys.argv[2]))
"""
HOG_S = 30
"""How long another program keeps the memory."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--limits", default="1,2,4,8", help="GiB, with commas between")
    parser.add_argument("--turns", type=int, default=200)
    parser.add_argument("--hog", action="store_true", help="have another program take the memory meanwhile")
    words = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = _config(folder)
        recording = _record(folder / "questions.wav", words.turns)
        for limit in words.limits.split(","):
            rows.append(_run(config, recording, float(limit), words.turns, words.hog))
            print(json.dumps(rows[-1]), flush=True)
    report("memory-limits-hog" if words.hog else "memory-limits", rows)


def _config(folder: Path) -> Path:
    """A models folder with a catalogue of its own, which gives the stand-ins' sizes for the real ones."""
    models = folder / "models"
    catalogue = PATH.read_text()
    for name, stand_in in STAND_INS.items():
        source = INFLATED / stand_in
        files = sorted(source.iterdir()) if source.is_dir() else sorted(source.parent.glob(f"{source.name}*"))
        files.sort(key=lambda file: -file.stat().st_size)  # the model itself stands first
        (models / name).mkdir(parents=True)
        for file in files:
            (models / name / file.name).symlink_to(file)
        lines = [
            f'{{ path = "{file.name}", size_bytes = {file.stat().st_size}, sha256 = "{"0" * 64}" }}'
            for file in files
        ]
        entry = rf'(\nname = "{re.escape(name)}"\n(?:(?!\[\[).)*?\nfiles = )\[.*?\n\]'
        instead = rf"\g<1>[{', '.join(lines)}]"
        catalogue, found = re.subn(entry, instead, catalogue, flags=re.DOTALL)
        assert found == 1, name
    (models / "catalogue.updated.toml").write_text(catalogue)
    path = folder / "config.toml"
    path.write_text(f'[models]\nfolder = "{models}"\n[llm]\nmax_tokens = 10\n')
    return path


def _record(path: Path, turns: int) -> Path:
    audio = TESTS / "audio"
    silence = np.zeros(RATE_HZ, np.int16)
    questions = [np.concatenate([*blocks(file), silence]) for file in sorted(audio.glob("q*.wav"))]
    write_wav(path, np.concatenate(list(islice(cycle(questions), turns))), RATE_HZ)
    return path


def _run(config: Path, recording: Path, limit_gib: float, turns: int, with_hog: bool) -> dict[str, object]:
    with _group(int(limit_gib * 2**30)) as group:
        before = _kills(group)
        log = config.with_name("log")
        command = [sys.executable, "-m", "assistant", "--debug", "--config", str(config), "run"]
        began_s = time.monotonic()
        with log.open("w") as errors:
            run = _start(group, [*command, "--mic", str(recording), "--json", "--speed", "8"], errors)
            assert run.stdout is not None
            outcomes: list[str] = []
            for line in run.stdout:
                event = json.loads(line)
                if event["event"] != "done":
                    continue
                outcomes.append(event["text"] or "answered")
                if with_hog and len(outcomes) == turns // 3:
                    _take_the_rest(group)
            if run.wait() != 0:
                raise SystemExit(f"the run failed: {log.read_text()[-2000:]}")
        plans = re.findall(r"the plan is(?: now)? (.*?) with (\d+) tokens", log.read_text())
        row: dict[str, object] = {
            "limit_gib": limit_gib,
            "turns": len(outcomes),
            "answered": outcomes.count("answered"),
            "not_answered": "; ".join(sorted(set(outcomes) - {"answered"})),
            "killed": _kills(group) - before,
            "peak_mib": _peak_bytes(group) // 2**20,
            "seconds": round(time.monotonic() - began_s),
            "plans": " → ".join(f"{names} {context}" for names, context in plans),
        }
        return row


@contextlib.contextmanager
def _group(limit_bytes: int) -> Iterator[Group]:
    """A control group of one's own with that limit, below the one that this process is in."""
    parent = groups_of("memory", Path("/"))[0]
    folder = parent.folder / f"assistant-benchmark-{os.getpid()}"
    folder.mkdir()
    group = Group(folder, folder.name, parent.is_v2)
    try:
        (folder / ("memory.max" if group.is_v2 else "memory.limit_in_bytes")).write_text(str(limit_bytes))
        yield group
    finally:
        for _ in range(100):
            try:
                folder.rmdir()
                break
            except OSError:  # the last process is being taken away
                time.sleep(0.1)


def _start(group: Group, command: list[str], errors: IO[str] | int) -> subprocess.Popen[str]:
    script = 'echo $$ > "$0" && exec "$@"'
    return subprocess.Popen(
        ["sh", "-c", script, str(group.folder / "cgroup.procs"), *command],
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
    )


def _take_the_rest(group: Group) -> None:
    """A program that takes all that is left in the group but 40 MiB, 100 MiB a second, for a while."""
    left = _limit_bytes(group) - _held_bytes(group) - 40 * 2**20
    _start(group, [sys.executable, "-c", HOG, str(max(left, 0)), str(HOG_S)], subprocess.DEVNULL)


def _limit_bytes(group: Group) -> int:
    return group.number("memory.max" if group.is_v2 else "memory.limit_in_bytes") or 0


def _held_bytes(group: Group) -> int:
    """Without the files' pages that the kernel can take back."""
    used = group.number("memory.current" if group.is_v2 else "memory.usage_in_bytes") or 0
    lines = dict(line.split() for line in group.read("memory.stat").splitlines())
    return used - int(lines["inactive_file"]) - int(lines["active_file"])


def _kills(group: Group) -> int:
    text = group.read("memory.events" if group.is_v2 else "memory.oom_control")
    return int(dict(line.split() for line in text.splitlines()).get("oom_kill", 0))


def _peak_bytes(group: Group) -> int:
    return group.number("memory.peak" if group.is_v2 else "memory.max_usage_in_bytes") or 0


if __name__ == "__main__":
    main()
