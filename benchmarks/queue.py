"""Latency and throughput of the queue against a bare Unix socket, and the daemon's memory.

    python -m benchmarks.queue

A client sends sound to the daemon, which queues it for a worker; the clock stops when the worker has it.
Bare is the same bytes through one Unix stream socket between two processes.  Both are asked in turn,
message by message, so that the ratio holds when the machine's speed drifts.  Goal: p99 under 1 ms for
300 kB on an idle machine, and the daemon under 45 MB.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from assistant.messages import Recognise, StageState, Transcript, TurnFinished, Utterance
from assistant.queues.link import Link
from assistant.queues.socket import connect
from assistant.service import keep_freed_memory
from benchmarks.report import percentile, report

ROUNDS = 400
SIZES_BYTES = (1_000, 32_000, 300_000)


def main() -> None:
    keep_freed_memory()  # as the workers do
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "daemon.sock"
        command = [
            sys.executable,
            "-m",
            "assistant",
            "daemon",
            "--owned",
            "--workers",
            "none",
            "--socket",
            str(path),
        ]
        daemon = subprocess.Popen(command, stdin=subprocess.PIPE)
        try:
            while not path.exists():
                time.sleep(0.01)  # the daemon starts
            rows = _measure(path, daemon.pid)
        finally:
            assert daemon.stdin is not None
            daemon.stdin.close()
            daemon.wait()
    report("queue", rows)


def _measure(path: Path, daemon: int) -> list[dict[str, object]]:
    ours, theirs = multiprocessing.Pipe()
    worker = multiprocessing.Process(target=_work, args=(path, theirs))
    worker.start()
    near, far = socket.socketpair()
    for end in (near, far):
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            end.setsockopt(socket.SOL_SOCKET, option, 1024 * 1024)
    echo = multiprocessing.Process(target=_receive, args=(far, theirs))
    echo.start()
    far.close()
    client = connect(path, "client")
    ours.recv()
    rows: list[dict[str, object]] = []
    for size in SIZES_BYTES:
        queue_s, bare_s = [], []
        for number in range(ROUNDS + 20):
            pcm = os.urandom(size)
            started = time.monotonic()
            client.post(Recognise(pcm, 16000, 1000))
            through_queue = ours.recv() - started
            _await_end(client)
            started = time.monotonic()
            near.sendall(struct.pack(">I", size) + pcm)
            bare = ours.recv() - started
            if number >= 20:  # the first ones warm up
                queue_s.append(through_queue)
                bare_s.append(bare)
        rows.append(
            {
                "bytes": size,
                "queue_p50_ms": 1000 * percentile(queue_s, 50),
                "queue_p99_ms": 1000 * percentile(queue_s, 99),
                "bare_p50_ms": 1000 * percentile(bare_s, 50),
                "bare_p99_ms": 1000 * percentile(bare_s, 99),
                "ratio_p50": percentile(queue_s, 50) / percentile(bare_s, 50),
                "queue_MB_per_s": size / percentile(queue_s, 50) / 1e6,
                "daemon_rss_MB": _rss_mb(daemon),
            }
        )
    client.close()
    worker.terminate()
    echo.terminate()
    return rows


def _await_end(client: Link) -> None:
    while not isinstance(client.notice(), TurnFinished):
        pass


def _work(path: Path, clock: multiprocessing.connection.Connection) -> None:
    """The stage: says when a message has reached it."""
    link = connect(path, "stt")
    link.post(StageState("stt", "ready"))
    clock.send(0.0)
    while (delivery := link.receive()) is not None:
        arrived = time.monotonic()
        sound = delivery.message
        assert isinstance(sound, Utterance)
        link.post(Transcript(sound.turn, sound.revision, "", "en", 1.0, arrived))
        delivery.done()
        clock.send(arrived)


def _receive(end: socket.socket, clock: multiprocessing.connection.Connection) -> None:
    while header := end.recv(4, socket.MSG_WAITALL):
        (size,) = struct.unpack(">I", header)
        end.recv(size, socket.MSG_WAITALL)
        clock.send(time.monotonic())


def _rss_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0


if __name__ == "__main__":
    main()
