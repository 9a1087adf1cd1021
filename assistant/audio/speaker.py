"""Speakers, as the tts stage plays through them: a device, or the speaker of a virtual sound card."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from assistant.audio.card_link import CARD_PREFIX

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

AHEAD_S = 0.1
"""How much may be queued: enough to bridge the pauses of a busy processor, little enough to stop at once."""
ANSWER_S = 2.0
"""How long a device or a card may take to stop; then it is gone."""
MOST_STRETCHES = 256


class Speaker(Protocol):
    """Plays mono int16 at `rate_hz`.

    Samples are numbered from 0 at opening; those that `stop` dropped give their numbers back, so the next
    sample to be written always has the number `played() + pending()`.  All but `heard_at_s` and
    `close` raise `AudioError` once the speaker is gone.
    """

    @property
    def rate_hz(self) -> int: ...

    def write(self, pcm: npt.NDArray[np.int16]) -> None:
        """Queue `pcm`, shape (n,); returns when about 100 ms of it are left to play, or after a `stop`."""

    def played(self) -> int:
        """Samples heard so far."""

    def pending(self) -> int:
        """Samples written but not heard yet."""

    def heard_at_s(self, sample: int) -> float:
        """When sample number `sample`, one of the `played()` ones, was heard, in seconds of CLOCK_MONOTONIC.

        Raises `ValueError` for a sample that was not heard, or so long ago that it is forgotten.
        """

    def due_s(self, sample: int) -> float:
        """When sample number `sample`, written but not heard yet, will be heard, as well as is known."""

    def stop(self) -> None:
        """Drop what has not been heard; it is silent, within 50 ms, when this returns.

        Another thread than the writing one may call it: the `write` then returns early.
        """

    def close(self) -> bool:
        """Drop what has not been heard, and let the speaker go.

        False if it does not let go of us, so that only the end of the process will help.
        """


def open_speaker(name: str, rate_hz: int, look_again: bool = False) -> Speaker:
    """The speaker `name`: "auto", a name that `assistant devices` shows, or "card:" and a card's socket.

    `rate_hz` is wished for; the speaker's own may differ.  `look_again` finds what was plugged in since this
    process first looked; only while no device is open.  Raises `AudioError`; after a
    `DeviceStuck` this process must not look again.
    """
    if name.startswith(CARD_PREFIX):
        from assistant.audio.card_worker import CardSpeaker

        return CardSpeaker(name.removeprefix(CARD_PREFIX))
    from assistant.audio import devices
    from assistant.audio.device_speaker import DeviceSpeaker

    if look_again:
        devices.look_again()
    return DeviceSpeaker(name, rate_hz)


@dataclass
class Stretch:
    """`count` samples from number `start` on, heard without a gap from `at_s` on."""

    start: int
    count: int
    at_s: float


class Heard:
    """Which samples are heard when.  Pure; `rate_hz` counts samples per second of the monotonic clock.

    Times that are no more than `jitter_s` from where the samples before them end mean that there was no gap.
    """

    def __init__(self, rate_hz: float, jitter_s: float) -> None:
        self._rate_hz = rate_hz
        self._jitter_s = jitter_s
        self._stretches: deque[Stretch] = deque(maxlen=MOST_STRETCHES)

    def add(self, start: int, count: int, at_s: float) -> None:
        """`count` samples from number `start` on are heard from `at_s` on, which may still be to come."""
        if self._stretches:
            last = self._stretches[-1]
            expected_s = last.at_s + last.count / self._rate_hz
            if start == last.start + last.count and abs(at_s - expected_s) <= self._jitter_s:
                last.count += count
                return
        self._stretches.append(Stretch(start, count, at_s))

    def played(self, now_s: float) -> int:
        """How many samples have been heard by `now_s`."""
        for stretch in reversed(self._stretches):
            if stretch.at_s <= now_s:
                return stretch.start + min(stretch.count, int((now_s - stretch.at_s) * self._rate_hz))
        return self._stretches[0].start if self._stretches else 0

    def at_s(self, sample: int) -> float:
        """When `sample` was or will be heard.  Raises `ValueError` if that is not known (any more)."""
        for stretch in reversed(self._stretches):
            if stretch.start <= sample < stretch.start + stretch.count:
                return stretch.at_s + (sample - stretch.start) / self._rate_hz
        raise ValueError(f"sample {sample} was not heard, or is forgotten")

    def due_s(self, sample: int, earliest_s: float) -> float:
        """When `sample` will be heard: behind what is known of, what comes next not before `earliest_s`."""
        if not self._stretches:
            return earliest_s
        last = self._stretches[-1]
        ahead = sample - last.start - last.count
        if ahead < 0:
            return last.at_s + (sample - last.start) / self._rate_hz
        return max(earliest_s, last.at_s + last.count / self._rate_hz) + ahead / self._rate_hz

    def cut(self, played: int) -> None:
        """Only the first `played` samples were heard; the numbers behind are free again."""
        while self._stretches and self._stretches[-1].start >= played:
            self._stretches.pop()
        if self._stretches:
            last = self._stretches[-1]
            last.count = min(last.count, played - last.start)
