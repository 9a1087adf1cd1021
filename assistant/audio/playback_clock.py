"""What all speakers share: how far they are ahead of what is heard, and which samples are heard when."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

AHEAD_S = 0.1
"""How much may be queued: enough to bridge the pauses of a busy processor, little enough to stop at once."""
ANSWER_S = 2.0
"""How long a device or a card may take to stop; then it is gone."""
MOST_RUNS = 256


@dataclass
class _Run:
    """`count` samples from number `start` on, heard without a gap from `at_s` on."""

    start: int
    count: int
    at_s: float


class PlaybackClock:
    """Which samples are heard when.  Pure; `rate_hz` counts samples per second of the monotonic clock.

    Times that are no more than `jitter_s` from where the samples before them end mean that there was no gap.
    """

    def __init__(self, rate_hz: float, jitter_s: float) -> None:
        self._rate_hz = rate_hz
        self._jitter_s = jitter_s
        self._runs: deque[_Run] = deque(maxlen=MOST_RUNS)

    def add(self, start: int, count: int, at_s: float) -> None:
        """`count` samples from number `start` on are heard from `at_s` on, which may still be to come."""
        if self._runs:
            last = self._runs[-1]
            expected_s = last.at_s + last.count / self._rate_hz
            if start == last.start + last.count and abs(at_s - expected_s) <= self._jitter_s:
                last.count += count
                return
        self._runs.append(_Run(start, count, at_s))

    def played(self, now_s: float) -> int:
        """How many samples have been heard by `now_s`."""
        for run in reversed(self._runs):
            if run.at_s <= now_s:
                return run.start + min(run.count, int((now_s - run.at_s) * self._rate_hz))
        return self._runs[0].start if self._runs else 0

    def at_s(self, sample: int) -> float:
        """When `sample` was or will be heard.  Raises `ValueError` if that is not known (any more)."""
        for run in reversed(self._runs):
            if run.start <= sample < run.start + run.count:
                return run.at_s + (sample - run.start) / self._rate_hz
        raise ValueError(f"sample {sample} was not heard, or is forgotten")

    def due_s(self, sample: int, earliest_s: float) -> float:
        """When `sample` will be heard: behind what is known of, what comes next not before `earliest_s`."""
        if not self._runs:
            return earliest_s
        last = self._runs[-1]
        ahead = sample - last.start - last.count
        if ahead < 0:
            return last.at_s + (sample - last.start) / self._rate_hz
        return max(earliest_s, last.at_s + last.count / self._rate_hz) + ahead / self._rate_hz

    def cut(self, played: int) -> None:
        """Only the first `played` samples were heard; the numbers behind are free again."""
        while self._runs and self._runs[-1].start >= played:
            self._runs.pop()
        if self._runs:
            last = self._runs[-1]
            last.count = min(last.count, played - last.start)
