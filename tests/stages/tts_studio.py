"""For the tests of the tts stage: its sound card, and the daemon that gives it sentences."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import pytest
import soundfile
from stage_hub import CONFIG, PATIENCE_S, Int16, SocketDaemon, posted, silence, until

from assistant.audio.card import SoundCard
from assistant.audio.clip import AUDIBLE, without_silent_start
from assistant.audio.formats import RATE_HZ
from assistant.config import Audio, Sounds
from assistant.engines.piper import PiperEngine
from assistant.messages import AnyMessage, Earcon, PlayEarcon, Sentence, Spoken, TurnEnded
from assistant.stages.tts import TtsStage

VOICE = Path(CONFIG.tts.model)
VOICE_HZ = 22_050
BERLIN = "The capital of Germany is Berlin."
MONTHS = "There are twelve months in a year."
STORY = "Once there was a little robot, and it lived in a small house by the sea, and it counted the birds"


class Studio:
    """The stage, its sound card, and the daemon that gives it sentences."""

    def __init__(
        self,
        folder: Path,
        speaker: str = "",
        speed: float = 1.0,
        earcons: bool = True,
        volume: float = 1.0,
        barge_in: Literal["off", "word", "voice"] = "off",
    ) -> None:
        soundfile.write(folder / "silence.wav", silence(0.1), RATE_HZ)
        self.file = folder / "out.wav"
        self._clock_hz = VOICE_HZ * speed
        self.card = SoundCard(
            str(folder / "silence.wav"), str(self.file), VOICE_HZ, speed, folder=folder / "card"
        )
        self.card.start()
        audio = Audio(speaker=speaker or self.card.speaker_name, barge_in=barge_in)
        config = msgspec.structs.replace(CONFIG, audio=audio, sounds=Sounds(earcons=earcons))
        tts = msgspec.structs.replace(CONFIG.tts, volume=volume)
        config = msgspec.structs.replace(config, tts=tts)
        self.daemon = SocketDaemon(folder / "daemon.sock", config)
        self.daemon.__enter__()
        self.link = self.daemon.connect("tts")
        self.stage = TtsStage(self.link)
        self.stage.begin()

    def close(self) -> None:
        self.daemon.__exit__()
        self.card.close()

    def give(self, *sentences: Sentence) -> None:
        """Have the stage take sentences; it may not have played them when this returns."""
        for sentence in sentences:
            self.go_on(self.begin(sentence))

    def begin(self, sentence: Sentence) -> Iterator[AnyMessage]:
        """Have the stage take a sentence, of which it makes something when it is asked for a message."""
        self.daemon.offer("tts", sentence)
        delivery = self.link.receive(PATIENCE_S)
        assert delivery is not None
        assert delivery.message == sentence
        return self.stage.handle(delivery)

    def go_on(self, work: Iterator[AnyMessage]) -> None:
        """Have the stage finish what it makes of a sentence."""
        for message in work:
            self.link.post(message)

    def end_turn(self, turn: int, revision: int = 0) -> None:
        """What the stage made of the turn may be heard."""
        self.daemon.notify("tts", TurnEnded(turn, revision, 0.0, 0.0))

    def beep(self, *names: Earcon) -> None:
        """Ask for earcons; the stage knows of them when this returns."""
        for name in names:
            self.daemon.notify("tts", PlayEarcon(name))
        # the notices are before what this asks for, and the answer comes back on the same link
        self.give(Sentence(99, 0, 0, "***", last=True, to_client=True))

    def until_all_is_done(self) -> None:
        until(lambda: not self.daemon.unfinished("tts"))

    def recorded(self) -> tuple[Int16, list[float]]:
        """What was heard, without the silence around and within it, and when its audible samples were."""
        self.card.close()
        samples: Int16 = soundfile.read(self.file, dtype="int16")[0]
        audible = np.flatnonzero(np.abs(samples.astype(np.int32)) >= AUDIBLE)
        times = self.card.started_at_s + audible / self._clock_hz
        return samples[samples != 0], times.tolist()


Open = Callable[..., Studio]


@pytest.fixture
def open_studio(tmp_path: Path) -> Iterator[Open]:
    studios: list[Studio] = []

    def make(
        speaker: str = "",
        speed: float = 1.0,
        earcons: bool = True,
        volume: float = 1.0,
        barge_in: Literal["off", "word", "voice"] = "off",
    ) -> Studio:
        studios.append(Studio(tmp_path, speaker, speed, earcons, volume, barge_in))
        return studios[-1]

    yield make
    for studio in studios:
        studio.close()


@pytest.fixture(scope="module")
def voice() -> PiperEngine:
    return PiperEngine(VOICE, CONFIG.tts)


def said(voice: PiperEngine, text: str) -> Int16:
    return np.concatenate(list(voice.speak(text)))


def begun(voice: PiperEngine, text: str) -> Int16:
    """`text` as the beginning of an answer."""
    return np.concatenate(list(without_silent_start(voice.speak(text), VOICE_HZ)))


def spoken(studio: Studio, index: int) -> list[float]:
    return [s.fraction for s in posted(studio.daemon, Spoken) if s.index == index]
