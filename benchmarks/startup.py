"""How long it takes to begin: `assistant --help`, and all four workers ready on the tiny models.

    python -m benchmarks.startup

Goals: help within 150 ms and without numpy; everything ready within 3 s.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from assistant.client import OwnDaemon
from assistant.messages import STAGES, StageState
from benchmarks.report import report

RUNS = 10


def main() -> None:
    rows = [_row("assistant --help", [_help_s() for _ in range(RUNS)], 0.150)]
    rows.append(_row("python -c pass", [_bare_s() for _ in range(RUNS)], 0.0))
    rows.append(_row("daemon and 4 workers ready", [_ready_s() for _ in range(RUNS)], 3.0))
    report("startup", rows)
    modules = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "assistant", "--help"],
        capture_output=True,
        text=True,
        check=True,
    ).stderr
    print(f"numpy imported by --help: {'yes' if 'numpy' in modules else 'no'}")


def _row(what: str, seconds: list[float], goal_s: float) -> dict[str, object]:
    return {
        "what": what,
        "median_ms": 1000 * statistics.median(seconds),
        "worst_ms": 1000 * max(seconds),
        "goal_ms": 1000 * goal_s,
    }


def _timed_s(command: list[str]) -> float:
    started = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - started


def _help_s() -> float:
    return _timed_s([sys.executable, "-m", "assistant", "--help"])


def _bare_s() -> float:
    return _timed_s([sys.executable, "-c", "pass"])


def _ready_s() -> float:
    """Without a microphone: vad is ready when it has one, so a card that is never started stands in."""
    import tempfile
    from pathlib import Path

    from assistant.audio.card import SoundCard

    recording = Path(__file__).parent.parent / "tests" / "audio" / "q00.wav"
    with tempfile.TemporaryDirectory() as folder:
        card = SoundCard(str(recording), "", 22050, folder=Path(folder))
        started = time.monotonic()
        daemon = OwnDaemon(None, STAGES, card=Path(folder))
        try:
            link = daemon.connect("watcher")
            missing = set(STAGES)
            while missing:
                message = link.notice()
                if isinstance(message, StageState) and message.state == "ready":
                    missing.discard(message.stage)
            return time.monotonic() - started
        finally:
            daemon.stop()
            card.close()


if __name__ == "__main__":
    main()
