"""Making a quiet microphone louder, within limits."""

from __future__ import annotations

import math

import numpy as np

from assistant.audio.formats import FRAME_MS

FRAMES_PER_S = 1_000 // FRAME_MS
FULL_SCALE = 32_768

MOST_DB = 24.0
SPEECH_DBFS = -26.0
"""How loud frames of speech shall be on average: the active speech level that telephony takes for normal
(ITU-T P.56 and P.830)."""

NOISE_DBFS = -50.0
"""Louder than this the noise is never made: there is nothing to be gained from it."""

LEAST_SPEECH_DBFS = -60.0
"""What is quieter is not said to the assistant; the gate of `engines.webrtc` has the same opinion."""
ABOVE_NOISE_DB = 12.0

UP_DB_PER_S, DOWN_DB_PER_S = 3.0, 6.0
"""So slow that nobody hears it, nor takes it for a change in the voice."""
LOUD_DBFS = -12.0
LOUD_DOWN_DB_PER_S = 60.0
"""A frame that becomes louder than this has peaks at full scale: a second person, who is near."""
FLOOR_FRAMES = 2 * FRAMES_PER_S
"""The noise is what is quietest in two to four seconds, in which every voice pauses (minimum statistics,
after Martin 2001)."""
MUTED_DBFS = -95.0
"""Less than a step of 16 bits: a microphone that has not begun says nothing of the room."""

SMOOTH_FRAMES = 5
SPEECH_FRAMES = 50
"""The averages of the noise and of the speech go back about so many frames: 100 ms; a second of speech."""
FIRST_FRAMES = 15
"""This much speech (300 ms) tells how loud the person is."""

KNEE = 0.7
"""From this share of full scale on, peaks are bent rather than cut."""


class GainControl:
    """How much to amplify, from how loud each frame was.  Pure.

    It rises only while somebody speaks, so a room that falls silent is not turned up.
    """

    def __init__(self) -> None:
        self.gain_db = 0.0
        self._smooth_dbfs = 0.0
        self._lowest_dbfs = self._lowest_before_dbfs = 0.0
        self._frames = 0
        self._speech_dbfs = 0.0
        self._speech_frames = 0

    def feed(self, level_dbfs: float) -> float:
        """The gain for the frame that was so loud."""
        if level_dbfs < MUTED_DBFS and not self._frames:
            return self.gain_db
        self._frames += 1
        self._smooth_dbfs += (level_dbfs - self._smooth_dbfs) / min(self._frames, SMOOTH_FRAMES)
        if self._frames % FLOOR_FRAMES == 0:
            self._lowest_before_dbfs, self._lowest_dbfs = self._lowest_dbfs, 0.0
        self._lowest_dbfs = min(self._lowest_dbfs, self._smooth_dbfs)
        floor_dbfs = min(self._lowest_dbfs, self._lowest_before_dbfs)
        is_speech = level_dbfs >= max(floor_dbfs + ABOVE_NOISE_DB, LEAST_SPEECH_DBFS)
        if is_speech:
            self._speech_frames = min(self._speech_frames + 1, SPEECH_FRAMES)
            self._speech_dbfs += (level_dbfs - self._speech_dbfs) / self._speech_frames
        wanted_db = self._wanted_db(floor_dbfs)
        if level_dbfs + self.gain_db > LOUD_DBFS:
            loud_db = max(0.0, LOUD_DBFS - level_dbfs)
            self.gain_db = max(loud_db, self.gain_db - LOUD_DOWN_DB_PER_S / FRAMES_PER_S)
        elif wanted_db < self.gain_db:
            self.gain_db = max(wanted_db, self.gain_db - DOWN_DB_PER_S / FRAMES_PER_S)
        elif is_speech:
            self.gain_db = min(wanted_db, self.gain_db + UP_DB_PER_S / FRAMES_PER_S)
        return self.gain_db

    def _wanted_db(self, floor_dbfs: float) -> float:
        if self._speech_frames < FIRST_FRAMES:
            return 0.0
        return max(0.0, min(MOST_DB, SPEECH_DBFS - self._speech_dbfs, NOISE_DBFS - floor_dbfs))


class AutoGain:
    """Amplifies frame by frame; at no gain, sound comes through bit for bit."""

    def __init__(self) -> None:
        self._control = GainControl()

    @property
    def gain_db(self) -> float:
        return self._control.gain_db

    def feed(self, frame: bytes) -> bytes:
        """`frame`, mono int16, as loud as it shall be; a voice that is suddenly loud is bent, not cut."""
        samples = np.frombuffer(frame, np.int16).astype(np.float32) / np.float32(FULL_SCALE)
        mean_square = float(samples @ samples) / len(samples)
        gain_db = self._control.feed(10 * math.log10(mean_square + 1e-10))
        if not gain_db:
            return frame
        samples *= np.float32(10 ** (gain_db / 20))
        size = np.abs(samples)
        if size.max() > KNEE:
            over = np.maximum(size - KNEE, 0) / (1 - KNEE)
            bent = np.minimum(size, KNEE) + (1 - KNEE) * over / (1 + over)
            samples = np.copysign(bent, samples)
        louder: bytes = np.rint(samples * (FULL_SCALE - 1)).astype(np.int16).tobytes()
        return louder
