"""Playing clips one behind the other without a gap, and knowing what of each has been heard."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NoReturn

from assistant.audio.clip import Clip, Int16, Verdict, first_audible
from assistant.audio.resampling import Resampler
from assistant.audio.speaker import Speaker, find_speaker, open_speaker
from assistant.audio.tap import Tap
from assistant.audio.volume import Fader, gain
from assistant.errors import AudioError, DeviceBusy, DeviceStuck

log = logging.getLogger(__name__)

BLOCK_S = 0.02
"""How much is written at a time: a cancelled clip falls silent within this and what the speaker has ahead."""

BUSY_WITHIN_S = 10.0
LOOK_EVERY_S = 0.5
"""How long another program may still use the speaker, and how often that is tried."""

SEEK_EVERY_S = 10.0
"""How often a missing speaker is looked for without any sound: only people who read why there is none wait
for it."""

BACK_WITHIN_S = 5.0
"""How long a speaker that was there may be missing: it was unplugged, or its sound server begins anew."""

IDLE_S = 30.0
"""How long the speaker stays open after the last sound: open, it takes 2 % of a core, and a sound server that
sleeps may need two seconds to play again, which nobody who goes on talking shall wait for."""

LOOK_S = 0.01
REPORT_EVERY_S = 0.2
GAP_S = 0.02
"""Silence in the middle of an answer from which on it can be heard as such."""


class _Airing:
    """A clip of which some has been written; positions count the samples since the speaker was opened."""

    def __init__(self, clip: Clip, scale: float, written: int) -> None:
        """`scale` is how many of the speaker's samples there are for one of the clip's."""
        self.clip = clip
        self._scale = scale
        self.start = self.end = self.reported = written
        self.begin = written - int(clip.sound.heard * scale)  # less than 0 if heard elsewhere
        self.whole = False
        self.joins: deque[int] = deque()
        """Where a piece begins that may have come too late."""
        self.has_audible = False
        self.audible: int | None = None
        """The first audible sample, until it is heard."""
        self.fraction = 0.0
        self.goes_on = False
        """Whether it is what another speaker, or the same one before, did not play to its end."""

    def wrote(self, block: Int16) -> None:
        if not self.has_audible and (first := first_audible(block)) is not None:
            self.has_audible = True
            self.audible = self.end + first
        self.end += len(block)

    def may_go_on(self, played: int) -> bool:
        """The speaker is gone after so many samples: whether the rest is worth another."""
        heard = int(max(0, played - self.start) / self._scale)
        if not self.clip.waits or (self.goes_on and not heard):
            return False
        self.clip.sound.rewind(self.clip.sound.heard + heard)
        return True

    def goes_on_from(self, before: _Airing) -> None:
        """What was told of it before is not told again."""
        self.goes_on = True
        self.fraction = before.fraction
        self.has_audible = before.has_audible and before.audible is None

    def tell(self, played: int) -> None:
        """Say how much has been heard, unless that is no news."""
        total = max(self.clip.sound.total * self._scale, self.end - self.begin + 1)
        fraction = (played - self.begin) / total
        self.reported = played
        if fraction > self.fraction:
            self.fraction = fraction
            self.clip.progress(fraction)


class Player:
    """A thread that owns the speaker; open from shortly before there is sound until some time after it.

    `tap` is told what is played, `tell` why there is no speaker, and "" when there is one.
    """

    def __init__(
        self,
        speaker: str,
        rate_hz: int,
        idle_s: float = IDLE_S,
        tap: Tap | None = None,
        tell: Callable[[str], None] = lambda _why: None,
    ) -> None:
        self._name = speaker
        self._rate_hz = rate_hz
        self._idle_s = idle_s
        self._tap = tap
        self._tell = tell
        self._clips: queue.SimpleQueue[Clip | None] = queue.SimpleQueue()
        """None only wakes the thread."""
        self._speaker: Speaker | None = None
        self._failed = False
        """Whether it was ever missing: from then on what is plugged in is looked for each time."""
        self._is_sought = False
        """Whether it is yet to be found."""
        self._did_not_open = False
        """Whether it did not open, the last time: that it is listed says nothing then."""
        self._was_open = False
        self._gave_up = False
        """Whether it was waited for in vain: once is enough until it opens."""
        self._air: deque[_Airing] = deque()
        self._again: deque[tuple[Clip, _Airing | None]] = deque()
        """What a speaker that is gone did not play to its end, or not at all."""
        self._written = self._played = 0
        self._fader = Fader(1.0)
        self._answer: tuple[tuple[int, int], float] | None = None
        """The last one heard, and when its last sample was."""
        self._pause = threading.Event()  # never set: a sleep that needs no clock of its own
        self._news = threading.Event()
        threading.Thread(target=self._run, name="player", daemon=True).start()

    def play(self, clip: Clip) -> None:
        """Play `clip` behind those before it; one that does not wait is dropped if there is any other."""
        self._clips.put(clip)

    def find(self) -> None:
        """See whether there is such a speaker, now and then until there is.

        It is opened for that only where it did not open before: what is listed may fail all the same.
        """
        self._is_sought = True
        self._clips.put(None)

    def look(self) -> None:
        """The verdict on a clip may have changed."""
        self._news.set()

    def _run(self) -> None:
        while True:
            clip: Clip | None = None
            before: _Airing | None = None
            if self._again:
                clip, before = self._again.popleft()
            else:
                with contextlib.suppress(queue.Empty):
                    clip = self._clips.get(timeout=self._patience_s())
            try:
                if clip is not None:
                    self._play(clip, before)
                elif self._is_sought and self._speaker is None:
                    self._seek()
                elif not self._air:
                    self._close("The speaker does not let go.")
                self._look()
            except AudioError as error:
                self._fail(clip, str(error))

    def _patience_s(self) -> float | None:
        """How long to wait for a clip."""
        if self._speaker is None:
            return SEEK_EVERY_S if self._is_sought else None
        return LOOK_S if self._air else self._idle_s

    def _seek(self) -> None:
        if self._did_not_open:
            self._try_to_open()
            return
        find_speaker(self._name, self._failed)
        self._is_sought = False
        if self._failed:
            self._tell("")

    def _play(self, clip: Clip, before: _Airing | None) -> None:
        if clip.verdict() is Verdict.WAIT:
            with contextlib.suppress(AudioError):  # whether it matters will be seen when it may be heard
                self._open(clip, busy_within_s=0, back_within_s=0)
        while (verdict := clip.verdict()) is Verdict.WAIT:
            self._look_while_waiting()
            self._news.wait(LOOK_S)
            self._news.clear()
        if verdict is Verdict.DROP or not (clip.waits or (not self._air and self._clips.empty())):
            clip.dropped("")
            return
        speaker = self._open(clip, BUSY_WITHIN_S, BACK_WITHIN_S if clip.waits and self._was_open else 0)
        if speaker is None or clip.verdict() is Verdict.DROP:  # to open one may take seconds
            clip.dropped("")
            return
        resampler = Resampler(self._rate_hz, speaker.rate_hz)
        airing = _Airing(clip, speaker.rate_hz / self._rate_hz, self._written)
        if not self._air:  # else it joins on to what is in the air, as loud as that is
            self._fader = Fader(gain(clip.volume()))
        if before is not None:
            airing.goes_on_from(before)
        self._air.append(airing)
        while airing in self._air and not airing.whole:
            piece = clip.sound.take(LOOK_S)
            self._write(airing, speaker, resampler.end() if piece is None else resampler.feed(piece))
            airing.whole = piece is None
            self._look()
        if self._tap is not None:
            self._tap.end()

    def _look_while_waiting(self) -> None:
        """A speaker that went away while nothing was in the air costs nothing: it will be opened again."""
        try:
            self._look()
        except AudioError as error:
            if self._air:
                raise
            self._close(str(error))
            self._failed = True

    def _write(self, airing: _Airing, speaker: Speaker, pcm: Int16) -> None:
        if len(pcm):
            airing.joins.append(self._written)
        step = int(speaker.rate_hz * BLOCK_S)
        for at in range(0, len(pcm), step):
            block = pcm[at : at + step]
            as_heard = self._fader.fade(block, gain(airing.clip.volume()), speaker.rate_hz)
            speaker.write(as_heard)
            if self._tap is not None:
                self._tap.feed(as_heard, speaker.rate_hz, speaker.due_s(airing.end))
            airing.wrote(block)  # as it was made: what is audible does not depend on the volume
            self._written = airing.end
            self._look()
            if airing not in self._air:
                return

    def _open(self, clip: Clip, busy_within_s: float, back_within_s: float) -> Speaker | None:
        """The speaker, as soon as another program lets it go (the sound of a fault may be in it), or it is
        there again; None if `clip` is not wanted any more by then.
        """
        began_s = time.monotonic()
        while self._speaker is None:
            try:
                self._try_to_open()
            except AudioError as error:
                within_s = busy_within_s if isinstance(error, DeviceBusy) else back_within_s
                if self._gave_up or time.monotonic() - began_s >= within_s:
                    self._gave_up = self._gave_up or within_s > 0
                    raise
                self._pause.wait(LOOK_EVERY_S)
                if clip.verdict() is Verdict.DROP:
                    return None
        return self._speaker

    def _try_to_open(self) -> None:
        try:
            self._speaker = open_speaker(self._name, self._rate_hz, self._failed)
        except DeviceStuck as error:
            _end(str(error))
        except AudioError:
            self._failed = self._did_not_open = True
            raise
        self._was_open = True
        self._gave_up = self._is_sought = self._did_not_open = False
        self._tell("")
        self._written = self._played = self._speaker.played()

    def _look(self) -> None:
        """Say what has been heard; fall silent where it is no longer wanted."""
        if self._speaker is None:
            return
        played = self._played = self._speaker.played()
        every = int(self._speaker.rate_hz * REPORT_EVERY_S)
        while self._air:
            airing = self._air[0]
            if airing.clip.verdict() is Verdict.DROP:
                self._silence()
                return
            while airing.joins and played > airing.joins[0]:
                self._tell_gap(self._speaker, airing, airing.joins.popleft())
            if airing.audible is not None and played > airing.audible:
                airing.clip.started(self._speaker.heard_at_s(airing.audible))
                airing.audible = None
            if played < airing.end or not airing.whole:
                if played - airing.reported >= every:
                    airing.tell(played)
                return
            self._air.popleft()
            if airing.clip.answer is not None and airing.end > airing.start:
                self._answer = airing.clip.answer, self._speaker.heard_at_s(airing.end - 1)
            airing.clip.progress(1.0)

    def _tell_gap(self, speaker: Speaker, airing: _Airing, join: int) -> None:
        """The sample `join` has been heard: say so if it was late for an answer that was in the air."""
        if join > airing.start:
            silent_s = speaker.heard_at_s(join - 1)
        elif self._answer is not None and self._answer[0] == airing.clip.answer:
            silent_s = self._answer[1]
        else:
            return
        heard_s = speaker.heard_at_s(join)
        if heard_s - silent_s >= GAP_S:
            airing.clip.gap(round(1000 * (heard_s - silent_s)), heard_s)

    def _silence(self) -> None:
        assert self._speaker is not None
        self._speaker.stop()
        if self._tap is not None:
            self._tap.stopped(time.monotonic())
        self._written = self._speaker.played()
        for airing in self._air:
            airing.clip.dropped("")
        self._air.clear()

    def _fail(self, clip: Clip | None, reason: str) -> None:
        """What was in the air goes on where it was, if there is a speaker soon; else it is dropped."""
        self._failed = True
        self._close(reason)
        if not self._was_open or self._gave_up:  # one that was there is often back at once
            self._tell(reason)
            self._is_sought = True  # else it would be said until the next sound
        unheard, self._air = self._air, deque()
        if unheard and unheard[0].clip.answer is not None and self._played > unheard[0].start:
            self._answer = unheard[0].clip.answer, time.monotonic()
        rest: list[tuple[Clip, _Airing | None]] = []
        for airing in unheard:
            if airing.may_go_on(self._played):
                rest.append((airing.clip, airing))
            else:
                airing.clip.dropped(reason)
        if clip is not None and all(airing.clip is not clip for airing in unheard):
            if unheard:
                rest.append((clip, None))
            else:  # there is no speaker
                for lost in (clip, *(again for again, _ in self._again)):
                    lost.dropped(reason)
                self._again.clear()
        self._again.extendleft(reversed(rest))

    def _close(self, reason: str) -> None:
        if self._speaker is not None and not self._speaker.close():
            _end(reason)
        self._speaker = None


def _end(reason: str) -> NoReturn:
    """The speaker hangs, and only the end of this process lets it go."""
    log.error("%s Another process begins anew.", reason)
    os._exit(1)
