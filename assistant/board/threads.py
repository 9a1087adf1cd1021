"""How many processor threads each engine gets; they share the cores, and all may run at once."""

from __future__ import annotations

import os
from typing import Literal


def threads(kind: Literal["stt", "llm", "tts"], cores: int | None = None) -> int:
    """For a board with `cores`; None: as many as this process may use.

    The recogniser works while nothing else does, and gains little beyond four.  The language model leaves a
    core for what runs beside it: its threads wait for each other, so one that is held up holds up all.  The
    voice is made while the model goes on.
    """
    cores = cores or len(os.sched_getaffinity(0))
    if kind == "stt":
        return min(4, cores)
    if kind == "llm":
        return max(1, cores - 1)
    return 1 if cores <= 2 else 2
