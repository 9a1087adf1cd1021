"""What the vad stage hears while the assistant speaks or sounds, with and without a headset."""

from __future__ import annotations

import numpy as np
import pytest
from stage_hub import recording
from vad_room import EPOCH_S, Recording, Room, joined, place_of

from assistant.audio.earcons import duration_ms, earcon
from assistant.audio.formats import FRAME_BYTES, FRAME_SAMPLES, RATE_HZ
from assistant.config import Vad
from assistant.engines.voice import Decision, VoiceDetector
from assistant.messages import (
    AnyMessage,
    EarconStarted,
    Muted,
    NextTurn,
    PlaybackStarted,
    SpeechStarted,
    TurnFinished,
    Utterance,
)
from assistant.stages import ear
from assistant.stages.half_duplex import EARCON_ECHO_MS

ECHO_S = 0.3

Notices = dict[int, AnyMessage]
"""What the daemon says, before which frames."""

PLAYS, OTHER_IS_OVER, IS_OVER = 25, 150, 270
"""Frames of a speech with which the daemon's words come."""


def finished(turn: int, frame: int) -> TurnFinished:
    """That answer is over when the frame before `frame` has been captured, give or take."""
    return TurnFinished(turn, EPOCH_S + frame * 0.02 + 0.001, "answered")


def hear_while_playing(room: Room, half_duplex: bool, notices: Notices) -> list[int]:
    """Which frames of a speech of 11 seconds the utterances of a stage hold more than silence of."""
    sound = recording("people/jfk.wav")
    # no two frames are alike, and none is silence
    sound += (np.arange(len(sound)) % 7 - 3).astype(np.int16)
    microphone = Recording(sound)
    listening = room(microphone, half_duplex)
    for frame, notice in notices.items():
        microphone.at[frame] = lambda notice=notice: listening.tell(notice)  # type: ignore[misc] # mypy does not infer a lambda's defaults
    whole = sound.tobytes()
    places = {whole[at : at + FRAME_BYTES]: at // FRAME_BYTES for at in range(0, len(whole), FRAME_BYTES)}
    assert len(places) == len(whole) // FRAME_BYTES
    utterances = [m for m in listening.hear_all(NextTurn(2)) if isinstance(m, Utterance)]
    heard: set[int] = set()
    for utterance in utterances:
        for at in range(0, len(utterance.pcm), FRAME_BYTES):
            frame_pcm = utterance.pcm[at : at + FRAME_BYTES]
            if frame_pcm != bytes(FRAME_BYTES):
                heard.add(places[frame_pcm])
    return sorted(heard)


@pytest.mark.parametrize("behind", [0, 1, 40])
def test_nothing_is_heard_while_the_assistant_speaks_nor_of_its_echo(room: Room, behind: int) -> None:
    """Also where the stage is `behind` by so many frames when it is told that the answer is over."""
    other, is_over = finished(9, OTHER_IS_OVER), finished(1, IS_OVER)
    notices: Notices = {PLAYS: PlaybackStarted(1, 0.0), OTHER_IS_OVER: other, IS_OVER - behind: is_over}
    heard = hear_while_playing(room, True, notices)
    echo_ends = IS_OVER + round(ECHO_S * RATE_HZ / FRAME_SAMPLES)
    assert not [frame for frame in heard if PLAYS <= frame < echo_ends]
    assert echo_ends in heard, "from then on all of it"
    assert len([frame for frame in heard if frame > echo_ends]) > 200


class Forgetful(VoiceDetector):
    """Knows before how many frames it was told to forget."""

    last: Forgetful

    def __init__(self, settings: Vad) -> None:
        super().__init__(settings)
        self.frames = 0
        self.forgot: set[int] = set()
        Forgetful.last = self

    def forget(self) -> None:
        self.forgot.add(self.frames)
        super().forget()

    def hear(self, frame: bytes, gain_db: float = 0.0) -> Decision:
        self.frames += 1
        return super().hear(frame, gain_db)


@pytest.mark.parametrize(
    ("half_duplex", "notices"),
    [
        (True, {PLAYS: PlaybackStarted(1, 0.0), IS_OVER: finished(1, IS_OVER)}),
        (False, {PLAYS: Muted(True), IS_OVER: Muted(False)}),
    ],
)
def test_what_came_before_it_was_deaf_is_forgotten(
    room: Room, monkeypatch: pytest.MonkeyPatch, half_duplex: bool, notices: Notices
) -> None:
    """What is heard afterwards does not follow on that."""
    monkeypatch.setattr(ear, "VoiceDetector", Forgetful)
    hear_while_playing(room, half_duplex, notices)
    assert Forgetful.last.forgot == {PLAYS}


def test_with_a_headset_it_is_heard(room: Room) -> None:
    notices: Notices = {
        PLAYS: PlaybackStarted(1, 0.0),
        IS_OVER: finished(1, IS_OVER),
    }
    heard = hear_while_playing(room, False, notices)
    assert heard == hear_while_playing(room, False, {})
    assert len([frame for frame in heard if PLAYS < frame < IS_OVER]) > 100


def test_an_answer_that_follows_another_keeps_the_stage_deaf(room: Room) -> None:
    """The first turn's end comes while the second is in the air already."""
    notices: Notices = {
        10: PlaybackStarted(1, 0.0),
        60: PlaybackStarted(3, 0.0),
        70: finished(1, 70),
        IS_OVER: finished(3, IS_OVER),
    }
    heard = hear_while_playing(room, True, notices)
    assert heard[-1] > IS_OVER + 200
    assert not [frame for frame in heard if 10 <= frame < IS_OVER]


@pytest.mark.parametrize("told", [30, 50, 51])
@pytest.mark.parametrize("is_told", [True, False])
def test_an_earcon_is_not_taken_for_somebody_nor_is_its_echo(room: Room, told: int, is_told: bool) -> None:
    """Even if the stage is behind with its frames, or a little before them."""
    loud = recording("people/jfk.wav")[RATE_HZ // 2 :][: round(0.35 * RATE_HZ)]
    microphone = Recording(joined(1.0, loud, 2.0))
    listening = room(microphone, half_duplex=True)
    if is_told:
        microphone.at[told] = lambda: listening.tell(EarconStarted(EPOCH_S + 1.01, 200))
    started = [m for m in listening.hear_all(NextTurn(1)) if isinstance(m, SpeechStarted)]
    assert len(started) == (0 if is_told else 1)


@pytest.mark.parametrize("late_frames", [0, 2])
@pytest.mark.parametrize("after_ms", [-300, -200, -100, 0, 40, 90, 200, 1000])
def test_an_earcon_costs_nobody_a_word(room: Room, after_ms: int, late_frames: int) -> None:
    """Nor who begins just then, or while its echo is in the room."""
    speech = recording("people/jfk.wav")
    speech = speech[np.flatnonzero(np.abs(speech.astype(np.int32)) > 1500)[0] :]
    microphone = Recording(joined(1.0, speech, 1.2))
    listening = room(microphone, half_duplex=True)
    earcon = EarconStarted(EPOCH_S + 1.0 + after_ms / 1000, 140)
    microphone.at[50 + after_ms // 20 + late_frames] = lambda: listening.tell(earcon)
    first = next(m for m in listening.hear_all(NextTurn(1)) if isinstance(m, Utterance))
    assert speech[: RATE_HZ // 2].tobytes() in first.pcm


@pytest.mark.parametrize("noise", [0, 60])
@pytest.mark.parametrize("after_s", [0.1, 0.2, 0.4, 0.7])
def test_an_earcon_is_in_no_question_that_begins_behind_it(room: Room, after_s: float, noise: int) -> None:
    """However far noise has the utterance reach back."""
    speech = recording("people/jfk.wav")
    speech = speech[np.flatnonzero(np.abs(speech.astype(np.int32)) > 1500)[0] :]
    ding = earcon("listening", RATE_HZ)
    sound = joined(2.0, ding, EARCON_ECHO_MS / 1000 + after_s, speech[: 3 * RATE_HZ], 1.2)
    sound += np.random.default_rng(1).normal(0, noise, len(sound)).astype(np.int16)
    microphone = Recording(sound)
    listening = room(microphone, half_duplex=True)
    begins = 2 * RATE_HZ
    told = EarconStarted(EPOCH_S + begins / RATE_HZ, duration_ms("listening"))
    microphone.at[102] = lambda: listening.tell(told)
    first = next(m for m in listening.hear_all(NextTurn(1)) if isinstance(m, Utterance))
    assert place_of(first.pcm, sound) >= begins + len(ding)


def test_with_a_headset_an_earcon_costs_no_speech(room: Room) -> None:
    heard = hear_while_playing(room, False, {30: EarconStarted(EPOCH_S + 1.01, 200)})
    assert heard == hear_while_playing(room, False, {})
