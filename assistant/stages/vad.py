"""vad: the microphone in, utterances and the ends of turns out."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

from assistant.audio import endpointing
from assistant.audio.barge_in import WINDOWS
from assistant.audio.card_link import is_card
from assistant.audio.formats import FRAME_MS, FRAME_SAMPLES, RATE_HZ
from assistant.audio.level import LevelMeter
from assistant.audio.microphone import Microphone, open_microphone
from assistant.engines.voice import SILENT, Decision, VoiceDetector
from assistant.errors import AudioError
from assistant.messages import (
    AnyMessage,
    Awake,
    EarconStarted,
    Hangover,
    Interrupted,
    MicrophoneEnded,
    Muted,
    NextTurn,
    PlaybackStarted,
    Played,
    SetMute,
    SpeechDropped,
    SpeechResumed,
    SpeechStarted,
    StageState,
    TurnEnded,
    TurnFinished,
    Utterance,
    Woken,
)
from assistant.queues.link import Link
from assistant.service import systemd
from assistant.stages.waking import Heard, Waker, presses, spotter

if TYPE_CHECKING:
    from assistant.audio.gain import AutoGain
    from assistant.stages.own_voice import OwnVoice

SILENCE = bytes(2 * FRAME_SAMPLES)
ECHO_FRAMES = 15
"""Frames (300 ms) that a room goes on sounding after the assistant has fallen silent."""

EARCON_ECHO_MS = 160
"""The same after an earcon, whose notes fade out: with its 140 ms as long as the usual pre-roll."""

MOST_UNFINISHED = 4
"""Turns that may wait for their answers before a recording is read on: a pipe gives hours in a second."""

RETRY_EVERY_S = 0.7
"""How often a missing microphone is looked for; listing all devices anew takes hundredths of a second."""

RESTART_AFTER_S = 20.0
LOOK_FOR_S = 60.0
"""A microphone that was lost for longer may only be found by a process that begins anew; one that was never
there is looked for longer, as each new process is some lines in the journal."""

KEPT_ARRIVALS = 6_000
"""Frames (two minutes, the longest utterance) whose time of arrival is remembered."""


def _auto_gain() -> AutoGain:
    # with numpy, which a device needs as well, and a recording does not
    from assistant.audio.gain import AutoGain

    return AutoGain()


class VadStage:
    """Owns the microphone.  What has not become a turn yet, its successor hears again where that can be."""

    def __init__(self, link: Link) -> None:
        config = link.config
        self._link = link
        # a recording cannot hear the answer
        self._half_duplex = config.audio.barge_in == "off" and not is_card(config.audio.microphone)
        self._vad = config.vad
        self._endpointer = endpointing.Endpointer(config.vad, WINDOWS)
        self._voice_interrupts = config.audio.barge_in == "voice"
        self._waker = Waker(config.wake, spotter(config.wake))
        self._button, self._button_fault = presses(config.wake)
        self._is_pressed = False
        self._muted = False
        self._speaking = 0  # the turn whose answer is in the air
        self._audio = config.audio
        self._microphone = self._open(LOOK_FOR_S)
        self._know_nothing()
        self._arrivals: deque[float] = deque(maxlen=KEPT_ARRIVALS)
        self._frames = 0
        self._origin = 0  # the microphone's position when the first frame was fed
        self._next: NextTurn | None = None
        self._turn = NextTurn(0)
        self._is_open = False  # whether that turn has begun and not ended
        self._began_s = 0.0  # and when it began
        self._interrupted = 0  # the last one that a person broke in on
        self._voiced_s: deque[float] = deque(maxlen=endpointing.ONSET_WINDOW)  # of the last voiced frames
        self._earcon_s = (0.0, 0.0)  # from when until when the last earcon sounds
        self._deaf_frames = 0
        self._unfinished: set[int] = set()
        link.on_notice(self._on_notice)

    def listen(self) -> Iterator[AnyMessage]:
        """Endless, unless the microphone fails (`AudioError`) or the daemon goes (`Disconnected`)."""
        settled = self._await_next().settled
        if self._button_fault:
            yield StageState("vad", "ready", self._button_fault)
        while True:
            while self._microphone.can_wait and len(self._unfinished) >= MOST_UNFINISHED:
                self._link.receive(0.05)
            try:
                frame = self._microphone.read(timeout_s=0.5)
            except AudioError as error:
                yield from self._recover(error)
                continue
            self._link.look()
            yield from self._look_at_button()
            if frame is None or (frame and self._microphone.position <= settled):
                continue
            if not frame:
                break
            yield from self._hear(frame)
        yield from self._messages(self._endpointer.end())
        self._settle()
        yield MicrophoneEnded()
        while True:
            self._link.receive()

    def _recover(self, error: AudioError) -> Iterator[AnyMessage]:
        """The microphone is gone: what it heard of a question is void, and it may come back."""
        if self._is_open:
            self._is_open = False
            yield SpeechDropped(self._turn.turn)
        self._begin_anew()
        self._waker.forget()
        self._link.post(StageState("vad", "gone", str(error), "microphone"))
        systemd.status(str(error))
        if not self._microphone.close():
            raise error
        self._microphone = self._open(RESTART_AFTER_S, look_again=True)
        self._know_nothing()
        yield StageState("vad", "ready", self._button_fault)
        systemd.status("ready")

    def _know_nothing(self) -> None:
        """Of the microphone: what was learnt of another one's room, noise and echo is not true of it."""
        self._voice = VoiceDetector(self._vad)
        self._level = LevelMeter()
        amplifies = self._audio.auto_gain and not is_card(self._audio.microphone)
        self._gain = _auto_gain() if amplifies else None
        self._own_voice = _own_voice() if self._audio.barge_in != "off" else None

    def _open(self, within_s: float, look_again: bool = False) -> Microphone:
        """The microphone, waiting for it; raises `AudioError` when a new process may do better."""
        give_up_s = time.monotonic() + within_s
        said = ""
        while True:
            microphone: Microphone | None = None
            try:
                microphone = open_microphone(self._audio.microphone, look_again, self._audio.channel)
                self._await_frame(microphone)
                return microphone
            except AudioError as error:
                is_free = microphone is None or microphone.close()
                if not is_free or time.monotonic() >= give_up_s:
                    raise
                if str(error) != said:
                    said = str(error)
                    self._link.post(StageState("vad", "gone", said, "microphone"))
                    systemd.status(said)
            look_again = True
            systemd.alive()  # to wait is its work now
            self._wait_unheard(RETRY_EVERY_S)

    def _await_frame(self, microphone: Microphone) -> None:
        """A device that opens and gives nothing hears nothing.  Raises `AudioError` if that lasts."""
        while not microphone.can_wait and microphone.read(timeout_s=0.5) is None:
            systemd.alive()
            self._wait_unheard(0.0)

    def _wait_unheard(self, seconds: float) -> None:
        """There is no microphone: a button that is held mutes, a short press ends the answer."""
        self._link.receive(seconds)
        for message in self._look_at_button():
            self._link.post(message)
        if self._is_pressed and self._speaking:
            self._link.post(Interrupted(self._speaking, time.monotonic()))
        self._is_pressed = False

    def _look_at_button(self) -> Iterator[AnyMessage]:
        """What was done with the button; a short press goes with the next frame."""
        while self._button is not None and (press := self._button.take()) is not None:
            if press == "long":
                yield SetMute()
            else:
                self._is_pressed = True

    def _hear(self, frame: bytes) -> Iterator[AnyMessage]:
        systemd.alive()
        position, at_s = self._microphone.position, self._microphone.captured_at_s
        is_deaf = self._is_deaf()
        gain_db = self._gain.gain_db if self._gain else 0.0
        level = self._level.feed(frame, position, at_s, gain_db, not is_deaf)
        if level is not None:
            self._link.post(level)  # of the room as it is, whether it is listened to or not
        is_pressed, self._is_pressed = self._is_pressed, False
        if self._muted:
            yield from self._hear_nothing()
            return
        decision = SILENT
        if is_deaf:
            frame = SILENCE
            self._voice.forget()
        else:
            frame, decision = self._tell_apart(frame, position, at_s)
        if decision.voiced:
            self._voiced_s.append(at_s)
        if self._is_earcon(at_s):
            decision = SILENT
        heard = Heard(frame, decision.voiced, position, at_s, decision.faint)
        called, wanted = self._waker.hear(heard, is_pressed, self._is_open)
        if called is not None:
            yield from self._call(Woken(called, at_s))
        if wanted[:1] != [heard]:  # it sleeps, or begins behind the wake word
            self._is_open = False
            self._begin_anew()
            self._sleep_on(self._waker.needed_from())
        for heard in wanted:
            yield from self._listen_to(heard)
        if self._own_voice is not None:
            yield from self._barge_in(self._own_voice)

    def _call(self, call: Woken) -> Iterator[AnyMessage]:
        if self._speaking:
            yield Interrupted(self._speaking, call.at_s)
        yield call

    def _hear_nothing(self) -> Iterator[AnyMessage]:
        """The microphone is muted: what was heard of a question is void, and nothing is kept."""
        if self._is_open:
            self._over()
            yield SpeechDropped(self._turn.turn)
        self._begin_anew()
        self._waker.forget()
        self._voice.forget()
        self._sleep_on(self._microphone.position)

    def _sleep_on(self, needed_from: int) -> None:
        if self._microphone.position // FRAME_SAMPLES % 50 == 0:
            self._microphone.settled(needed_from)

    def _begin_anew(self) -> None:
        """The next frame that is listened to is the first one."""
        if self._frames:
            self._endpointer = endpointing.Endpointer(self._vad, WINDOWS)
            self._frames = 0
            self._arrivals.clear()

    def _listen_to(self, heard: Heard) -> Iterator[AnyMessage]:
        if self._frames == 0:
            self._origin = heard.position - FRAME_SAMPLES
        self._frames += 1
        self._arrivals.append(heard.at_s)
        events = self._endpointer.feed(heard.frame, heard.voiced, heard.faint)
        if events:
            yield from self._messages(events)
        if events or self._frames % 50 == 0:
            self._settle()

    def _tell_apart(self, frame: bytes, position: int, at_s: float) -> tuple[bytes, Decision]:
        """What of `frame` the assistant does not say itself, and whether that is a person's voice."""
        if self._own_voice is not None:
            frame = self._own_voice.cancel(frame, position, at_s)
        amplified = self._gain.feed(frame) if self._gain else frame
        voiced, faint = self._voice.hear(amplified, self._gain.gain_db if self._gain else 0.0)
        if self._own_voice is not None:
            voiced = self._own_voice.is_person(frame, voiced, bool(self._speaking), self._is_open)
        if self._gain:
            self._gain.learn(voiced, self._voice.noise_dbfs)
        return amplified, Decision(voiced, faint)

    def _barge_in(self, own_voice: OwnVoice) -> Iterator[AnyMessage]:
        """A person speaks while the assistant does: from the first syllable on, that is a turn."""
        if own_voice.has_person and self._voice_interrupts and self._speaking != self._interrupted:
            # which may be known only now, or be another answer: the person goes on speaking
            self._interrupted = self._speaking
            if self._speaking:
                yield Interrupted(self._speaking, self._microphone.captured_at_s)
        if own_voice.person_begins and not self._is_open:
            yield from self._messages(self._endpointer.recall(own_voice.last_frames))

    def _is_deaf(self) -> bool:
        """Half duplex: what comes while the assistant speaks is most of all its own voice."""
        if self._half_duplex and self._speaking:
            self._deaf_frames = ECHO_FRAMES
            return True
        if not self._deaf_frames:
            return False
        self._deaf_frames -= 1
        return True

    def _earcon_sounds(self, earcon: EarconStarted) -> None:
        """Half duplex takes it for nobody, but who has begun to speak before it is heard on."""
        window_s = endpointing.ONSET_WINDOW * FRAME_MS / 1000
        begins = any(earcon.at_s - window_s <= at_s < earcon.at_s for at_s in self._voiced_s)
        if self._half_duplex and not begins and not (self._is_open and self._began_s < earcon.at_s):
            self._earcon_s = (earcon.at_s, earcon.at_s + earcon.duration_ms / 1000)

    def _is_earcon(self, at_s: float) -> bool:
        """Whether an earcon is in the room: no speech begins with it, but its sound is kept.

        Who begins to speak just then, or was quicker than the echo, finds the first word in the pre-roll.
        """
        since_s, until_s = self._earcon_s
        return not self._is_open and since_s <= at_s < until_s + EARCON_ECHO_MS / 1000

    def _messages(self, events: list[endpointing.Event]) -> Iterator[AnyMessage]:
        for event in events:
            turn = self._turn.turn
            match event:
                case endpointing.Started(sample):
                    self._turn = self._await_next()
                    self._endpointer.speculate(self._turn.speculate, self._turn.look_every_ms)
                    self._next = None
                    self._unfinished.add(self._turn.turn)
                    self._is_open, self._began_s = True, self._arrived_s(sample)
                    yield SpeechStarted(self._turn.turn, self._began_s)
                case endpointing.Paused():
                    yield Utterance(
                        turn,
                        self._turn.revision + event.revision,
                        event.pcm,
                        RATE_HZ,
                        event.voiced_ms,
                        self._arrived_s(event.speech_end_sample),
                        time.monotonic(),
                    )
                case endpointing.Glimpse(pcm, voiced_ms, revision):
                    now_s = self._arrivals[-1]
                    revision += self._turn.revision
                    yield Utterance(turn, revision, pcm, RATE_HZ, voiced_ms, now_s, now_s, so_far=True)
                case endpointing.Resumed(revision):
                    yield SpeechResumed(turn, self._turn.revision + revision)
                case endpointing.Ended(revision, sample):
                    self._over()
                    yield TurnEnded(
                        turn,
                        self._turn.revision + revision,
                        self._arrived_s(sample),
                        time.monotonic(),
                        self._settled_for_good(),
                    )
                case endpointing.Dropped():
                    self._over()
                    yield SpeechDropped(turn, self._settled_for_good())

    def _over(self) -> None:
        self._is_open = False
        if self._own_voice is not None:
            self._own_voice.person_fell_silent()

    def _arrived_s(self, sample: int) -> float:
        """When the microphone gave `sample` (counted from the first one fed), as well as is remembered."""
        back = self._frames - max(sample - 1, 0) // FRAME_SAMPLES
        return self._arrivals[-min(max(back, 1), len(self._arrivals))] if self._arrivals else time.monotonic()

    def _settled_for_good(self) -> int:
        """Up to where a successor need not listen again; 0 where it could not, as a device begins anew."""
        return self._origin + self._endpointer.settled if self._microphone.can_wait else 0

    def _settle(self) -> None:
        self._microphone.settled(self._origin + self._endpointer.settled)

    def _await_next(self) -> NextTurn:
        while self._next is None:
            self._link.receive(0.05)
        return self._next

    def _on_notice(self, message: AnyMessage) -> None:
        if isinstance(message, NextTurn):
            self._next = message
        elif isinstance(message, Awake):
            self._waker.awake_until_s = message.until_s
        elif isinstance(message, Muted):
            self._muted = message.muted
        elif isinstance(message, Hangover):
            if self._is_open and message.turn == self._turn.turn:
                self._endpointer.expect(message.revision - self._turn.revision, message.duration_ms)
        elif isinstance(message, PlaybackStarted):
            self._speaking = message.turn
        elif isinstance(message, Played):
            if self._own_voice is not None:
                self._own_voice.played(message.pcm, message.at_s)
        elif isinstance(message, EarconStarted):
            self._earcon_sounds(message)
        elif isinstance(message, TurnFinished):
            self._unfinished.discard(message.turn)
            if message.turn == self._speaking:
                self._speaking = 0


def _own_voice() -> OwnVoice:
    """With numpy, which a plain setup does without."""
    from assistant.stages.own_voice import OwnVoice

    return OwnVoice()
