"""How many processor threads each engine gets; they share the cores, and all may run at once."""

from __future__ import annotations

import os
from typing import Literal


def threads(kind: Literal["stt", "llm", "tts"], cores: int | None = None) -> int:
    """For a board with `cores`; None: as many as this process may use.

    The recogniser works while nothing else does, and gains little beyond four.  The language model has the
    board to itself until its first sentence (`beside_the_voice`).  The voice is made while it goes on.
    """
    cores = cores or len(os.sched_getaffinity(0))
    if kind == "stt":
        return min(4, cores)
    if kind == "llm":
        return cores
    return 1 if cores <= 2 else 2


def beside_the_voice(threads: int) -> int:
    """How many of its threads the language model uses while sentences before are made into sound.

    It leaves a core: its threads wait for each other, so one that is held up holds up all.
    """
    return max(1, min(threads, len(os.sched_getaffinity(0)) - 1))
