"""Endpointing: where an utterance begins and ends, from frames and a voice decision for each.

Pure: no clock, no device, no model.  For one utterance the events come in this order:

    Started  ( Paused(r)  Resumed(r + 1) )*  ( Paused(r)  Ended(r)  |  Dropped )

with r from 0, and a Glimpse wherever there is speech; an utterance is dropped only before its first pause.
Positions count samples from the start.
"""

from __future__ import annotations

from operator import mul, or_

import msgspec

from assistant.audio.formats import FRAME_BYTES, FRAME_MS, FRAME_SAMPLES
from assistant.config import Vad

ONSET_WINDOW = 5
ONSET_VOICED = 3
"""Speech is a voiced frame with at least 3 voiced among the last 5 (60 of 100 ms): a click or a knock fills
one or two frames, the shortest vowel three."""

QUIET_WINDOW = 8
"""Frames (160 ms) over which the quietest place is looked for: about the pause between two words."""

FADING_FRAMES = 11
"""In noise a last syllable ends earlier to the detector than to the ear: a pause is announced up to 220 ms
later while something of a voice may be left, so that its utterance has it.  Silence counts all the same, so
that a finished sentence still ends as soon; but of one that is waited for, from where nothing is left, and
its end waits as long for what begins just then."""

REACH_FRAMES, REACH_GAP = 40, 8
"""Where noise covers how a sentence begins, its utterance reaches back another 800 ms, as far as a voice may
have been, over gaps as short as those in a word or between two (160 ms)."""

PARTED_FRAMES = 60
"""What was voiced within 1.2 s before speech begins belongs to it, though it was too short to be speech: a
first word ("And ...") and the pause behind it."""

WEAK_FRAMES, UNHEARD_FRAMES, MOST_WEAK_PAUSES = 4, 25, 2
"""While a sentence is waited for, 80 ms of what may be a voice may be its next word, too weak to be speech:
it is read with the rest once it is over, and the silence counts anew; in steady noise, half a second of that
is read.  Twice at most: noise goes on and on."""


class Started(msgspec.Struct, frozen=True):
    """Speech began; `sample` is the first one of its first voiced frame.

    What was voiced before, too short to be speech, may be in the utterance all the same.
    """

    sample: int


class Paused(msgspec.Struct, frozen=True):
    """A tentative pause, or the end: the whole utterance so far, from its pre-roll to now.

    `pcm` begins at `start_sample`, `voiced_ms` of its speech are voiced, which ends at `speech_end_sample`.
    """

    pcm: bytes
    voiced_ms: int
    revision: int
    speech_end_sample: int
    start_sample: int


class Glimpse(msgspec.Struct, frozen=True):
    """The person goes on speaking: the utterance so far; `voiced_ms` of its speech are voiced."""

    pcm: bytes
    voiced_ms: int
    revision: int


class Resumed(msgspec.Struct, frozen=True):
    """The person went on: the pause before was none, the next one will have `revision`."""

    revision: int


class Ended(msgspec.Struct, frozen=True):
    """The silence lasted: the pause of `revision` was the end of the utterance."""

    revision: int
    speech_end_sample: int


class Dropped(msgspec.Struct, frozen=True):
    """What began as speech was too short to be any."""


Event = Started | Glimpse | Paused | Resumed | Ended | Dropped


class Endpointer:
    """Feed frames, get events.  Holds `max_utterance_s` of sound at most, in silence what the next needs."""

    def __init__(self, settings: Vad, recalled: int = 0) -> None:
        """`recalled` frames at most are given to `recall`."""
        self._hangover = _frames(settings.hangover_ms)
        self._tentative = min(_frames(settings.tentative_pause_ms), self._hangover)
        # after how many silent frames the next pause is announced, and the utterance at hand ends
        self._pauses_after, self._ends_after = self._tentative, self._hangover
        self._look_every = 0  # frames of speech between two glimpses; 0: there are none
        self._looked_at = 0
        self._min_speech_ms = settings.min_speech_ms
        self._max = _frames(1000 * settings.max_utterance_s)
        # a third of the longest utterance at most, so that the part before a split is never pre-roll alone
        self._pre_roll = min(_frames(settings.pre_roll_ms), self._max // 3)
        self._lead = min(REACH_FRAMES, self._max // 3 - self._pre_roll)
        self._parted = min(PARTED_FRAMES, self._max // 3 - self._pre_roll - self._lead)
        # a window that completes with the next frame may begin ONSET_WINDOW - 1 frames back
        self._onset = max(ONSET_WINDOW - 1, recalled)
        self._beginning = self._pre_roll + self._lead + self._parted + self._onset
        # what is kept: the open utterance, or what a coming one may need; the first of it is frame `_first`
        self._frames: list[bytes] = []
        self._voiced: list[bool] = []
        self._faint: list[bool] = []
        self._first = 0
        self._own_end = -ONSET_WINDOW  # the frame behind the assistant's last own one; none has been
        # of the open utterance, in kept frames: where its last speech ends, and where its pause was announced
        self._open = False
        self._speech_end = self._fading = 0
        self._alone = 0  # where it would begin but for the words before it that are too short to be speech
        self._paused_at: int | None = None
        self._weak_pauses = 0  # pauses that were announced for what may be a weak word, in a row
        self._revision = 0

    @property
    def settled(self) -> int:
        """Samples that no open or future utterance needs: an `Endpointer` fed from there finds the same.

        With the same decisions, that is: a voice detector that begins there has yet to learn the noise.
        """
        return self._first * FRAME_SAMPLES

    def expect(self, revision: int, hangover_ms: int) -> None:
        """What was said until the pause of `revision` wants another silence behind it than usual."""
        if self._open and self._paused_at is not None and revision == self._revision:
            self._ends_after = _frames(hangover_ms)

    def speculate(self, worth_it: bool, look_every_ms: int) -> None:
        """Whether to announce tentative pauses from now on; else only what is the end.

        A glimpse is given after each `look_every_ms` of an utterance, none if that is 0.
        """
        self._pauses_after = self._tentative if worth_it else self._hangover
        self._look_every = _frames(look_every_ms)

    def feed(self, frame: bytes, voiced: bool, faint: bool = False, own: bool = False) -> list[Event]:
        """The next 20 ms, of which `faint` says that a voice may go on, unsure for noise.

        With `own` the assistant itself sounds in it: kept only for who speaks on right behind it, and so may
        have begun over it.  Raises `ValueError` for a frame of another length.
        """
        if len(frame) != FRAME_BYTES:
            raise ValueError(f"a frame has {FRAME_BYTES} bytes, not {len(frame)}")
        self._frames.append(frame)
        self._voiced.append(voiced)
        self._faint.append(faint)
        if own:
            self._own_end = self._first + len(self._frames)
        speech = voiced and sum(self._voiced[-ONSET_WINDOW:]) >= ONSET_VOICED
        if self._open:
            return self._go_on(speech, voiced, faint)
        if speech:
            return [self._begin(ONSET_WINDOW)]
        self._forget_all_but_a_beginning()
        return []

    def recall(self, voiced: list[bool]) -> list[Event]:
        """The last frames, fed as silence, were speech after all: `voiced` says which, the last one last."""
        voiced = voiced[-len(self._frames) :] if self._frames else []
        if self._open or not any(voiced):
            return []
        self._voiced[-len(voiced) :] = voiced
        return [self._begin(len(voiced))]

    def end(self) -> list[Event]:
        """The recording is over: an open utterance ends now."""
        events = self._close() if self._open else []
        self._forget(len(self._frames))
        return events

    def _begin(self, frames: int) -> Started:
        """Speech began with the first voiced one of the last `frames`."""
        onset = max(len(self._frames) - frames, 0)
        voice = self._voiced.index(True, onset)
        started = Started(self.settled + voice * FRAME_SAMPLES)
        own_end = self._own_end - self._first
        is_over_own = voice < own_end + ONSET_WINDOW
        earliest = 0 if is_over_own else max(own_end, 0)
        first = voice if is_over_own else self._voiced.index(True, max(voice - self._parted, earliest))
        begin = self._reach_back(first, earliest)
        self._alone = self._reach_back(voice, earliest) - begin
        self._voiced[:voice] = [False] * voice  # a word too short to be speech does not make a noise speech
        self._forget(begin)
        self._open = True
        self._speech_end, self._fading = len(self._frames), 0
        self._paused_at = None
        self._revision = self._weak_pauses = 0
        self._ends_after = self._hangover
        self._looked_at = len(self._frames)
        return started

    def _reach_back(self, voice: int, earliest: int) -> int:
        """The frame, `earliest` at least, that an utterance begins with whose first voiced one is `voice`."""
        begin = voice
        for at in range(voice - 1, max(voice - self._lead, 0) - 1, -1):
            if self._faint[at] and begin - at <= REACH_GAP:
                begin = at
        return max(begin - self._pre_roll, earliest)

    def _go_on(self, speech: bool, voiced: bool, faint: bool) -> list[Event]:
        events: list[Event] = []
        silence = len(self._frames) - self._speech_end
        pauses_after = self._pauses_after + (FADING_FRAMES if faint else 0)
        if faint and self._fading == silence - 1 < FADING_FRAMES:
            self._fading = silence
        ends_after = self._ends_after + (self._fading if self._ends_after > self._hangover else 0)
        if speech:
            if self._paused_at is not None:
                self._paused_at = None
                self._revision += 1
                self._ends_after = self._hangover
                events.append(Resumed(self._revision))
            self._speech_end, self._fading, self._weak_pauses = len(self._frames), 0, 0
            if 0 < self._look_every <= len(self._frames) - self._looked_at and self._is_speech():
                events.append(self._look())
        elif (more := self._said_more()) is not None:
            self._revision += 1
            self._weak_pauses += 1
            self._fading = self._fading if more == self._speech_end else 0  # nothing is left of that word
            self._speech_end = more
            events += [Resumed(self._revision), self._pause()]
        elif voiced or (silence < ends_after + FADING_FRAMES and self._says_more()):
            pass  # a click, or the first of a word: no pause begins here, but none ends either
        elif silence >= ends_after:
            return self._close()
        elif silence >= pauses_after and self._paused_at is None and self._is_speech():
            events.append(self._pause())
        if len(self._frames) >= self._max:
            events += self._split()
        return events

    @property
    def _is_waited_for(self) -> bool:
        """Whether a pause was announced, and the sentence before it is not over."""
        return self._paused_at is not None and self._ends_after > self._hangover

    def _said_more(self) -> int | None:
        """Behind which frame the silence counts, if something weak was said since the pause was announced."""
        if not self._is_waited_for or self._weak_pauses == MOST_WEAK_PAUSES:
            return None
        assert self._paused_at is not None
        since = self._weak_frames(self._paused_at)
        if sum(since) >= WEAK_FRAMES and not any(since[-self._tentative :]):
            return len(self._frames) - since[::-1].index(True)
        return self._speech_end if sum(since) >= UNHEARD_FRAMES else None

    def _says_more(self) -> bool:
        """Whether something weak began just now."""
        recent = self._weak_frames(-FADING_FRAMES)
        return self._is_waited_for and any(recent[-self._tentative :]) and not all(recent)

    def _weak_frames(self, start: int) -> list[bool]:
        """Of the kept frames from `start` on, which may be a voice."""
        return list(map(or_, self._voiced[start:], self._faint[start:]))

    def _look(self) -> Glimpse:
        self._looked_at = len(self._frames)
        return Glimpse(b"".join(self._frames), sum(self._voiced) * FRAME_MS, self._revision)

    def _pause(self) -> Paused:
        self._paused_at = self._looked_at = len(self._frames)
        return Paused(
            pcm=b"".join(self._frames),
            voiced_ms=sum(self._voiced) * FRAME_MS,
            revision=self._revision,
            speech_end_sample=self.settled + self._speech_end * FRAME_SAMPLES,
            start_sample=self.settled,
        )

    def _close(self) -> list[Event]:
        """End the open utterance, or drop it; what was not given out may become pre-roll."""
        self._open = False
        events: list[Event] = []
        if self._paused_at is None:
            if not self._is_speech():
                self._forget_noise()
                return [Dropped()]
            events.append(self._pause())
        events.append(Ended(self._revision, self.settled + self._speech_end * FRAME_SAMPLES))
        self._forget(self._paused_at or 0)
        return events

    def _split(self) -> list[Event]:
        """The utterance is as long as may be: end it at its quietest place, and hear the rest anew."""
        if self._paused_at is not None:
            return self._close()
        if not self._is_speech():
            self._open = False
            self._forget_noise()
            return [Dropped()]
        earliest = max(2 * len(self._frames) // 3, self._speech_reached())
        cut = quietest(self._frames, earliest)
        rest = list(zip(self._frames[cut:], self._voiced[cut:], self._faint[cut:], strict=True))
        del self._frames[cut:], self._voiced[cut:], self._faint[cut:]
        self._speech_end = max(i for i, voiced in enumerate(self._voiced, 1) if voiced)
        events = self._close()
        for frame, voiced, faint in rest:
            events += self.feed(frame, voiced, faint)
        return events

    def _is_speech(self) -> bool:
        return sum(self._voiced) * FRAME_MS >= self._min_speech_ms

    def _speech_reached(self) -> int:
        """The least number of frames that hold enough speech to be kept."""
        needed = max(_frames(self._min_speech_ms), 1)
        return [i for i, voiced in enumerate(self._voiced, 1) if voiced][needed - 1]

    def _forget_noise(self) -> None:
        """That was no speech, but may have been a first word; not if it was long.

        What it reached back to, and of a long one all but the silence behind it, is forgotten, since an
        `Endpointer` fed from its middle on would judge it otherwise.
        """
        is_long = len(self._frames) > self._beginning
        self._forget(max(self._speech_end, len(self._frames) - self._beginning) if is_long else self._alone)

    def _forget_all_but_a_beginning(self) -> None:
        """Of an utterance to come."""
        self._forget(len(self._frames) - self._beginning)

    def _forget(self, frames: int) -> None:
        frames = max(frames, 0)
        del self._frames[:frames], self._voiced[:frames], self._faint[:frames]
        self._first += frames


def quietest(frames: list[bytes], earliest: int) -> int:
    """The best place to cut: the middle of the quietest `QUIET_WINDOW` frames from frame `earliest` on.

    The last of several equally quiet ones; the end if there is no room for a window.
    """
    energies = [_energy(frame) for frame in frames[earliest:]]
    windows = [sum(energies[i : i + QUIET_WINDOW]) for i in range(len(energies) - QUIET_WINDOW + 1)]
    if not windows:
        return len(frames)
    last = len(windows) - 1 - windows[::-1].index(min(windows))
    return earliest + last + QUIET_WINDOW // 2


def _energy(frame: bytes) -> int:
    samples = memoryview(frame).cast("h")
    return sum(map(mul, samples, samples))


def _frames(duration_ms: int) -> int:
    """Whole frames that cover `duration_ms`."""
    return -(-duration_ms // FRAME_MS)
