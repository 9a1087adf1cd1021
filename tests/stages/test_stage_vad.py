"""The vad stage on a real link: recordings in, turns out.

Most tests read a recording as fast as the stage takes it, so that the daemon's word comes exactly with a
certain frame; some hear it from a virtual sound card.
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from stage_hub import CONFIG, posted, recording
from vad_room import (
    EPOCH_S,
    Listening,
    Plug,
    Recording,
    Room,
    check_turn,
    joined,
    place_of,
    questions,
    turns_of,
)

from assistant.audio.formats import FRAME_SAMPLES, RATE_HZ
from assistant.config import Config
from assistant.messages import (
    Hangover,
    MicrophoneEnded,
    MicrophoneLevel,
    NextTurn,
    PlaybackStarted,
    SpeechDropped,
    SpeechStarted,
    TurnEnded,
    TurnFinished,
    Utterance,
)
from assistant.stages.vad import MOST_UNFINISHED


@pytest.mark.parametrize("can_wait", [True, False])
def test_two_questions_are_two_turns_of_the_daemons_numbers(room: Room, can_wait: bool) -> None:
    one, two = recording("q00.wav"), recording("q04.wav")
    sound = joined(1.0, one, 1.2, two, 1.2)
    microphone = Recording(sound, can_wait)
    turns = turns_of(room(microphone).hear_all(NextTurn(7)))
    assert len(turns) == 2
    first, second = check_turn(turns[0], 7), check_turn(turns[1], 8)
    starts = (RATE_HZ, len(sound) - len(two) - round(1.2 * RATE_HZ))
    for utterance, begins, question in ((first, starts[0], one), (second, starts[1], two)):
        at = place_of(utterance.pcm, sound)
        loud = np.flatnonzero(np.abs(question.astype(np.int32)) > 1000)
        assert begins - 0.35 * RATE_HZ < at < begins + loud[0]
        ends_s = EPOCH_S + (begins + loud[-1]) / RATE_HZ
        assert utterance.speech_end_s == pytest.approx(ends_s, abs=0.15)
    ends = [turn[-1] for turn in turns]
    settled = [end.settled for end in ends if isinstance(end, TurnEnded)]
    if can_wait:
        assert starts[0] + len(one) - RATE_HZ < settled[0] < starts[1]
        assert starts[1] + len(two) - RATE_HZ < settled[1] <= len(sound)
        assert {*settled} <= {*microphone.settlements}, "the microphone is told too"
    else:
        assert settled == [0, 0], "a successor could not hear it again"


def test_a_quiet_voice_is_heard_and_becomes_louder(plug: Plug) -> None:
    """The gain and the detector together: each question is a turn, the last as loud as usual."""
    question = recording("q00.wav")
    loud = question[np.abs(question.astype(int)) > 1000]
    share = 10 ** (-48 / 20) * 32_768 / np.sqrt(np.mean(loud.astype(float) ** 2))
    quiet = np.rint(question * share).astype(np.int16)
    sound = joined(*[part for _ in range(10) for part in (1.0, quiet)], 1.0)
    sound += np.random.default_rng(0).normal(0, 3, len(sound)).astype(np.int16)
    plug(Recording(sound, can_wait=False))
    turns = turns_of(Listening(Config()).hear_all(NextTurn(1)))
    assert len(turns) == 10
    peaks = []
    for number, turn in enumerate(turns, 1):
        pcm = np.frombuffer(check_turn(turn, number).pcm, np.int16)
        peaks.append(int(np.abs(pcm.astype(int)).max()))
    assert peaks[-1] > 5 * peaks[0]


def test_the_daemon_says_what_silence_ends_the_turn(room: Room) -> None:
    """And only of the turn at hand."""
    sound = joined(1.0, recording("q00.wav"), 1.2)
    usual, short = CONFIG.vad.hangover_ms, 300
    lasted_ms = {}
    for turn in (7, 8):
        listening = room(Recording(sound))
        pauses_s = ended_s = 0.0
        for message in listening.hear(NextTurn(7, revision=5)):
            if isinstance(message, Utterance):
                assert message.revision == 5
                listening.tell(Hangover(turn, message.revision, short))
                pauses_s = message.speech_end_s
            elif isinstance(message, TurnEnded):
                ended_s = listening.stage._microphone.captured_at_s
        lasted_ms[turn] = 1000 * (ended_s - pauses_s)
    assert lasted_ms[7] == pytest.approx(short, abs=21)
    assert lasted_ms[8] == pytest.approx(usual, abs=21)


def test_what_was_said_so_far_is_sent_as_often_as_wanted(room: Room) -> None:
    sound = joined(1.0, recording("q00.wav"), 1.2)
    messages = room(Recording(sound)).hear_all(NextTurn(4, revision=2, look_every_ms=500))
    looks = [m for m in messages if isinstance(m, Utterance) and m.so_far]
    (whole,) = (m for m in messages if isinstance(m, Utterance) and not m.so_far)
    assert 2 <= len(looks) <= 4
    for look in looks:
        assert (look.turn, look.revision) == (4, 2)
        assert whole.pcm.startswith(look.pcm)
    assert [len(b.pcm) - len(a.pcm) for a, b in pairwise(looks)] == [RATE_HZ] * (len(looks) - 1)


def test_where_speculation_does_not_pay_a_pause_is_the_end(room: Room) -> None:
    question = recording("q00.wav")
    loud = np.flatnonzero(np.abs(question.astype(np.int32)) > 500)
    sound = joined(1.0, question[: loud[-1]], 0.4, question[loud[0] :], 1.2)
    kinds = {}
    for speculate in (True, False):
        messages = room(Recording(sound)).hear_all(NextTurn(1, speculate=speculate))
        kinds[speculate] = [type(message).__name__ for message in turns_of(messages)[0]]
    assert kinds[True] == ["SpeechStarted", "Utterance", "SpeechResumed", "Utterance", "TurnEnded"]
    assert kinds[False] == ["SpeechStarted", "Utterance", "TurnEnded"]


def test_the_start_of_speech_has_the_time_of_its_first_frame(room: Room) -> None:
    sound = joined(1.0, recording("q00.wav"), 1.2)
    (turn,) = turns_of(room(Recording(sound)).hear_all(NextTurn(1)))
    started, utterance = turn[0], check_turn(turn, 1)
    assert isinstance(started, SpeechStarted)
    loud = int(np.argmax(np.abs(sound.astype(int)) > 0.02 * 32_768))
    assert started.at_s == pytest.approx(EPOCH_S + loud / RATE_HZ, abs=2 * FRAME_SAMPLES / RATE_HZ)
    pre_roll = CONFIG.vad.pre_roll_ms * RATE_HZ // 1000
    assert place_of(utterance.pcm, sound) + pre_roll <= (started.at_s - EPOCH_S) * RATE_HZ


def test_a_recording_that_ends_in_mid_speech_ends_the_turn(room: Room) -> None:
    sound = joined(0.5, recording("q00.wav")[: 3 * RATE_HZ // 2])
    (turn,) = turns_of(room(Recording(sound)).hear_all(NextTurn(1)))
    check_turn(turn, 1)


@pytest.mark.parametrize("can_wait", [True, False])
def test_a_short_noise_is_no_turn(room: Room, can_wait: bool) -> None:
    question = recording("q00.wav")
    loudest = int(np.argmax(np.convolve(np.abs(question.astype(float)), np.ones(1600), "valid")))
    noise = question[loudest : loudest + 1600]
    sound = joined(1.0, noise, 1.2, question, 1.2)
    messages = room(Recording(sound, can_wait)).hear_all(NextTurn(3))
    noisy, spoken = turns_of(messages)
    started, dropped = noisy
    assert isinstance(started, SpeechStarted)
    assert isinstance(dropped, SpeechDropped)
    assert (started.turn, dropped.turn) == (3, 3)
    assert (0 < dropped.settled < 2.3 * RATE_HZ) if can_wait else dropped.settled == 0
    check_turn(spoken, 4)


def test_in_silence_nothing_but_the_end_is_heard(room: Room) -> None:
    microphone = Recording(recording("nonspeech/silence.wav"))
    assert room(microphone).hear_all(NextTurn(3)) == [MicrophoneEnded()]
    assert microphone.settlements[-1] == microphone.position, "all of it is dealt with"


def test_how_loud_it_is_is_told_every_second_of_sound_also_while_the_stage_is_deaf(room: Room) -> None:
    microphone = Recording(joined(1.0, np.full(RATE_HZ, 16_384, np.int16), 1.5))
    listening = room(microphone, half_duplex=True)
    listening.tell(PlaybackStarted(2, EPOCH_S))
    assert listening.hear_all(NextTurn(3)) == [MicrophoneEnded()]
    levels = posted(listening.daemon, MicrophoneLevel)
    assert [(round(level.peak_dbfs), level.at_s - EPOCH_S) for level in levels] == [
        (-100, 1.0),
        (-6, 2.0),
        (-100, 3.0),
    ]


def test_each_turn_waits_for_a_number_of_its_own(room: Room) -> None:
    """The daemon is late: it gives the next number only when the stage can do nothing without it."""
    listening = room(Recording(questions(3)))
    numbers = iter([11, 22, 33])
    given_at: list[int] = []

    def look(timeout_s: float | None) -> None:
        begun = len(posted(listening.daemon, SpeechStarted))
        if timeout_s and len(given_at) == begun:
            given_at.append(begun)
            listening.tell(NextTurn(next(numbers)))

    listening.daemon.owner.when_posted = lambda _message: None
    listening.daemon.when_looking = look
    turns = turns_of(listening.hear_all(None))
    assert given_at == [0, 1, 2]
    for number, turn in zip([11, 22, 33], turns, strict=True):
        check_turn(turn, number)


def test_nothing_is_read_before_the_daemon_has_given_a_number(room: Room) -> None:
    microphone = Recording(questions(1))
    listening = room(microphone)
    looks = 0

    def look(timeout_s: float | None) -> None:
        nonlocal looks
        if timeout_s and (looks := looks + 1) == 10:
            assert microphone.position == 0
            listening.tell(NextTurn(4))

    listening.daemon.when_looking = look
    (turn,) = turns_of(listening.hear_all(None))
    check_turn(turn, 4)
    assert looks >= 10


# ---------------------------------------------------------------- back-pressure


def test_a_recording_waits_when_many_turns_are_unfinished(room: Room) -> None:
    microphone = Recording(questions(7))
    listening = room(microphone)
    looks: Counter[int] = Counter()

    def look(timeout_s: float | None) -> None:
        """Where the stage waits for the daemon, the oldest turn is over after a while."""
        begun = len(posted(listening.daemon, SpeechStarted))
        if timeout_s and begun:
            looks[microphone.position] += 1
            if looks[microphone.position] == 5:
                listening.tell(TurnFinished(begun - MOST_UNFINISHED + 1, 0.0, "answered"))

    listening.daemon.when_looking = look
    turns = turns_of(listening.hear_all(NextTurn(1)))
    assert len(turns) == 7
    for number, turn in enumerate(turns, 1):
        check_turn(turn, number)
    # the fourth turn and each behind it waits where it begins, and nothing is read until one is over
    assert len(looks) == 7 - MOST_UNFINISHED + 1
    assert min(looks.values()) >= 5


def test_a_device_is_read_on(room: Room) -> None:
    """Its sound would be lost."""
    microphone = Recording(questions(7), can_wait=False)
    listening = room(microphone)

    def look(timeout_s: float | None) -> None:
        # but for the first frame, which showed that it gives any
        assert not timeout_s or microphone.position == FRAME_SAMPLES, "the stage waits, and its sound is lost"

    listening.daemon.when_looking = look
    assert len(turns_of(listening.hear_all(NextTurn(1)))) == 7
