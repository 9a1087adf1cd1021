"""Broken and hostile files: what every reader of headers must withstand."""

from __future__ import annotations

import contextlib
import os
import re
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import strategies as st

from assistant.errors import ModelError

MOST_BYTES = 8 << 20
"""Of memory that a refusal may take, whatever sizes a header states."""


def put(path: Path, content: bytes, size_bytes: int | None = None) -> Path:
    """A file with `content`; one of `size_bytes` is a hole after it, or is cut off."""
    path.write_bytes(content)
    if size_bytes is not None:
        os.truncate(path, size_bytes)
    return path


def refused(reading: Callable[[], object], path: Path, reason: str) -> None:
    """It is refused with a sentence that has `path` and `reason` in it, and takes little memory."""
    tracemalloc.start()
    try:
        with pytest.raises(ModelError, match=re.escape(reason)) as refusal:
            reading()
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert str(path) in str(refusal.value)
    assert peak_bytes < MOST_BYTES


def withstood(reading: Callable[[], object]) -> None:
    """Something comes of it or a sentence: any other error fails the test."""
    with contextlib.suppress(ModelError):
        reading()


def flipped(base: bytes, places: st.SearchStrategy[int] | None = None) -> st.SearchStrategy[bytes]:
    """`base` with up to eight bytes changed, anywhere or at `places`."""

    def flip(flips: list[tuple[int, int]]) -> bytes:
        broken = bytearray(base)
        for at, byte in flips:
            broken[at] = byte
        return bytes(broken)

    if places is None:
        places = st.integers(0, len(base) - 1)
    return st.lists(st.tuples(places, st.integers(0, 255)), min_size=1, max_size=8).map(flip)
