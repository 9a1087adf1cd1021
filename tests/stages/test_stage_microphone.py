"""The vad stage with microphones that come and go."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from stage_hub import Int16, posted, recording, silence
from vad_room import EPOCH_S, Listening, Plug, Recording, check_turn, joined, place_of, questions, turns_of

from assistant.audio.formats import RATE_HZ
from assistant.config import Audio, Config
from assistant.errors import AudioError
from assistant.messages import MicrophoneLevel, NextTurn, SpeechDropped, SpeechStarted, StageState, Utterance
from assistant.service import Systemd
from assistant.stages import microphone as stage_microphone
from assistant.stages import vad

ABSENT = AudioError("There is no microphone.")
OTHER = AudioError("The microphone is in use.")


class Pulled(Recording):
    """A device that is pulled out behind its sound; `lets_go` unless its thread hangs in the driver."""

    def __init__(self, sound: Int16, lets_go: bool = True) -> None:
        super().__init__(sound, can_wait=False)
        self.is_open = True
        self._lets_go = lets_go

    def read(self, timeout_s: float) -> bytes | None:
        assert self.is_open
        if frame := super().read(timeout_s):
            return frame
        raise AudioError("The microphone went away.")

    def close(self) -> bool:
        self.is_open = False
        return self._lets_go


def gone(error: AudioError) -> StageState:
    return StageState("vad", "gone", str(error), "microphone")


READY = StageState("vad", "ready")
PULLED = gone(AudioError("The microphone went away."))
ALONE = Config(audio=Audio(auto_gain=False))


def states(listening: Listening) -> list[StageState]:
    """Without the first, with which the test has the stage join."""
    first, *others = posted(listening.daemon, StageState)
    assert first == READY
    return others


@pytest.mark.parametrize(
    ("absent", "told"),
    [
        ([], []),
        ([ABSENT], [gone(ABSENT)]),
        ([ABSENT] * 5, [gone(ABSENT)]),
        ([ABSENT, OTHER, OTHER, ABSENT], [gone(ABSENT), gone(OTHER), gone(ABSENT)]),
    ],
)
def test_a_microphone_may_come_later(plug: Plug, absent: list[AudioError], told: list[StageState]) -> None:
    plugs = plug(*absent, Recording(questions(1)))
    listening = Listening(ALONE)
    assert states(listening) == told
    assert plugs.looked_again == [False] + [True] * len(absent)
    (turn,) = turns_of(listening.hear_all(NextTurn(1)))
    check_turn(turn, 1)


def test_a_microphone_that_never_comes_is_left_to_a_new_process(
    plug: Plug, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vad, "RESTART_AFTER_S", 0.0)
    monkeypatch.setattr(vad, "LOOK_FOR_S", 0.0)
    plug(ABSENT)
    with pytest.raises(AudioError, match="There is no microphone"):
        Listening(ALONE)


@pytest.mark.parametrize(("behind_end_s", "utterances"), [(-0.5, 0), (0.4, 1)])
@pytest.mark.parametrize("absences", [0, 3])
def test_a_microphone_that_is_pulled_out_in_mid_speech_is_heard_again(
    plug: Plug, behind_end_s: float, utterances: int, absences: int
) -> None:
    """What it had heard of the question is void, also what had been sent of it; the next is heard whole."""
    question = recording("q00.wav")
    loud = np.flatnonzero(np.abs(question.astype(np.int32)) > 1000)
    cut = joined(0.5, question, 1.0)[: RATE_HZ // 2 + int(loud[-1]) + round(behind_end_s * RATE_HZ)]
    again = joined(1.0, question, 1.2)
    plugs = plug(Pulled(cut), *[ABSENT] * absences, Recording(again, can_wait=False))
    listening = Listening(ALONE)
    messages = listening.hear_all(NextTurn(1))
    assert states(listening) == [PULLED, *[gone(ABSENT)] * min(absences, 1), READY]
    assert plugs.looked_again == [False] + [True] * (absences + 1)
    back = messages.index(READY)
    before, after = messages[:back], messages[back + 1 :]
    assert isinstance(before[0], SpeechStarted)
    assert sum(isinstance(message, Utterance) for message in before) >= utterances
    assert before[-1] == SpeechDropped(1)
    (turn,) = turns_of(after)
    utterance = check_turn(turn, 2)
    assert RATE_HZ // 2 < place_of(utterance.pcm, again) < RATE_HZ + loud[0]
    assert utterance.speech_end_s == pytest.approx(EPOCH_S + 1.0 + loud[-1] / RATE_HZ, abs=0.15)


def test_a_microphone_that_is_pulled_out_in_silence_drops_nothing(plug: Plug) -> None:
    plug(Pulled(silence(1.0)), Pulled(questions(1)), Recording(questions(1)))
    listening = Listening(ALONE)
    messages = listening.hear_all(NextTurn(1))
    assert [message for message in messages if isinstance(message, SpeechDropped)] == []
    assert states(listening) == [PULLED, READY] * 2
    turns = turns_of([message for message in messages if message != READY])
    for number, turn in enumerate(turns, 1):
        check_turn(turn, number)
    assert len(turns) == 2


def test_another_microphone_is_not_judged_by_the_noise_of_the_one_before(
    plug: Plug,
) -> None:
    """The first one stood by a fan and was far too loud; with the second a quiet voice is heard at once."""
    fan = np.random.default_rng(0).normal(0, 3_000, 8 * RATE_HZ).astype(np.int16)
    fan[::RATE_HZ] = 32_767
    question = recording("q00.wav")
    quiet = (question * (600 / np.abs(question.astype(int)).max())).astype(np.int16)
    usual = joined(quiet, 1.0)
    plug(Recording(usual, can_wait=False))
    (alone,) = turns_of(Listening(ALONE).hear_all(NextTurn(1)))
    plug(Pulled(fan), Recording(usual, can_wait=False))
    listening = Listening(ALONE)
    messages = listening.hear_all(NextTurn(1))
    behind = messages[messages.index(READY) + 1 :]
    (again,) = turns_of(behind)
    turn = next(message.turn for message in again if isinstance(message, SpeechStarted))
    assert check_turn(again, turn).pcm == check_turn(alone, 1).pcm
    troubles = [level.trouble for level in posted(listening.daemon, MicrophoneLevel)]
    assert troubles[6] == "clipping"  # but for the frame that showed that it gives any
    assert set(troubles[7:]) == {None}


def test_a_question_is_dropped_once(plug: Plug) -> None:
    question = recording("q00.wav")
    plug(Pulled(question[:RATE_HZ]), Pulled(silence(1.0)), Recording(silence(1.0)))
    messages = Listening(ALONE).hear_all(NextTurn(1))
    assert [message for message in messages if isinstance(message, SpeechDropped)] == [SpeechDropped(1)]


def test_a_microphone_that_does_not_let_go_needs_a_new_process(plug: Plug) -> None:
    plugs = plug(Pulled(silence(1.0), lets_go=False), Recording(questions(1)))
    listening = Listening(ALONE)
    with pytest.raises(AudioError, match="went away"):
        listening.hear_all(NextTurn(1))
    assert states(listening) == [PULLED]
    assert plugs.looked_again == [False]


def test_a_stage_that_waits_for_a_microphone_is_alive(
    plug: Plug, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """systemd would kill it, and with it what it could tell."""
    plug(Pulled(silence(0.1)), *[ABSENT] * 3, Recording(silence(0.1)))
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "4")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        systemd = Systemd()
        for module in (vad, stage_microphone):
            monkeypatch.setattr(module, "systemd", systemd)
        told: list[str] = []
        hearing = Listening(ALONE)
        hearing.daemon.when_looking = lambda _timeout_s: told.extend(received(manager))
        hearing.hear_all(NextTurn(1))
    pulled, absent, back = (told.index(f"STATUS={text}") for text in (PULLED.detail, str(ABSENT), "ready"))
    assert "WATCHDOG=1" in told[:pulled]
    assert pulled < absent
    assert told[absent:back].count("WATCHDOG=1") >= 3
    assert "WATCHDOG=1" in told[back:]


def received(manager: socket.socket) -> Iterator[str]:
    with contextlib.suppress(BlockingIOError):
        while True:
            yield manager.recv(1000).decode()
