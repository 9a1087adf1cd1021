"""When sound was captured, as far as frames that come late can tell."""

from __future__ import annotations

import numpy as np
import pytest

from assistant.audio.self_test import Recording


def test_when_a_recording_began() -> None:
    """Frames come late, by more or less; one that came at once tells."""
    recording = Recording()
    for number, late_s in enumerate([0.05, 0.0, 0.03, 0.02]):
        recording.add(np.full(320, number, np.int16).tobytes(), 100.0 + 0.02 * (number + 1) + late_s)
    assert recording.began_s == pytest.approx(100.0)
    assert recording.ended_s == pytest.approx(100.08)
    assert recording.sample(100.03) == 480
    assert recording.sample(99.99) == -160
    assert recording.sound[[0, 319, 320, 1279]].tolist() == [0, 0, 1, 3]
    assert recording.lost_ms == pytest.approx(0)


def test_sound_that_is_lost_is_missed() -> None:
    recording = Recording()
    for number in range(200):
        lost_s = 0.25 if number >= 120 else 0.0
        recording.add(bytes(640), 100.0 + 0.02 * (number + 1) + lost_s)
    assert recording.lost_ms == pytest.approx(250)
    assert recording.began_s == pytest.approx(100.0)
