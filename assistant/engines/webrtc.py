"""Whether a frame holds a voice: webrtcvad behind an energy gate.  The one file that imports webrtcvad."""

from __future__ import annotations

from operator import mul

import webrtcvad

from assistant.audio.formats import FRAME_SAMPLES, RATE_HZ

FULL_SCALE = 32_768

GATE_DBFS = -60.0
"""Quieter frames (root mean square 32 of 32768), as amplified, are never voice.  webrtcvad alone takes half
the frames of a voice at -65 dBFS for speech: a television behind a wall, nothing said to the assistant; where
a gain lifts that above the gate, it is still too near to `noise_floor.QUIETEST_DB`.  Of a voice at -50, faint
for any microphone, the gate lets two thirds pass before there is a gain."""

_GATE_ENERGY = FRAME_SAMPLES * (FULL_SCALE * 10 ** (GATE_DBFS / 20)) ** 2


class WebrtcVad:
    """Voice decisions, frame by frame; it adapts to the noise it hears, so each microphone has its own."""

    def __init__(self, aggressiveness: int) -> None:
        """`aggressiveness` 0 lets most sound through as voice, 3 least."""
        self._vad = webrtcvad.Vad(aggressiveness)

    def voiced(self, frame: bytes) -> bool:
        """Whether `frame` (20 ms of 16 kHz mono signed 16 bit PCM) holds a voice.

        Raises `ValueError` for a frame of another length.
        """
        samples = memoryview(frame).cast("h")
        if len(samples) != FRAME_SAMPLES:
            raise ValueError(f"a frame has {FRAME_SAMPLES} samples, not {len(samples)}")
        # webrtcvad is asked for quiet frames too: its picture of the noise must not have gaps
        heard = bool(self._vad.is_speech(frame, RATE_HZ))
        return heard and sum(map(mul, samples, samples)) >= _GATE_ENERGY
