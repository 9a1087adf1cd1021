"""Speech to text with Whisper: a quick reading, and a careful one where that is doubtful."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from assistant.audio.formats import RATE_HZ
from assistant.config import Stt
from assistant.engines.whisper_inventions import spoken
from assistant.engines.whisper_judgement import (
    TEMPERATURES,
    Reading,
    invented,
    is_final,
    is_sure,
    likeliest,
    most_tokens,
)
from assistant.engines.whisper_model import WhisperModel

FULL_SCALE = 32_768

FRAMES_PER_S = 100
WINDOW_S = 30
WINDOW_FRAMES = WINDOW_S * FRAMES_PER_S
SHORTEST_FRAMES = 10 * FRAMES_PER_S
MARGIN_FRAMES = 2 * FRAMES_PER_S
"""A window is as long as the sound and the margin, but never less than the shortest.  Whisper learnt from
windows of 30 s alone, and in one that is cut closer it says things twice."""


class Heard(NamedTuple):
    """What was read from an utterance; `text` is empty if it was no speech.

    `confidence` is the (geometric) mean probability of the text's tokens, 0 to 1.
    """

    text: str
    language: str
    confidence: float


class WhisperEngine:
    """One recogniser."""

    def __init__(self, folder: Path, settings: Stt) -> None:
        """Load the model in `folder`.  Raises `ModelError`."""
        self._model = WhisperModel(folder, settings)
        self._beam_size = settings.beam_size

    def warm(self) -> None:
        """Read a second of nothing, so that the first utterance finds every weight in memory."""
        self._read_quickly(self._model.spectrum(np.zeros(RATE_HZ, dtype=np.float32)), most_tokens(1.0))

    def transcribe(
        self,
        pcm: npt.NDArray[np.int16],
        voiced_ms: int,
        cancelled: Callable[[], bool],
        carefully: bool = True,
    ) -> Heard:
        """The text of `pcm` (16 kHz, mono), of which `voiced_ms` sounded like a voice.

        What is hard to understand is read a second time, `carefully`, or else has no text.
        Asks `cancelled` before every attempt and every window of 30 s; a cancelled reading has no text.
        """
        nothing = Heard("", self._model.language, 0.0)
        if cancelled():
            return nothing
        kept: list[Reading] = []
        sound = np.divide(pcm, FULL_SCALE, dtype=np.float32)
        for reading in self._readings(sound, cancelled, carefully):
            if cancelled():
                return nothing
            if not invented(reading, voiced_ms):
                kept.append(reading)
        if not kept:
            return nothing
        tokens = sum(reading.tokens for reading in kept)
        mean = sum(reading.avg_logprob * reading.tokens for reading in kept) / tokens
        text = spoken("".join(reading.text for reading in kept))
        return Heard(text, self._model.language, min(1.0, math.exp(mean)))

    def _readings(
        self, sound: npt.NDArray[np.float32], cancelled: Callable[[], bool], carefully: bool
    ) -> Iterator[Reading]:
        """What was read, piece by piece; less of it if cancelled."""
        duration_s = len(sound) / RATE_HZ
        if duration_s > WINDOW_S:
            yield from self._model.windows(sound, self._beam_size)
            return
        limit = most_tokens(duration_s)
        spectrum = self._model.spectrum(sound)
        quick = self._read_quickly(spectrum, limit)
        if is_sure(quick, limit):
            yield quick
        elif carefully and not cancelled():
            yield from self._read_carefully(spectrum, limit, quick, cancelled)

    def _read_quickly(self, spectrum: npt.NDArray[np.float32], limit: int) -> Reading:
        return self._model.decode(
            self._model.encode(spectrum, window_frames(spectrum.shape[1])), 1, 0.0, limit
        )

    def _read_carefully(
        self, spectrum: npt.NDArray[np.float32], limit: int, quick: Reading, cancelled: Callable[[], bool]
    ) -> Iterator[Reading]:
        """In the whole window, with the beam of the settings, at rising temperatures; none if cancelled."""
        encoded = self._model.encode(spectrum, WINDOW_FRAMES)
        tried = [quick]
        for temperature in TEMPERATURES:
            if cancelled():
                return
            reading = self._model.decode(encoded, self._beam_size, temperature, limit)
            tried.append(reading)
            if is_final(reading):
                yield reading
                return
        yield likeliest(tried)


def window_frames(sound_frames: int) -> int:
    """How many frames of 10 ms to look at, 3000 at most, to read a sound of `sound_frames` quickly."""
    return min(WINDOW_FRAMES, max(SHORTEST_FRAMES, sound_frames + MARGIN_FRAMES))
