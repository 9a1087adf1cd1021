"""The turn state machine: facts go in, actions come out.  Pure: no sockets, no clock, no engine.

A spoken turn runs through: speech started → tentative pause (an utterance goes to stt, its transcript to
llm, the sentences to tts, which holds them) → either the person goes on (the revision moves, all of that is
stale) or the turn ends, and what was made may be heard.  Here is how turns begin and end, and what happens
when a worker dies; `Answers` is the rest of the way, and `VadWorker` what vad was told.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from assistant.config import Config
from assistant.daemon.answers import NOT_HEARD, Answers
from assistant.daemon.history import ROOM
from assistant.daemon.turn import Action, CancelWork, Enqueue, Kind, Notify, Publish, Tell, Turn
from assistant.errors import AnswerError, QueueFull
from assistant.messages import (
    AnyMessage,
    Ask,
    Failure,
    ForgetConversation,
    Gap,
    Interrupted,
    MicrophoneEnded,
    PlaybackStarted,
    Prefill,
    Question,
    Recognise,
    Say,
    Sentence,
    SoundReady,
    Speech,
    SpeechDropped,
    SpeechPaused,
    SpeechResumed,
    SpeechStarted,
    Spoken,
    Stage,
    StopTurn,
    Token,
    Transcript,
    TurnAccepted,
    TurnEnded,
    Utterance,
    Woken,
    Worked,
)
from assistant.text.clean import clean_question
from assistant.text.finished import hangover_ms
from assistant.text.sentences import split_sentences

log = logging.getLogger(__name__)

MOST_TURNS = 32
"""More turns than this at a time are refused; whoever asks is told."""

MOST_CHARS = 200_000
"""The longest typed text: to clean and split it keeps the daemon from all else for a tenth of a second."""


class Turns(Answers):
    """All turns that are not over.  Each method takes a fact and gives back what is to be done, in order.

    `now_s` is in seconds of CLOCK_MONOTONIC.  Only `from_client` and `announce` raise anything.
    """

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._last_number = 0
        self._vad.number = self._new_number()

    def is_waited_for(self, message: AnyMessage) -> bool:
        """Whether somebody waits for what comes of `message`: no early work, and meant for the assistant."""
        if isinstance(message, Prefill) or (isinstance(message, Utterance) and message.so_far):
            return False
        turn = self._turns.get(getattr(message, "turn", -1))
        return turn is None or turn.is_meant

    def turns(self) -> list[Turn]:
        """Every turn that is not over."""
        return list(self._turns.values())

    # ------------------------------------------------------------ facts

    def stage_joined(self, stage: Stage) -> list[Action]:
        """A worker of the stage is connected."""
        if stage == "vad":
            self._vad.joined()
            self._tell_vad_awake()
            self._tell_vad_next()
            for turn in self._line:
                if turn.sounding:
                    self._do(Notify("vad", PlaybackStarted(turn.number, self._now_s)))
        elif stage == "tts":
            for turn in self._turns.values():
                if turn.ended and turn.is_aloud:
                    self._release(turn)
        return self._drain()

    def stage_left(self, stage: Stage, now_s: float) -> list[Action]:
        """A worker is gone."""
        self._away.add(stage)
        if stage == "llm":
            self._prefilling.worker_left()
        elif stage == "stt":
            for turn in self._turns.values():
                turn.is_read = False
        elif stage == "vad":
            self._vad.left(self._open is not None, now_s)
            if self._open is not None:
                self._open.torn = True
        return self._drain()

    def stage_ready(self, stage: Stage, now_s: float) -> list[Action]:
        """The stage's worker has its model and can work."""
        self._unusable.pop(stage, None)
        self._away.discard(stage)
        if stage == "vad":
            self._vad.ready(now_s)
        elif stage == "llm":
            self._prefill(ROOM)
        return self._drain()

    def stage_wanted_again(self, stage: Stage) -> None:
        """The stage, which could not work, is being started: work may wait for it."""
        self._unusable.pop(stage, None)

    def stage_unusable(self, stage: Stage, reason: str, now_s: float) -> list[Action]:
        """The stage cannot work at all (no model, no device): whoever needs it is told."""
        self._now_s = now_s
        self._unusable[stage] = reason
        self._fail_the_stranded()
        return self._drain()

    def from_stage(self, stage: Stage, message: AnyMessage, now_s: float) -> list[Action]:
        """A message that a worker posted."""
        self._now_s = now_s
        if isinstance(message, Worked) and message.turn == 0:  # of no turn: a trial, or a prefill
            if stage == "llm":
                self._prefilling.ended(message.revision)
            self.speculation.feed(message)
            self._tell_vad_what_pays()
        if isinstance(message, TurnEnded | SpeechDropped):
            self._vad.settled(message.settled)
        if isinstance(message, SpeechStarted):
            self._speech_started(message)
        elif isinstance(message, MicrophoneEnded):
            self._do(Publish(message))
        elif isinstance(message, Woken):
            self._called(message)
        elif (turn := self._turns.get(getattr(message, "turn", -1))) is not None:
            if isinstance(message, Failure) and turn.is_read and not turn.paused:
                turn.is_read = False  # the whole may yet be read
            elif isinstance(message, Failure):
                if message.revision >= turn.revision:
                    self._fail(turn, stage, message.reason)
            elif (handle := _HANDLERS.get(type(message))) is not None:
                handle(self, turn, message)
        return self._drain()

    def from_client(self, client: int, message: AnyMessage, now_s: float) -> list[Action]:
        """A client's request.  Raises `AnswerError` or `QueueFull`: it is refused, nothing has changed."""
        self._now_s = now_s
        if isinstance(message, ForgetConversation):
            self.histories.forget(client)
        elif isinstance(message, StopTurn):
            turn = self._turns.get(message.turn)
            if turn is not None and turn.client == client:
                self._finish(turn, "cancelled")
        elif isinstance(message, Ask | Say) and len(message.text) > MOST_CHARS:
            raise AnswerError(
                f"The text has {len(message.text)} characters, and {MOST_CHARS} can be taken; shorten it."
            )
        elif isinstance(message, Ask):
            self._ask(client, clean_question(message.text))
        elif isinstance(message, Say):
            self._say(client, message)
        elif isinstance(message, Recognise):
            if "stt" in self._unusable:
                raise AnswerError(self._unusable["stt"])
            turn = self._accept(Kind.RECOGNISE, client)
            sound = Utterance(turn.number, 0, message.pcm, message.rate_hz, message.voiced_ms, now_s)
            self._do(Enqueue("stt", sound))
        else:
            raise AnswerError(f"A client cannot send {type(message).__name__}.")
        return self._drain()

    def muted(self, now_s: float) -> list[Action]:
        """Nothing more is heard: what somebody is just saying is void, and who called, too."""
        self._now_s = now_s
        self.waking.forget()
        if self._open is not None:
            self._finish(self._open, "cancelled")
            self._vad.no_orphan()
            self._tell_vad_next()
        return self._drain()

    def announce(self, text: str, now_s: float) -> tuple[int, list[Action]]:
        """Say `text` in the room, when it is its turn; gives back the number of that turn as well.

        Raises `AnswerError` or `QueueFull`, as for a client.
        """
        self._now_s = now_s
        self._say(ROOM, Say(text, to_client=False))
        return self._last_number, self._drain()

    def client_left(self, client: int, now_s: float) -> list[Action]:
        """A client is gone, and with it what it asked for."""
        self._now_s = now_s
        for turn in [turn for turn in self._turns.values() if turn.client == client]:
            self._finish(turn, "cancelled")
        if self.histories.of(client):
            self.histories.forget(client)
            self._prefill(ROOM)
        return self._drain()

    def again(self, message: AnyMessage) -> AnyMessage | None:
        """A worker died on `message`: what its successor shall do, None if nothing is left of it."""
        turn = self._turns.get(getattr(message, "turn", -1))
        return turn.left_of(message) if turn is not None else None

    def set_aside(self, stage: Stage, message: AnyMessage, now_s: float) -> list[Action]:
        """`message` killed two workers: whoever waits for it is told."""
        self._now_s = now_s
        turn = self._turns.get(getattr(message, "turn", -1))
        if turn is not None and self.again(message) is not None:  # else all of its effect has happened
            log.warning("turn %d: %s died twice on the same message", turn.number, stage)
            reason = f"The {stage} stage failed twice on this; try it in other words."
            if turn.kind is not Kind.SPEECH or turn.apologising:
                self._fail(turn, stage, reason)
            else:
                self._give_up(turn, reason)
        return self._drain()

    def lost(self, stage: Stage, message: AnyMessage, why: str, now_s: float) -> list[Action]:
        """`message` will never be worked on: too old, or pushed out of a full queue."""
        self._now_s = now_s
        turn = self._turns.get(getattr(message, "turn", -1))
        if isinstance(message, Utterance) and message.so_far:
            pass  # the whole will come
        elif turn is not None and getattr(message, "revision", 0) == turn.revision:
            reason = f"The {stage} stage did not get to it: {why.rstrip('.')}."
            if turn.ended:
                self._finish(turn, "failed" if turn.is_meant else "nothing", reason)
            else:
                self._give_up(turn, reason)
        return self._drain()

    def tick(self, now_s: float) -> list[Action]:
        """Time passes; to be called about once a second."""
        self._now_s = now_s
        self._fail_the_stranded()
        turn = self._open
        if turn is not None and self._vad.is_orphan_given_up(now_s):
            if turn.paused:
                self._turn_ended(turn, TurnEnded(turn.number, turn.revision, now_s, now_s))
            else:
                self._dropped(turn, SpeechDropped(turn.number))
            self._tell_vad_next()
        return self._drain()

    # ------------------------------------------------------------ speech comes in

    def _speech_started(self, message: SpeechStarted) -> None:
        if self._vad.has_orphan and self._open is not None and message.turn == self._open.number:
            self._vad.no_orphan()  # its successor has taken it up
            self._tell_vad_next()
            return
        if message.turn in self._turns or message.turn > self._last_number:
            log.warning("vad began turn %d, which it was not given", message.turn)
            return
        turn = Turn(message.turn, Kind.SPEECH, ROOM, began_s=message.at_s, ended=False)
        turn.torn = self._vad.tears(self._now_s)
        if self.waking.began(turn, message.at_s):
            self._do(Notify("tts", message))
        self._note_answer(turn)
        self._turns[turn.number] = turn
        self._line.append(turn)
        self._vad.no_orphan()
        if message.turn == self._vad.number:  # else it crossed the end of the turn it was to go on with
            self._vad.number = self._new_number()
        self._do(Publish(message))
        self._tell_vad_next()

    def _utterance(self, turn: Turn, message: Utterance) -> None:
        if turn.ended or message.revision < turn.revision:
            return
        # vad may be late to notice a pause, but then that is longer than any has to be
        longest_s = max(self._hangover_ms, hangover_ms(turn.ending, self._hangover_ms)) / 1000
        noticed_s = min(message.at_s, message.speech_end_s + longest_s)
        turn.heard_from_s = noticed_s - len(message.pcm) / 2 / message.rate_hz
        if message.so_far:
            is_busy = any(other.is_in_reading for other in self._turns.values())
            if message.revision == turn.revision and not is_busy and "stt" not in self._away:
                turn.is_read = True  # one at a time, and only while nothing else is to be read
                self._do(Enqueue("stt", message))
            return
        self._move_to(turn, message.revision)
        turn.paused = True
        self._do(Enqueue("stt", message, self._ttl_s))
        self._do(Publish(SpeechPaused(turn.number, message.revision, message.speech_end_s, message.at_s)))

    def _resumed(self, turn: Turn, message: SpeechResumed) -> None:
        if not turn.ended:
            self._move_to(turn, message.revision)
            self._do(Publish(message))

    def _move_to(self, turn: Turn, revision: int) -> None:
        """The person went on speaking: what was made of what they had said until then is stale."""
        if revision > turn.revision:
            self._do(CancelWork(turn.number, revision - 1))
            turn.forget_answer()
            self.waking.unsaid(turn)
            turn.revision = revision

    def _turn_ended(self, turn: Turn, message: TurnEnded) -> None:
        if turn.ended:
            return
        turn.ended, turn.ended_s = True, self._now_s
        self._do(Publish(message))
        for held in turn.held:
            self._do(Publish(held))
        turn.held = []
        if turn.failure and not turn.mute:
            self._apologise(turn, turn.failure)
        elif turn.has_transcript and not turn.text:
            self._understood_nothing(turn)
        else:
            self._release(turn)
            self._finish_if_heard(turn)
        self._tell_vad_what_pays()

    def _dropped(self, turn: Turn, _message: SpeechDropped) -> None:
        if turn.paused:  # a dead vad worker heard a question, and its successor only a noise behind it
            self._turn_ended(turn, TurnEnded(turn.number, turn.revision, self._now_s, self._now_s))
        elif turn.torn and not turn.ended:
            turn.failure, turn.mute = turn.failure or NOT_HEARD, False
            self._turn_ended(turn, TurnEnded(turn.number, turn.revision, self._now_s, self._now_s))
        elif not turn.ended:
            self._finish(turn, "nothing")

    def _called(self, message: Woken) -> None:
        """Who calls wants something else than is being answered, or thought about.

        Behind a wake word everything begins anew, in the middle of speech, too.
        """
        if message.by == "word" and self._open is not None:
            self._finish(self._open, "nothing")
            self._vad.no_orphan()
            self._tell_vad_next()
        unwanted = [turn for turn in self._line if turn.ended and (turn.kind is Kind.SPEECH or turn.sounding)]
        for turn in reversed(unwanted):  # so that none gets the floor that is to go, too
            self._finish(turn, "cancelled" if turn.is_meant else "nothing")
        if self._open is not None:
            self._open.is_over_answer = False  # who pressed the button while they spoke need not call again
        self.waking.called(message)
        self._do(Publish(message))

    def _interrupted(self, turn: Turn, _message: Interrupted) -> None:
        if turn.ended:
            self._finish(turn, "cancelled")

    @property
    def _open(self) -> Turn | None:
        """The turn whose speech vad hears now."""
        return next((turn for turn in self._line if not turn.ended), None)

    # ------------------------------------------------------------ requests

    def _ask(self, client: int, text: str) -> None:
        if "llm" in self._unusable:
            raise AnswerError(self._unusable["llm"])
        turn = self._accept(Kind.ASK, client)
        turn.text = text
        if text:
            self._ask_model(Question(turn.number, 0, text, self.histories.of(client)))
        else:
            self._finish(turn, "nothing")

    def _say(self, client: int, message: Say) -> None:
        if "tts" in self._unusable:
            raise AnswerError(self._unusable["tts"])
        turn = self._accept(Kind.SYNTHESISE if message.to_client else Kind.SAY, client)
        if turn.is_aloud:
            self._line.append(turn)
        turn.sentences = split_sentences(clean_question(message.text))
        turn.complete = True
        if not turn.sentences:
            self._finish(turn, "nothing")
        elif turn.is_aloud:
            self._release(turn)
            self._advance()
        else:
            self._offer(turn)

    def _accept(self, kind: Kind, client: int) -> Turn:
        if len(self._turns) >= MOST_TURNS:
            raise QueueFull(f"{len(self._turns)} questions wait already; ask again when some are answered.")
        turn = Turn(self._new_number(), kind, client)
        self._turns[turn.number] = turn
        self._do(Tell(client, TurnAccepted(turn.number)))
        return turn

    def _tell_vad_what_pays(self) -> None:
        if not self._vad.knows(self.speculation):
            self._tell_vad_next()

    def _tell_vad_next(self) -> None:
        self._do(Notify("vad", self._vad.next_turn(self._open, self.speculation)))

    def _new_number(self) -> int:
        self._last_number += 1
        return self._last_number


_HANDLERS: dict[type[AnyMessage], Callable[[Turns, Turn, Any], None]] = {
    Utterance: Turns._utterance,
    SpeechResumed: Turns._resumed,
    TurnEnded: Turns._turn_ended,
    SpeechDropped: Turns._dropped,
    Interrupted: Turns._interrupted,
    Transcript: Turns._transcript,
    Token: Turns._token,
    Sentence: Turns._sentence,
    Speech: Turns._speech,
    PlaybackStarted: Turns._playback_started,
    SoundReady: Turns._sound_ready,
    Gap: Turns._seen,
    Spoken: Turns._spoken,
    Worked: Turns._worked,
}
