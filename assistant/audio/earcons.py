"""Earcons: short sounds that tell the assistant's state.  Computed, so there are no files to lose.

A note is a sine and a little of its octave, f = 440 Hz * 2 ** ((n - 69) / 12) for MIDI note n (equal
temperament, ISO 16 and the MIDI specification).  It rises and falls along raised cosines (Harris, "On the
use of windows for harmonic analysis", Proc. IEEE 66, 1978), whose slope is 0 at both ends: no clicks.
"""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt

from assistant.messages import Earcon

PEAK_DBFS = -18.0
"""Level of the loudest sample: in the mean (RMS) 8 dB softer than a voice that peaks at full scale."""

ATTACK_MS = 8
OCTAVE = 0.3
"""Amplitude of the octave beside the note's own: what a small speaker still plays of a low note."""


class Note(msgspec.Struct, frozen=True):
    """MIDI note `number`, from `start_ms` of the earcon on."""

    number: int
    start_ms: int
    length_ms: int


NOTES: dict[Earcon, tuple[Note, ...]] = {
    "ready": (Note(72, 0, 150), Note(76, 90, 150), Note(79, 180, 170)),  # C5 E5 G5, a chord that opens
    "listening": (Note(81, 0, 70), Note(86, 50, 90)),  # A5 D6, up: a question
    "thinking": (Note(69, 0, 90),),  # A4, a tick
    "error": (Note(67, 0, 180), Note(60, 140, 210)),  # G4 C4, down
}


def duration_ms(name: Earcon) -> int:
    """How long the earcon lasts."""
    return max(note.start_ms + note.length_ms for note in NOTES[name])


def earcon(name: Earcon, rate_hz: int) -> npt.NDArray[np.int16]:
    """The sound, mono at `rate_hz`, shape (n,)."""
    sound = np.zeros(duration_ms(name) * rate_hz // 1000)
    for note in NOTES[name]:
        start = note.start_ms * rate_hz // 1000
        tone = _tone(note, rate_hz)[: len(sound) - start]
        sound[start : start + len(tone)] += tone
    peak = 32_767 * 10 ** (PEAK_DBFS / 20)
    whole: npt.NDArray[np.int16] = np.rint(sound * peak / np.abs(sound).max()).astype(np.int16)
    return whole


def _tone(note: Note, rate_hz: int) -> npt.NDArray[np.float64]:
    samples = note.length_ms * rate_hz // 1000
    attack = ATTACK_MS * rate_hz // 1000
    phase = 2 * np.pi * 440 * 2 ** ((note.number - 69) / 12) * np.arange(samples) / rate_hz
    rise = 0.5 - 0.5 * np.cos(np.pi * np.arange(attack) / attack)
    fall = 0.5 + 0.5 * np.cos(np.pi * np.arange(samples - attack) / (samples - attack))
    envelope: npt.NDArray[np.float64] = np.concatenate([rise, fall])
    tone: npt.NDArray[np.float64] = envelope * (np.sin(phase) + OCTAVE * np.sin(2 * phase))
    return tone
