"""A vad stage after another on the same microphone: a recording, and a virtual sound card."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile
from stage_hub import Int16, recording
from vad_room import Listening, Recording, Room, check_turn, joined, turns_of

from assistant.audio.card import SoundCard
from assistant.audio.formats import RATE_HZ
from assistant.audio.microphone import Microphone, open_microphone
from assistant.config import Audio, Config
from assistant.errors import AudioError
from assistant.messages import NextTurn, SpeechStarted, TurnEnded, Utterance
from assistant.stages import microphone as stage_microphone
from assistant.stages import vad


def test_a_successor_counts_revisions_on_and_skips_what_is_settled(room: Room) -> None:
    one, two = recording("q00.wav"), recording("q04.wav")
    sound = joined(1.0, one, 1.2, two, 1.2)
    first, second = turns_of(room(Recording(sound)).hear_all(NextTurn(1)))
    ended = first[-1]
    assert isinstance(ended, TurnEnded)
    successor = room(Recording(sound)).hear_all(NextTurn(2, revision=3, settled=ended.settled))
    (turn,) = turns_of(successor)
    assert check_turn(turn, 2, first_revision=3).pcm == check_turn(second, 2).pcm


class Street:
    """A virtual sound card, and stages that hear it one after the other."""

    def __init__(self, folder: Path, sound: Int16, speed: float) -> None:
        soundfile.write(folder / "sound.wav", sound, RATE_HZ)
        self.card = SoundCard(str(folder / "sound.wav"), "", RATE_HZ, speed, folder=folder / "card")
        audio = Audio(microphone=self.card.microphone_name)
        self._config = Config(audio=audio)
        self._open: list[Microphone] = []

    def listen(self) -> Listening:
        return Listening(self._config)

    def open(self, name: str, look_again: bool = False, _channel: int = 0) -> Microphone:
        self._open.append(open_microphone(name, look_again))
        return self._open[-1]

    def close(self) -> None:
        for microphone in self._open:
            microphone.close()
        self.card.close()


@pytest.fixture
def street(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Street]:
    sound = joined(0.5, recording("q00.wav"), 1.2, recording("q04.wav"), 1.2)
    street = Street(tmp_path, sound, speed=20.0)
    monkeypatch.setattr(stage_microphone, "open_microphone", street.open)
    street.card.start()
    yield street
    street.close()


def test_a_sound_card_is_heard(street: Street) -> None:
    turns = turns_of(street.listen().hear_all(NextTurn(1)))
    assert len(turns) == 2
    for number, turn in enumerate(turns, 1):
        check_turn(turn, number)
        started, ended = turn[0], turn[-1]
        assert isinstance(started, SpeechStarted)
        assert isinstance(ended, TurnEnded)
        assert street.card.started_at_s < started.at_s < ended.speech_end_s < ended.at_s


def test_a_killed_stages_utterance_is_heard_again(street: Street) -> None:
    dying = street.listen()
    before = []
    for message in dying.hear(NextTurn(1)):
        before.append(message)
        if isinstance(message, Utterance):
            break
    assert isinstance(before[-1], Utterance)
    turns = turns_of(street.listen().hear_all(NextTurn(1, revision=1)))
    assert len(turns) == 2
    assert check_turn(turns[0], 1, first_revision=1).pcm.startswith(before[-1].pcm)
    check_turn(turns[1], 2)


def test_a_microphone_that_goes_away_for_good_is_an_error(
    street: Street, monkeypatch: pytest.MonkeyPatch
) -> None:
    hearing = street.listen().hear(NextTurn(1))
    assert isinstance(next(hearing), SpeechStarted)
    street.card.close()
    monkeypatch.setattr(vad, "RESTART_AFTER_S", 0.0)
    monkeypatch.setattr(vad, "LOOK_FOR_S", 0.0)
    with pytest.raises(AudioError, match="cannot be reached"):
        list(hearing)
