"""What becomes of a question: asked, answered sentence by sentence, heard, or apologised for.  Pure.

The half of the turn state machine behind the transcript.  Turns that end at the speaker stand in line: the
first has the floor, and the next is asked only when that one is over, since its answer is history.
"""

from __future__ import annotations

import logging

import msgspec

from assistant.config import Config
from assistant.daemon.confirming import Confirming, Step
from assistant.daemon.history import ROOM, Histories
from assistant.daemon.meanwhile import Meaning, Meanwhile
from assistant.daemon.prefilling import Prefilling
from assistant.daemon.speculation import Speculation
from assistant.daemon.turn import A_DAY_S, Action, CancelWork, Enqueue, Kind, Notify, Publish, Tell, Turn
from assistant.daemon.turn_log import TurnLog
from assistant.daemon.vad_worker import VadWorker
from assistant.daemon.waking import Waking
from assistant.messages import (
    AnyMessage,
    Exchange,
    Gap,
    Hangover,
    Outcome,
    PlaybackStarted,
    Question,
    Sentence,
    SoundReady,
    Speech,
    Spoken,
    Stage,
    Token,
    Transcript,
    TurnEnded,
    TurnFinished,
    Woken,
    Worked,
)
from assistant.text.clean import clean_question
from assistant.text.confirmation import asked_back, please_again
from assistant.text.finished import Ending, hangover_ms, reads_as
from assistant.text.sentences import split_sentences

log = logging.getLogger(__name__)

APOLOGY = "Sorry, something went wrong. Please ask again."
NOT_HEARD = "A part of the question was not heard."
SENTENCES_AHEAD = 3
"""How many sentences tts may have: the one in the air, the one being made, and one so that it never waits."""

EVERY_REVISION = 2**31

HURRY_TOKENS_PER_S = 8.0
"""Speech takes four tokens a second; a model twice as fast leaves no silence behind a clause."""

FEWEST_TOKENS = 5
"""Of an answer, to tell from it how fast the model writes."""


class Answers:
    """The turns that are not over, and their way from the transcript to the last word heard."""

    def __init__(self, config: Config) -> None:
        self.histories = Histories()
        self.speculation = Speculation()
        self.waking = Waking(config.wake)
        self.turn_log = TurnLog(config.log)
        self._vad = VadWorker(self.waking.awake_until_s)
        self._prefilling = Prefilling()
        self._meanwhile = Meanwhile(config)
        self._ttl_s = config.daemon.question_ttl_s
        self._hangover_ms = config.vad.hangover_ms
        self._language = config.stt.language
        self._confirming = Confirming(config.stt.confirm, config.stt.language)
        self._turns: dict[int, Turn] = {}
        self._line: list[Turn] = []
        self._unusable: dict[Stage, str] = {}
        self._away: set[Stage] = set()  # stages whose worker died, and whose next one is not ready
        self._hurry = True
        self._actions: list[Action] = []
        self._now_s = 0.0

    # ------------------------------------------------------------ what the stages make

    def _transcript(self, turn: Turn, message: Transcript) -> None:
        if turn.kind is Kind.RECOGNISE:
            self._do(Tell(turn.client, message))
            self._finish(turn, "answered")
        elif message.so_far:
            self._question_begins(turn, message)
        elif message.revision == turn.revision and not turn.has_transcript:
            text = self._said_over_answer(turn, clean_question(message.text), message.language)
            turn.text = self.waking.question(turn, text)
            turn.confidence = message.confidence
            turn.has_transcript = True
            turn.ending = reads_as(turn.text, message.language)
            if turn.ending is Ending.UNFINISHED:
                self._tell_hangover(turn, turn.ending)
            elif turn.revision > 0:  # vad may still wait for the rest of what broke off, which was weak
                self._tell_hangover(turn, Ending.UNCLEAR)
            self._event(turn, msgspec.structs.replace(message, text=turn.text))
            if turn.text:
                self._advance()
            elif turn.ended:
                self._understood_nothing(turn)

    def _note_answer(self, turn: Turn) -> None:
        """What the assistant says while the turn begins, or has just said; where that is listened through."""
        if not self._meanwhile.listens:
            return
        turn.is_over_answer = bool(self._line) and self._line[0].sounding
        if turn.is_over_answer:
            turn.spoken_over = " ".join(self._line[0].sentences[: self._line[0].offered])
        else:
            turn.spoken_over = self._meanwhile.echoing(turn.began_s)  # however late vad was

    def _said_over_answer(self, turn: Turn, text: str, language: str) -> str:
        """What of the turn's transcript is asked; the answer that it was said over may end with that."""
        answer = self._line[0] if self._line and self._line[0] is not turn and self._line[0].ended else None
        if not self._meanwhile.listens or not (turn.spoken_over or answer is not None):
            return text
        # who is asked "Did you say …?" may well say just that
        is_reply = not turn.is_over_answer and self._confirming.is_confirmed(text, turn.began_s)
        if is_reply and self._meanwhile.is_over_for(text, turn.heard_from_s):
            return text
        meaning, question = self._meanwhile.meaning(text, language, turn.spoken_over, turn.is_over_answer)
        if answer is not None and meaning in (Meaning.STOP, Meaning.CALL):
            self._finish(answer, "cancelled")
        return question

    def _question_begins(self, turn: Turn, message: Transcript) -> None:
        """Let the language model read what is heard already; the last word may yet become another one."""
        turn.is_read = False
        begun = " ".join(self.waking.question(turn, clean_question(message.text), so_far=True).split()[:-1])
        waits = turn.revision == message.revision and not turn.has_transcript
        if waits and turn is self._line[0] and (begun or turn.is_meant):
            self._prefill(ROOM, begun)

    def _understood_nothing(self, turn: Turn) -> None:
        """It was a noise, unless what it was died with a vad worker."""
        if turn.torn:
            self._apologise(turn, NOT_HEARD)
        else:
            self._finish(turn, "nothing")

    def _token(self, turn: Turn, message: Token) -> None:
        if message.revision == turn.revision and not turn.complete:
            turn.answer += message.text
            turn.tokens += 1
            self._event(turn, message)

    def _sentence(self, turn: Turn, message: Sentence) -> None:
        if message.revision != turn.revision or turn.complete or message.index != len(turn.sentences):
            return  # stale, or said already by a worker that died before it was acknowledged
        if message.text:
            turn.sentences.append(message.text)
        turn.complete = message.last
        self._event(turn, message)
        if turn.kind is Kind.ASK:
            if turn.complete:
                self._finish(turn, "answered")
        elif turn.complete and not turn.sentences:
            self._fail(turn, "llm", "The language model had no answer.")
        else:
            self._offer(turn)
            self._finish_if_heard(turn)

    def _speech(self, turn: Turn, message: Speech) -> None:
        if message.index != turn.finished_sentences:
            return  # sent already, by a worker that died before it was acknowledged
        self._do(Tell(turn.client, message))
        turn.finished_sentences += 1
        self._offer(turn)
        self._finish_if_heard(turn)

    def _playback_started(self, turn: Turn, message: PlaybackStarted) -> None:
        if not turn.sounding:  # else a successor of tts, or a later sentence
            turn.sounding = True
            self._do(Publish(message))
            self._do(Notify("vad", message))

    def _spoken(self, turn: Turn, message: Spoken) -> None:
        if message.revision != turn.revision or message.index != turn.finished_sentences:
            return
        turn.fraction = max(turn.fraction, message.fraction)
        self._do(Publish(message))
        if turn.fraction >= 1.0:
            turn.finished_sentences += 1
            turn.fraction = 0.0
            self._offer(turn)
            self._finish_if_heard(turn)

    def _tell_hangover(self, turn: Turn, ending: Ending) -> None:
        """Tell vad how long a silence makes the end of what was said."""
        if turn.kind is Kind.SPEECH and not turn.ended:
            wanted_ms = hangover_ms(ending, self._hangover_ms)
            self._do(Notify("vad", Hangover(turn.number, turn.revision, wanted_ms)))

    def _sound_ready(self, turn: Turn, message: SoundReady) -> None:
        """A whole sentence may end sooner, but not before there is an answer: until then, go on listening."""
        if message.revision == turn.revision and turn.ending is Ending.FINISHED:
            self._tell_hangover(turn, turn.ending)

    def _worked(self, turn: Turn, message: Worked) -> None:
        writing_s = message.ended_s - message.first_s
        if message.stage == "llm" and message.revision == turn.revision and turn.tokens >= FEWEST_TOKENS:
            self._hurry = turn.tokens >= HURRY_TOKENS_PER_S * writing_s
        self._seen(turn, message)

    def _seen(self, turn: Turn, message: Worked | Gap) -> None:
        """What only watchers care for; of a stale revision, too: that is work done for nothing."""
        if turn.client == ROOM:
            self._do(Publish(message))

    def _finish_if_heard(self, turn: Turn) -> None:
        heard = turn.mute or turn.finished_sentences == len(turn.sentences)
        if turn.ended and turn.complete and heard:
            self._finish(turn, "failed" if turn.failure else "answered", turn.failure)

    # ------------------------------------------------------------ what follows from it

    def _advance(self) -> None:
        """Work on the turn that has the floor: the next one may need its answer as history."""
        if not self._line:
            return
        turn = self._line[0]
        if turn.kind is Kind.SPEECH and turn.text and not turn.asked:
            if turn.ended and self._now_s - turn.ended_s > self._ttl_s:
                self._finish(
                    turn, "failed", "The question had to wait so long that it is no longer answered."
                )
                return
            turn.asked = True
            turn.step, turn.text = self._confirming.step(turn.text, turn.confidence, turn.began_s)
            if turn.step is Step.ANSWER:
                history = self.histories.of(ROOM)
                question = Question(turn.number, turn.revision, turn.text, history, hurry=self._hurry)
                self._ask_model(question, self._ttl_s)
            else:
                self._ask_person(turn)
        self._offer(turn)

    def _ask_person(self, turn: Turn) -> None:
        """In place of an answer; held like one while the person may yet go on speaking."""
        ask_back = turn.step is Step.ASK_BACK
        text = asked_back(turn.text, self._language) if ask_back else please_again(self._language)
        turn.sentences, turn.complete = split_sentences(text), True
        for index, sentence in enumerate(turn.sentences):
            last = index == len(turn.sentences) - 1
            self._event(turn, Sentence(turn.number, turn.revision, index, sentence, last, self._now_s))

    def _offer(self, turn: Turn) -> None:
        """Give tts the next sentences, a few at a time: what it does not have, it need not drop."""
        if turn.mute or (turn.is_aloud and turn is not self._line[0]):
            return
        while turn.offered < min(len(turn.sentences), turn.finished_sentences + SENTENCES_AHEAD):
            index = turn.offered
            last = turn.complete and index == len(turn.sentences) - 1
            to_client = turn.kind is Kind.SYNTHESISE
            sentence = Sentence(
                turn.number, turn.revision, index, turn.sentences[index], last, to_client=to_client
            )
            turn.offered += 1
            self._do(Enqueue("tts", sentence))

    def _release(self, turn: Turn) -> None:
        """What is made of this revision may be heard."""
        self._do(Notify("tts", TurnEnded(turn.number, turn.revision, self._now_s, self._now_s)))

    def _fail(self, turn: Turn, stage: Stage, reason: str) -> None:
        if turn.apologising and stage != "tts":
            return  # of the answer that is given up already
        log.debug("turn %d: %s", turn.number, reason)  # when it is over, one line says so
        turn.failure = reason
        if turn.kind is not Kind.SPEECH:
            self._finish(turn, "failed", reason)
        elif stage == "tts":
            turn.mute = True  # the answer can still be read
            self._finish_if_heard(turn)
        else:
            self._give_up(turn, reason)

    def _give_up(self, turn: Turn, reason: str) -> None:
        """Apologise, once the person has finished: they may yet say something that works."""
        if turn.ended:
            self._apologise(turn, reason)
        else:
            turn.failure, turn.mute = reason, False

    def _fail_the_stranded(self) -> None:
        """Nobody waits for a stage that cannot work."""
        for turn in list(self._turns.values()):
            stage = turn.is_waiting_for
            is_known = turn.mute or (turn.failure and not turn.ended)
            if stage in self._unusable and turn.number in self._turns and not is_known:
                self._fail(turn, stage, self._unusable[stage])

    def _apologise(self, turn: Turn, reason: str) -> None:
        """Nobody is left in silence: say that it went wrong, in place of the rest of the answer."""
        if not turn.is_meant:  # or as far as is known: who talks to others wants to hear nothing
            self._finish(turn, "nothing")
            return
        self._remember(turn)
        self._do(CancelWork(turn.number, turn.revision))
        turn.revision += 1
        turn.apologising, turn.failure, turn.complete, turn.asked = True, reason, True, True
        turn.sentences, turn.offered, turn.finished_sentences, turn.fraction = [APOLOGY], 0, 0, 0.0
        self._event(turn, Sentence(turn.number, turn.revision, 0, APOLOGY, last=True, at_s=self._now_s))
        self._release(turn)
        self._advance()
        self._finish_if_heard(turn)

    def _finish(self, turn: Turn, outcome: Outcome, failure: str = "") -> None:
        del self._turns[turn.number]
        if outcome != "answered":
            # vad's successor may go on with a torn one, not knowing yet that it is over
            self._do(CancelWork(turn.number, turn.revision if turn.torn else EVERY_REVISION))
        self._remember(turn)
        if turn.kind is Kind.SPEECH and outcome != "nothing":  # news in between settle nothing
            is_asked = turn.sounding and not turn.apologising
            self._confirming.over(turn.step if is_asked else Step.ANSWER, turn.text, self._now_s)
        self.turn_log.record(turn, outcome, failure, self._now_s)
        asks = turn.step is not Step.ANSWER and outcome == "answered"
        self._told(turn, outcome, asks)
        finished = TurnFinished(turn.number, self._now_s, outcome, failure, asks)
        if turn.client != ROOM:
            self._do(Tell(turn.client, finished))
        if turn.is_aloud:
            self._do(Publish(finished))
            self._do(Notify("vad", finished))
            self._line.remove(turn)
            self._advance()
        if turn.kind in (Kind.SPEECH, Kind.ASK) and outcome == "answered":
            self._prefill(turn.client, turn.text if turn.step is Step.ASK_BACK else "")

    def _told(self, turn: Turn, outcome: Outcome, asks: bool) -> None:
        """Who called with this turn, got an answer to it, or is asked something back, may go on speaking."""
        self.waking.finished(turn, outcome, self._now_s, asks)
        if turn.is_call and outcome == "nothing":
            self._do(Publish(Woken("phrase", self._now_s)))

    def _prefill(self, conversation: int, begun: str = "") -> None:
        """What was said, and how the next question begins, is read while the model has nothing to do."""
        history = self.histories.of(conversation)
        is_busy = any(turn.is_answered for turn in self._turns.values())
        if (history or begun) and not is_busy and "llm" not in self._away:
            self._do(*self._prefilling.begin(history, begun))

    def _ask_model(self, question: Question, ttl_s: float = A_DAY_S) -> None:
        """Ahead of whatever is being read."""
        self._do(*self._prefilling.stop(), Enqueue("llm", question, ttl_s))

    def _remember(self, turn: Turn) -> None:
        """What was heard becomes part of the conversation."""
        if turn.sounding:
            self._meanwhile.said(" ".join(turn.sentences[: turn.offered]), self._now_s)
        is_said = turn.text and turn.step is Step.ANSWER and not turn.apologising
        if turn.kind in (Kind.SPEECH, Kind.ASK) and is_said:
            answer, cut_off = turn.heard()
            if answer:
                self.histories.add(turn.client, Exchange(turn.text, answer, cut_off))

    def _event(self, turn: Turn, message: AnyMessage) -> None:
        """Show a step of the turn: to its client, or to the watchers once the revision is final."""
        if turn.client != ROOM:
            self._do(Tell(turn.client, message))
        elif turn.ended:
            self._do(Publish(message))
        else:
            turn.held.append(message)

    def _do(self, *actions: Action) -> None:
        for action in actions:
            if isinstance(action, Publish):
                self.speculation.feed(action.message)
            if isinstance(action, Publish | Tell):
                turn = self._turns.get(getattr(action.message, "turn", 0))
                if turn is not None:
                    turn.times.note(action.message, self._now_s)
            self._actions.append(action)

    def _tell_vad_awake(self) -> None:
        """Tell vad until when it is to listen, unless it knows."""
        awake = self._vad.awake(self.waking.awake_until_s)
        if awake is not None:
            self._do(Notify("vad", awake))

    def _drain(self) -> list[Action]:
        self._tell_vad_awake()
        actions, self._actions = self._actions, []
        return actions
