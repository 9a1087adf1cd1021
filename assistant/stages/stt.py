"""stt: utterances in, transcripts out."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np

from assistant.catalogue.locate import locate
from assistant.config import models_folder
from assistant.engines.whisper import WhisperEngine
from assistant.messages import AnyMessage, Transcript, Utterance, Worked
from assistant.queues.link import Delivery, Link


class SttStage:
    """Keeps nothing between utterances."""

    acknowledges = False

    def __init__(self, link: Link) -> None:
        config = link.config
        self._link = link
        self._engine = WhisperEngine(locate("stt", config.stt.model, models_folder(config)).path, config.stt)
        self._engine.warm()
        began_s = time.monotonic()
        self._engine.warm()
        ended_s = time.monotonic()
        link.post(Worked("stt", 0, 0, began_s, ended_s, ended_s))  # the daemon plans with what reading takes

    def handle(self, delivery: Delivery) -> Iterator[AnyMessage]:
        message = delivery.message
        assert isinstance(message, Utterance)
        turn, revision = message.turn, message.revision
        began_s = time.monotonic()
        heard = self._engine.transcribe(
            np.frombuffer(message.pcm, np.int16),
            message.voiced_ms,
            lambda: self._link.cancelled(turn, revision),
            carefully=not message.so_far,
        )
        ended_s = time.monotonic()
        yield Transcript(
            turn, revision, heard.text, heard.language, heard.confidence, ended_s, message.so_far
        )
        yield Worked("stt", turn, revision, began_s, ended_s, ended_s)
