"""tts: sentences in, sound out, as it is made; the next sentence is made while one is in the air."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from assistant.audio.clip import Int16, Sound, Verdict, whole, without_silent_start
from assistant.audio.earcons import NOTES, duration_ms, earcon
from assistant.audio.playback import Player
from assistant.audio.tap import Tap
from assistant.catalogue.locate import locate
from assistant.config import models_folder
from assistant.engines.piper import PiperEngine
from assistant.messages import (
    AnyMessage,
    Earcon,
    EarconStarted,
    Failure,
    Gap,
    PlaybackStarted,
    PlayEarcon,
    Sentence,
    SoundReady,
    Speech,
    SpeechStarted,
    Spoken,
    StageState,
    TurnEnded,
    Volume,
    Worked,
)
from assistant.queues.link import Delivery, Disconnected, Link
from assistant.text.speakable import speakable

log = logging.getLogger(__name__)

WORTH_WAITING: tuple[Earcon, ...] = ("ready", "error")
"""What these say is still true when the answer in the air is over."""

CHARS_PER_S = 15
"""How fast a voice is taken to speak while a sentence is not whole: about 170 words a minute."""


SPOKEN_AS_MADE = 0.45
"""Seconds of work for one of sound, up to which a sentence is heard while it is made: its second chunk, twice
as long as the first, has to be there when that has been heard.  A slower voice makes a sentence whole."""


class TtsStage:
    """Owns the speaker.  A sentence is acknowledged when it has been heard."""

    acknowledges = True

    def __init__(self, link: Link) -> None:
        config = link.config
        self._link = link
        self._released: dict[int, int] = {}
        self._first_s = 0.0
        """When there was some sound of the sentence at hand; 0 before."""
        self._work_share = 0.0
        """Of the last sentence: seconds of work for one of sound."""
        self._engine = PiperEngine(locate("tts", config.tts.model, models_folder(config)).path, config.tts)
        self._engine.warm()
        self._volume = Volume(config.tts.volume, config.sounds.volume)
        tap = Tap(link.post) if config.audio.barge_in != "off" else None
        self._lack = ""
        """Why there is no speaker, as far as the daemon knows."""
        self._player = Player(config.audio.speaker, self._engine.rate_hz, tap=tap, tell=self._tell_lack)
        self._earcons = {name: earcon(name, self._engine.rate_hz) for name in NOTES if config.sounds.earcons}
        self._sign: PlayedEarcon | None = None
        """The last sign that the assistant listens: nobody needs it who speaks."""

    def begin(self) -> None:
        """Whoever misspells the speaker learns that now, and not with the first answer."""
        self._player.find()
        # from now on, and what has come meanwhile: what a sound finds wrong with the speaker is told of a
        # stage that is ready
        self._link.on_notice(self._on_notice)

    def handle(self, delivery: Delivery) -> Iterator[AnyMessage]:
        sentence = delivery.message
        assert isinstance(sentence, Sentence)
        began_s = time.monotonic()
        yield from (self._to_client if sentence.to_client else self._aloud)(delivery, sentence)
        ended_s = time.monotonic()
        first_s = self._first_s or ended_s
        yield Worked("tts", sentence.turn, sentence.revision, began_s, first_s, ended_s)

    def _to_client(self, delivery: Delivery, sentence: Sentence) -> Iterator[AnyMessage]:
        pcm = _joined(self._pieces(sentence, self._engine.speak(speakable(sentence.text))))
        yield Speech(sentence.turn, sentence.index, pcm.tobytes(), self._engine.rate_hz, sentence.last)
        delivery.done()

    def _aloud(self, delivery: Delivery, sentence: Sentence) -> Iterator[AnyMessage]:
        """Have the sentence played while it is made."""
        pieces = self._engine.speak(speakable(sentence.text))
        if sentence.index == 0:
            pieces = without_silent_start(pieces, self._engine.rate_hz)
        pieces = self._pieces(sentence, pieces)
        heard = 0
        if sentence.heard_fraction:  # only the whole tells how much that is
            pcm = _joined(pieces)
            heard = int(len(pcm) * sentence.heard_fraction)
            pieces = iter([pcm[heard:]])
        elif self._work_share > SPOKEN_AS_MADE:
            pieces = _at_once(pieces)
        sound = Sound(self._expected(sentence), heard)
        clip = SpokenSentence(
            self._link, self._released, delivery, sentence, sound, lambda: self._volume.answers
        )
        self._player.play(clip)  # before there is any sound: the speaker may have to be opened
        is_told = sentence.index > 0
        whole = False
        began_s = time.monotonic()
        try:
            for piece in pieces:
                sound.add(piece)
                if not is_told and len(piece):
                    is_told = True
                    yield SoundReady(sentence.turn, sentence.revision)
            whole = True
        finally:
            clip.failed = not whole
            sound.end()
        self._work_share = (time.monotonic() - began_s) * self._engine.rate_hz / max(sound.total, 1)

    def _pieces(self, sentence: Sentence, pieces: Iterator[Int16]) -> Iterator[Int16]:
        """The sound of the sentence as it is made, while it is wanted."""
        self._first_s = 0.0
        while not self._link.cancelled(sentence.turn, sentence.revision):
            piece = next(pieces, None)
            if piece is None:
                break
            self._first_s = self._first_s or time.monotonic()
            yield piece

    def _expected(self, sentence: Sentence) -> int:
        """About how many samples the sentence has."""
        chars_per_s = CHARS_PER_S * self._link.config.tts.speed
        return int(len(sentence.text) / chars_per_s * self._engine.rate_hz)

    def _tell_lack(self, why: str) -> None:
        """The speaker may come later, and a client may want the sound for itself: the stage is ready."""
        if why != self._lack:
            self._lack = why
            with contextlib.suppress(Disconnected):  # which ends the stage, not this thread
                self._link.post(StageState("tts", "ready", why))

    def _on_notice(self, message: AnyMessage) -> None:
        if isinstance(message, TurnEnded):
            self._released[message.turn] = message.revision
            while len(self._released) > 64:  # turns that old have long been heard
                del self._released[next(iter(self._released))]
            self._player.look()
        elif isinstance(message, PlayEarcon) and message.name in self._earcons:
            pcm = self._earcons[message.name]
            clip = PlayedEarcon(self._link, message, pcm, lambda: self._volume.earcons)
            if message.name == "listening":
                self._sign = clip
            self._player.play(clip)
        elif isinstance(message, SpeechStarted) and self._sign is not None:
            self._sign.is_wanted = False
            self._player.look()
        elif isinstance(message, Volume):
            self._volume = message


def _at_once(pieces: Iterator[Int16]) -> Iterator[Int16]:
    yield _joined(pieces)


def _joined(pieces: Iterator[Int16]) -> Int16:
    return np.concatenate([np.empty(0, np.int16), *pieces])


class SpokenSentence:
    """A sentence in the player's hands: heard once its turn has ended, and only while it is not stale."""

    waits = True

    def __init__(
        self,
        link: Link,
        released: Mapping[int, int],
        delivery: Delivery,
        sentence: Sentence,
        sound: Sound,
        volume: Callable[[], float],
    ) -> None:
        self.sound = sound
        self.volume = volume
        self.answer = (sentence.turn, sentence.revision)
        self.failed = False
        """Whether the rest could not be made, which somebody else reports."""
        self._link = link
        self._released = released
        self._delivery = delivery
        self._sentence = sentence

    def verdict(self) -> Verdict:
        turn, revision = self.answer
        if self.failed or self._link.is_stale(turn, revision):
            return Verdict.DROP
        return Verdict.PLAY if self._released.get(turn, -1) >= revision else Verdict.WAIT

    def started(self, at_s: float) -> None:
        self._link.post(PlaybackStarted(self._sentence.turn, at_s))

    def progress(self, fraction: float) -> None:
        sentence = self._sentence
        self._link.post(Spoken(sentence.turn, sentence.revision, sentence.index, fraction))
        if fraction >= 1.0:
            self._delivery.done()

    def gap(self, duration_ms: int, at_s: float) -> None:
        self._link.post(Gap(*self.answer, duration_ms, at_s))

    def dropped(self, reason: str) -> None:
        if reason:
            self._link.post(Failure("tts", *self.answer, reason))
        self._delivery.done()


class PlayedEarcon:
    """An earcon in the player's hands; only its start matters to anybody else."""

    answer = None

    def __init__(
        self,
        link: Link,
        asked: PlayEarcon,
        pcm: Int16,
        volume: Callable[[], float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.sound = whole(pcm)
        self.volume = volume
        self.waits = asked.name in WORTH_WAITING
        self.is_wanted = True
        self._link = link
        self._name = asked.name
        self._until_s = asked.until_s
        self._clock = clock

    def verdict(self) -> Verdict:
        is_late = not self.sound.is_begun and self._clock() > self._until_s
        return Verdict.PLAY if self.is_wanted and not is_late else Verdict.DROP

    def started(self, at_s: float) -> None:
        self._link.post(EarconStarted(at_s, duration_ms(self._name)))

    def progress(self, fraction: float) -> None:
        """Nobody asks how much of it was heard."""

    def gap(self, duration_ms: int, at_s: float) -> None:
        """It is no answer."""

    def dropped(self, reason: str) -> None:
        if reason:
            log.warning("the earcon %s was not heard: %s", self._name, reason)
