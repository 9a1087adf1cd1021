"""The board's speed is measured once, and an estimate of tokens a second follows from it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.board.recognise import Board
from assistant.board.speed import FILE, Speed, kept, measure, tokens_per_s

PI_5 = Board("Raspberry Pi 5", 8_245_264 * 1024, 8, 4, "aarch64", frozenset({"asimddp"}))
PI_4 = Board("Raspberry Pi 4 Model B", 7_998_984 * 1024, 8, 4, "aarch64", frozenset())


class Measured:
    """Stands in for the measurement: says 1, 2, 3… bytes a second, and keeps the cores it was told."""

    def __init__(self) -> None:
        self.cores: list[int] = []

    def __call__(self, cores: int) -> Speed:
        self.cores.append(cores)
        return Speed(float(len(self.cores)), 5e9)


def test_measured_once(tmp_path: Path) -> None:
    measured = Measured()
    assert kept(tmp_path, PI_5, measured) == kept(tmp_path, PI_5, measured) == Speed(1.0, 5e9)
    assert measured.cores == [4]
    assert os.listdir(tmp_path) == [FILE]


@pytest.mark.parametrize(
    "other",
    [
        PI_4,
        msgspec.structs.replace(PI_5, cores=3),
        msgspec.structs.replace(PI_5, nominal_gb=4),
    ],
)
def test_a_card_moved_to_another_board_is_measured_there(tmp_path: Path, other: Board) -> None:
    measured = Measured()
    kept(tmp_path, PI_5, measured)
    assert kept(tmp_path, other, measured).read_bytes_per_s == 2
    assert kept(tmp_path, other, measured).read_bytes_per_s == 2


def test_a_newer_kernel_that_takes_a_little_more_is_the_same_board(tmp_path: Path) -> None:
    measured = Measured()
    kept(tmp_path, PI_5, measured)
    kept(tmp_path, msgspec.structs.replace(PI_5, memory_bytes=8_200_000 * 1024), measured)
    assert len(measured.cores) == 1


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 40,
        b"\xff\xfe",
        b"[1, 2]",
        b'{"board": "Raspberry Pi 5"',
        b'{"board":"Raspberry Pi 5","cores":4,"nominal_gb":8,"speed":{"read_bytes_per_s":0,"flops":1}}',
        b'{"board":"\xff","cores":4,"nominal_gb":8,"speed":{"read_bytes_per_s":1,"flops":1}}',
    ],
)
def test_a_file_that_cannot_be_used_is_written_anew(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    measured = Measured()
    kept(tmp_path, PI_5, measured)
    kept(tmp_path, PI_5, measured)
    assert len(measured.cores) == 1


@given(content=st.binary(max_size=100))
def test_any_file_is_survived(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.mktemp("state")
    (folder / FILE).write_bytes(content)
    assert kept(folder, PI_5, Measured()) == Speed(1.0, 5e9)


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    measured = Measured()
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file" / "missing", tmp_path / "file"):
        kept(folder, PI_5, measured)
    (tmp_path / FILE).mkdir()
    kept(tmp_path, PI_5, measured)
    assert len(measured.cores) == 3
    assert sorted(os.listdir(tmp_path)) == ["file", FILE]


# Memory: twice what a Pi 5 copies in a second (https://github.com/raspberrypi/firmware/issues/1876), and
# STREAM on a Pi 4 (https://www.sci-pi.org.uk/bench/stream.html).  Multiplying: twice what Linpack does in
# 64 bits (https://github.com/geerlingguy/top500-benchmark/issues/18 and /33).
SPEED_OF_PI_5 = Speed(2 * 6.155e9, 2 * 30.2e9)
SPEED_OF_PI_4 = Speed(5.56e9, 2 * 11.4e9)


@pytest.mark.parametrize(
    ("speed", "size_bytes", "measured"),
    [
        # TinyLlama in q8_0, in whole tokens a second: https://justine.lol/matmul/
        pytest.param(SPEED_OF_PI_5, 1_170_000_000, 9, id="TinyLlama, Pi 5"),
        pytest.param(SPEED_OF_PI_4, 1_170_000_000, 3, id="TinyLlama, Pi 4"),
        # https://github.com/geerlingguy/ai-benchmarks/issues/24
        pytest.param(SPEED_OF_PI_5, 2_020_000_000, 5.55, id="Llama 3.2 3B, Pi 500+"),
        # Measured with two threads on two cores of an x86 server: TinyLlama in q4_K_M.
        pytest.param(Speed(70e9, 190e9), 668_000_000, 54, id="TinyLlama, two x86 cores"),
    ],
)
def test_the_estimate_is_near_and_on_the_low_side(speed: Speed, size_bytes: int, measured: float) -> None:
    assert 0.75 * measured < tokens_per_s(speed, size_bytes) <= measured


@given(st.floats(1e8, 1e12), st.floats(1e8, 1e13), st.integers(1, 10**11))
def test_more_to_read_is_never_faster_and_more_speed_never_slower(
    read_bytes_per_s: float, flops: float, size_bytes: int
) -> None:
    estimate = tokens_per_s(Speed(read_bytes_per_s, flops), size_bytes)
    assert tokens_per_s(Speed(read_bytes_per_s, flops), 2 * size_bytes) == pytest.approx(estimate / 2)
    assert tokens_per_s(Speed(2 * read_bytes_per_s, flops), size_bytes) >= estimate
    assert tokens_per_s(Speed(2 * read_bytes_per_s, 2 * flops), size_bytes) == pytest.approx(2 * estimate)


MEASURE = """
import time, numpy
from pathlib import Path
from assistant.board.cgroups import field
from assistant.board.speed import measure
def most_kib():
    return field(Path("/proc/self/status").read_text(), "VmHWM")
before_kib, begun_s = most_kib(), time.monotonic()
measure(2)
print(most_kib() - before_kib, time.monotonic() - begun_s)
"""


def test_the_measurement_takes_little_memory_and_time() -> None:
    done = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True)
    more_kib, took_s = map(float, done.stdout.split())
    assert 60 * 1024 < more_kib < 100 * 1024
    assert 0.5 < took_s < 3


def test_this_machine() -> None:
    speed = measure(len(os.sched_getaffinity(0)))
    assert 1e8 < speed.read_bytes_per_s < 1e12
    assert 1e8 < speed.flops < 1e13
