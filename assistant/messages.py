"""What crosses a queue: frozen structs with units in the field names, and nothing else.

`turn` numbers a question and its answer, `revision` counts how often the person went on speaking after a
tentative pause in that turn.  Times (`at_s`, `until_s`, `speech_end_s`, …) are seconds of CLOCK_MONOTONIC,
which all processes share.
Sound is PCM, mono, signed 16 bit little-endian, and never travels without its rate.
"""

from __future__ import annotations

import math
from typing import Literal

import msgspec

Stage = Literal["vad", "stt", "llm", "tts"]
STAGES: tuple[Stage, ...] = ("vad", "stt", "llm", "tts")
Earcon = Literal["ready", "listening", "thinking", "error"]
InputTrouble = Literal["silent", "offset", "clipping", "hum", "quiet"]
Fault = Literal["microphone", "model", "memory", "hot", "power", "crash", "config"]


class Message(msgspec.Struct, frozen=True, tag=True):
    """Base of everything that crosses a queue; the class name is the tag on the wire."""


class Exchange(msgspec.Struct, frozen=True):
    """One finished turn of a conversation: what was asked and what was *heard* as the answer."""

    question: str
    answer: str
    cut_off: bool = False


# ---------------------------------------------------------------- vad


class SpeechStarted(Message, frozen=True):
    """A person began to speak; the turn is the one that the daemon gave out with `NextTurn`."""

    turn: int
    at_s: float


class Utterance(Message, frozen=True):
    """The sound of one stretch of speech, pre-roll included, sent whole at every tentative pause.

    `at_s` is when the pause was noticed.  With `so_far` there is none: the person still speaks.
    """

    turn: int
    revision: int
    pcm: bytes
    rate_hz: int
    voiced_ms: int
    speech_end_s: float
    at_s: float = 0.0
    so_far: bool = False


class SpeechPaused(Message, frozen=True):
    """To watchers: the person paused, and work on what they said until `speech_end_s` began at `at_s`."""

    turn: int
    revision: int
    speech_end_s: float
    at_s: float


class SpeechResumed(Message, frozen=True):
    """The person went on speaking: all work on `revision - 1` and before is stale."""

    turn: int
    revision: int


class TurnEnded(Message, frozen=True):
    """The silence lasted: the revision is final, its answer may be heard.  `at_s` is when that was decided.

    `settled` is the sample of the microphone's stream behind which the next turn lies.
    """

    turn: int
    revision: int
    speech_end_s: float
    at_s: float
    settled: int = 0


class SpeechDropped(Message, frozen=True):
    """What began as speech was too short to be any: forget the turn."""

    turn: int
    settled: int = 0


class Hangover(Message, frozen=True):
    """To vad: what was said until this pause wants so much silence behind it to be over."""

    turn: int
    revision: int
    duration_ms: int


class Woken(Message, frozen=True):
    """Somebody called the assistant, until `at_s`: from now on it listens for a question."""

    by: Literal["word", "phrase", "button"]
    at_s: float


class Awake(Message, frozen=True):
    """To vad: whoever begins to speak before `until_s` speaks to the assistant; then it has to be called.

    Told where a word or a button wakes: when vad joins, and with every change.
    """

    until_s: float


class Interrupted(Message, frozen=True):
    """Somebody broke in on the answer of `turn`, the one in the air, at `at_s`: the rest is not wanted."""

    turn: int
    at_s: float


class MicrophoneEnded(Message, frozen=True):
    """A recorded microphone has no more sound."""


class MicrophoneLevel(Message, frozen=True):
    """How loud the last second was: effective value and peak, in dB below the largest sample that there is.

    `frames` came in it, the last one at `at_s`; `lost_frames` are missing between them.  It is then amplified
    by `gain_db`.  `trouble` is what has been wrong with the sound for longer than that second.
    """

    rms_dbfs: float
    peak_dbfs: float
    frames: int
    lost_frames: int
    at_s: float
    gain_db: float = 0.0
    trouble: InputTrouble | None = None


# ---------------------------------------------------------------- stt


class Transcript(Message, frozen=True):
    """What the recogniser read from an utterance; `confidence` is the mean token probability, 0 to 1.

    With `so_far` the person went on speaking.
    """

    turn: int
    revision: int
    text: str
    language: str
    confidence: float
    at_s: float
    so_far: bool = False


# ---------------------------------------------------------------- llm


class Question(Message, frozen=True):
    """A question to answer.

    `answer_so_far` holds what an earlier, killed worker already said of the answer, which goes on behind it;
    sentences before `next_sentence` are not sent again.  With `hurry` the first sentence is sent clause by
    clause, as the model writes faster than the voice speaks.
    """

    turn: int
    revision: int
    text: str
    history: tuple[Exchange, ...] = ()
    answer_so_far: str = ""
    next_sentence: int = 0
    hurry: bool = True


class Prefill(Message, frozen=True):
    """To llm: read the conversation so far, so that its next question need not wait for that.

    `begun` is how that question begins, as far as it has been heard.  It belongs to no turn (0); each has a
    `revision` of its own, and what is more urgent cancels it.
    """

    history: tuple[Exchange, ...]
    begun: str
    revision: int
    turn: int = 0


class Token(Message, frozen=True):
    """A piece of the answer as the model makes it."""

    turn: int
    revision: int
    text: str
    at_s: float


class Sentence(Message, frozen=True):
    """A piece of an answer to speak, in order of `index`; an empty last one only says that no more will come.

    `heard_fraction` of it has been heard already (its first worker died while playing).
    `to_client` asks for the sound (`Speech`) instead of playing it.
    """

    turn: int
    revision: int
    index: int
    text: str
    last: bool
    at_s: float = 0.0
    heard_fraction: float = 0.0
    to_client: bool = False


# ---------------------------------------------------------------- tts


class PlaybackStarted(Message, frozen=True):
    """The first audible sample of the answer was played."""

    turn: int
    at_s: float


class Spoken(Message, frozen=True):
    """How much of a sentence has been heard, 0 to 1."""

    turn: int
    revision: int
    index: int
    fraction: float


class SoundReady(Message, frozen=True):
    """The first sound of the answer is made, and could be heard at once."""

    turn: int
    revision: int


class Gap(Message, frozen=True):
    """The speaker was silent for so long inside an answer, until `at_s`: the next of it was not made yet."""

    turn: int
    revision: int
    duration_ms: int
    at_s: float


class Speech(Message, frozen=True):
    """Synthesised sound for the client that asked for it."""

    turn: int
    index: int
    pcm: bytes
    rate_hz: int
    last: bool


class PlayEarcon(Message, frozen=True):
    """To tts: play this short sound now, or not at all: it is not begun after `until_s`."""

    name: Earcon
    until_s: float = math.inf


class Played(Message, frozen=True):
    """To vad: what the speaker plays, from `at_s` on, so that its echo can be told from people."""

    pcm: bytes
    rate_hz: int
    at_s: float


class Volume(Message, frozen=True):
    """To tts, and to clients: how loud answers and earcons are, each from 0 to 1."""

    answers: float
    earcons: float


class EarconStarted(Message, frozen=True):
    """An earcon's first audible sample was played; vad is not to hear it."""

    at_s: float
    duration_ms: int


# ---------------------------------------------------------------- any stage


class Failure(Message, frozen=True):
    """A stage could not do its work on this revision of a turn; `reason` is a sentence for a person."""

    stage: Stage
    turn: int
    revision: int
    reason: str


class Worked(Message, frozen=True):
    """A stage's engine worked on a revision from `began_s` to `ended_s`.

    At `first_s` its first result was there: the transcript, the first token, the first sound.
    """

    stage: Stage
    turn: int
    revision: int
    began_s: float
    first_s: float
    ended_s: float


class Cancel(Message, frozen=True):
    """Everything of `turn` up to and including `revision` is stale; stop and forget it."""

    turn: int
    revision: int


class NextTurn(Message, frozen=True):
    """To vad: the number that its next turn shall have.

    Where an earlier worker died in mid-turn, `revision` goes on behind its own, and `settled` says up to
    which sample of the stream everything has become a turn already.  `speculate` is whether work shall begin
    at tentative pauses; `look_every_ms` after how much speech what there is of it shall be read, 0 for never.
    """

    turn: int
    revision: int = 0
    settled: int = 0
    speculate: bool = True
    look_every_ms: int = 0


Outcome = Literal["answered", "nothing", "cancelled", "failed"]


class TurnFinished(Message, frozen=True):
    """The turn is over; `failure` says why it was not answered, or is empty.

    With `asks` the person was asked something back, and may answer without having been called.
    """

    turn: int
    at_s: float
    outcome: Outcome
    failure: str = ""
    asks: bool = False


# ---------------------------------------------------------------- clients


class Ask(Message, frozen=True):
    """A typed question; answered in text alone."""

    text: str


class Say(Message, frozen=True):
    """Text to speak: through the speaker, or back to the client as `Speech`."""

    text: str
    to_client: bool


class Recognise(Message, frozen=True):
    """Sound whose text the client wants."""

    pcm: bytes
    rate_hz: int
    voiced_ms: int


class ForgetConversation(Message, frozen=True):
    """Start a new conversation: the client's history is dropped."""


class StopTurn(Message, frozen=True):
    """The client no longer wants the rest of its turn."""

    turn: int


class SetVolume(Message, frozen=True):
    """Make answers or earcons so loud, from 0 to 1; None leaves one as it is.  The client gets a `Volume`."""

    answers: float | None = None
    earcons: float | None = None


class SetMute(Message, frozen=True):
    """Listen to nothing (or again); None is the other of the two.  Also from vad, when its button is held.

    The client is told what is (`Muted`).
    """

    muted: bool | None = None


class Muted(Message, frozen=True):
    """To vad, and to clients: whether the microphone is to be heard."""

    muted: bool


class StatusWanted(Message, frozen=True):
    """The client wants to know how the daemon is; it gets a `Status`."""


class TurnAccepted(Message, frozen=True):
    """The daemon took the client's request as this turn."""

    turn: int


class StageState(Message, frozen=True):
    """A stage's worker is loading, ready, or gone; `detail` is a sentence for a person, or empty.

    `fault` is what is wrong when it cannot work at all.
    """

    stage: Stage
    state: Literal["starting", "ready", "gone"]
    detail: str = ""
    fault: Fault | None = None


class StageStatus(msgspec.Struct, frozen=True):
    """How a stage is.  `pid` is 0 without a worker, `model` empty where the stage has none.

    `wanted` says that it should run at all times, else it starts when it is first needed.  `restarts` counts
    the workers that died since the daemon started.  Of its queue `waiting` messages wait, and `in_work` are
    with the worker.  `predicted_bytes` is the plan's, at most; 0 without a plan.
    """

    stage: Stage
    state: Literal["starting", "ready", "gone"]
    detail: str
    fault: Fault | None
    wanted: bool
    pid: int
    restarts: int
    waiting: int
    in_work: int
    held_bytes: int
    predicted_bytes: int
    model: str

    @property
    def hinders(self) -> bool:
        """Whether it keeps the assistant from doing all that it should."""
        return self.lacks_speaker or (self.state != "ready" and (self.wanted or bool(self.detail)))

    @property
    def lacks_speaker(self) -> bool:
        """Whether it makes speech that nobody hears; `detail` says why."""
        return self.stage == "tts" and self.state == "ready" and self.wanted and bool(self.detail)


class PlanStatus(msgspec.Struct, frozen=True):
    """The plan in force; `predicted_bytes` is what all processes take together, at most."""

    has_voice: bool
    fits: bool
    context_tokens: int
    kv_type: str
    predicted_bytes: int
    budget_bytes: int


class TurnStatus(msgspec.Struct, frozen=True):
    """A turn that is over.  What did not happen is None, `speech_s` also where a client asked.

    The other seconds count from the end of speech, or from when the client's request was taken.
    """

    turn: int
    outcome: Outcome
    finished_at_s: float
    speech_s: float | None
    transcript_s: float | None
    first_token_s: float | None
    first_sound_s: float | None
    done_s: float


class Status(Message, frozen=True):
    """How the daemon is at `at_s`, and what it does; `held_bytes` is its memory and its workers'.

    "deaf" is an assistant that cannot listen, "faulty" one of which another stage cannot work, or that has
    no speaker, and "starting" one of which a stage is not ready yet.
    """

    version: str
    pid: int
    started_at_s: float
    at_s: float
    state: Literal["starting", "idle", "listening", "thinking", "speaking", "deaf", "faulty"]
    stages: tuple[StageStatus, ...]
    plan: PlanStatus | None
    held_bytes: int
    available_bytes: int
    limited_by: str
    microphone: MicrophoneLevel | None
    turns: tuple[TurnStatus, ...]
    volume: Volume
    muted: bool = False


AnyMessage = (
    SpeechStarted
    | Utterance
    | SpeechPaused
    | SpeechResumed
    | TurnEnded
    | SpeechDropped
    | Hangover
    | Woken
    | Awake
    | Interrupted
    | MicrophoneEnded
    | MicrophoneLevel
    | Transcript
    | Question
    | Prefill
    | Token
    | Sentence
    | PlaybackStarted
    | Spoken
    | SoundReady
    | Gap
    | Speech
    | PlayEarcon
    | Played
    | Volume
    | EarconStarted
    | Failure
    | Worked
    | Cancel
    | NextTurn
    | TurnFinished
    | Ask
    | Say
    | Recognise
    | ForgetConversation
    | StopTurn
    | SetVolume
    | SetMute
    | Muted
    | StatusWanted
    | TurnAccepted
    | StageState
    | Status
)
