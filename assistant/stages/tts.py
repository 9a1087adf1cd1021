"""tts: sentences in, sound out; the next sentence is made while one is in the air."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from assistant.audio.earcons import NOTES, duration_ms, earcon
from assistant.audio.playback import Player, Verdict
from assistant.catalogue.locate import locate
from assistant.config import models_folder
from assistant.engines.piper import PiperEngine
from assistant.messages import (
    AnyMessage,
    Earcon,
    EarconStarted,
    Failure,
    PlaybackStarted,
    PlayEarcon,
    Sentence,
    Speech,
    Spoken,
    TurnEnded,
)
from assistant.queues.link import Delivery, Link
from assistant.text.speakable import speakable

log = logging.getLogger(__name__)

WORTH_WAITING: tuple[Earcon, ...] = ("ready", "error")
"""What these say is still true when the answer in the air is over."""


class TtsStage:
    """Owns the speaker.  A sentence is acknowledged when it has been heard."""

    acknowledges = True

    def __init__(self, link: Link) -> None:
        config = link.config
        self._link = link
        self._released: dict[int, int] = {}
        self._engine = PiperEngine(locate("tts", config.tts.model, models_folder(config)).path, config.tts)
        self._engine.warm()
        self._player = Player(config.audio.speaker, self._engine.rate_hz)
        self._earcons = {name: earcon(name, self._engine.rate_hz) for name in NOTES if config.sounds.earcons}
        link.on_notice(self._on_notice)  # from now on, and what has come meanwhile

    def handle(self, delivery: Delivery) -> Iterator[AnyMessage]:
        sentence = delivery.message
        assert isinstance(sentence, Sentence)
        pcm = self._synthesise(sentence)
        if sentence.to_client:
            yield Speech(sentence.turn, sentence.index, pcm.tobytes(), self._engine.rate_hz, sentence.last)
            delivery.done()
        else:
            self._player.play(SpokenSentence(self._link, self._released, delivery, sentence, pcm))

    def _synthesise(self, sentence: Sentence) -> npt.NDArray[np.int16]:
        chunks = []
        for chunk in self._engine.speak(speakable(sentence.text)):
            chunks.append(chunk)
            if self._link.cancelled(sentence.turn, sentence.revision):
                break
        return np.concatenate(chunks) if chunks else np.zeros(0, np.int16)

    def _on_notice(self, message: AnyMessage) -> None:
        if isinstance(message, TurnEnded):
            self._released[message.turn] = message.revision
            while len(self._released) > 64:  # turns that old have long been heard
                del self._released[next(iter(self._released))]
        elif isinstance(message, PlayEarcon) and message.name in self._earcons:
            self._player.play(PlayedEarcon(self._link, message.name, self._earcons[message.name]))


class SpokenSentence:
    """A sentence in the player's hands: heard once its turn has ended, and only while it is not stale."""

    waits = True

    def __init__(
        self,
        link: Link,
        released: Mapping[int, int],
        delivery: Delivery,
        sentence: Sentence,
        pcm: npt.NDArray[np.int16],
    ) -> None:
        self.pcm = pcm
        self.heard_fraction = sentence.heard_fraction
        self._link = link
        self._released = released
        self._delivery = delivery
        self._sentence = sentence

    def verdict(self) -> Verdict:
        sentence = self._sentence
        if self._link.cancelled(sentence.turn, sentence.revision):
            return Verdict.DROP
        return Verdict.PLAY if self._released.get(sentence.turn, -1) >= sentence.revision else Verdict.WAIT

    def started(self, at_s: float) -> None:
        self._link.post(PlaybackStarted(self._sentence.turn, at_s))

    def progress(self, fraction: float) -> None:
        sentence = self._sentence
        self._link.post(Spoken(sentence.turn, sentence.revision, sentence.index, fraction))
        if fraction >= 1.0:
            self._delivery.done()

    def dropped(self, reason: str) -> None:
        if reason:
            self._link.post(Failure("tts", self._sentence.turn, self._sentence.revision, reason))
        self._delivery.done()


class PlayedEarcon:
    """An earcon in the player's hands; only its start matters to anybody else."""

    heard_fraction = 0.0

    def __init__(self, link: Link, name: Earcon, pcm: npt.NDArray[np.int16]) -> None:
        self.pcm = pcm
        self.waits = name in WORTH_WAITING
        self._link = link
        self._name = name

    def verdict(self) -> Verdict:
        return Verdict.PLAY

    def started(self, at_s: float) -> None:
        self._link.post(EarconStarted(at_s, duration_ms(self._name)))

    def progress(self, fraction: float) -> None:
        """Nobody asks how much of it was heard."""

    def dropped(self, reason: str) -> None:
        if reason:
            log.warning("the earcon %s was not heard: %s", self._name, reason)
