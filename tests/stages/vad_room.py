"""For the tests of the vad stage: what it hears, and a daemon that gives out the numbers of turns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import pytest
from stage_hub import Int16, MemoryDaemon, recording, silence

from assistant.audio.formats import FRAME_BYTES, FRAME_SAMPLES, RATE_HZ
from assistant.audio.microphone import Microphone
from assistant.config import Audio, Config
from assistant.errors import AudioError
from assistant.messages import (
    AnyMessage,
    MicrophoneEnded,
    NextTurn,
    SpeechResumed,
    SpeechStarted,
    TurnEnded,
    Utterance,
)
from assistant.stages import microphone as stage_microphone
from assistant.stages.vad import VadStage

EPOCH_S = 5_000.0
"""When a `Recording` begins."""

Room = Callable[..., "Listening"]
Plug = Callable[..., "Plugs"]


class Recording:
    """A microphone that plays sound as fast as it is read; `at` has things happen before certain frames."""

    def __init__(self, sound: Int16, can_wait: bool = True, epoch_s: float = EPOCH_S) -> None:
        self.can_wait = can_wait
        self._epoch_s = epoch_s
        self.position = 0
        self.captured_at_s = 0.0
        self.settlements: list[int] = []
        self.at: dict[int, Callable[[], None]] = {}
        self._pcm = sound.tobytes()

    def read(self, timeout_s: float) -> bytes | None:
        assert timeout_s > 0
        frame = self._pcm[2 * self.position :][:FRAME_BYTES]
        if frame:
            self.at.pop(self.position // FRAME_SAMPLES, lambda: None)()
            self.position += FRAME_SAMPLES
            self.captured_at_s = self._epoch_s + self.position / RATE_HZ
        return frame.ljust(FRAME_BYTES, b"\0") if frame else b""

    def settled(self, samples: int) -> None:
        self.settlements.append(samples)

    def close(self) -> bool:
        """Nothing is open."""
        return True


class Listening:
    """A stage that hears something, and a daemon that gives out the numbers of turns."""

    def __init__(self, config: Config) -> None:
        self.daemon = MemoryDaemon(config)
        self.daemon.owner.when_posted = self._number
        self.link = self.daemon.connect("vad")
        self.stage = VadStage(self.link)

    def hear(self, first: NextTurn | None) -> Iterator[AnyMessage]:
        """Each message of the stage until its microphone has ended, the daemon having got it."""
        if first is not None:
            self.tell(first)
        for message in self.stage.listen():
            self.link.post(message)
            yield message
            if isinstance(message, MicrophoneEnded):
                return

    def hear_all(self, first: NextTurn | None) -> list[AnyMessage]:
        return list(self.hear(first))

    def tell(self, message: AnyMessage) -> None:
        self.daemon.broker.notify("vad", message)

    def _number(self, message: AnyMessage) -> None:
        if isinstance(message, SpeechStarted):
            self.tell(NextTurn(message.turn + 1))


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Room:
    """`room(microphone, half_duplex)`: a stage that hears that microphone instead of a device."""

    def furnish(microphone: Microphone, half_duplex: bool = False) -> Listening:
        monkeypatch.setattr(stage_microphone, "open_microphone", lambda *_: microphone)
        name = "auto" if half_duplex else "card:recording"
        return Listening(Config(audio=Audio(microphone=name, auto_gain=False)))

    return furnish


def joined(*parts: Int16 | float) -> Int16:
    """Sounds, and seconds of silence, one behind the other."""
    return np.concatenate([silence(part) if isinstance(part, float) else part for part in parts])


def check_turn(messages: list[AnyMessage], turn: int, first_revision: int = 0) -> Utterance:
    """`messages` are one whole turn, its revisions counting on; gives back its last utterance."""
    started, *between, utterance, ended = messages
    assert isinstance(started, SpeechStarted)
    assert isinstance(utterance, Utterance)
    assert isinstance(ended, TurnEnded)
    revision = first_revision
    for paused, resumed in zip(between[::2], between[1::2], strict=True):
        assert isinstance(paused, Utterance)
        assert isinstance(resumed, SpeechResumed)
        assert (paused.revision, resumed.revision) == (revision, revision + 1)
        revision += 1
        assert utterance.pcm.startswith(paused.pcm), "each pause has the whole utterance so far"
    assert utterance.revision == ended.revision == revision
    assert {message.turn for message in messages} == {turn}  # type: ignore[union-attr] # all of a turn
    assert utterance.speech_end_s == ended.speech_end_s > started.at_s
    assert utterance.rate_hz == RATE_HZ
    assert 0 < utterance.voiced_ms <= 1000 * len(utterance.pcm) // (2 * RATE_HZ)
    return utterance


def turns_of(messages: list[AnyMessage]) -> list[list[AnyMessage]]:
    """The messages of each turn, in order; the last one is the microphone's end, and is left out."""
    assert isinstance(messages[-1], MicrophoneEnded)
    starts = [i for i, message in enumerate(messages) if isinstance(message, SpeechStarted)]
    assert starts[:1] == [0] or len(messages) == 1
    return [messages[a:b] for a, b in pairwise([*starts, len(messages) - 1])]


def place_of(sound: bytes, whole: Int16) -> int:
    """The sample of `whole` with which `sound` begins."""
    at = whole.tobytes().find(sound)
    assert at >= 0
    assert at % 2 == 0
    return at // 2


def questions(count: int) -> Int16:
    return joined(*[part for _ in range(count) for part in (recording("q12.wav"), 1.0)])


class Plugs:
    """What is found each time that the stage looks for a microphone, and whether it looked for new ones."""

    def __init__(self, *found: Microphone | AudioError) -> None:
        self._found = list(found)
        self.looked_again: list[bool] = []

    def open(self, _name: str, look_again: bool, _channel: int) -> Microphone:
        self.looked_again.append(look_again)
        found = self._found.pop(0)
        if isinstance(found, AudioError):
            raise found
        return found


@pytest.fixture
def plug(monkeypatch: pytest.MonkeyPatch) -> Plug:
    """`plug(found...)`: a stage finds these, one after the other, and does not wait in between."""

    def put(*found: Microphone | AudioError) -> Plugs:
        plugs = Plugs(*found)
        monkeypatch.setattr(stage_microphone, "open_microphone", plugs.open)
        monkeypatch.setattr(stage_microphone, "RETRY_EVERY_S", 0.0)
        return plugs

    return put
