"""The vad stage on a real link: recordings in, turns out.

Most tests read a recording as fast as the stage takes it, so that the daemon's word comes exactly with a
certain frame; some hear it from a virtual sound card.
"""

from __future__ import annotations

import contextlib
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from stage_hub import CONFIG, Int16, MemoryDaemon, posted, recording, silence

from assistant.audio.card import SoundCard
from assistant.audio.earcons import duration_ms, earcon
from assistant.audio.formats import FRAME_BYTES, FRAME_SAMPLES, RATE_HZ
from assistant.audio.microphone import Microphone, open_microphone
from assistant.config import Audio, Config, Vad
from assistant.engines.voice import Decision, VoiceDetector
from assistant.errors import AudioError
from assistant.messages import (
    AnyMessage,
    EarconStarted,
    Hangover,
    MicrophoneEnded,
    MicrophoneLevel,
    Muted,
    NextTurn,
    PlaybackStarted,
    SpeechDropped,
    SpeechResumed,
    SpeechStarted,
    StageState,
    TurnEnded,
    TurnFinished,
    Utterance,
)
from assistant.service import Systemd
from assistant.stages import ear, vad
from assistant.stages import microphone as stage_microphone
from assistant.stages.half_duplex import EARCON_ECHO_MS
from assistant.stages.vad import MOST_UNFINISHED, VadStage

EPOCH_S = 5_000.0
"""When a `Recording` begins."""
ECHO_S = 0.3

Notices = dict[int, AnyMessage]
"""What the daemon says, before which frames."""

Room = Callable[..., "Listening"]


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


# ---------------------------------------------------------------- turns


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


def test_a_quiet_voice_is_heard_and_becomes_louder(plug: Callable[..., Plugs]) -> None:
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


# ---------------------------------------------------------------- half duplex

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


# ---------------------------------------------------------------- back-pressure


def questions(count: int) -> Int16:
    return joined(*[part for _ in range(count) for part in (recording("q12.wav"), 1.0)])


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


# ---------------------------------------------------------------- microphones that come and go


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


ABSENT = AudioError("There is no microphone.")
OTHER = AudioError("The microphone is in use.")


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
def plug(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Plugs]:
    """`plug(found...)`: a stage finds these, one after the other, and does not wait in between."""

    def put(*found: Microphone | AudioError) -> Plugs:
        plugs = Plugs(*found)
        monkeypatch.setattr(stage_microphone, "open_microphone", plugs.open)
        monkeypatch.setattr(stage_microphone, "RETRY_EVERY_S", 0.0)
        return plugs

    return put


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
def test_a_microphone_may_come_later(
    plug: Callable[..., Plugs], absent: list[AudioError], told: list[StageState]
) -> None:
    plugs = plug(*absent, Recording(questions(1)))
    listening = Listening(ALONE)
    assert states(listening) == told
    assert plugs.looked_again == [False] + [True] * len(absent)
    (turn,) = turns_of(listening.hear_all(NextTurn(1)))
    check_turn(turn, 1)


def test_a_microphone_that_never_comes_is_left_to_a_new_process(
    plug: Callable[..., Plugs], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vad, "RESTART_AFTER_S", 0.0)
    monkeypatch.setattr(vad, "LOOK_FOR_S", 0.0)
    plug(ABSENT)
    with pytest.raises(AudioError, match="There is no microphone"):
        Listening(ALONE)


@pytest.mark.parametrize(("behind_end_s", "utterances"), [(-0.5, 0), (0.4, 1)])
@pytest.mark.parametrize("absences", [0, 3])
def test_a_microphone_that_is_pulled_out_in_mid_speech_is_heard_again(
    plug: Callable[..., Plugs], behind_end_s: float, utterances: int, absences: int
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


def test_a_microphone_that_is_pulled_out_in_silence_drops_nothing(plug: Callable[..., Plugs]) -> None:
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
    plug: Callable[..., Plugs],
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


def test_a_question_is_dropped_once(plug: Callable[..., Plugs]) -> None:
    question = recording("q00.wav")
    plug(Pulled(question[:RATE_HZ]), Pulled(silence(1.0)), Recording(silence(1.0)))
    messages = Listening(ALONE).hear_all(NextTurn(1))
    assert [message for message in messages if isinstance(message, SpeechDropped)] == [SpeechDropped(1)]


def test_a_microphone_that_does_not_let_go_needs_a_new_process(plug: Callable[..., Plugs]) -> None:
    plugs = plug(Pulled(silence(1.0), lets_go=False), Recording(questions(1)))
    listening = Listening(ALONE)
    with pytest.raises(AudioError, match="went away"):
        listening.hear_all(NextTurn(1))
    assert states(listening) == [PULLED]
    assert plugs.looked_again == [False]


def test_a_stage_that_waits_for_a_microphone_is_alive(
    plug: Callable[..., Plugs], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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


# ---------------------------------------------------------------- successors


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
