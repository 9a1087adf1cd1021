"""What a spoken turn took, from the events of `assistant run --json` and the recording itself.  Pure.

Milliseconds count from the true end of speech, which is looked for in the recording: what the endpointer
takes for it is one of the things to be measured.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Pcm = npt.NDArray[np.int16]
Event = dict[str, str | float]

QUIET_DB = -45.0
"""Below a recording's peak: what is quieter is taken for silence; at a word's end, the last of its fading."""

SAME_SPEECH_S = 0.5
"""A turn belongs to a recording if the endpointer finds its end so near."""


class Work(NamedTuple):
    """A stage's engine at work on a revision of a turn; `first_ms` is when its first result was there."""

    stage: str
    revision: int
    began_ms: float
    first_ms: float
    ended_ms: float


class Turn(NamedTuple):
    """One question and its answer.  `handed_ms` is when the first sentence went from llm to tts."""

    name: str
    speech_end_ms: float
    pause_ms: float
    end_of_turn_ms: float
    handed_ms: float
    first_sound_ms: float
    done_ms: float
    revision: int
    works: tuple[Work, ...]
    gaps_ms: tuple[float, ...]

    def work(self, stage: str) -> Work:
        """The stage's first work on the revision that was answered; the last of stt, which looks ahead."""
        works = [work for work in self.works if work.stage == stage and work.revision == self.revision]
        return works[-1 if stage == "stt" else 0]

    @property
    def decided_to_sound_ms(self) -> float:
        return max(0.0, self.first_sound_ms - self.end_of_turn_ms)

    @property
    def wasted_ms(self) -> float:
        """Engine time on revisions that were none."""
        return sum(work.ended_ms - work.began_ms for work in self.works if work.revision < self.revision)

    @property
    def not_engine_ms(self) -> float:
        """Of the time between pause and first sound, what no engine worked in and nobody had to wait for.

        An engine holds the answer up until its first result is there, a stale one until it stops; sound that
        is made waits for the end of the turn.
        """
        stt, llm, tts = map(self.work, ("stt", "llm", "tts"))
        taken = [
            (stt.began_ms, stt.ended_ms),
            (llm.began_ms, self.handed_ms),
            (tts.began_ms, tts.first_ms),
            (tts.first_ms, self.end_of_turn_ms),
        ]
        taken += [(work.began_ms, work.ended_ms) for work in self.works if work.revision < self.revision]
        taken += [(work.began_ms, work.ended_ms) for work in self.works if work.stage == "stt"]
        return uncovered_ms(self.pause_ms, self.first_sound_ms, taken)


def uncovered_ms(begin_ms: float, end_ms: float, intervals: Iterable[tuple[float, float]]) -> float:
    """How much of `begin_ms` to `end_ms` lies in none of `intervals`; these may overlap or be empty."""
    left_ms, at_ms = 0.0, begin_ms
    for since_ms, until_ms in sorted(intervals):
        if until_ms <= since_ms:
            continue
        left_ms += max(0.0, min(since_ms, end_ms) - at_ms)
        at_ms = max(at_ms, min(until_ms, end_ms))
    return left_ms + max(0.0, end_ms - at_ms)


def loud(pcm: Pcm, peak: int | None = None) -> npt.NDArray[np.intp]:
    """The positions of all samples within `QUIET_DB` of `peak`; None: of the loudest sample in `pcm`."""
    level = np.abs(pcm.astype(np.int32))
    threshold = 10 ** (QUIET_DB / 20) * (peak or level.max(initial=0))
    return np.flatnonzero(level > threshold)


def nearest(ends_s: Sequence[float], wanted_s: float) -> int | None:
    """Which of `ends_s`, where the endpointer found speech to end, is that at `wanted_s`; None if none is."""
    off_s = [abs(end_s - wanted_s) for end_s in ends_s]
    return off_s.index(min(off_s)) if off_s and min(off_s) <= SAME_SPEECH_S else None


def by_turn(lines: Iterable[str]) -> tuple[float, list[list[Event]]]:
    """When the microphone began to hear, and the events of each turn that has ended."""
    since_s = 0.0
    turns: dict[float | str, list[Event]] = {}
    for line in lines:
        event = json.loads(line)
        if event["event"] == "listening":
            since_s = event["t"]
        turns.setdefault(event["turn"], []).append(event)
    return since_s, [events for events in turns.values() if any(map(_is_end, events))]


def speech_end_s(events: Iterable[Event]) -> float:
    """What the endpointer takes for the end of speech, in seconds of CLOCK_MONOTONIC."""
    return float(next(filter(_is_end, events))["speech_end"])


def _is_end(event: Event) -> bool:
    return event["event"] == "end_of_turn"


def turn_of(name: str, events: Sequence[Event], zero_s: float) -> Turn | None:
    """The turn that `events` tell of; speech truly ended at `zero_s`.  None if it was not answered aloud."""

    def ms(event: Event, key: str = "t") -> float:
        return 1000 * (float(event[key]) - zero_s)

    named: dict[str, list[Event]] = {}
    for event in events:
        named.setdefault(str(event["event"]), []).append(event)
    if not named.keys() >= {"pause", "end_of_turn", "worked", "answer", "first_sound", "done"}:
        return None
    works = tuple(
        Work(str(event["text"]), int(event["revision"]), ms(event, "began"), ms(event, "first"), ms(event))
        for event in named["worked"]
    )
    revision = int(named["pause"][-1]["revision"])
    if not {work.stage for work in works if work.revision == revision} >= {"stt", "llm", "tts"}:
        return None  # an apology is spoken in a revision of its own
    begun_ms = min(work.began_ms for work in works if work.stage == "tts" and work.revision == revision)
    end_of_turn = named["end_of_turn"][0]
    return Turn(
        name,
        ms(end_of_turn, "speech_end"),
        ms(named["pause"][-1]),
        ms(end_of_turn),
        min(ms(named["answer"][0]), begun_ms),  # of an answer's beginning alone no event tells
        ms(named["first_sound"][0]),
        ms(named["done"][0]),
        revision,
        works,
        tuple(float(event["ms"]) for event in named.get("gap", ())),
    )
