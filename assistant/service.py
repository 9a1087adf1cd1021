"""What a process is to its surroundings: signals, log lines, exit codes."""

from __future__ import annotations

import logging
import signal
import sys
from types import FrameType

EXIT_UNUSABLE = 3
"""A worker cannot do its work at all (no model, no microphone): restarting it at once would not help."""


class Stop(BaseException):
    """SIGTERM came; unwinds like KeyboardInterrupt, which stands for SIGINT."""


def stop_on_sigterm() -> None:
    """Turn SIGTERM into `Stop` in the main thread."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise Stop

    signal.signal(signal.SIGTERM, stop)


def ignore_sigint() -> None:
    """Leave Ctrl-C to the process at the terminal."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def log_to_stderr(level: str, name: str) -> None:
    """One line per event, the process's name first; systemd adds the time."""
    logging.basicConfig(
        stream=sys.stderr, level=level.upper(), format=f"{name}: %(levelname)s: %(message)s", force=True
    )
