"""From the end of speech to the first sound, split by stage, for the recordings in tests/audio.

    python -m benchmarks.chain [--config FILE]

Each recording runs in real time through the whole appliance, with silence behind it, so that the hangover of
the configuration counts as it does in a room.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from assistant.audio.files import blocks, write_wav
from benchmarks.report import percentile, report

AUDIO = Path(__file__).parent.parent / "tests" / "audio"
SILENCE_S = 2.5
STEPS = ("end_of_turn", "transcript", "first_token", "first_sound", "done")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path)
    config = parser.parse_args().config
    with tempfile.TemporaryDirectory() as folder:
        recording = Path(folder) / "questions.wav"
        names = _write_all(recording)
        turns = _run(recording, config)
    rows = []
    for name, turn in zip(names, turns, strict=True):
        rows.append({"recording": name, **{step: _ms(turn, step) for step in STEPS}})
    for percent in (50, 95):
        row: dict[str, object] = {"recording": f"p{percent}"}
        for step in STEPS:
            row[step] = percentile([_ms(turn, step) for turn in turns if step in turn], percent)
        rows.append(row)
    print("milliseconds after the last sample of speech")
    report("chain", rows)


def _write_all(path: Path) -> list[str]:
    names = sorted(file.stem for file in AUDIO.glob("q*.wav"))
    silence = np.zeros(int(SILENCE_S * 16000), np.int16)
    parts = [part for name in names for part in (*blocks(AUDIO / f"{name}.wav"), silence)]
    write_wav(path, np.concatenate(parts), 16000)
    return names


def _run(recording: Path, config: Path | None) -> list[dict[str, float]]:
    command = [sys.executable, "-m", "assistant"]
    if config is not None:
        command += ["--config", str(config)]
    command += ["run", "--mic", str(recording), "--json"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    turns: dict[int, dict[str, float]] = {}
    for event in map(json.loads, output.splitlines()):
        turn = turns.setdefault(event["turn"], {})
        turn.setdefault(event["event"], event["t"])
        if "speech_end" in event:
            turn["speech_end"] = event["speech_end"]
    turns.pop(0)
    return list(turns.values())


def _ms(turn: dict[str, float], step: str) -> float:
    return 1000 * (turn.get(step, float("nan")) - turn["speech_end"])


if __name__ == "__main__":
    main()
