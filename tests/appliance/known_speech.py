"""Recognising sentences that the voice says by their sound: it says the same one always in the same way.

Unlike a recogniser this knows sentences of any words, and tells how much of one was heard, and how often.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import soundfile
import soxr
from installed import Board
from virtual_sound import LOUD, RATE_HZ, Int16, Recording

Float = npt.NDArray[np.float64]

PIECE_S = 0.4
ALIKE = 0.7
"""Correlation from which on two pieces of sound are the same; those of other sentences stay below 0.5."""


class KnownSpeech:
    """The sentences that the board's voice may say, as it says them."""

    def __init__(self, board: Board, *texts: str) -> None:
        self._board = board
        self._sounds = {text: self._say(board, text) for text in texts}

    def heard(self, recording: Recording, text: str) -> float:
        """How much of the sentence was heard, 0 to 1, or more where all of it was heard more than once.

        Pieces at which it was cut and continued may be lacking, or be heard twice.
        """
        times = self._times(recording, text)
        return sum(times) / len(times)

    def is_heard_to_its_end(self, recording: Recording, text: str) -> bool:
        return self._times(recording, text)[-1] > 0

    def described(self, recording: Recording, text: str) -> str:
        """For who did not hear `text`: what was heard instead."""
        stretches = [(round(begin, 2), round(end, 2)) for begin, end in recording.sounds()]
        said = self._board.said(recording)
        return f"its pieces {self._times(recording, text)} times, and sounds at {stretches} s: {said!r}"

    def _times(self, recording: Recording, text: str) -> list[int]:
        """How often each piece of the sentence was heard."""
        samples = recording.samples().astype(np.float64)
        return [times_heard(samples, piece) for piece in pieces(self._sounds[text])]

    @staticmethod
    def _say(board: Board, text: str) -> Int16:
        file = "/tmp/known.wav"
        board.machine.run("assistant", "say", "--output", file, text)
        samples, rate_hz = soundfile.read(board.machine.path(file), dtype="int16")
        resampled: Int16 = soxr.resample(samples, rate_hz, RATE_HZ)
        return resampled


def pieces(samples: Int16) -> list[Float]:
    """The loud part in pieces of `PIECE_S`, without a shorter last one, and without silences."""
    loud = np.flatnonzero(np.abs(samples.astype(np.int32)) > LOUD)
    length = round(PIECE_S * RATE_HZ)
    cut = [samples[begin : begin + length] for begin in range(loud[0], loud[-1] - length, length)]
    return [piece.astype(np.float64) for piece in cut if np.mean(np.abs(piece.astype(np.int32)) > LOUD) > 0.2]


def times_heard(samples: Float, piece: Float) -> int:
    """At how many places of `samples` there is `piece`, however loud (normalised cross-correlation)."""
    if len(samples) < len(piece):
        return 0
    size = 1 << (len(samples) + len(piece) - 1).bit_length()
    spectrum = np.fft.rfft(samples, size) * np.conj(np.fft.rfft(piece, size))
    alike = np.fft.irfft(spectrum, size)[: len(samples) - len(piece) + 1]
    power = np.cumsum(np.concatenate([[0.0], samples**2]))
    energy = np.maximum(power[len(piece) :] - power[: -len(piece)], len(piece) * LOUD)
    alike /= np.sqrt(energy) * np.sqrt(np.sum(piece**2))
    count = 0
    while (place := int(np.argmax(alike))) >= 0 and alike[place] >= ALIKE:
        count += 1
        alike[max(0, place - len(piece) // 2) : place + len(piece) // 2] = 0.0
    return count
