"""Running a voice's decoder on one window of time after the other, with the result of one run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from assistant.engines.piper_cut import Reach

Floats = npt.NDArray[np.float32]
"""[1, channels, steps], or the samples of a sound as the last of any number of axes."""


class Stage:
    """A part of the decoder: `run` makes `reach.rate` steps of each it is given, which depend on `reach`."""

    def __init__(self, run: Callable[[Floats], Floats], reach: Reach) -> None:
        self.rate = reach.rate
        self.before_steps = math.ceil(reach.before)
        self.after_steps = math.ceil(reach.after)
        self._run = run

    def flow(self, blocks: Iterable[tuple[Floats, bool]]) -> Iterator[tuple[Floats, bool]]:
        """What is made of the blocks, in order, each with whether it is the last.

        Convolutions find zeros beyond the ends of a window.  What depends on these, where in truth there is
        more, is not given but made again with the next window.
        """
        held = np.zeros((1, 0, 0), np.float32)
        given = 0  # steps of what is held whose result was given
        for block, last in blocks:
            held = np.concatenate([held, block], axis=2) if held.size else block
            ready = held.shape[2] - (0 if last else self.after_steps)
            if ready > given:
                yield self._run(held)[..., given * self.rate : ready * self.rate], last
                dropped = max(0, ready - self.before_steps)
                held, given = held[:, :, dropped:], ready - dropped


class Decoder:
    """Its stages one after the other.  They make `samples_a_step` of sound of each step."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        self.samples_a_step = math.prod(stage.rate for stage in stages)
        self._stages = stages
        ahead = 0
        for stage in reversed(stages):
            ahead = stage.after_steps + math.ceil(ahead / stage.rate)
        self._ahead_steps = ahead

    def sound(self, steps: Floats, first_samples: int, most_samples: int) -> Iterator[Floats]:
        """The sound of all `steps`: about `first_samples`, later twice as many, up to `most_samples`.

        Without stages, the steps are the sound.
        """
        if not self._stages:
            return iter([steps])
        count = steps.shape[2]
        first, most = (
            max(1, round(samples / self.samples_a_step)) for samples in (first_samples, most_samples)
        )
        flow: Iterator[tuple[Floats, bool]] = (
            (steps[:, :, begin:end], end == count)
            for begin, end in windows(count, first, most, self._ahead_steps)
        )
        for stage in self._stages:
            flow = stage.flow(flow)
        return (samples for samples, _ in flow)


def windows(steps: int, first: int, most: int, ahead: int) -> Iterator[tuple[int, int]]:
    """Beginnings and ends that divide `steps`: `first` of them, then twice as many each time, up to `most`.

    The first has `ahead` more, which the stages hold back.  The last may be half of `first` longer: less than
    that is not worth a window of its own.
    """
    begin, end = 0, first + ahead
    while begin < steps:
        if steps - end < first // 2:
            end = steps
        yield begin, end
        first = min(2 * first, most)
        begin, end = end, end + first
