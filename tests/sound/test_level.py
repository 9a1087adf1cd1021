from __future__ import annotations

import numpy as np
import pytest

from assistant.audio.level import dbfs


@pytest.mark.parametrize(
    ("pcm", "level"),
    [
        (np.zeros(100, np.int16), -100.0),
        (np.empty(0, np.int16), -100.0),
        (np.full(100, -32_768, np.int16), 0.0),
        (np.full(100, 16_384, np.int16), -6.02),
        (np.full(100, 1, np.int16), -90.31),
    ],
)
def test_level(pcm: np.ndarray[tuple[int], np.dtype[np.int16]], level: float) -> None:
    assert dbfs(pcm) == pytest.approx(level, abs=0.01)
