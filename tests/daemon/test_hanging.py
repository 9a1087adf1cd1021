"""Who hangs: by times on paper, and real processes that hang in their own ways."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from assistant.daemon.hanging import (
    LOADING_S,
    RESTING_LOADING_S,
    RESTING_S,
    SILENT_S,
    TICKS_PER_S,
    Hanging,
)
from assistant.messages import STAGES, Stage
from assistant.queues.broker import Peer


class NoPort:
    def send(self, frame: bytes) -> None: ...

    def close(self) -> None: ...

    def backlog_bytes(self) -> int:
        return 0


class Watched:
    """A worker that is looked at every second; `part` of a processor is what it takes."""

    def __init__(self, root: Path, stage: Stage, is_ready: bool) -> None:
        self.worker = Peer(1, stage, 7, NoPort(), 0.0)
        self._stat = root / "proc" / "7" / "stat"
        self._stat.parent.mkdir(parents=True)
        self._hanging, self._stage, self._is_ready = Hanging(root), stage, is_ready
        self.now_s = self._used_s = 0.0

    def hangs_after_s(self, part: float, most_s: float) -> float | None:
        """How long it is left alone; None if all of `most_s`."""
        begin_s = self.now_s
        while self.now_s < begin_s + most_s:
            ticks = int(self._used_s * TICKS_PER_S)
            self._stat.write_text(
                f"7 (a (b) c) S 1 7 7 0 -1 4 1 0 0 0 {ticks - ticks // 3} {ticks // 3} 0 0 20"
            )
            if self._hanging.does(self._stage, self.worker, self._is_ready, self.now_s):
                return self.now_s - begin_s
            self.now_s += 1.0
            self._used_s += part
        return None


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(
    ("is_ready", "part", "patience_s"),
    [
        (True, 0.0, RESTING_S),
        (True, 0.001, RESTING_S),
        (False, 0.0, RESTING_LOADING_S),
        (False, 0.01, LOADING_S),
    ],
)
def test_how_long_it_may_be_silent(
    tmp_path: Path, stage: Stage, is_ready: bool, part: float, patience_s: float
) -> None:
    silent_for_s = Watched(tmp_path, stage, is_ready).hangs_after_s(part, 1000.0)
    assert silent_for_s == patience_s + 1.0


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("part", [0.01, 0.5, 2.0])
def test_one_that_computes_has_longer(tmp_path: Path, stage: Stage, part: float) -> None:
    assert Watched(tmp_path, stage, True).hangs_after_s(part, 1000.0) == SILENT_S[stage] + 1.0


def test_a_sign_of_life_begins_it_anew(tmp_path: Path) -> None:
    watched = Watched(tmp_path, "stt", is_ready=True)
    for _ in range(5):
        assert watched.hangs_after_s(0.0, RESTING_S) is None
        watched.worker.last_seen_s = watched.now_s
    assert watched.hangs_after_s(0.0, 1000.0) == RESTING_S + 1.0


def test_one_that_stops_in_the_middle_of_its_work(tmp_path: Path) -> None:
    watched = Watched(tmp_path, "stt", is_ready=True)
    assert watched.hangs_after_s(1.0, RESTING_S / 2) is None
    stopped_for_s = watched.hangs_after_s(0.0, 1000.0)
    assert stopped_for_s is not None
    assert RESTING_S < stopped_for_s <= 2 * RESTING_S + 2.0


def test_a_process_that_is_gone_harms_nothing(tmp_path: Path) -> None:
    worker = Peer(1, "stt", 7, NoPort(), 0.0)
    assert not Hanging(tmp_path).does("stt", worker, True, 1.0)


TICKING = """
import threading, time
def tick():
    while True:
        time.sleep(0.1)
threading.Thread(target=tick, daemon=True).start()
print(flush=True)
"""
DEADLOCK = TICKING + "lock = threading.Lock(); lock.acquire(); lock.acquire()"
BUSY = TICKING + "while True: pass"


@pytest.fixture
def process(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", request.param], stdout=subprocess.PIPE) as started:
        assert started.stdout is not None
        started.stdout.readline()
        yield started
        started.kill()


@pytest.mark.parametrize(
    ("process", "is_stopped", "hangs"),
    [(DEADLOCK, False, True), (BUSY, True, True), (BUSY, False, False)],
    indirect=["process"],
    ids=["its loop is deadlocked, a thread lives", "it is stopped", "it computes"],
)
def test_real_processes(process: subprocess.Popen[bytes], is_stopped: bool, hangs: bool) -> None:
    """The worker's times run ten times as fast as the machine's."""
    if is_stopped:
        os.kill(process.pid, signal.SIGSTOP)
    worker = Peer(1, "stt", process.pid, NoPort(), 0.0)
    hanging, begin_s = Hanging(), time.monotonic()
    found = False
    while not found and (real_s := time.monotonic() - begin_s) < 2.0:
        found = hanging.does("stt", worker, True, 10.0 * real_s)
        process.poll()
    assert found == hangs
