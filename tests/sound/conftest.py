"""Sound for the tests: tones and noise at any rate, and virtual cards that are closed again."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from assistant.audio.card import SoundCard

Int16 = npt.NDArray[np.int16]


@pytest.fixture
def noise() -> Callable[[int], Int16]:
    """`noise(n)`: n different samples, none of them 0, always the same ones."""

    def make(samples: int) -> Int16:
        drawn = np.random.default_rng(7).integers(1, 20_000, samples)
        return (drawn * np.where(np.arange(samples) % 2, 1, -1)).astype(np.int16)

    return make


@pytest.fixture
def open_card(tmp_path: Path) -> Iterator[Callable[..., SoundCard]]:
    """`open_card(microphone, speaker, rate_hz, speed)`: a virtual card that the test need not close."""
    cards: list[SoundCard] = []

    def make(
        microphone: Path | str, speaker: Path | str = "", rate_hz: int = 16_000, speed: float = 1.0
    ) -> SoundCard:
        folder = tmp_path / f"card{len(cards)}"
        cards.append(SoundCard(str(microphone), str(speaker), rate_hz, speed, folder=folder))
        return cards[-1]

    yield make
    for card in cards:
        card.close()


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


@pytest.fixture
def run() -> Iterator[Callable[[Callable[[], object]], threading.Thread]]:
    """`run(work)`: a thread that does `work` and has to be finished at the end of the test."""
    threads: list[threading.Thread] = []

    def start(work: Callable[[], object]) -> threading.Thread:
        threads.append(threading.Thread(target=work, daemon=True))
        threads[-1].start()
        return threads[-1]

    yield start
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive(), "a thread of the test hangs"
