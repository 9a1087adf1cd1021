"""What a process is to its surroundings: signals, log lines, exit codes."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import signal
import sys
from collections.abc import Iterator
from types import FrameType

EXIT_UNUSABLE = 3
"""A worker cannot do its work at all (no model, no microphone): restarting it at once would not help."""


class Stop(BaseException):
    """SIGTERM came; unwinds like KeyboardInterrupt, which stands for SIGINT."""


M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
"""Numbers of mallopt(3)."""


def keep_freed_memory() -> None:
    """Let the C library keep what is freed, up to 8 MiB, instead of giving it back after every message.

    Fetching it again, page by page, took three quarters of the time of a 300 kB message.
    """
    libc = ctypes.CDLL(None)
    libc.mallopt(M_TRIM_THRESHOLD, 8 * 1024 * 1024)
    libc.mallopt(M_MMAP_THRESHOLD, 4 * 1024 * 1024)


def give_back_memory() -> None:
    """Return to the system what was freed: a model that was loaded leaves tens of megabytes of it."""
    ctypes.CDLL(None).malloc_trim(0)


def stop_on_sigterm() -> None:
    """Turn SIGTERM into `Stop` in the main thread."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise Stop

    signal.signal(signal.SIGTERM, stop)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Inside, the first Ctrl-C raises KeyboardInterrupt; from then on, and outside, Ctrl-C does nothing.

    So an impatient second one cannot end the program while it tidies up after the first.
    """

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        ignore_sigint()
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        ignore_sigint()


def ignore_sigint() -> None:
    """Leave Ctrl-C to the process at the terminal."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def log_to_stderr(level: str, name: str) -> None:
    """One line per event, the process's name first; systemd adds the time."""
    logging.basicConfig(stream=sys.stderr, format=f"{name}: %(levelname)s: %(message)s", force=True)
    log_from(level)


def log_from(level: str) -> None:
    """Log what is at least as grave as `level`.

    Of libraries only the warnings: at lower levels they write what people said, and what is answered.
    """
    for logger, least in ((logging.root, logging.WARNING), (logging.getLogger("assistant"), logging.DEBUG)):
        logger.setLevel(max(least, logging.getLevelNamesMapping()[level.upper()]))
