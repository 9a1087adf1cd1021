"""Whether a person speaks while the assistant does, or what is heard is the rest of its own voice.  Pure.

The guards, one behind the other, of sound that an echo canceller has worked on, where there is an echo: a
frame is a person's if it is voiced and louder than what may be left of the echo; a person speaks if most of
two windows in a row is theirs.  A last guard looks at the words (`text.interrupting`).
"""

from __future__ import annotations

from collections import deque

WINDOW = 3
"""Frames (60 ms)."""

FROM_PERSON = 2
"""Frames of a window that must be a person's: behind the canceller a voice that speaks at the same time as
the assistant has holes."""

WINDOWS = 2 * WINDOW
FROM_PERSON_IN_ALL = 5
"""Frames that decide, and how many of them must be a person's.  What is left of an echo is at times voiced
for four in a row (measured; where the canceller finds the echo's delay for the first time, or again)."""

TAIL = 25
"""Frames (500 ms) that an echo may come later than its reference, and go on in a room."""

SILENT_DBFS = -70.0
"""What is played more quietly is not heard."""

FIRST_LOSS_DB = 20.0
"""What the way through speaker, room and canceller takes off, before that is known: little."""

MOST_LOSS_DB = 46.0
"""In a very quiet room there is nothing left of an echo but for moments, which then are not to count."""

UNCANCELLED_LOSS_DB = 34.0
"""The most past the canceller, where nothing is heard of the speaker: it may be turned on."""

LEARNT_IN = 50
"""Frames (1 s) in which most of that is learnt; a person who speaks until it is noticed takes 4 dB off."""

MARGIN_DB = 12.0
"""How much louder than in the mean the rest of an echo may be for a moment."""


class Guard:
    """One for a microphone: what it learns of the room goes on to the next answer."""

    def __init__(self) -> None:
        self.loss_db = FIRST_LOSS_DB
        self.has_person = False
        """Whether a person has begun to speak and has not fallen silent."""
        self._played_dbfs: deque[float] = deque(maxlen=TAIL)
        self._frames: deque[bool] = deque(maxlen=WINDOWS)

    @property
    def echoes(self) -> bool:
        """Whether there may be echo."""
        return max(self._played_dbfs, default=SILENT_DBFS) > SILENT_DBFS

    @property
    def last_frames(self) -> list[bool]:
        """Of those that decide: which are a person's, the last one last."""
        return list(self._frames)

    def feed(self, voiced: bool, heard_dbfs: float, played_dbfs: float, cancelled: bool = True) -> bool:
        """Whether the next frame is a person's; `played_dbfs` is how loud the speaker was meanwhile."""
        self._played_dbfs.append(played_dbfs)
        is_person = voiced
        if self.echoes:
            loudest_dbfs = max(self._played_dbfs)
            most_db = MOST_LOSS_DB if cancelled else UNCANCELLED_LOSS_DB
            self.loss_db = min(self.loss_db, most_db)
            is_person = voiced and heard_dbfs > loudest_dbfs - self.loss_db + MARGIN_DB
            if not self.has_person:
                loss_db = min(max(0.0, loudest_dbfs - heard_dbfs), most_db)
                self.loss_db += (loss_db - self.loss_db) / LEARNT_IN
        self._frames.append(is_person)
        first, second = sum(self.last_frames[:-WINDOW]), sum(self.last_frames[-WINDOW:])
        if min(first, second) >= FROM_PERSON and first + second >= FROM_PERSON_IN_ALL:
            self.has_person = True
        return is_person

    def person_fell_silent(self) -> None:
        """The next one has to be told from the echo anew."""
        self.has_person = False
        self._frames.clear()
