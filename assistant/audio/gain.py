"""Making a quiet microphone louder, within limits."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from assistant.audio.formats import FRAME_MS

FRAMES_PER_S = 1_000 // FRAME_MS
FULL_SCALE = 32_768
NO_SOUND = 1e-10
"""A mean square of -100 dBFS, which has a logarithm."""

MOST_DB = 24.0
SPEECH_DBFS = -26.0
"""How loud frames of speech shall be on average: the active speech level that telephony takes for normal
(ITU-T P.56 and P.830)."""

NOISE_DBFS = SPEECH_DBFS - 20
"""Louder than this the noise is never made: there is nothing to be gained from it."""

UP_DB, DOWN_DB = 3.0 / FRAMES_PER_S, 6.0 / FRAMES_PER_S
"""A frame; so slow that nobody hears it, nor takes it for a change in the voice."""
LOUD_DBFS = -12.0
DUCK_DB, BACK_DB = 60.0 / FRAMES_PER_S, 20.0 / FRAMES_PER_S
"""A frame that becomes louder than this has peaks at full scale.  So fast, a frame, the gain ducks, and is
back: a door must not cost the quiet voice behind it seconds."""

SPEECH_FRAMES = 50
"""The average of the speech goes back about so many frames: a second of speech."""
FIRST_FRAMES = 15
"""This much speech (300 ms) tells how loud the person is."""

KNEE = 0.7
"""From this share of full scale on, peaks are bent rather than cut."""


class GainControl:
    """How much to amplify, from how loud each frame was.  Pure.

    It rises only while a voice is heard, so a room that falls silent is not turned up, nor are keys or music.
    What is suddenly loud, such as a door or a second person, ducks it for a moment; to stay lower, it has to
    be a voice that goes on.
    """

    def __init__(self) -> None:
        self._lasting_db = self._ducked_db = 0.0
        self._speech_dbfs = 0.0
        self._speech_frames = 0

    @property
    def gain_db(self) -> float:
        return max(0.0, self._lasting_db - self._ducked_db)

    @property
    def is_at_work(self) -> bool:
        """Whether the next frame's level makes a difference to its gain."""
        return self._lasting_db > 0 or self._ducked_db > 0

    def duck(self, level_dbfs: float) -> float:
        """The gain for the next frame, which is so loud."""
        wanted_db = min(max(0.0, level_dbfs + self._lasting_db - LOUD_DBFS), self._lasting_db)
        self._ducked_db += min(max(wanted_db - self._ducked_db, -BACK_DB), DUCK_DB)
        return self.gain_db

    def learn(self, level_dbfs: float, voiced: bool, noise_dbfs: float) -> None:
        """That frame was a voice, so loud, or was none; the room is so loud without one."""
        if voiced:
            self._speech_frames = min(self._speech_frames + 1, SPEECH_FRAMES)
            self._speech_dbfs += (level_dbfs - self._speech_dbfs) / self._speech_frames
        wanted_db = self._wanted_db(noise_dbfs)
        if wanted_db < self._lasting_db:
            self._lasting_db = max(wanted_db, self._lasting_db - DOWN_DB)
        elif voiced:
            self._lasting_db = min(wanted_db, self._lasting_db + UP_DB)

    def _wanted_db(self, noise_dbfs: float) -> float:
        if self._speech_frames < FIRST_FRAMES:
            return 0.0
        return max(0.0, min(MOST_DB, SPEECH_DBFS - self._speech_dbfs, NOISE_DBFS - noise_dbfs))


class AutoGain:
    """Amplifies frame by frame; at no gain, sound comes through bit for bit."""

    def __init__(self) -> None:
        self._control = GainControl()
        self._frame = b""

    @property
    def gain_db(self) -> float:
        return self._control.gain_db

    def feed(self, frame: bytes) -> bytes:
        """`frame`, mono int16, as loud as it shall be; a voice that is suddenly loud is bent, not cut."""
        self._frame = frame
        if not self._control.is_at_work:  # as nearly always: this runs fifty times a second for ever
            return frame
        samples = _samples(frame)
        gain_db = self._control.duck(_level_dbfs(samples))
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

    def learn(self, voiced: bool, noise_dbfs: float) -> None:
        """The last frame was a voice or was none; `noise_dbfs` is how loud the room is without one."""
        level_dbfs = _level_dbfs(_samples(self._frame)) if voiced else 0.0
        self._control.learn(level_dbfs, voiced, noise_dbfs)


def _samples(frame: bytes) -> npt.NDArray[np.float32]:
    return np.frombuffer(frame, np.int16).astype(np.float32) / np.float32(FULL_SCALE)


def _level_dbfs(samples: npt.NDArray[np.float32]) -> float:
    return 10 * math.log10(float(samples @ samples) / len(samples) + NO_SOUND)
