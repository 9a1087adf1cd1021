"""How loud the room is while nobody speaks, so that who does can be told from it.  Pure."""

from __future__ import annotations

from collections import deque

QUIETEST_DB = -70.0
"""Quieter is no quieter: a muted microphone has no floor that a room would have to rise to for seconds."""

OF_NOISE, OF_WEAK_VOICE, OF_VOICE = 1 / 50, 1 / 500, 1 / 1500
"""What part a frame has in the floor: that follows noise within a second, and hardly what is a voice.  Many
voices that were taken for one are less than `WEAK_DB` louder and become part of the room within half a
minute.  A single one does not, as from a television: between its words the floor falls again."""

WEAK_DB = 9.0

OF_SILENCE, SILENCE_DB = 1 / 10, 6.0
"""The part of what is so far below the floor, of a noise that has stopped: who speaks next is heard within
the pre-roll.  Noise itself is seldom that far below its mean, so that its floor hardly sinks."""

SMOOTHING = 1 / 3
BLOCK_FRAMES, FIRST_BLOCKS, BLOCKS = 25, 2, 10
"""Ten blocks of half a second: even who speaks on and on is silent for 60 ms within them.  At first two must
do: a fan that runs already is no voice for longer than a second."""


class NoiseFloor:
    """The mean level of what is no voice, in dB, but never below the least of the last five seconds.

    The latter (minimum statistics; R. Martin, "Noise power spectral density estimation based on optimal
    smoothing and minimum statistics", 2001) is for noise that is taken for a voice: it cannot be for long.
    """

    def __init__(self) -> None:
        self._floor_db = QUIETEST_DB
        self._smoothed_db = 0.0
        self._least_db = 0.0  # of the block at hand
        self._past_db: deque[float] = deque(maxlen=BLOCKS)
        self._frames = 0

    @property
    def floor_db(self) -> float:
        """It, `QUIETEST_DB` at least."""
        return self._floor_db

    def above(self, level_db: float) -> float:
        """How far a frame of this level stands above the floor."""
        return max(level_db, QUIETEST_DB) - self._floor_db

    def learn(self, level_db: float, voiced: bool) -> None:
        """That frame was a voice or was none."""
        level_db = max(level_db, QUIETEST_DB)
        above_db = level_db - self._floor_db
        part = OF_NOISE if not voiced else OF_VOICE if above_db >= WEAK_DB else OF_WEAK_VOICE
        self._floor_db += part * above_db
        if not voiced:
            self._floor_db += OF_SILENCE * min(0.0, level_db + SILENCE_DB - self._floor_db)
        self._smoothed_db += SMOOTHING * (level_db - self._smoothed_db)
        self._least_db = min(self._least_db, self._smoothed_db)
        self._frames += 1
        if self._frames == BLOCK_FRAMES:
            self._past_db.append(self._least_db)
            self._least_db, self._frames = 0.0, 0
            if len(self._past_db) >= FIRST_BLOCKS:
                self._floor_db = max(self._floor_db, min(self._past_db))
