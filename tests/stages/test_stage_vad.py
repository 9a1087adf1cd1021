"""The vad stage on a real link: recordings in, turns out.

Most tests read a recording as fast as the stage takes it, so that the daemon's word comes exactly with a
certain frame; some hear it from a virtual sound card.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from stage_hub import CONFIG, Int16, MemoryDaemon, posted, recording, silence

from assistant.audio.card import SoundCard
from assistant.audio.formats import FRAME_BYTES, FRAME_SAMPLES, RATE_HZ
from assistant.audio.microphone import Microphone, open_microphone
from assistant.config import Audio, Config
from assistant.errors import AudioError
from assistant.messages import (
    AnyMessage,
    MicrophoneEnded,
    NextTurn,
    PlaybackStarted,
    SpeechDropped,
    SpeechResumed,
    SpeechStarted,
    TurnEnded,
    TurnFinished,
    Utterance,
)
from assistant.stages import vad
from assistant.stages.vad import MOST_UNFINISHED, VadStage

EPOCH_S = 5_000.0
"""When a `Recording` begins."""
ECHO_S = 0.3

Notices = dict[int, AnyMessage]
"""What the daemon says, before which frames."""

Room = Callable[..., "Listening"]


class Recording:
    """A microphone that plays sound as fast as it is read; `at` has things happen before certain frames."""

    def __init__(self, sound: Int16, can_wait: bool = True) -> None:
        self.can_wait = can_wait
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
            self.captured_at_s = EPOCH_S + self.position / RATE_HZ
        return frame.ljust(FRAME_BYTES, b"\0") if frame else b""

    def settled(self, samples: int) -> None:
        self.settlements.append(samples)

    def close(self) -> None:
        """Nothing is open."""


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
        monkeypatch.setattr(vad, "open_microphone", lambda _name: microphone)
        return Listening(Config(audio=Audio(half_duplex=half_duplex)))

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


def test_the_start_of_speech_has_the_time_of_its_first_frame(room: Room) -> None:
    sound = joined(1.0, recording("q00.wav"), 1.2)
    (turn,) = turns_of(room(Recording(sound)).hear_all(NextTurn(1)))
    started, utterance = turn[0], check_turn(turn, 1)
    assert isinstance(started, SpeechStarted)
    voice = place_of(utterance.pcm, sound) + CONFIG.vad.pre_roll_ms * RATE_HZ // 1000
    assert started.at_s == pytest.approx(EPOCH_S + voice / RATE_HZ, abs=FRAME_SAMPLES / RATE_HZ)


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

PLAYS, OTHER_IS_OVER, IS_OVER = 25, 150, 203
"""Frames of a speech with which the daemon's words come."""


def hear_while_playing(room: Room, half_duplex: bool, notices: Notices) -> list[int]:
    """Which frames of a speech of 11 seconds the utterances of a stage hold more than silence of."""
    sound = recording("people/jfk.wav")
    # no two frames are alike, and none is silence
    sound += (np.arange(len(sound)) % 7 - 3).astype(np.int16)
    microphone = Recording(sound)
    listening = room(microphone, half_duplex)
    for frame, notice in notices.items():
        microphone.at[frame] = lambda notice=notice: listening.tell(notice)  # type: ignore[misc]
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


def test_nothing_is_heard_while_the_assistant_speaks_nor_of_its_echo(room: Room) -> None:
    finished = TurnFinished(1, 0.0, "answered")
    other = TurnFinished(9, 0.0, "answered")
    notices: Notices = {PLAYS: PlaybackStarted(1, 0.0), OTHER_IS_OVER: other, IS_OVER: finished}
    heard = hear_while_playing(room, True, notices)
    echo_ends = IS_OVER + round(ECHO_S * RATE_HZ / FRAME_SAMPLES)
    assert not [frame for frame in heard if PLAYS <= frame < echo_ends]
    assert echo_ends in heard, "from then on all of it"
    assert len([frame for frame in heard if frame > echo_ends]) > 200


def test_with_a_headset_it_is_heard(room: Room) -> None:
    notices: Notices = {
        PLAYS: PlaybackStarted(1, 0.0),
        IS_OVER: TurnFinished(1, 0.0, "answered"),
    }
    heard = hear_while_playing(room, False, notices)
    assert heard == hear_while_playing(room, False, {})
    assert len([frame for frame in heard if PLAYS < frame < IS_OVER]) > 100


def test_an_answer_that_follows_another_keeps_the_stage_deaf(room: Room) -> None:
    """The first turn's end comes while the second is in the air already."""
    notices: Notices = {
        10: PlaybackStarted(1, 0.0),
        60: PlaybackStarted(3, 0.0),
        70: TurnFinished(1, 0.0, "answered"),
        IS_OVER: TurnFinished(3, 0.0, "answered"),
    }
    heard = hear_while_playing(room, True, notices)
    assert heard[-1] > IS_OVER + 200
    assert not [frame for frame in heard if 10 <= frame < IS_OVER]


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
        assert not timeout_s or not microphone.position, "the stage waits, and its sound is lost"

    listening.daemon.when_looking = look
    assert len(turns_of(listening.hear_all(NextTurn(1)))) == 7


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
        audio = Audio(microphone=self.card.microphone_name, half_duplex=False)
        self._config = Config(audio=audio)
        self._open: list[Microphone] = []

    def listen(self) -> Listening:
        return Listening(self._config)

    def open(self, name: str) -> Microphone:
        self._open.append(open_microphone(name))
        return self._open[-1]

    def close(self) -> None:
        for microphone in self._open:
            microphone.close()
        self.card.close()


@pytest.fixture
def street(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Street]:
    sound = joined(0.5, recording("q00.wav"), 1.2, recording("q04.wav"), 1.2)
    street = Street(tmp_path, sound, speed=20.0)
    monkeypatch.setattr(vad, "open_microphone", street.open)
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


def test_a_microphone_that_goes_away_is_an_error(street: Street) -> None:
    hearing = street.listen().hear(NextTurn(1))
    assert isinstance(next(hearing), SpeechStarted)
    street.card.close()
    with pytest.raises(AudioError, match="went away"):
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
