"""vad that has to be called: real wake words, a real gpiozero; and what it does asleep or muted."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from math import inf
from pathlib import Path

import gpiozero
import numpy as np
import pytest
from gpiozero.pins.mock import MockFactory
from stage_hub import CONFIG, Int16, posted, recording, until
from vad_room import EPOCH_S, Listening, Recording, place_of

from assistant.audio.formats import FRAME_SAMPLES, RATE_HZ
from assistant.audio.waking import LISTEN_S, Gate
from assistant.config import Audio, Config, Wake
from assistant.engines.whisper import WhisperEngine
from assistant.errors import AudioError, ButtonError
from assistant.messages import (
    AnyMessage,
    Awake,
    EarconStarted,
    Interrupted,
    MicrophoneEnded,
    MicrophoneLevel,
    Muted,
    NextTurn,
    PlaybackStarted,
    SetMute,
    SpeechDropped,
    SpeechStarted,
    StageState,
    TurnEnded,
    TurnFinished,
    Utterance,
    Woken,
)
from assistant.stages import microphone as stage_microphone
from assistant.stages.waking import KEPT_FRAMES

WORD = Wake(mode="word", follow_up_s=4)
PIN = 17
FIRST = NextTurn(1)


class Called(Listening):
    """A stage whose daemon keeps the gate, as the real one does."""

    def __init__(self, config: Config) -> None:
        self.gate = Gate(config.wake.mode in ("open", "phrase"), config.wake.follow_up_s)
        super().__init__(config)

    def _number(self, message: AnyMessage) -> None:
        super()._number(message)
        if isinstance(message, Woken):
            self.gate.called(message.at_s)
        elif isinstance(message, SpeechStarted):
            assert self.gate.began(message.turn, message.at_s), "it hears what is meant for it, and only that"
        elif isinstance(message, SpeechDropped):
            self.gate.finished(message.turn, "nothing", 0.0)
        else:
            return
        self.tell(Awake(self.gate.until_s))

    def finishes(self, turn: int, asks: bool = False) -> None:
        """The answer has been heard."""
        self.gate.finished(turn, "answered", self.stage._microphone.captured_at_s, asks)
        self.tell(TurnFinished(turn, 0.0, "answered"))
        self.tell(Awake(self.gate.until_s))

    def mutes(self, muted: bool) -> None:
        self.tell(Muted(muted))
        if muted:
            self.gate.close()
            self.tell(Awake(self.gate.until_s))


Furnish = Callable[..., Called]


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Furnish:
    """`room(microphone, wake)`: a stage that hears that microphone and is woken so."""

    def furnish(microphone: Recording, wake: Wake, half_duplex: bool = False) -> Called:
        monkeypatch.setattr(stage_microphone, "open_microphone", lambda *_: microphone)
        name = "auto" if half_duplex else "card:recording"
        return Called(Config(audio=Audio(microphone=name), wake=wake))

    return furnish


@pytest.fixture
def pins() -> Iterator[MockFactory]:
    """Pins without a board."""
    factory = gpiozero.Device.pin_factory = MockFactory()
    yield factory
    factory.reset()
    gpiozero.Device.pin_factory = None


@pytest.fixture(scope="module")
def ear() -> WhisperEngine:
    return WhisperEngine(Path(CONFIG.stt.model), CONFIG.stt)


def quiet(seconds: float) -> Int16:
    """A room in which nobody speaks."""
    return np.random.default_rng(1).integers(-8, 9, round(seconds * RATE_HZ)).astype(np.int16)


def joined(*parts: Int16 | float) -> Int16:
    return np.concatenate([quiet(part) if isinstance(part, float) else part for part in parts])


def call(word: str = "okay_nabu") -> Int16:
    return recording(f"calls/{word}.wav")


def spoken(name: str) -> Int16:
    """The question from its first sound on."""
    sound = recording(name)
    return sound[np.flatnonzero(np.abs(sound.astype(np.int32)) > 300)[0] :]


def kinds(messages: list[AnyMessage]) -> list[str]:
    return [type(message).__name__ for message in messages]


def whole(messages: list[AnyMessage]) -> list[Utterance]:
    """The last utterance of each turn."""
    last = {message.turn: message for message in messages if isinstance(message, Utterance)}
    return list(last.values())


def presses(pins: MockFactory, listening: Listening) -> Callable[[], None]:
    """What presses the button shortly, and waits until gpiozero has told of it."""

    def press() -> None:
        waiting = listening.stage._button._presses  # type: ignore[union-attr] # there is a button
        before = waiting.qsize()
        pins.pin(PIN).drive_low()
        pins.pin(PIN).drive_high()
        until(lambda: waiting.qsize() > before)

    return press


# ---------------------------------------------------------------- a wake word


def test_a_sleeper_hears_nothing(room: Furnish) -> None:
    microphone = Recording(joined(1.0, recording("q00.wav"), 1.0, recording("people/jfk.wav"), 1.0))
    listening = room(microphone, WORD)
    assert listening.hear_all(FIRST) == [MicrophoneEnded()]
    assert posted(listening.daemon, MicrophoneLevel), "but how loud it is is told"
    kept = microphone.position - microphone.settlements[-2]
    assert kept <= (KEPT_FRAMES + 50) * FRAME_SAMPLES, "a successor need not hear all of that again"


@pytest.mark.parametrize("gap_s", [0.05, 0.2, 1.0, 4.0])
@pytest.mark.parametrize("name", ["q00.wav", "q04.wav", "q12.wav"])
def test_the_words_behind_the_wake_word_are_the_question(
    room: Furnish, ear: WhisperEngine, name: str, gap_s: float
) -> None:
    sound = joined(1.0, recording("people/cards-001.wav"), 1.0, call(), gap_s, spoken(name), 1.2)
    messages = room(Recording(sound), WORD).hear_all(FIRST)
    assert kinds(messages)[:2] == ["Woken", "SpeechStarted"]
    assert kinds(messages)[-2:] == ["TurnEnded", "MicrophoneEnded"]
    woken, started = messages[:2]
    assert isinstance(woken, Woken)
    assert woken.by == "word"
    assert isinstance(started, SpeechStarted)
    (utterance,) = whole(messages)
    heard = ear.transcribe(np.frombuffer(utterance.pcm, np.int16), utterance.voiced_ms, lambda: False)
    original = recording(name)
    expected = ear.transcribe(original, 1000 * len(original) // RATE_HZ, lambda: False)
    assert heard.text == expected.text
    assert len(expected.text) > 10
    assert utterance.speech_end_s > started.at_s


def test_who_calls_and_says_nothing_is_not_heard_later(room: Furnish) -> None:
    sound = joined(1.0, call(), LISTEN_S + 0.5, recording("q00.wav"), 1.2)
    assert kinds(room(Recording(sound), WORD).hear_all(FIRST)) == ["Woken", "MicrophoneEnded"]


@pytest.mark.parametrize(("gap_s", "turns"), [(2.0, 2), (5.0, 1)])
def test_after_an_answer_a_question_needs_no_call_for_a_while(
    room: Furnish, gap_s: float, turns: int
) -> None:
    first = joined(1.0, call(), 0.2, recording("q00.wav"), 9.0)
    microphone = Recording(joined(first, gap_s, recording("q04.wav"), 1.2))
    listening = room(microphone, WORD)
    microphone.at[len(first) // FRAME_SAMPLES] = lambda: listening.finishes(1)
    messages = listening.hear_all(FIRST)
    assert kinds(messages).count("Woken") == 1
    assert kinds(messages).count("TurnEnded") == turns


def test_without_a_follow_up_every_question_needs_a_call(room: Furnish) -> None:
    first = joined(1.0, call(), 0.2, recording("q00.wav"), 1.0)
    microphone = Recording(joined(first, 0.5, recording("q04.wav"), 1.2, call(), 0.2, spoken("q12.wav"), 1.2))
    listening = room(microphone, Wake(mode="word", follow_up_s=0))
    microphone.at[len(first) // FRAME_SAMPLES] = lambda: listening.finishes(1)
    messages = listening.hear_all(FIRST)
    assert kinds(messages).count("Woken") == kinds(messages).count("TurnEnded") == 2


@pytest.mark.parametrize("gap_s", [0.1, 0.5])
def test_who_calls_again_without_need_is_understood_as_well(
    room: Furnish, ear: WhisperEngine, gap_s: float
) -> None:
    """The word is speech to who is awake: that turn is void, and another begins behind the word."""
    sound = joined(1.0, call(), 1.0, call(), gap_s, spoken("q00.wav"), 1.2)
    messages = room(Recording(sound), WORD).hear_all(FIRST)
    assert kinds(messages).count("Woken") == 2
    (ended,) = (message for message in messages if isinstance(message, TurnEnded))
    utterance = whole(messages)[-1]
    assert utterance.turn == ended.turn == 2
    heard = ear.transcribe(np.frombuffer(utterance.pcm, np.int16), utterance.voiced_ms, lambda: False)
    assert heard.text == "What is the capital of Germany?"


@pytest.mark.parametrize("until_s", [inf, EPOCH_S + 1.0, -inf])
def test_a_successor_is_as_awake_as_the_daemon_says(room: Furnish, until_s: float) -> None:
    """In the middle of a question, called, or asleep: it does not hear the wake word again, and need not."""
    listening = room(Recording(joined(0.5, spoken("q00.wav"), 1.2, recording("q04.wav"), 1.2)), WORD)
    listening.gate.called(until_s - LISTEN_S)
    listening.tell(Awake(until_s))
    messages = listening.hear_all(NextTurn(4, revision=2))
    ended = [m.turn for m in messages if isinstance(m, TurnEnded)]
    assert ended == ([4, 5] if until_s > EPOCH_S else [])


@pytest.mark.parametrize("early_ms", [300, 60, 20])
def test_who_begins_just_before_it_falls_asleep_is_heard_whole(
    room: Furnish, ear: WhisperEngine, early_ms: int
) -> None:
    question = spoken("q00.wav")
    question = question[np.flatnonzero(np.abs(question.astype(np.int32)) > 1000)[0] :]
    listening = room(Recording(joined(2.0, question, 1.2)), WORD)
    until_s = EPOCH_S + 2.0 + early_ms / 1000 + 0.02  # the first frame may be too quiet
    listening.gate.called(until_s - LISTEN_S)
    listening.tell(Awake(until_s))
    (utterance,) = whole(listening.hear_all(FIRST))
    heard = ear.transcribe(np.frombuffer(utterance.pcm, np.int16), utterance.voiced_ms, lambda: False)
    assert heard.text == "What is the capital of Germany?"


def test_an_earcon_behind_the_wake_word_costs_no_word(room: Furnish, ear: WhisperEngine) -> None:
    """Half duplex, and the sign that it listens begins when the person does."""
    sound = joined(2.0, call(), 1.0, spoken("q00.wav"), 1.2)
    question_s = 3.0 + len(call()) / RATE_HZ
    for after_s in (-0.2, -0.05, 0.0, 0.05, 0.15):
        microphone = Recording(sound)
        listening = room(microphone, WORD, half_duplex=True)
        earcon = EarconStarted(EPOCH_S + question_s + after_s, 140)
        microphone.at[round((question_s + after_s) * 50) + 1] = lambda: listening.tell(earcon)  # noqa: B023 - at once
        (utterance,) = whole(listening.hear_all(FIRST))
        heard = ear.transcribe(np.frombuffer(utterance.pcm, np.int16), utterance.voiced_ms, lambda: False)
        assert heard.text == "What is the capital of Germany?"


def test_positions_and_times_are_the_microphones(room: Furnish) -> None:
    sound = joined(1.0, call(), 0.3, recording("q00.wav"), 1.2)
    microphone = Recording(sound)
    messages = room(microphone, WORD).hear_all(FIRST)
    (utterance,) = whole(messages)
    (ended,) = (message for message in messages if isinstance(message, TurnEnded))
    at = place_of(utterance.pcm, sound)
    behind_call = RATE_HZ + len(call())
    begins = place_of(spoken("q00.wav").tobytes(), sound)
    assert behind_call - 0.1 * RATE_HZ < at < begins
    assert at < ended.settled <= len(sound)


# ---------------------------------------------------------------- a button


def test_a_button_wakes(room: Furnish, pins: MockFactory) -> None:
    microphone = Recording(joined(1.0, recording("q04.wav"), 2.0, recording("q00.wav"), 1.2))
    listening = room(microphone, Wake(mode="button", button_gpio=PIN))
    question_at = RATE_HZ + len(recording("q04.wav")) + 2 * RATE_HZ
    microphone.at[(question_at - RATE_HZ) // FRAME_SAMPLES] = presses(pins, listening)
    messages = listening.hear_all(FIRST)
    assert kinds(messages)[:2] == ["Woken", "SpeechStarted"]
    assert [m.by for m in messages if isinstance(m, Woken)] == ["button"]
    assert kinds(messages).count("TurnEnded") == 1


@pytest.mark.parametrize("mode", ["open", "word", "phrase"])
def test_a_button_interrupts_the_answer_in_every_mode_even_where_nothing_is_heard(
    room: Furnish, pins: MockFactory, mode: str
) -> None:
    microphone = Recording(joined(3.0))
    wake = Wake(mode=mode, button_gpio=PIN)  # type: ignore[arg-type] # one of the modes
    listening = room(microphone, wake, half_duplex=True)
    microphone.at[50] = lambda: listening.tell(PlaybackStarted(6, 1.0))
    microphone.at[100] = presses(pins, listening)
    messages = listening.hear_all(FIRST)
    assert kinds(messages) == ["Interrupted", "Woken", "MicrophoneEnded"]
    assert isinstance(messages[0], Interrupted)
    assert messages[0].turn == 6


def test_a_button_that_is_held_mutes_or_unmutes(room: Furnish, pins: MockFactory) -> None:
    microphone = Recording(joined(1.0))
    listening = room(microphone, Wake(button_gpio=PIN))
    microphone.at[10] = lambda: listening.stage._button._presses.put("long")  # type: ignore[union-attr] # as gpiozero does
    microphone.at[20] = lambda: listening.tell(Muted(True))
    microphone.at[30] = presses(pins, listening)
    microphone.at[40] = lambda: listening.stage._button._presses.put("long")  # type: ignore[union-attr] # as gpiozero does
    assert listening.hear_all(FIRST) == [SetMute(), SetMute(), MicrophoneEnded()], (
        "a short press does nothing"
    )


def test_where_there_are_no_pins_everything_else_works(
    room: Furnish, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lgpio", None)
    monkeypatch.delenv("GPIOZERO_PIN_FACTORY", raising=False)
    messages = room(Recording(joined(1.0, recording("q00.wav"), 1.2)), Wake(button_gpio=PIN)).hear_all(FIRST)
    assert isinstance(messages[0], StageState)
    assert messages[0].state == "ready"
    assert "lgpio is not there" in messages[0].detail
    assert kinds(messages).count("TurnEnded") == 1
    with pytest.raises(ButtonError, match="lgpio is not there"):
        room(Recording(joined(1.0)), Wake(mode="button", button_gpio=PIN))


@pytest.mark.parametrize(("away_s", "is_heard"), [(2.0, True), (LISTEN_S, False)])
def test_a_call_holds_for_the_microphone_that_is_plugged_in_again(
    room: Furnish, monkeypatch: pytest.MonkeyPatch, away_s: float, is_heard: bool
) -> None:
    """Its positions begin anew, the time does not."""
    sound = joined(1.0, call(), 1.0)
    first, second = (
        Recording(sound),
        Recording(joined(0.5, recording("q00.wav"), 1.2), epoch_s=EPOCH_S + len(sound) / RATE_HZ + away_s),
    )
    listening = room(first, WORD)

    def pull() -> None:
        monkeypatch.setattr(stage_microphone, "find", lambda *_, **__: second)
        raise AudioError("It was pulled out.")

    first.at[len(sound) // FRAME_SAMPLES - 10] = pull
    found = kinds(listening.hear_all(FIRST))
    assert found[:2] == ["Woken", "StageState"]
    assert ("TurnEnded" in found) is is_heard


def test_the_button_works_where_there_is_no_microphone(
    room: Furnish,
    pins: MockFactory,  # noqa: ARG001 - for the button
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is held mutes at once; what is pressed ends the answer, and is no call when it is heard again."""
    first, second = Recording(joined(1.0)), Recording(joined(1.0))
    listening = room(first, Wake(mode="button", button_gpio=PIN))
    waiting = listening.stage._button._presses  # type: ignore[union-attr] # there is a button
    looks = iter(["pulled", "held", "pressed", "there"])
    posts: list[list[str]] = []

    def find(*_: object) -> Recording:
        posts.append(kinds([*posted(listening.daemon, SetMute), *posted(listening.daemon, Interrupted)]))
        match next(looks):
            case "held":
                waiting.put("long")
            case "pressed":
                waiting.put("short")
            case "there":
                return second
        raise AudioError("There is none.")

    monkeypatch.setattr(stage_microphone, "open_microphone", find)
    monkeypatch.setattr(stage_microphone, "RETRY_EVERY_S", 0.0)
    first.at[10] = lambda: listening.tell(PlaybackStarted(6, 1.0))

    def pull() -> None:
        find()  # it raises

    first.at[20] = pull
    messages = listening.hear_all(FIRST)
    assert posts == [[], [], ["SetMute"], ["SetMute", "Interrupted"]]
    assert kinds(messages) == ["StageState", "MicrophoneEnded"]


# ---------------------------------------------------------------- muted


@pytest.mark.parametrize("wake", [Wake(), WORD])
def test_who_is_muted_hears_nothing(room: Furnish, wake: Wake) -> None:
    listening = room(Recording(joined(1.0, call(), 0.2, recording("q00.wav"), 1.2)), wake)
    listening.tell(Muted(True))
    assert listening.hear_all(FIRST) == [MicrophoneEnded()]
    assert posted(listening.daemon, MicrophoneLevel)


def test_who_was_muted_has_to_be_called_again(room: Furnish) -> None:
    microphone = Recording(joined(1.0, call(), 1.0, recording("q00.wav"), 1.2))
    listening = room(microphone, WORD)
    muted_at = (RATE_HZ + len(call()) + RATE_HZ // 2) // FRAME_SAMPLES
    microphone.at[muted_at] = lambda: listening.mutes(True)
    microphone.at[muted_at + 10] = lambda: listening.mutes(False)
    assert kinds(listening.hear_all(FIRST)) == ["Woken", "MicrophoneEnded"]


def test_half_a_wake_word_before_it_was_muted_and_half_after_it_are_none(room: Furnish) -> None:
    word = call()
    heard: list[list[str]] = []
    for is_muted in (False, True):
        for part in (0.5, 0.6, 0.7, 0.8):
            cut = int(len(word) * part) // FRAME_SAMPLES * FRAME_SAMPLES
            pause = quiet(2.0) if is_muted else quiet(0.0)
            microphone = Recording(joined(2.0, word[:cut], pause, word[cut:], 1.0))
            listening = room(microphone, WORD)
            if is_muted:
                at = 100 + cut // FRAME_SAMPLES
                microphone.at[at] = lambda: listening.mutes(True)  # noqa: B023 - at once
                microphone.at[at + 100] = lambda: listening.mutes(False)  # noqa: B023 - at once
            heard.append(kinds(listening.hear_all(FIRST)))
    assert heard == [["Woken", "MicrophoneEnded"]] * 4 + [["MicrophoneEnded"]] * 4


def test_what_somebody_is_saying_is_dropped_and_nothing_of_it_comes_back(room: Furnish) -> None:
    question = recording("q00.wav")
    microphone = Recording(joined(1.0, question, 2.0, recording("q04.wav"), 1.2))
    listening = room(microphone, Wake())
    microphone.at[(RATE_HZ + len(question) // 2) // FRAME_SAMPLES] = lambda: listening.tell(Muted(True))
    later = RATE_HZ + len(question) + RATE_HZ
    microphone.at[later // FRAME_SAMPLES] = lambda: listening.tell(Muted(False))
    messages = listening.hear_all(FIRST)
    dropped = next(i for i, message in enumerate(messages) if isinstance(message, SpeechDropped))
    assert not any(isinstance(message, TurnEnded) for message in messages[:dropped])
    assert kinds(messages)[dropped + 1] == "SpeechStarted"
    (utterance,) = whole(messages[dropped:])
    assert (
        place_of(utterance.pcm, joined(1.0, question, 2.0, recording("q04.wav"), 1.2))
        >= later - RATE_HZ // 50
    )


def test_a_plain_setup_needs_no_library_for_waking() -> None:
    program = (
        "import sys\nfrom assistant.config import Wake\nfrom assistant.stages import vad, waking\n"
        "assert waking.spotter(Wake()) is None and waking.presses(Wake()) == (None, '')\n"
        "print([name for name in ('numpy', 'gpiozero', 'pymicro_wakeword') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout == "[]\n", done.stderr
