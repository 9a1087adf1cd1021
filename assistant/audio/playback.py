"""Playing clips one behind the other without a gap, and knowing what of each has been heard."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
import time
from collections import deque
from enum import Enum
from typing import Protocol

import numpy as np
import numpy.typing as npt

from assistant.audio.resampling import Resampler
from assistant.audio.speaker import Speaker, open_speaker
from assistant.errors import AudioError, DeviceBusy

log = logging.getLogger(__name__)

BLOCK_S = 0.02
"""How much is written at a time: a cancelled clip falls silent within this and what the speaker has ahead."""

BUSY_WITHIN_S = 10.0
LOOK_EVERY_S = 0.5
"""How long another program may still use the speaker, and how often that is tried."""

LOOK_S = 0.01
REPORT_EVERY_S = 0.2
AUDIBLE = 200
"""Absolute sample value (-44 dB below full scale) from which sound is audible: above a voice's breath."""


class Verdict(Enum):
    """Whether a clip may be heard now."""

    WAIT = "not yet"
    PLAY = "yes"
    DROP = "no longer"


class Clip(Protocol):
    """Sound to play; called back from the player's thread."""

    pcm: npt.NDArray[np.int16]
    heard_fraction: float
    waits: bool
    """Whether it is heard behind other clips; else it is heard at once, or not at all."""

    def verdict(self) -> Verdict: ...

    def started(self, at_s: float) -> None:
        """Its first audible sample was heard at that CLOCK_MONOTONIC second."""

    def progress(self, fraction: float) -> None:
        """So much of it has been heard, 0 to 1; 1 is the last call."""

    def dropped(self, reason: str) -> None:
        """It will not be heard (to its end): cancelled if `reason` is empty, else why it could not be."""


class _Airing:
    """A clip that has been written; positions count the samples written since the speaker was opened."""

    def __init__(self, clip: Clip, pcm: npt.NDArray[np.int16], start: int, written: int) -> None:
        self.clip = clip
        self.begin = written - start  # before the speaker was opened, if its beginning was heard elsewhere
        self.end = self.begin + len(pcm)
        loud = np.flatnonzero(np.abs(pcm[start:].astype(np.int32)) >= AUDIBLE)
        self.audible: int | None = written + int(loud[0]) if len(loud) else None
        self.reported = written


class Player:
    """A thread that owns the speaker; opened when first needed, and again after it failed."""

    def __init__(self, speaker: str, rate_hz: int) -> None:
        self._name = speaker
        self._rate_hz = rate_hz
        self._clips: queue.SimpleQueue[Clip] = queue.SimpleQueue()
        self._speaker: Speaker | None = None
        self._failed = False
        self._air: deque[_Airing] = deque()
        self._written = 0
        self._pause = threading.Event()  # never set: a sleep that needs no clock of its own
        threading.Thread(target=self._run, name="player", daemon=True).start()

    def play(self, clip: Clip) -> None:
        """Play `clip` behind those before it; one that does not wait is dropped if there is any other."""
        self._clips.put(clip)

    def _run(self) -> None:
        while True:
            clip: Clip | None = None
            with contextlib.suppress(queue.Empty):
                clip = self._clips.get(timeout=LOOK_S if self._air else None)
            try:
                if clip is not None:
                    self._play(clip)
                self._look()
            except AudioError as error:
                self._fail(clip, str(error))

    def _play(self, clip: Clip) -> None:
        while (verdict := clip.verdict()) is Verdict.WAIT:
            self._look()
            self._pause.wait(LOOK_S)
        if verdict is Verdict.DROP or not (clip.waits or (not self._air and self._clips.empty())):
            clip.dropped("")
            return
        if self._speaker is None:
            self._speaker = self._open()
            self._written = self._speaker.played()
        speaker = self._speaker
        pcm = clip.pcm
        if speaker.rate_hz != self._rate_hz:
            resampler = Resampler(self._rate_hz, speaker.rate_hz)
            pcm = np.concatenate([resampler.feed(pcm), resampler.end()])
        start = int(len(pcm) * clip.heard_fraction)
        airing = _Airing(clip, pcm, start, self._written)
        self._air.append(airing)
        step = int(speaker.rate_hz * BLOCK_S)
        for at in range(start, len(pcm), step):
            block = pcm[at : at + step]
            speaker.write(block)
            self._written += len(block)
            self._look()
            if airing not in self._air:
                return

    def _open(self) -> Speaker:
        """The speaker, as soon as another program lets it go: the sound of a fault may be in it."""
        give_up_s = time.monotonic() + BUSY_WITHIN_S
        while True:
            try:
                speaker = open_speaker(self._name, self._rate_hz, self._failed)
            except DeviceBusy:
                if time.monotonic() >= give_up_s:
                    raise
                self._pause.wait(LOOK_EVERY_S)
            else:
                self._failed = False
                return speaker

    def _look(self) -> None:
        """Say what has been heard; fall silent where it is no longer wanted."""
        if self._speaker is None:
            return
        played = self._speaker.played()
        every = int(self._speaker.rate_hz * REPORT_EVERY_S)
        while self._air:
            airing = self._air[0]
            if airing.clip.verdict() is Verdict.DROP:
                self._silence()
                return
            if airing.audible is not None and played > airing.audible:
                airing.clip.started(self._speaker.heard_at_s(airing.audible))
                airing.audible = None
            if played < airing.end:
                if played - airing.reported >= every:
                    airing.reported = played
                    airing.clip.progress((played - airing.begin) / (airing.end - airing.begin))
                return
            if self._written < airing.end:
                return
            self._air.popleft()
            airing.clip.progress(1.0)

    def _silence(self) -> None:
        assert self._speaker is not None
        self._speaker.stop()
        self._written = self._speaker.played()
        for airing in self._air:
            airing.clip.dropped("")
        self._air.clear()

    def _fail(self, clip: Clip | None, reason: str) -> None:
        self._failed = True
        if self._speaker is not None:
            if not self._speaker.close():
                log.error("%s Another process begins anew.", reason)
                os._exit(1)
            self._speaker = None
        failed = [airing.clip for airing in self._air]
        self._air.clear()
        if clip is not None and clip not in failed:
            failed.append(clip)
        for lost in failed:
            lost.dropped(reason)
