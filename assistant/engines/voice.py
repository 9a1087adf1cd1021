"""Whether a frame holds a voice: what two detectors and the noise of the room say together."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from assistant.audio.formats import FRAME_SAMPLES
from assistant.audio.level import dbfs
from assistant.audio.noise_floor import NoiseFloor
from assistant.config import Vad
from assistant.engines.webrtc import WebrtcVad

if TYPE_CHECKING:  # it imports numpy and onnxruntime
    from assistant.engines.silero import SileroVad

BEGINS_DB, GOES_ON_DB, GOES_ON_PLAIN_DB = 9.0, 1.0, 4.0
"""Above the noise floor, where speech begins, and where it goes on with and without a second opinion.  The
loudest syllables of many people at once (babble) come nearly as high as the first; in a noise 5 dB below the
voice, words sink to the second.  webrtcvad takes loud noise for a voice, which must not go on by chance."""

STEEP_BEGINS_DB = 10.5
"""The first for the differences of neighbouring samples, in which fan, street and hum, whose sound is low,
are faint.  Babble varies more in them."""

LIKELY, POSSIBLE, FAINT = 0.5, 0.45, 0.1
"""Silero's probabilities of speech that begins, of speech that goes on, and of what may be left of it.

These and the limits above were chosen with `benchmarks.turn_taking`.
"""

SINKS_DB = 20.0
"""How far a last syllable may be below the voice before it: without a second opinion, it may go on wherever
the noise is less than that below."""

VOICE_PART = 1 / 25
"""What part a frame has in how loud somebody speaks: the last half second or so counts."""

BREATH_FRAMES = 90
"""Speech goes on for nearly two seconds: over that the limit rises from the second to the first."""

SURE_FRAMES, SURE_WITHIN = 2, 250
"""Of so many frames that sounded like a voice (five seconds of them), so few have to stand out by the first
limit for the second to hold all the way down: what many voices have in common is hardly ever that loud."""

LAG_FRAMES, RISES = 4, 0.1
"""Silero knows a voice that goes on 60 ms late, when a short word is nearly over: while its probability rises
so much in 80 ms, what counts is how loud they were."""

CLEAR_DB, OVER_DB = 9.0, 2.0
"""Where a voice stands so far out of the noise, a frame that hardly does holds nothing more of it; without a
second opinion, where it stands out by `SINKS_DB`."""

AWAKE_FRAMES = 50
"""Silero listens until neither detector has heard anything like a voice for a second."""

STOPS_DB = 20.0
"""So far below the noise floor, a noise has stopped: after a loud one, Silero takes a voice for none for
seconds, unless it forgets it."""

LEAD_FRAMES = 15
"""It hears the 300 ms before webrtcvad woke it, too: it judges by what came before."""


class Decision(NamedTuple):
    """`voiced`: somebody speaks.  `faint`: perhaps a voice goes on that sinks into the noise."""

    voiced: bool
    faint: bool


SILENT = Decision(False, False)


class _Frame(NamedTuple):
    above_db: float
    steep_above_db: float
    probability: float

    def is_above(self, less_db: float) -> bool:
        """Whether it stands out by the first limit less so much."""
        return self.above_db >= BEGINS_DB - less_db or self.steep_above_db >= STEEP_BEGINS_DB - less_db


class VoiceDetector:
    """Decides frame by frame; it adapts to the noise it hears, so each microphone has its own.

    webrtcvad costs little and misses little, but takes music, keys and loud hum for voices.  Silero, asked
    only when webrtcvad hears something, knows those; its word counts then.  Neither tells somebody in the
    room from many in the background: a voice must stand out of the noise, too.
    """

    def __init__(self, settings: Vad) -> None:
        """Raises `ModelError` if a second opinion is wanted and cannot be had."""
        self._webrtc = WebrtcVad(settings.aggressiveness)
        self._silero = None
        if settings.second_opinion:
            from assistant.engines.silero import SileroVad  # only where its memory is planned for

            self._silero = SileroVad()
        self._floor, self._steep_floor = NoiseFloor(), NoiseFloor()
        self._lead: deque[bytes] = deque(maxlen=LEAD_FRAMES)
        self._recent: deque[_Frame] = deque(maxlen=LAG_FRAMES + 1)
        self._awake = 0  # frames for which Silero listens yet
        self._speaking = 0  # frames for which the lower limits hold yet
        self._stood_out: deque[bool] = deque(maxlen=SURE_WITHIN)  # of the speech at hand, by the first limit
        self._voice_db = 0.0  # how loud somebody speaks

    @property
    def noise_dbfs(self) -> float:
        """How loud the room is while nobody speaks."""
        return self._floor.floor_db

    def forget(self) -> None:
        """What comes next does not follow on what came before; the room is the same."""
        self._lead.clear()
        self._recent.clear()
        self._awake = self._speaking = 0  # Silero forgets when it wakes

    def hear(self, frame: bytes, gain_db: float = 0.0) -> Decision:
        """The decision on `frame` (20 ms of 16 kHz mono signed 16 bit PCM), which was amplified by `gain_db`.

        A quiet voice is known by its amplified sound, but the room's levels are those without it: else each
        change of the gain would be one of the noise.  Raises `ValueError` for a frame of another length.
        """
        heard = faint = self._webrtc.voiced(frame)
        samples = memoryview(frame).cast("h").tolist()
        level_db = dbfs(math.hypot(*samples) / math.sqrt(FRAME_SAMPLES)) - gain_db
        steep_db = dbfs(math.dist(samples[1:], samples[:-1]) / math.sqrt(FRAME_SAMPLES)) - gain_db
        above_db, clear_db = self._floor.above(level_db), self._floor.above(self._voice_db)
        probability = 0.0
        if self._silero is None:
            faint = heard or (self._speaking > 0 and clear_db < SINKS_DB)
        else:
            if not self._speaking and above_db < -STOPS_DB:
                self._silero.forget()
            probability = self._second_opinion(self._silero, frame, heard)
            heard = probability >= (POSSIBLE if self._speaking else LIKELY)
            faint = faint or probability >= FAINT
        self._recent.append(_Frame(above_db, self._steep_floor.above(steep_db), probability))
        voiced = heard and self._stands_out()
        self._awake = AWAKE_FRAMES if faint else max(0, self._awake - 1)
        is_clear = sum(self._stood_out) >= SURE_FRAMES and clear_db >= (
            SINKS_DB if self._silero is None else CLEAR_DB
        )
        if self._speaking and is_clear and above_db < OVER_DB:
            faint = voiced
        self._floor.learn(level_db, voiced)
        self._steep_floor.learn(steep_db, voiced)
        if voiced:
            part = VOICE_PART if self._speaking else 1.0
            self._voice_db += part * (level_db - self._voice_db)
        self._speaking = BREATH_FRAMES if voiced else max(0, self._speaking - 1)
        return Decision(voiced, faint)

    def _stands_out(self) -> bool:
        """Whether the last frame is as loud as a voice; or, while Silero is behind, those before it."""
        last = self._recent[-1]
        if not self._speaking:
            self._stood_out.clear()
        self._stood_out.append(last.is_above(0.0))
        sure = min(1.0, sum(self._stood_out) / SURE_FRAMES)
        goes_on_db = GOES_ON_PLAIN_DB if self._silero is None else GOES_ON_DB
        less_db = sure * (BEGINS_DB - goes_on_db) * self._speaking / BREATH_FRAMES
        rises = sure == 1.0 and last.probability - self._recent[0].probability >= RISES
        return any(frame.is_above(less_db) for frame in (self._recent if rises else [last]))

    def _second_opinion(self, silero: SileroVad, frame: bytes, heard: bool) -> float:
        if self._awake:
            return silero.speech(frame)
        self._lead.append(frame)
        if not heard:
            return 0.0
        silero.forget()
        probability = silero.speech(b"".join(self._lead))
        self._lead.clear()
        return probability
