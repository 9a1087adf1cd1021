"""The vad stage in a room where the assistant's own voice comes back, with the real canceller.

The assistant speaks with one recorded voice, people with others.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from stage_hub import Int16, posted, recording, silence
from vad_room import EPOCH_S, Listening, Recording

from assistant.audio.earcons import duration_ms, earcon
from assistant.audio.formats import FRAME_SAMPLES, RATE_HZ
from assistant.config import Audio, Config, Vad
from assistant.engines.echo import EchoCanceller
from assistant.messages import (
    EarconStarted,
    Interrupted,
    MicrophoneEnded,
    NextTurn,
    PlaybackStarted,
    Played,
    SpeechStarted,
    TurnEnded,
    TurnFinished,
    Utterance,
)
from assistant.stages import microphone as stage_microphone
from assistant.stages.ear import Ear
from assistant.stages.own_voice import OwnVoice
from benchmarks.room import Room, at_normal_level, first_voiced

ANSWERS = ("q00", "q02", "q07", "q11")
BEGINS, AHEAD_FRAMES = 50, 4
"""With which frame the assistant begins to speak, and how long before vad is told."""

TURN = 3


def spoken() -> Int16:
    return np.concatenate([recording(f"{name}.wav") for name in ANSWERS])


def person() -> Int16:
    """Who begins to speak with the first frame."""
    said = at_normal_level(recording("people/librivox-0870.wav"))
    return said[first_voiced(said) :][: 2 * RATE_HZ]


class Scene:
    """A stage that hears what is played back into its microphone, and a person from frame `at` on."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        barge_in: Literal["off", "word", "voice"],
        at: int | None = None,
        echo_db: float = -20,
        delay_ms: float = 100,
        played: Int16 | None = None,
        ahead_frames: int = AHEAD_FRAMES,
        microphone: str = "card:recording",
    ) -> None:
        answer = spoken() if played is None else played
        frames = len(answer) // FRAME_SAMPLES
        speaker = np.concatenate([silence(BEGINS * 0.02), answer[: frames * FRAME_SAMPLES], silence(3.0)])
        people = np.zeros(len(speaker), np.int16)
        if at is not None:
            said = person()
            people[at * FRAME_SAMPLES : at * FRAME_SAMPLES + len(said)] = said
        self.heard = Room(echo_db, delay_ms, seed=1, noise_dbfs=-66).hear(speaker, people)
        self.microphone = Recording(self.heard)
        monkeypatch.setattr(stage_microphone, "open_microphone", lambda *_: self.microphone)
        self.listening = Listening(Config(audio=Audio(microphone=microphone, barge_in=barge_in)))
        for n in range(frames):
            at_s = EPOCH_S + (BEGINS + n) * 0.02
            pcm = answer[n * FRAME_SAMPLES : (n + 1) * FRAME_SAMPLES].tobytes()
            self.tell(BEGINS + n - ahead_frames, Played(pcm, RATE_HZ, at_s))
        self.end = BEGINS + frames

    def tell(self, frame: int, message: object) -> None:
        before = self.microphone.at.get(frame, lambda: None)

        def say() -> None:
            before()
            self.listening.tell(message)  # type: ignore[arg-type] # it is a message

        self.microphone.at[frame] = say

    def speaks(self) -> Scene:
        self.tell(BEGINS, PlaybackStarted(TURN, EPOCH_S))
        self.tell(self.end, TurnFinished(TURN, EPOCH_S, "answered"))
        return self

    def hear_all(self) -> list[object]:
        return list(self.listening.hear_all(NextTurn(7)))


@pytest.mark.parametrize(("echo_db", "delay_ms"), [(-10, 20), (-20, 300)])
@pytest.mark.parametrize("barge_in", ["word", "voice"])
def test_it_does_not_hear_itself(
    monkeypatch: pytest.MonkeyPatch, barge_in: Literal["word", "voice"], echo_db: float, delay_ms: float
) -> None:
    scene = Scene(monkeypatch, barge_in, echo_db=echo_db, delay_ms=delay_ms).speaks()
    assert scene.hear_all() == [MicrophoneEnded()]


@pytest.mark.parametrize("at", [120, 150, 200, 250, 300])
def test_the_first_answer_can_be_interrupted_where_it_has_no_echo(
    monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """On headphones; what a canceller does that finds nothing to cancel."""
    scene = Scene(monkeypatch, "voice", at, echo_db=-80).speaks()
    (interrupted,) = [message for message in scene.hear_all() if isinstance(message, Interrupted)]
    assert EPOCH_S + at * 0.02 < interrupted.at_s < EPOCH_S + at * 0.02 + 0.5


@pytest.mark.parametrize(("at", "echo_db"), [(None, -10), (200, -20)])
def test_a_gain_makes_the_echo_no_person(
    monkeypatch: pytest.MonkeyPatch, at: int | None, echo_db: float
) -> None:
    """Somebody has spoken to it very quietly before: all is amplified by 24 dB."""
    scene = Scene(monkeypatch, "voice", at, echo_db=echo_db, microphone="auto").speaks()
    gain = scene.listening.stage._ear._gain
    assert gain is not None
    for _ in range(1_000):
        gain._control.learn(-52.0, voiced=True, noise_dbfs=-80.0)
    assert gain.gain_db == 24.0
    interrupted = [message for message in scene.hear_all() if isinstance(message, Interrupted)]
    if at is None:
        assert not interrupted
        assert gain.gain_db > 20, "nor is it the voice by which it goes"
    else:
        assert [message.turn for message in interrupted] == [TURN]
        assert EPOCH_S + at * 0.02 < interrupted[0].at_s < EPOCH_S + at * 0.02 + 0.5


def test_on_a_computer_that_is_too_busy_it_rather_hears_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is played is told 200 ms after it was heard: nothing can be cancelled."""
    scene = Scene(monkeypatch, "voice", echo_db=-10, delay_ms=20, ahead_frames=-10).speaks()
    assert not [message for message in scene.hear_all() if isinstance(message, Interrupted)]


def test_without_a_canceller_it_would(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the other tests show is not that the echo is too soft to be heard."""
    scene = Scene(monkeypatch, "off").speaks()
    assert any(isinstance(message, SpeechStarted) for message in scene.hear_all())


@pytest.mark.parametrize("barge_in", ["word", "voice"])
def test_a_person_is_heard_from_the_first_syllable_on(
    monkeypatch: pytest.MonkeyPatch, barge_in: Literal["word", "voice"]
) -> None:
    at = 200
    scene = Scene(monkeypatch, barge_in, at).speaks()
    messages = scene.hear_all()
    interrupted = [message for message in messages if isinstance(message, Interrupted)]
    if barge_in == "voice":
        assert messages[0] == interrupted[0]
        assert [message.turn for message in interrupted] == [TURN]
        assert EPOCH_S + at * 0.02 < interrupted[0].at_s < EPOCH_S + at * 0.02 + 0.5
    else:
        assert not interrupted
    started = next(message for message in messages if isinstance(message, SpeechStarted))
    assert EPOCH_S + at * 0.02 <= started.at_s < EPOCH_S + at * 0.02 + 0.4
    assert any(isinstance(message, TurnEnded) for message in messages)
    utterance = [message for message in messages if isinstance(message, Utterance)][-1]
    begins_s = utterance.speech_end_s - len(utterance.pcm) / 2 / RATE_HZ
    assert begins_s < EPOCH_S + at * 0.02
    assert len(utterance.pcm) / 2 / RATE_HZ > 1.8


def test_who_speaks_right_behind_the_answer_is_heard_from_the_first_syllable_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at = BEGINS + len(spoken()) // FRAME_SAMPLES + 2
    messages = Scene(monkeypatch, "voice", at).speaks().hear_all()
    assert isinstance(messages[0], SpeechStarted), "nothing is interrupted any more"
    assert EPOCH_S + at * 0.02 <= messages[0].at_s < EPOCH_S + at * 0.02 + 0.4


@pytest.mark.parametrize(("at", "told"), [(BEGINS - 8, BEGINS + 3), (BEGINS - 8, BEGINS + 30)])
def test_who_began_before_the_answer_interrupts_it_too(
    monkeypatch: pytest.MonkeyPatch, at: int, told: int
) -> None:
    """Whose answer it is comes to be known later than that it is heard."""
    scene = Scene(monkeypatch, "voice", at)
    scene.tell(told, PlaybackStarted(TURN, EPOCH_S))
    messages = scene.hear_all()
    assert any(isinstance(message, SpeechStarted) for message in messages)
    assert [message.turn for message in messages if isinstance(message, Interrupted)] == [TURN]


def test_its_own_earcon_is_no_speech(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, "voice", echo_db=-10, played=earcon("ready", RATE_HZ))
    scene.tell(BEGINS, EarconStarted(EPOCH_S + BEGINS * 0.02, duration_ms("ready")))
    assert scene.hear_all() == [MicrophoneEnded()]


def test_once_the_person_is_silent_the_answer_is_not_heard_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """With "word" it may go on, and is cancelled as before."""
    messages = Scene(monkeypatch, "word", at=100).speaks().hear_all()
    assert [type(message) for message in messages].count(SpeechStarted) == 1


def test_the_level_is_that_of_the_room_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, "voice", echo_db=-10).speaks()
    scene.hear_all()
    from assistant.messages import MicrophoneLevel

    assert max(level.rms_dbfs for level in posted(scene.listening.daemon, MicrophoneLevel)) > -40


def test_a_frame_of_another_length_is_refused() -> None:
    frame = bytes(2 * FRAME_SAMPLES)
    with pytest.raises(ValueError, match="320 samples"):
        EchoCanceller().cancel(frame, frame[:-2])


def test_a_plain_setup_loads_nothing_for_it() -> None:
    code = "import sys, assistant.stages.vad; print(*{'numpy', 'pywebrtc_audio', 'soxr'} & {*sys.modules})"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_what_is_left_of_its_voice_is_no_voice_that_sinks_into_noise() -> None:
    """An utterance would reach back to it, and so have the assistant's own words."""
    ear = Ear(Audio(barge_in="voice"), Vad(second_opinion=False))
    assert ear.own_voice is not None
    story = np.concatenate([recording(f"q{name}.wav") for name in ("00", "04", "06", "12")])
    story = story[: len(story) // FRAME_SAMPLES * FRAME_SAMPLES]
    heard = np.concatenate([Room(-10, 100, seed=1).hear(story, np.zeros_like(story)), silence(1), story])
    own = faint = 0
    for n in range(len(heard) // FRAME_SAMPLES):
        at, at_s = n * FRAME_SAMPLES, EPOCH_S + n * FRAME_SAMPLES / RATE_HZ
        speaks = at < len(story)
        if speaks:
            ear.own_voice.played(story[at : at + FRAME_SAMPLES].tobytes(), at_s)
        frame = heard[at : at + FRAME_SAMPLES].tobytes()
        decision = ear.hear(frame, at + FRAME_SAMPLES, at_s, speaks, False)[1]
        own += speaks and (decision.voiced or decision.faint)
        faint += not speaks and decision.faint
    assert own == 0
    assert faint > 50, "it hears people"


def test_a_person_of_whom_no_turn_came_is_not_taken_to_speak_on() -> None:
    """Who speaks over an announcement to an assistant that sleeps does not break in on the next one, too."""
    voice = OwnVoice()
    loud, faint = (np.full(FRAME_SAMPLES, level, np.int16).tobytes() for level in (8_000, 80))
    seen = []
    for n in range(150):
        at_s = EPOCH_S + n * FRAME_SAMPLES / RATE_HZ
        voice.played(loud, at_s + 0.1)
        voice.cancel(faint, (n + 1) * FRAME_SAMPLES, at_s)
        speaks = 80 <= n < 100
        voice.is_person(loud if speaks else faint, voiced=speaks, speaking=True, is_open=False)
        seen.append(voice.has_person)
    assert not any(seen[:80])
    assert all(seen[90:100])
    assert not any(seen[110:])
