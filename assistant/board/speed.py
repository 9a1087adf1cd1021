"""How fast the board reads memory and multiplies: measured once, and kept.

For each token every weight of a model is read once and multiplied once.  The slower of the two sets the
pace: the roofline model (Williams, Waterman and Patterson, 2009).
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import msgspec

from assistant.board.recognise import Board
from assistant.errors import BoardError
from assistant.state import write_whole

FILE = "speed.json"

READ_BYTES = 64 * 2**20
"""Read in one go: more than the caches of any Pi hold, and few enough for half a gigabyte of memory."""

READING_S = 0.5
MULTIPLYING_S = 0.2

MATRIX_SIDE = 64
"""So small that OpenBLAS uses one thread for it; each core gets a stack of its own."""

MATRICES = 128

READING_PART = 0.75
MULTIPLYING_PART = 0.5
"""What part of the measured speeds llama.cpp reaches while it makes tokens.

On the low side of TinyLlama on a Pi 4 and a Pi 5, which wait for memory, and on two x86 cores, which do not.
"""

FLOPS_PER_BYTE = 3.3
"""A multiplication and an addition for each weight, of 4.85 bits: q4_K_M, what most models come in."""

Rate = Annotated[float, msgspec.Meta(gt=0, le=1e15)]


class Speed(msgspec.Struct, frozen=True):
    """`read_bytes_per_s` of memory with all cores that may be used; `flops` of 32-bit numbers a second."""

    read_bytes_per_s: Rate
    flops: Rate


class KeptSpeed(msgspec.Struct, frozen=True):
    """What stands in the file: a speed, and the board that it was measured on."""

    board: str
    cores: int
    nominal_gb: float
    speed: Speed


def measure(cores: int) -> Speed:
    """The speed of this machine with `cores` threads, in less than a second and 100 MiB.

    The best of many goes counts: whatever else runs only makes a go slower.
    """
    import numpy as np

    # Of ones, as memory that was never written to is not read at all.
    numbers = np.ones(READ_BYTES // 4, np.int32)
    shares = np.array_split(numbers, cores)
    matrices = np.ones((MATRICES, MATRIX_SIDE, MATRIX_SIDE), np.float32)
    products = [np.empty_like(matrices) for _ in range(cores)]
    # numpy lets other threads run meanwhile, and finds the largest number as fast as it reads.
    with ThreadPoolExecutor(cores) as pool:
        reading_s = _best_s(READING_S, lambda: list(pool.map(np.max, shares)))
        multiplying_s = _best_s(
            MULTIPLYING_S,
            lambda: list(pool.map(lambda product: np.matmul(matrices, matrices, product), products)),
        )
    return Speed(READ_BYTES / reading_s, 2 * MATRIX_SIDE**3 * MATRICES * cores / multiplying_s)


def _best_s(during_s: float, work: Callable[[], object]) -> float:
    """The shortest time that `work` took, done again and again for `during_s`."""
    begun_s = time.perf_counter()
    best_s = float("inf")
    while time.perf_counter() < begun_s + during_s:
        started_s = time.perf_counter()
        work()
        best_s = min(best_s, time.perf_counter() - started_s)
    return best_s


def measured_apart(cores: int) -> Speed:
    """The same, in a process of its own: numpy would stay in the daemon's memory for ever."""
    command = [sys.executable, "-P", "-m", "assistant.board.speed", str(cores)]
    try:
        said = subprocess.run(command, capture_output=True, check=True).stdout
        return msgspec.json.decode(said, type=Speed)
    except (OSError, subprocess.CalledProcessError, msgspec.DecodeError):
        raise BoardError("The board's speed cannot be measured; close what takes its memory.") from None


def kept(state_folder: Path, board: Board, measure: Callable[[int], Speed] = measured_apart) -> Speed:
    """The speed of `board`, measured when it is not in `state_folder` yet or is another board's.

    Where the folder cannot be written to, it is measured each time.  Raises `BoardError`.
    """
    path = state_folder / FILE
    with contextlib.suppress(OSError, UnicodeDecodeError, msgspec.DecodeError):
        found = msgspec.json.decode(path.read_bytes(), type=KeptSpeed)
        if (found.board, found.cores, found.nominal_gb) == (board.name, board.cores, board.nominal_gb):
            return found.speed
    speed = measure(board.cores)
    with contextlib.suppress(OSError):
        state_folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, msgspec.json.encode(KeptSpeed(board.name, board.cores, board.nominal_gb, speed)))
    return speed


def tokens_per_s(speed: Speed, bytes_per_token: int) -> float:
    """How fast a model answers that reads `bytes_per_token` for each token: its weights and its cache.

    An estimate on the low side, for a board that does nothing else.
    """
    reading = speed.read_bytes_per_s * READING_PART
    multiplying = speed.flops * MULTIPLYING_PART / FLOPS_PER_BYTE
    return min(reading, multiplying) / bytes_per_token


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(measure(int(sys.argv[1]))))
