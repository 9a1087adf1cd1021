"""What vad learns of one microphone: how loud it is, its noise, its gain, its echo of the assistant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from assistant.audio.card_link import is_card
from assistant.audio.level import LevelMeter
from assistant.config import Audio, Vad
from assistant.engines.voice import Decision, VoiceDetector
from assistant.messages import MicrophoneLevel

if TYPE_CHECKING:  # with numpy, which a recording in a plain setup does without
    from assistant.audio.gain import AutoGain
    from assistant.stages.own_voice import OwnVoice


class Ear:
    """One for each microphone that is plugged in.  `own_voice` is None where nothing is heard meanwhile."""

    def __init__(self, audio: Audio, vad: Vad) -> None:
        self.own_voice = _own_voice() if audio.barge_in != "off" else None
        self._voice = VoiceDetector(vad)
        self._level = LevelMeter()
        self._gain = _auto_gain() if audio.auto_gain and not is_card(audio.microphone) else None

    @property
    def gain_db(self) -> float:
        """By how much the sound is amplified."""
        return self._gain.gain_db if self._gain else 0.0

    def measure(self, frame: bytes, position: int, at_s: float, is_deaf: bool) -> MicrophoneLevel | None:
        """How loud the room is, whether it is listened to or not; once a second."""
        return self._level.feed(frame, position, at_s, self.gain_db, not is_deaf)

    def hear(
        self, frame: bytes, position: int, at_s: float, speaking: bool, is_open: bool
    ) -> tuple[bytes, Decision]:
        """What of `frame` the assistant does not say itself, amplified, and whether it is a person's voice.

        The assistant is `speaking`; a turn `is_open`.
        """
        if self.own_voice is not None:
            frame = self.own_voice.cancel(frame, position, at_s)
        amplified = self._gain.feed(frame) if self._gain else frame
        voiced, faint = self._voice.hear(amplified, self.gain_db)
        if self.own_voice is not None:
            voiced = self.own_voice.is_person(frame, voiced, speaking, is_open)
            if self.own_voice.is_alone:
                faint = voiced  # what is left of the echo is no voice that sinks into the noise
        if self._gain:
            self._gain.learn(voiced, self._voice.noise_dbfs)
        return amplified, Decision(voiced, faint)

    def forget(self) -> None:
        """What comes does not join on to what was heard; the room is the same."""
        self._voice.forget()


def _auto_gain() -> AutoGain:
    from assistant.audio.gain import AutoGain

    return AutoGain()


def _own_voice() -> OwnVoice:
    from assistant.stages.own_voice import OwnVoice

    return OwnVoice()
