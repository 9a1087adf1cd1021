"""Which worker hangs: it shows no sign of life, and does not even compute."""

from __future__ import annotations

import os
from pathlib import Path

from assistant.messages import Stage
from assistant.queues.broker import Peer

SILENT_S: dict[Stage, float] = {"vad": 10.0, "stt": 150.0, "llm": 30.0, "tts": 30.0}
"""A ready worker that shows no sign of life for so long hangs: it is let go, and its work given to the next.

Stages mostly show one every second, but stt is blind while CTranslate2 works on a window (30 s of sound on
the slowest board, at five times real time).
"""

LOADING_S = 960.0
"""The same while it loads its model: a large one from a slow SD card takes minutes."""

RESTING_S = 10.0
RESTING_LOADING_S = 60.0
"""The same for one that rests meanwhile, so that a person need not wait for what is stopped or deadlocked.

One that loads may wait long for its card.
"""

WATCHED_AFTER_S = 2.0
"""Who was silent for less is not looked at: workers show a sign of life every second."""

RESTING_PART = 0.005
"""Who takes less of a processor than this rests: a thread that looks ten times a second whether there is work
takes a tenth of it, the starved work of a board that swaps ten times as much.
"""

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Hanging:
    """Looks at the workers now and then.  `root` is that of the machine's files."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._silences: dict[Stage, tuple[Peer, float, float, float]] = {}

    def does(self, stage: Stage, worker: Peer, is_ready: bool, now_s: float) -> bool:
        """Whether the stage's worker hangs; to be asked again and again."""
        last_s = worker.last_seen_s
        if now_s - last_s > (SILENT_S[stage] if is_ready else LOADING_S):
            return True
        if now_s - last_s < WATCHED_AFTER_S:
            return False
        used_s = self._used_s(worker.pid)
        silence = self._silences.get(stage)
        if silence is None or silence[:2] != (worker, last_s):
            self._silences[stage] = (worker, last_s, now_s, used_s)
            return False
        _, _, since_s, used_before_s = silence
        looked_s = now_s - since_s
        if looked_s <= (RESTING_S if is_ready else RESTING_LOADING_S) - WATCHED_AFTER_S:
            return False
        self._silences[stage] = (worker, last_s, now_s, used_s)
        return used_s - used_before_s < RESTING_PART * looked_s

    def _used_s(self, pid: int) -> float:
        """The processor time that the process has taken so far (`utime` and `stime` of proc_pid_stat(5))."""
        try:
            fields = (self._root / "proc" / str(pid) / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it is gone, and the end of its connection will tell
            return 0.0
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_S
