"""What a benchmark says of itself before anybody waits for it."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("name", ["idle", "voice_to_voice"])
def test_one_that_takes_minutes_says_so(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", "--help"], capture_output=True, text=True, check=True
    )
    assert "minutes" in done.stdout
