"""vad: the microphone in, utterances and the ends of turns out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from assistant.audio.card_link import is_card
from assistant.audio.formats import FRAME_SAMPLES
from assistant.engines.voice import SILENT
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
    SpeechStarted,
    StageState,
    TurnEnded,
    TurnFinished,
    Woken,
)
from assistant.queues.link import Link
from assistant.service import systemd
from assistant.stages import microphone
from assistant.stages.ear import Ear
from assistant.stages.half_duplex import HalfDuplex
from assistant.stages.spoken_turns import SpokenTurns
from assistant.stages.waking import HeardFrame, Waker, presses, spotter

if TYPE_CHECKING:  # with numpy
    from assistant.stages.own_voice import OwnVoice

SILENCE = bytes(2 * FRAME_SAMPLES)

MOST_UNFINISHED = 4
"""Turns that may wait for their answers before a recording is read on: a pipe gives hours in a second."""

RESTART_AFTER_S = 20.0
LOOK_FOR_S = 60.0
"""A microphone that was lost for longer may only be found by a process that begins anew; one that was never
there is looked for longer, as each new process is some lines in the journal."""

SETTLE_FRAMES = 50
"""How often (once a second) the microphone is told what is not needed any more."""


class VadStage:
    """Owns the microphone.  What has not become a turn yet, its successor hears again where that can be."""

    def __init__(self, link: Link) -> None:
        config = link.config
        self._link = link
        self._vad, self._audio = config.vad, config.audio
        self._waker = Waker(config.wake, spotter(config.wake))
        self._button, self._button_fault = presses(config.wake)
        self._is_pressed = False
        self._muted = False
        self._speaking = 0  # the turn whose answer is in the air
        self._interrupted = 0  # the last one that a person broke in on
        self._next: NextTurn | None = None
        self._unfinished: set[int] = set()
        # a recording cannot hear the answer
        self._half_duplex = HalfDuplex(self._audio.barge_in == "off" and not is_card(self._audio.microphone))
        self._microphone = microphone.find(self._audio, link, LOOK_FOR_S, self._wait_unheard)
        self._ear = Ear(self._audio, self._vad)
        self._turns = SpokenTurns(self._vad, self._microphone.can_wait, self._take_number)
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
        yield from self._told(self._turns.end())
        self._microphone.settled(self._turns.settled)
        yield MicrophoneEnded()
        while True:
            self._link.receive()

    def _recover(self, error: AudioError) -> Iterator[AnyMessage]:
        """The microphone is gone, and may come back, or another one, whose room is another, too."""
        yield from self._told(self._turns.drop())
        self._waker.forget()
        self._link.post(StageState("vad", "gone", str(error), "microphone"))
        systemd.status(str(error))
        if not self._microphone.close():
            raise error
        self._microphone = microphone.find(
            self._audio, self._link, RESTART_AFTER_S, self._wait_unheard, look_again=True
        )
        self._ear = Ear(self._audio, self._vad)
        yield StageState("vad", "ready", self._button_fault)
        systemd.status("ready")

    # ------------------------------------------------------------ what is heard

    def _hear(self, frame: bytes) -> Iterator[AnyMessage]:
        systemd.alive()
        position, at_s = self._microphone.position, self._microphone.captured_at_s
        is_deaf = self._half_duplex.is_deaf(at_s, bool(self._speaking))
        level = self._ear.measure(frame, position, at_s, is_deaf)
        if level is not None:
            self._link.post(level)
        is_pressed, self._is_pressed = self._is_pressed, False
        if self._muted:
            yield from self._hear_nothing()
            return
        decision = SILENT
        if is_deaf:
            frame = SILENCE
            self._ear.forget()
        else:
            speaking, is_open = bool(self._speaking), self._turns.is_open
            frame, decision = self._ear.hear(frame, position, at_s, speaking, is_open)
        if decision.voiced:
            self._half_duplex.voiced(at_s)
        own = not self._turns.is_open and self._half_duplex.is_earcon(at_s)
        if own:
            decision = SILENT
        heard = HeardFrame(frame, decision.voiced, position, at_s, decision.faint, own)
        called, wanted = self._waker.hear(heard, is_pressed, self._turns.is_open)
        if called is not None:
            yield from self._call(Woken(called, at_s))
        if wanted[:1] != [heard]:  # it sleeps, or begins behind the wake word
            self._turns.begin_anew()
            self._settle(self._waker.needed_from())
        for heard in wanted:
            yield from self._listen_to(heard)
        if self._ear.own_voice is not None:
            yield from self._barge_in(self._ear.own_voice)

    def _hear_nothing(self) -> Iterator[AnyMessage]:
        """The microphone is muted: what was heard of a question is void, and nothing is kept."""
        yield from self._told(self._turns.drop())
        self._waker.forget()
        self._ear.forget()
        self._settle(self._microphone.position)

    def _listen_to(self, heard: HeardFrame) -> Iterator[AnyMessage]:
        is_news = False
        for message in self._told(self._turns.feed(heard)):
            is_news = True
            yield message
        if is_news:
            self._microphone.settled(self._turns.settled)
        else:
            self._settle(self._turns.settled)

    def _told(self, messages: Iterator[AnyMessage]) -> Iterator[AnyMessage]:
        """The messages of turns, on their way to the daemon."""
        for message in messages:
            if isinstance(message, SpeechStarted):
                self._unfinished.add(message.turn)
            elif isinstance(message, TurnEnded | SpeechDropped) and self._ear.own_voice is not None:
                self._ear.own_voice.person_fell_silent()
            yield message

    def _settle(self, needed_from: int) -> None:
        if self._microphone.position // FRAME_SAMPLES % SETTLE_FRAMES == 0:
            self._microphone.settled(needed_from)

    # ------------------------------------------------------------ who calls, or breaks in

    def _call(self, call: Woken) -> Iterator[AnyMessage]:
        if self._speaking:
            yield Interrupted(self._speaking, call.at_s)
        yield call

    def _barge_in(self, own_voice: OwnVoice) -> Iterator[AnyMessage]:
        """A person speaks while the assistant does: from the first syllable on, that is a turn."""
        interrupts = self._audio.barge_in == "voice" and own_voice.has_person
        if interrupts and self._speaking != self._interrupted:
            # which may be known only now, or be another answer: the person goes on speaking
            self._interrupted = self._speaking
            if self._speaking:
                yield Interrupted(self._speaking, self._microphone.captured_at_s)
        if own_voice.person_begins and not self._turns.is_open:
            yield from self._told(self._turns.recall(own_voice.last_frames))

    def _look_at_button(self) -> Iterator[AnyMessage]:
        """What was done with the button; a short press goes with the next frame."""
        while self._button is not None and (press := self._button.take()) is not None:
            if press == "long":
                yield SetMute()
            else:
                self._is_pressed = True

    def _wait_unheard(self, seconds: float) -> None:
        """There is no microphone: a button that is held mutes, a short press ends the answer."""
        self._link.receive(seconds)
        for message in self._look_at_button():
            self._link.post(message)
        if self._is_pressed and self._speaking:
            self._link.post(Interrupted(self._speaking, time.monotonic()))
        self._is_pressed = False

    # ------------------------------------------------------------ what the daemon says

    def _await_next(self) -> NextTurn:
        while self._next is None:
            self._link.receive(0.05)
        return self._next

    def _take_number(self) -> NextTurn:
        number, self._next = self._await_next(), None
        return number

    def _on_notice(self, message: AnyMessage) -> None:
        if isinstance(message, NextTurn):
            self._next = message
        elif isinstance(message, Awake):
            self._waker.awake_until_s = message.until_s
        elif isinstance(message, Muted):
            self._muted = message.muted
        elif isinstance(message, Hangover):
            self._turns.expect(message)
        elif isinstance(message, PlaybackStarted):
            self._speaking = message.turn
        elif isinstance(message, Played):
            if self._ear.own_voice is not None:
                self._ear.own_voice.played(message.pcm, message.at_s)
        elif isinstance(message, EarconStarted):
            self._half_duplex.earcon(message, self._turns.began_s if self._turns.is_open else None)
        elif isinstance(message, TurnFinished):
            self._unfinished.discard(message.turn)
            if message.turn == self._speaking:
                self._speaking = 0
                self._half_duplex.fell_silent(message.at_s)
