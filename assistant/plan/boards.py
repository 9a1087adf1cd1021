"""Boards that others have measured, so that another machine can plan for them."""

from __future__ import annotations

from assistant.board.recognise import Board
from assistant.board.speed import Speed

BOARDS: dict[str, tuple[Board, Speed]] = {
    "pi4": (
        Board("Raspberry Pi 4 Model B", 0, 0, 4, "aarch64", frozenset()),
        Speed(5.56e9, 2 * 11.4e9),
    ),
    "pi5": (
        Board("Raspberry Pi 5", 0, 0, 4, "aarch64", frozenset({"asimddp", "asimdhp"})),
        Speed(2 * 6.155e9, 2 * 30.2e9),
    ),
}
"""Of any size of memory.

Reading: STREAM on a Pi 4 (https://www.sci-pi.org.uk/bench/stream.html), and twice what a Pi 5 copies in a
second (https://github.com/raspberrypi/firmware/issues/1876).  Multiplying: twice what Linpack does in 64 bits
(https://github.com/geerlingguy/top500-benchmark/issues/33 and /18).
"""
