"""What a process is to its surroundings: signals, log lines, exit codes."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Iterator
from types import FrameType, TracebackType

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]

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


PRIORITIES = {logging.CRITICAL: 2, logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 6, logging.DEBUG: 7}
"""Of the journal (sd-daemon(3), syslog(3)), for what is at least as grave as the level; the gravest first."""


def log_to_stderr(level: str, name: str) -> None:
    """One line per event, the process's name first; in the journal, which has it, the priority."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(WordlessFormatter(f"{name}: %(levelname)s: %(message)s"))
    if in_journal():
        handler.setFormatter(JournalFormatter())
        sys.excepthook = lambda kind, error, trace: logging.critical(
            "ended by a defect", exc_info=(kind, error, trace)
        )
    logging.basicConfig(handlers=[handler], force=True)
    log_from(level)


class WordlessFormatter(logging.Formatter):
    """An exception is shown by its kind and places: its own words may be a person's."""

    def formatException(self, ei: ExcInfo) -> str:
        kind, _, trace = ei
        name = kind.__name__ if kind is not None else "no exception"
        return "".join(["Traceback (most recent call last):\n", *traceback.format_tb(trace), name])


class JournalFormatter(WordlessFormatter):
    """Each line with its priority: a traceback is several entries of the journal."""

    def format(self, record: logging.LogRecord) -> str:
        return with_priority(super().format(record), record.levelno)


def with_priority(text: str, level: int) -> str:
    """`text` as systemd reads it where `SyslogLevelPrefix=` is on, its default."""
    priority = next((number for least, number in PRIORITIES.items() if level >= least), 7)
    return "\n".join(f"<{priority}>{line}" for line in text.split("\n"))


def as_error(sentence: str) -> str:
    """`sentence` as standard error takes it: in the journal with its priority."""
    return with_priority(sentence, logging.ERROR) if in_journal() else sentence


def in_journal() -> bool:
    """Whether standard error is the journal's (JOURNAL_STREAM of systemd.exec(5))."""
    with contextlib.suppress(OSError):
        stderr = os.fstat(2)
        return os.environ.get("JOURNAL_STREAM") == f"{stderr.st_dev}:{stderr.st_ino}"
    return False


def log_from(level: str) -> None:
    """Log what is at least as grave as `level`.

    Of libraries only the warnings: at lower levels they write what people said, and what is answered.
    """
    for logger, least in ((logging.root, logging.WARNING), (logging.getLogger("assistant"), logging.DEBUG)):
        logger.setLevel(max(least, logging.getLevelNamesMapping()[level.upper()]))


FIRST_FD = 3
"""Where systemd passes sockets from on (SD_LISTEN_FDS_START of sd_listen_fds(3))."""


class Systemd:
    """What a service tells systemd (sd_notify(3)), and gets from it; does nothing elsewhere."""

    def __init__(self) -> None:
        address = os.environ.get("NOTIFY_SOCKET", "")
        # a name that begins with "@" is abstract: it has no file
        self._address = "\0" + address[1:] if address.startswith("@") else address
        is_watched = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        watched_us = int(os.environ.get("WATCHDOG_USEC", "0")) if is_watched else 0
        self._feed_every_s = watched_us / 1e6 / 4
        self._fed_s = float("-inf")
        self._status = ""

    def ready(self) -> None:
        """All is loaded: what waits for this service may start."""
        self._send("READY=1")

    def starts_later(self, seconds: float) -> None:
        """It will not be ready within the unit's time to start, but is not stuck; good for so long."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def status(self, text: str) -> None:
        """What `systemctl status` shows, one line."""
        if text != self._status:
            self._status = text
            self._send(f"STATUS={text}")

    def alive(self) -> None:
        """Feed the watchdog: work is possible.  Cheap; for every turn of a work loop."""
        now_s = time.monotonic()
        if self._feed_every_s and now_s - self._fed_s >= self._feed_every_s:
            self._fed_s = now_s
            self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """The service is about to end."""
        self._send("STOPPING=1")

    def sockets(self) -> list[socket.socket]:
        """The listening sockets that were passed to this process."""
        if os.environ.get("LISTEN_PID") != str(os.getpid()):
            return []
        count = int(os.environ.get("LISTEN_FDS", "0"))
        return [socket.socket(fileno=number) for number in range(FIRST_FD, FIRST_FD + count)]

    def _send(self, text: str) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender, contextlib.suppress(OSError):
            sender.sendto(text.encode(), self._address)


systemd = Systemd()
"""This process's."""
