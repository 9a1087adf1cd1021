"""What the speaker plays, laid on the time axis of the microphone.  Pure: times are passed in.

The speaker's sound comes with the time at which it will be heard, the microphone's with the time at which it
was captured, both as well as a program can know.  What counts for an echo canceller is that the distance of
the two stays the same while something is played, and that the reference is never later than its echo.
"""

from __future__ import annotations

from collections import deque

from assistant.audio.formats import FRAME_BYTES, FRAME_SAMPLES, RATE_HZ, SAMPLE_BYTES

EARLY = 20 * RATE_HZ // 1000
"""Samples that the reference goes ahead of its time: an echo is cancelled if it comes too late (by up to half
a second), not if it comes too early."""

ACTIVE = RATE_HZ
"""For so many samples (1 s) behind the last that was played there may be echo."""

KEPT = 10 * RATE_HZ
"""A microphone that waits for its reader may be so far behind."""

JOINS = RATE_HZ // 1000
"""Sounds that are so close (1 ms) are one: times in seconds do not hit a sample exactly."""

LACKED = RATE_HZ // 2
"""For so many samples (500 ms) behind a piece of the reference that came too late its echo may be heard."""

OFFSETS = 100
"""Frames (2 s) of which the promptest tells when the microphone's sound was captured: others came late, since
something else ran, or several at once."""

DRIFTS = 4 * RATE_HZ // 1000
"""The same while nothing is played."""

SLIPS = 40 * RATE_HZ // 1000
"""Samples by which the two clocks may have gone apart while something is played, before they are set anew."""


class Reference:
    """Feed what is played, ask with each frame of the microphone.  Samples count from second 0 of a clock."""

    def __init__(self) -> None:
        self._played: deque[tuple[int, bytes]] = deque()
        self._end = -ACTIVE
        self._asked = -ACTIVE - LACKED  # up to where the reference has been handed out
        self._lacked = -ACTIVE - LACKED  # up to where some of it came only afterwards
        self._offsets: deque[int] = deque(maxlen=OFFSETS)
        self._offset: int | None = None  # of the microphone's positions

    def played(self, pcm: bytes, at_s: float) -> None:
        """The speaker plays `pcm` (16 kHz, mono) from `at_s` on; an empty one ends what was to come then."""
        start = round(at_s * RATE_HZ)
        if pcm and abs(start - self._end) <= JOINS:
            start = self._end
        while self._played and self._played[-1][0] >= start:
            self._played.pop()
        if self._played:
            last, sound = self._played[-1]
            self._played[-1] = last, sound[: (start - last) * SAMPLE_BYTES]
        if pcm:
            self._played.append((start, pcm))
            while self._played[0][0] < start - KEPT:
                self._played.popleft()
            if start < self._asked:
                self._lacked = self._asked
        self._end = start + len(pcm) // SAMPLE_BYTES

    def heard_with(self, position: int, captured_at_s: float) -> bytes | None:
        """What was played while the microphone's frame before `position` was captured, until `captured_at_s`.

        None where nothing was for so long that there is no echo of it.
        """
        self._offsets.append(round(captured_at_s * RATE_HZ) - position)
        promptest = min(self._offsets)
        if self._offset is None or abs(promptest - self._offset) > SLIPS:
            self._offset = promptest
        end = self._asked = position + self._offset + EARLY
        if end - FRAME_SAMPLES >= self._end + ACTIVE:
            if abs(promptest - self._offset) > DRIFTS:
                self._offset = None
            return None
        return self._between(end - FRAME_SAMPLES, end)

    @property
    def is_lacking(self) -> bool:
        """Whether a part of what may echo was not there when it was asked for: the computer is busy."""
        return self._asked <= self._lacked + LACKED

    def _between(self, start: int, end: int) -> bytes:
        frame = bytearray(FRAME_BYTES)
        for first, pcm in reversed(self._played):
            last = first + len(pcm) // SAMPLE_BYTES
            if last <= start:
                break
            from_, to = max(first, start), min(last, end)
            if from_ < to:
                sound = pcm[(from_ - first) * SAMPLE_BYTES : (to - first) * SAMPLE_BYTES]
                frame[(from_ - start) * SAMPLE_BYTES : (to - start) * SAMPLE_BYTES] = sound
        return bytes(frame)
