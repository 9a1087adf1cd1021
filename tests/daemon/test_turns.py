"""The turn state machine: facts in, actions out.

Most cases are conversations with a `Room`, which holds the machine, a clock, and what the actions led to.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from assistant.config import Config, Log, Vad
from assistant.daemon.answers import APOLOGY, EVERY_REVISION, SENTENCES_AHEAD
from assistant.daemon.history import ROOM
from assistant.daemon.turn import Action, CancelWork, Enqueue, Notify, Publish, Tell
from assistant.daemon.turns import (
    MOST_TURNS,
    TORN_WITHIN_S,
    VAD_BACK_WITHIN_S,
    VAD_RESUMES_WITHIN_S,
    Turns,
)
from assistant.errors import AnswerError, QueueFull
from assistant.messages import (
    AnyMessage,
    Ask,
    Exchange,
    Failure,
    ForgetConversation,
    Gap,
    Hangover,
    MicrophoneEnded,
    NextTurn,
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
    TurnFinished,
    Utterance,
    Worked,
)

TTL_S = Config().daemon.question_ttl_s
PCM = b"\1\0" * 1600


class Room:
    """The machine, with short words for the facts; `actions` holds what the last fact led to."""

    def __init__(self, config: Config = Config()) -> None:  # noqa: B008 - frozen
        self.turns = Turns(config)
        self.now_s = 100.0
        self.actions: list[Action] = []
        self.published: list[AnyMessage] = []
        self.turns.stage_joined("vad")

    def note(self, actions: list[Action]) -> list[Action]:
        self.actions = [action for action in actions if not is_for_watchers_alone(action)]
        self.published += [action.message for action in actions if isinstance(action, Publish)]
        return self.actions

    def fact(self, stage: Stage, message: AnyMessage) -> list[Action]:
        return self.note(self.turns.from_stage(stage, message, self.now_s))

    def asks(self, client: int, message: AnyMessage) -> list[Action]:
        return self.note(self.turns.from_client(client, message, self.now_s))

    # vad

    def starts(self, turn: int = 1) -> None:
        self.fact("vad", SpeechStarted(turn, self.now_s))

    def pauses(self, turn: int = 1, revision: int = 0) -> None:
        self.fact("vad", utterance(turn, revision))

    def resumes(self, turn: int = 1, revision: int = 1) -> None:
        self.fact("vad", SpeechResumed(turn, revision))

    def ends(self, turn: int = 1, revision: int = 0) -> None:
        self.fact("vad", TurnEnded(turn, revision, self.now_s, self.now_s, settled=turn * 1000))

    def speaks(self, turn: int = 1) -> None:
        """A whole question, understood."""
        self.starts(turn)
        self.pauses(turn)
        self.is_understood(turn)
        self.ends(turn)

    # stt, llm, tts

    def is_understood(
        self, turn: int = 1, revision: int = 0, text: str = "Why?", confidence: float = 0.9
    ) -> None:
        self.fact("stt", transcript(turn, revision, text, confidence))

    def answers(
        self, *texts: str, turn: int = 1, revision: int = 0, first: int = 0, last: bool = True
    ) -> None:
        for index, text in enumerate(texts):
            self.fact("llm", Token(turn, revision, text + " ", self.now_s))
            is_last = last and index == len(texts) - 1
            self.fact("llm", Sentence(turn, revision, first + index, text, is_last, self.now_s))

    def is_heard(self, index: int, fraction: float = 1.0, turn: int = 1, revision: int = 0) -> None:
        self.fact("tts", PlaybackStarted(turn, self.now_s))
        self.fact("tts", Spoken(turn, revision, index, fraction))

    # what came of it

    def work(self, kind: type[AnyMessage]) -> list[AnyMessage]:
        """What the last fact gave a stage to do."""
        return [a.message for a in self.actions if isinstance(a, Enqueue) and isinstance(a.message, kind)]

    def told(self, client: int) -> list[AnyMessage]:
        return [a.message for a in self.actions if isinstance(a, Tell) and a.client == client]

    def finished(self) -> list[tuple[int, str]]:
        return [(m.turn, m.outcome) for m in self.published if isinstance(m, TurnFinished)]

    def history(self) -> tuple[Exchange, ...]:
        return self.turns.histories.of(ROOM)


def is_for_watchers_alone(action: Action) -> bool:
    return isinstance(action, Publish) and isinstance(action.message, SpeechPaused | Worked | Gap)


@pytest.fixture
def room() -> Room:
    return Room()


def utterance(turn: int = 1, revision: int = 0) -> Utterance:
    return Utterance(turn, revision, PCM, 16_000, 100, 1.0)


def transcript(turn: int = 1, revision: int = 0, text: str = "Why?", confidence: float = 0.9) -> Transcript:
    return Transcript(turn, revision, text, "en", confidence, 2.0)


def sentence(index: int, text: str, last: bool, turn: int = 1, revision: int = 0) -> Sentence:
    """As tts gets it."""
    return Sentence(turn, revision, index, text, last)


# ---------------------------------------------------------------- a spoken turn


def test_the_whole_spoken_turn_in_order(room: Room) -> None:
    started = SpeechStarted(1, 99.0)
    ended = TurnEnded(1, 0, 100.5, 101.2, settled=32_000)
    token = Token(1, 0, "Because. ", 102.0)
    made = Sentence(1, 0, 0, "Because.", last=True, at_s=102.1)
    steps: list[tuple[Stage, AnyMessage, list[Action]]] = [
        ("vad", started, [Publish(started), Notify("vad", NextTurn(2))]),
        ("vad", utterance(), [Enqueue("stt", utterance(), TTL_S)]),
        ("stt", transcript(), [Enqueue("llm", Question(1, 0, "Why?"), TTL_S)]),
        (
            "vad",
            ended,
            [Publish(ended), Publish(transcript()), Notify("tts", TurnEnded(1, 0, 100.0, 100.0))],
        ),
        ("llm", token, [Publish(token)]),
        ("llm", made, [Publish(made), Enqueue("tts", sentence(0, "Because.", last=True))]),
        (
            "tts",
            PlaybackStarted(1, 103.0),
            [Publish(PlaybackStarted(1, 103.0)), Notify("vad", PlaybackStarted(1, 103.0))],
        ),
        ("tts", Spoken(1, 0, 0, 0.5), [Publish(Spoken(1, 0, 0, 0.5))]),
        (
            "tts",
            Spoken(1, 0, 0, 1.0),
            [
                Publish(Spoken(1, 0, 0, 1.0)),
                Publish(TurnFinished(1, 100.0, "answered")),
                Notify("vad", TurnFinished(1, 100.0, "answered")),
                Enqueue("llm", Prefill((Exchange("Why?", "Because."),), "", 1)),
            ],
        ),
    ]
    for stage, message, actions in steps:
        assert room.fact(stage, message) == actions, message
    assert room.turns.turns() == []
    assert room.history() == (Exchange("Why?", "Because."),)


def test_the_answer_is_begun_before_the_turn_ends_and_shown_after(room: Room) -> None:
    room.starts()
    room.pauses()
    room.is_understood()
    room.answers("One.", "Two.")
    assert room.work(Sentence) == [sentence(1, "Two.", last=True)]
    assert [type(message) for message in room.published] == [SpeechStarted, SpeechPaused]
    room.ends()
    kinds = [type(message).__name__ for message in room.published[2:]]
    assert kinds == ["TurnEnded", "Transcript", *["Token", "Sentence"] * 2]
    assert Notify("tts", TurnEnded(1, 0, 100.0, 100.0)) in room.actions


def test_going_on_after_a_pause_makes_all_before_it_stale(room: Room) -> None:
    room.starts()
    room.pauses()
    room.is_understood(text="What is")
    room.answers("Half an answer.", last=False)
    room.resumes()
    assert room.actions == [CancelWork(1, 0), Publish(SpeechResumed(1, 1))]
    room.fact("stt", transcript(1, 0, "What is"))
    room.answers("More of it.", first=1)
    room.fact("tts", Spoken(1, 0, 0, 1.0))
    assert room.actions == []
    room.pauses(revision=1)
    room.is_understood(revision=1, text="What is the moon?")
    assert room.work(Question) == [Question(1, 1, "What is the moon?")]
    room.answers("A rock.", revision=1)
    room.ends(revision=1)
    room.is_heard(0, revision=1)
    shown = [m for m in room.published if isinstance(m, Transcript | Token | Sentence)]
    assert [m.revision for m in shown] == [1, 1, 1]
    assert room.history() == (Exchange("What is the moon?", "A rock."),)


def test_watchers_see_pauses_and_work_of_stale_revisions_too(room: Room) -> None:
    room.starts()
    room.fact("vad", msgspec.structs.replace(utterance(), at_s=1.1))
    room.resumes()
    work = Worked("stt", 1, 0, 1.1, 1.3, 1.3)
    room.fact("stt", work)
    gap = Gap(1, 1, 40, 3.0)
    room.fact("tts", gap)
    assert room.published[1:] == [SpeechPaused(1, 0, 1.0, 1.1), SpeechResumed(1, 1), work, gap]
    room.asks(7, Ask("Why?"))
    room.fact("llm", Worked("llm", 2, 0, 1.0, 2.0, 3.0))
    assert len(room.published) == 5  # of a client's work nobody else is told


@pytest.mark.parametrize(
    ("said", "at_once", "with_sound"),
    [
        ("Where is the moon?", None, 280),  # whole: as soon as there is an answer, and not before
        ("What is the", 1050, None),  # they will go on
        ("Set a timer", 1050, None),  # without a mark it went on
        ("How many legs?", None, None),  # one cannot tell
        ("", None, None),
    ],
)
def test_how_a_transcript_reads_decides_how_long_a_silence_ends_the_turn(
    room: Room, said: str, at_once: int | None, with_sound: int | None
) -> None:
    def wanted_ms() -> list[int]:
        notices = [action.message for action in room.actions if isinstance(action, Notify)]
        return [message.duration_ms for message in notices if isinstance(message, Hangover)]

    room.starts()
    room.pauses()
    room.is_understood(text=said)
    assert wanted_ms() == ([at_once] if at_once else [])
    room.fact("tts", SoundReady(1, 0))
    assert wanted_ms() == ([with_sound] if with_sound else [])
    room.resumes()
    room.fact("tts", SoundReady(1, 0))
    assert wanted_ms() == []
    room.pauses(revision=1)
    room.fact("tts", SoundReady(1, 1))  # of words that are not known yet: it cannot be
    assert wanted_ms() == []
    room.ends(revision=1)
    room.is_understood(revision=1, text="What is the")
    assert wanted_ms() == []  # it is over


def test_the_hangover_is_what_the_settings_say() -> None:
    room = Room()
    room.turns = Turns(Config(vad=Vad(hangover_ms=2100)))
    room.turns.stage_joined("vad")
    room.starts()
    room.pauses()
    room.is_understood(text="What is the")
    assert Notify("vad", Hangover(1, 0, 3150)) in room.actions


def test_vad_is_told_when_it_no_longer_pays_to_begin_early(room: Room) -> None:
    room.turns.speculation.pays = False
    room.starts()
    assert Notify("vad", NextTurn(2, speculate=False)) in room.actions


def test_what_was_said_is_read_when_nobody_asks(room: Room) -> None:
    room.speaks()
    room.answers("Because.")
    room.asks(7, Ask("And?"))
    room.is_heard(0)
    assert room.work(Prefill) == []  # a question is being answered
    room.answers("So.", turn=3)
    assert room.work(Prefill) == [Prefill((Exchange("And?", "So. "),), "", 1)]
    room.note(room.turns.client_left(7))
    assert room.actions == [
        CancelWork(0, 1),
        Enqueue("llm", Prefill((Exchange("Why?", "Because."),), "", 2)),
    ]
    room.note(room.turns.client_left(8))
    assert room.actions == []  # it had not asked anything
    room.note(room.turns.stage_left("llm", room.now_s))
    room.asks(8, Ask("Now?"))
    assert room.work(Question) == [Question(4, 0, "Now?")]
    room.answers("Yes.", turn=4)
    assert room.work(Prefill) == []  # there is no worker that could
    room.note(room.turns.stage_ready("llm", room.now_s))
    assert room.work(Prefill) == [Prefill((Exchange("Why?", "Because."),), "", 3)]
    assert room.turns.again(room.work(Prefill)[0]) is None


def test_the_language_model_reads_how_the_question_begins(room: Room) -> None:
    so_far = msgspec.structs.replace(utterance(), so_far=True)
    room.starts()
    assert room.fact("vad", so_far) == [Enqueue("stt", so_far)]
    begun = msgspec.structs.replace(transcript(text="What is the cap"), so_far=True)
    assert room.fact("stt", begun) == [Enqueue("llm", Prefill((), "What is the", 1))]
    assert room.fact("stt", msgspec.structs.replace(begun, text="What")) == []
    room.pauses()
    room.is_understood(text="What is the moon?")
    assert room.actions == [CancelWork(0, 1), Enqueue("llm", Question(1, 0, "What is the moon?"), TTL_S)]
    assert room.fact("stt", begun) == [], "the whole is known already"
    room.resumes()
    room.fact("vad", msgspec.structs.replace(so_far, revision=1))
    assert room.fact("stt", begun) == [], "stale"
    room.ends(revision=1)
    assert room.fact("vad", msgspec.structs.replace(so_far, revision=1)) == []
    assert [type(message) for message in room.published] == [
        SpeechStarted,
        SpeechPaused,
        SpeechResumed,
        TurnEnded,
    ]


def test_one_beginning_is_read_at_a_time_and_only_while_nothing_else_is(room: Room) -> None:
    so_far = msgspec.structs.replace(utterance(), so_far=True)
    begun = msgspec.structs.replace(transcript(text="What is the cap"), so_far=True)
    read = [Enqueue("stt", so_far)]
    room.starts()
    assert room.fact("vad", so_far) == read
    assert room.fact("vad", so_far) == [], "one is being read"
    room.fact("stt", begun)
    assert room.fact("vad", so_far) == read
    room.fact("stt", Failure("stt", 1, 0, "A defect."))
    assert not room.turns.turns()[0].failure, "the whole may yet be read"
    assert room.fact("vad", so_far) == read
    room.note(room.turns.stage_left("stt", room.now_s))
    assert room.fact("vad", so_far) == [], "nobody could"
    room.note(room.turns.stage_ready("stt", room.now_s))
    room.asks(7, Recognise(PCM, 16_000, 100))
    assert room.fact("vad", so_far) == [], "a client waits"
    room.fact("stt", transcript(3, text="Words."))
    assert room.fact("vad", so_far) == read
    room.pauses()
    assert room.fact("vad", so_far) == [], "the whole is to be read"


@pytest.mark.parametrize(("took_s", "hurry"), [(0.5, True), (2.0, False)])
def test_a_slow_model_is_not_asked_to_hurry(room: Room, took_s: float, hurry: bool) -> None:
    room.speaks()
    for _ in range(8):
        room.fact("llm", Token(1, 0, "word ", room.now_s))
    room.fact("llm", Worked("llm", 1, 0, 1.0, 2.0, 2.0 + took_s))
    room.answers("Because.")
    room.is_heard(0)
    room.speaks(2)
    room.starts(3)
    room.pauses(3)
    room.is_understood(3)
    asked = [q for q in room.work(Question) if isinstance(q, Question)]
    room.note(room.turns.stage_left("llm", room.now_s))
    room.answers("So.", turn=2)
    room.is_heard(0, turn=2)
    asked += [q for q in room.work(Question) if isinstance(q, Question)]
    assert [q.hurry for q in asked] == [hurry]
    again = room.turns.again(asked[0])
    assert isinstance(again, Question)
    assert again.hurry is hurry, "a successor cuts the answer at the same places"


def test_prefilling_that_is_over_needs_no_cancelling(room: Room) -> None:
    room.speaks()
    room.answers("Because.")
    room.is_heard(0)
    assert len(room.work(Prefill)) == 1
    room.fact("llm", Worked("llm", 0, 1, 1.0, 2.0, 2.0))
    room.asks(7, Ask("And?"))
    assert room.actions == [Tell(7, TurnAccepted(3)), Enqueue("llm", Question(3, 0, "And?"))]


def test_nobody_waits_for_what_was_said_so_far(room: Room) -> None:
    room.starts()
    so_far = msgspec.structs.replace(utterance(), so_far=True)
    assert room.turns.again(so_far) is None
    assert room.note(room.turns.set_aside("stt", so_far, room.now_s)) == []
    assert room.note(room.turns.lost("stt", so_far, "The queue is full.", room.now_s)) == []
    room.pauses()
    room.is_understood()
    room.ends()
    assert not room.turns.turns()[0].failure


def test_how_a_question_begins_matters_only_to_who_has_the_floor(room: Room) -> None:
    room.speaks()
    room.starts(2)
    begun = msgspec.structs.replace(transcript(2, text="What is the cap"), so_far=True)
    assert room.fact("stt", begun) == []


def test_vad_is_told_how_often_to_look_once_it_is_known_how_long_reading_takes(room: Room) -> None:
    assert room.fact("stt", Worked("stt", 0, 0, 1.0, 1.0625, 1.0625)) == [
        Notify("vad", NextTurn(1, look_every_ms=500))
    ]
    room.starts()
    room.pauses()
    room.fact("stt", Worked("stt", 1, 0, 1.0, 1.25, 1.25))
    room.is_understood()
    room.ends()
    assert Notify("vad", NextTurn(2, settled=1000, look_every_ms=1250)) in room.actions


def test_an_utterance_alone_moves_the_revision(room: Room) -> None:
    """The news that the person went on may have died with vad."""
    room.starts()
    room.pauses()
    room.pauses(revision=1)
    assert room.actions == [CancelWork(1, 0), Enqueue("stt", utterance(1, 1), TTL_S)]
    room.pauses(revision=0)
    assert room.actions == []


def test_a_transcript_may_come_after_the_end(room: Room) -> None:
    room.starts()
    room.pauses()
    room.ends()
    room.is_understood()
    assert room.actions == [Publish(transcript()), Enqueue("llm", Question(1, 0, "Why?"), TTL_S)]


@pytest.mark.parametrize("text", ["", "   ", "\x00\u200b"])
@pytest.mark.parametrize("before_the_end", [True, False])
def test_nothing_understood_is_nothing_asked(room: Room, text: str, before_the_end: bool) -> None:
    room.starts()
    room.pauses()
    steps: list[Callable[[], None]] = [lambda: room.is_understood(text=text), room.ends]
    for step in steps if before_the_end else reversed(steps):
        assert room.finished() == []
        step()
    assert room.finished() == [(1, "nothing")]
    assert room.turns.turns() == []
    assert room.history() == ()


def test_a_noise_is_forgotten(room: Room) -> None:
    room.starts()
    room.fact("vad", SpeechDropped(1, settled=500))
    assert room.finished() == [(1, "nothing")]
    assert room.turns.turns() == []


@pytest.mark.parametrize("words", [False, True])
def test_the_log_has_words_only_where_wanted(words: bool, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    room = Room()
    room.turns = Turns(Config(log=Log(words=words)))
    room.turns.stage_joined("vad")
    room.speaks()
    room.answers("Because.")
    room.is_heard(0)
    assert room.finished() == [(1, "answered")]
    assert "turn 1 answered" in caplog.text
    assert ("Why?" in caplog.text, "Because." in caplog.text) == (words, words)


def test_speech_that_crosses_the_end_of_an_orphaned_turn_is_a_turn_of_its_own(room: Room) -> None:
    """vad's successor begins the open turn anew just when the daemon has given it up."""
    room.starts()
    room.note(room.turns.stage_left("vad", room.now_s))
    room.note(room.turns.tick(room.now_s + 60))
    room.is_heard(0, revision=1)  # the apology
    assert room.finished() == [(1, "failed")]
    room.starts()
    room.pauses()
    room.ends()
    room.is_understood()
    assert room.work(Question) == [Question(1, 0, "Why?")]


def test_only_the_number_given_out_begins_a_turn(room: Room) -> None:
    room.starts(5)
    assert room.actions == []
    room.starts(1)
    room.starts(1)
    assert room.actions == []
    assert len(room.turns.turns()) == 1


def test_a_second_transcript_of_a_revision_is_ignored(room: Room) -> None:
    room.speaks()
    room.is_understood(text="Something else?")
    assert room.actions == []


def test_tts_gets_a_few_sentences_at_a_time(room: Room) -> None:
    room.speaks()
    texts = [f"Sentence {number}." for number in range(6)]
    room.answers(*texts)
    offered = SENTENCES_AHEAD
    for index in range(6):
        room.is_heard(index)
        expected = [sentence(offered, texts[offered], offered == 5)] if offered < 6 else []
        assert room.work(Sentence) == expected
        offered += len(expected)
    assert room.finished() == [(1, "answered")]


def test_the_end_may_be_told_by_an_empty_sentence(room: Room) -> None:
    room.speaks()
    room.answers("One.", last=False)
    room.is_heard(0)
    assert room.finished() == []
    room.fact("llm", Sentence(1, 0, 1, "", last=True))
    assert room.finished() == [(1, "answered")]


def test_no_answer_at_all_is_apologised_for(room: Room) -> None:
    room.speaks()
    room.fact("llm", Sentence(1, 0, 0, "", last=True))
    assert room.work(Sentence) == [sentence(0, APOLOGY, last=True, revision=1)]
    room.is_heard(0, revision=1)
    assert room.finished() == [(1, "failed")]


def test_what_was_heard_of_a_sentence_never_goes_back(room: Room) -> None:
    room.speaks()
    room.answers("One two three four.")
    for fraction in (0.5, 0.25):
        room.is_heard(0, fraction)
    (turn,) = room.turns.turns()
    assert turn.fraction == 0.5
    room.is_heard(3)  # a sentence that was never made
    assert turn.finished_sentences == 0


def test_the_microphones_end_is_an_event(room: Room) -> None:
    assert room.fact("vad", MicrophoneEnded()) == [Publish(MicrophoneEnded())]


# ---------------------------------------------------------------- turns in line


def test_the_second_turn_is_asked_when_the_first_is_over_and_knows_of_it(room: Room) -> None:
    room.speaks(1)
    room.answers("One.", "Two.")
    room.speaks(2)
    assert room.work(Question) == []
    room.is_heard(0)
    room.is_heard(1)
    assert room.work(Question) == [Question(2, 0, "Why?", (Exchange("Why?", "One. Two."),))]
    assert room.finished() == [(1, "answered")]


def test_a_turn_without_words_does_not_hold_up_the_line(room: Room) -> None:
    room.starts(1)
    room.pauses(1)
    room.ends(1)
    room.speaks(2)
    room.is_understood(1, text="")
    assert room.work(Question) == [Question(2, 0, "Why?")]


def test_a_question_that_waited_too_long_in_line_is_not_answered(room: Room) -> None:
    room.speaks(1)
    room.answers("One.")
    room.speaks(2)
    room.now_s += TTL_S + 1
    room.speaks(3)
    room.is_heard(0)
    assert room.finished() == [(1, "answered"), (2, "failed")]
    assert room.work(Question) == [Question(3, 0, "Why?", (Exchange("Why?", "One."),))]


def test_spoken_requests_stand_in_the_same_line(room: Room) -> None:
    room.speaks(1)
    room.answers("One.")
    room.asks(7, Say("Announcement.", to_client=False))
    assert room.told(7) == [TurnAccepted(3)]
    assert room.work(Sentence) == []
    room.is_heard(0)
    assert room.work(Sentence) == [sentence(0, "Announcement.", last=True, turn=3)]
    room.is_heard(0, turn=3)
    assert room.told(7) == [TurnFinished(3, 100.0, "answered")]
    assert room.history() == (Exchange("Why?", "One."),)


# ---------------------------------------------------------------- workers die


def test_a_new_worker_goes_on_with_the_answer_behind_what_was_made(room: Room) -> None:
    room.speaks()
    question = Question(1, 0, "Why?")
    assert room.turns.again(question) == question
    room.fact("llm", Token(1, 0, "One. Tw", 0.0))
    room.fact("llm", Sentence(1, 0, 0, "One.", last=False))
    renewed = room.turns.again(question)
    assert renewed == msgspec.structs.replace(question, answer_so_far="One. Tw", next_sentence=1)
    room.fact("llm", Sentence(1, 0, 0, "One.", last=False))
    assert room.actions == []  # said already
    room.fact("llm", Token(1, 0, "o.", 0.0))
    room.fact("llm", Sentence(1, 0, 1, "Two.", last=True))
    assert room.turns.again(question) is None  # died between its last word and the acknowledgement
    room.is_heard(0)
    room.is_heard(1)
    assert room.history() == (Exchange("Why?", "One. Two."),)


def test_a_new_worker_goes_on_in_mid_sentence(room: Room) -> None:
    room.speaks()
    room.answers("One two.", "Three four.")
    room.is_heard(0)
    room.is_heard(1, 0.4)
    first, second = sentence(0, "One two.", last=False), sentence(1, "Three four.", last=True)
    assert room.turns.again(first) is None
    assert room.turns.again(second) == msgspec.structs.replace(second, heard_fraction=0.4)
    room.note(room.turns.stage_joined("tts"))
    assert room.actions == [Notify("tts", TurnEnded(1, 0, 100.0, 100.0))]
    room.fact("tts", PlaybackStarted(1, 105.0))
    assert room.actions == []  # the answer sounded before
    room.is_heard(1)
    assert room.finished() == [(1, "answered")]
    assert room.turns.again(second) is None


def test_what_is_stale_or_understood_is_not_worked_on_again(room: Room) -> None:
    room.starts()
    room.pauses()
    assert room.turns.again(utterance()) == utterance()
    room.is_understood()
    assert room.turns.again(utterance()) is None
    room.pauses(revision=1)
    assert room.turns.again(utterance()) is None
    assert room.turns.again(Question(1, 0, "Why?")) is None
    assert room.turns.again(utterance(1, 1)) == utterance(1, 1)
    assert room.turns.again(utterance(9)) is None


def test_a_release_is_not_given_for_a_turn_that_still_goes_on(room: Room) -> None:
    room.starts()
    room.pauses()
    assert room.turns.stage_joined("tts") == []


@pytest.mark.parametrize(
    ("stage", "message"),
    [("stt", utterance()), ("llm", Question(1, 0, "Why?")), ("tts", sentence(0, "One.", last=False))],
)
@pytest.mark.parametrize("before_the_end", [True, False])
def test_what_is_set_aside_is_apologised_for(
    room: Room, stage: Stage, message: AnyMessage, before_the_end: bool
) -> None:
    room.starts()
    room.pauses()
    if not before_the_end:
        room.ends()
    if stage != "stt":
        room.is_understood()
    if stage == "tts":
        room.answers("One.", "Two.", last=False)
    room.note(room.turns.set_aside(stage, message, room.now_s))
    if before_the_end:
        assert room.work(Sentence) == []  # the person may still say something that works
        room.ends()
    assert CancelWork(1, 0) in room.actions
    assert room.work(Sentence) == [sentence(0, APOLOGY, last=True, revision=1)]
    assert Notify("tts", TurnEnded(1, 1, 100.0, 100.0)) in room.actions
    room.is_heard(0, revision=1)
    assert room.finished() == [(1, "failed")]
    assert room.history() == ()


def test_an_apology_that_is_set_aside_too_is_the_end_of_it(room: Room) -> None:
    room.speaks()
    room.turns.set_aside("llm", Question(1, 0, "Why?"), room.now_s)
    apology = sentence(0, APOLOGY, last=True, revision=1)
    room.note(room.turns.set_aside("tts", apology, room.now_s))
    assert room.finished() == [(1, "failed")]
    assert room.work(Sentence) == []
    assert room.turns.turns() == []


def test_setting_aside_work_whose_effect_has_happened_is_no_failure(room: Room) -> None:
    room.speaks()
    room.answers("One.")
    assert room.turns.set_aside("stt", utterance(), room.now_s) == []
    assert room.turns.set_aside("llm", Question(1, 0, "Why?"), room.now_s) == []
    room.is_heard(0)
    assert room.finished() == [(1, "answered")]
    assert room.turns.set_aside("tts", sentence(0, "One.", last=True), room.now_s) == []


def test_a_person_who_goes_on_makes_good_what_was_set_aside(room: Room) -> None:
    room.starts()
    room.pauses()
    room.turns.set_aside("stt", utterance(), room.now_s)
    room.resumes()
    room.pauses(revision=1)
    room.is_understood(revision=1)
    room.ends(revision=1)
    room.answers("One.", revision=1)
    room.is_heard(0, revision=1)
    assert room.finished() == [(1, "answered")]


def test_an_answer_cut_off_leaves_what_was_heard_in_the_history(room: Room) -> None:
    room.speaks()
    room.answers("One two three four.", "Five six seven eight.", "Nine.", last=False)
    room.is_heard(0)
    room.is_heard(1, 0.5)
    room.note(room.turns.set_aside("tts", sentence(1, "Five six seven eight.", last=False), room.now_s))
    assert room.history() == (Exchange("Why?", "One two three four. Five six", cut_off=True),)
    room.is_heard(0, revision=1)
    assert room.finished() == [(1, "failed")]
    assert len(room.history()) == 1


# ---------------------------------------------------------------- vad dies in mid-turn


def test_vads_successor_takes_the_open_turn_up(room: Room) -> None:
    room.starts()
    room.pauses()
    room.is_understood(text="What is")
    assert room.turns.stage_left("vad", room.now_s) == []
    assert room.turns.stage_joined("vad") == [Notify("vad", NextTurn(1, revision=1))]
    room.turns.stage_ready("vad", room.now_s)
    room.starts(1)
    assert room.actions == [Notify("vad", NextTurn(2))]
    assert room.turns.tick(room.now_s + 100) == []  # it goes on as long as the person speaks
    room.pauses(revision=1)
    assert room.actions[0] == CancelWork(1, 0)
    room.is_understood(revision=1, text="What is the moon?")
    room.ends(revision=1)
    assert [m.text for m in room.published if isinstance(m, Transcript)] == ["What is the moon?"]
    assert len([m for m in room.published if isinstance(m, SpeechStarted)]) == 1


@pytest.mark.parametrize("paused", [True, False])
@pytest.mark.parametrize("comes_back", [True, False])
def test_an_orphaned_turn_ends_by_itself(room: Room, paused: bool, comes_back: bool) -> None:
    room.starts()
    if paused:
        room.pauses()
        room.is_understood()
    room.turns.stage_left("vad", room.now_s)
    patience_s = VAD_BACK_WITHIN_S
    if comes_back:
        room.turns.stage_joined("vad")
        room.turns.stage_ready("vad", room.now_s)
        patience_s = VAD_RESUMES_WITHIN_S
    assert room.turns.tick(room.now_s + patience_s - 0.1) == []
    room.note(room.turns.tick(room.now_s + patience_s))
    assert Notify("vad", NextTurn(2)) in room.actions
    if paused:
        assert isinstance(room.published[-2], TurnEnded)
        room.answers("Because.")
        room.is_heard(0)
    else:  # nobody knows what was said
        assert room.work(Sentence) == [sentence(0, APOLOGY, last=True, revision=1)]
        room.is_heard(0, revision=1)
    assert room.finished() == [(1, "answered" if paused else "failed")]
    room.speaks(2)
    assert room.work(Question) == []
    assert len(room.turns.turns()) == 1


def test_a_noise_after_the_question_does_not_lose_it(room: Room) -> None:
    """Vad died behind the tentative pause; its successor takes a noise for the turn's continuation."""
    room.starts()
    room.pauses()
    room.is_understood()
    room.turns.stage_left("vad", room.now_s)
    room.turns.stage_joined("vad")
    room.starts(1)
    room.fact("vad", SpeechDropped(1))
    assert room.finished() == []
    room.answers("Because.")
    room.is_heard(0)
    assert room.finished() == [(1, "answered")]


@pytest.mark.parametrize("open_before", [True, False])
@pytest.mark.parametrize("then", ["dropped", "read as nothing", "read as nothing late", "understood"])
def test_half_a_question_is_answered_or_apologised_for(room: Room, open_before: bool, then: str) -> None:
    """Vad died while somebody spoke, perhaps before it had said so; its successor hears the rest."""
    if open_before:
        room.starts()
    room.turns.stage_left("vad", room.now_s)
    room.turns.stage_joined("vad")
    room.turns.stage_ready("vad", room.now_s)
    revision = 1 if open_before else 0
    room.starts()
    if then == "dropped":
        room.fact("vad", SpeechDropped(1))
    else:
        room.pauses(revision=revision)
        if then == "read as nothing late":
            room.ends(revision=revision)
        room.is_understood(revision=revision, text="Why?" if then == "understood" else "")
        if then != "read as nothing late":
            room.ends(revision=revision)
    if then == "understood":
        room.answers("Because.", revision=revision)
        room.is_heard(0, revision=revision)
    else:
        revision = 1 if then == "dropped" else revision + 1
        assert room.work(Sentence) == [sentence(0, APOLOGY, last=True, revision=revision)]
        room.is_heard(0, revision=revision)
    assert room.finished() == [(1, "answered" if then == "understood" else "failed")]


def test_a_noise_later_than_that_is_one(room: Room) -> None:
    room.turns.stage_left("vad", room.now_s)
    room.turns.stage_ready("vad", room.now_s)
    room.now_s += TORN_WITHIN_S
    room.starts()
    room.fact("vad", SpeechDropped(1))
    assert room.finished() == [(1, "nothing")]


def test_the_successor_knows_what_is_settled_and_what_sounds(room: Room) -> None:
    room.speaks(1)
    room.answers("One.")
    room.is_heard(0, 0.5)
    room.turns.stage_left("vad", room.now_s)
    assert room.turns.stage_joined("vad") == [
        Notify("vad", NextTurn(2, 0, settled=1000)),
        Notify("vad", PlaybackStarted(1, 100.0)),
    ]
    room.fact("vad", SpeechDropped(99, settled=5000))  # of a turn that is over: heard all the same
    assert room.turns.stage_joined("vad")[0] == Notify("vad", NextTurn(2, 0, settled=5000))


def test_a_turn_that_failed_while_open_does_not_come_back_to_life(room: Room) -> None:
    room.starts()
    room.asks(7, ForgetConversation())
    room.note(room.turns.lost("stt", utterance(), "it was pushed out", room.now_s))
    assert room.finished() == []
    room.turns.stage_left("vad", room.now_s)
    room.note(room.turns.tick(room.now_s + VAD_BACK_WITHIN_S))
    room.is_heard(0, revision=1)  # the apology
    assert room.finished() == [(1, "failed")]
    assert room.turns.tick(room.now_s + 2 * VAD_BACK_WITHIN_S) == []


# ---------------------------------------------------------------- too old, unusable, failing


def test_a_question_that_is_too_old_fails_in_silence(room: Room) -> None:
    room.speaks()
    room.note(room.turns.lost("llm", Question(1, 0, "Why?"), "it waited.", room.now_s))
    assert CancelWork(1, EVERY_REVISION) in room.actions
    assert room.work(Sentence) == []
    reason = "The llm stage did not get to it: it waited."
    assert Publish(TurnFinished(1, 100.0, "failed", reason)) in room.actions


def test_losing_what_is_stale_changes_nothing(room: Room) -> None:
    room.starts()
    room.pauses()
    room.pauses(revision=1)
    assert room.turns.lost("stt", utterance(), "it waited", room.now_s) == []
    assert room.turns.lost("stt", utterance(9), "it waited", room.now_s) == []


def test_sound_that_was_lost_while_the_person_speaks_is_apologised_for(room: Room) -> None:
    room.starts()
    room.pauses()
    assert room.turns.lost("stt", utterance(), "newer sound took its place", room.now_s) == []
    room.ends()
    assert room.work(Sentence) == [sentence(0, APOLOGY, last=True, revision=1)]


@pytest.mark.parametrize("stage", ["stt", "llm"])
def test_an_unusable_stage_is_apologised_for_once(room: Room, stage: Stage) -> None:
    room.starts()
    room.pauses()
    if stage == "llm":
        room.is_understood()
    room.note(room.turns.stage_unusable(stage, "There is no model.", room.now_s))
    assert room.actions == []
    room.ends()
    assert room.work(Sentence) == [sentence(0, APOLOGY, last=True, revision=1)]
    for _ in range(3):
        assert room.turns.tick(room.now_s) == []  # nor does the apology begin again and again
    room.is_heard(0, revision=1)
    assert room.published[-1] == TurnFinished(1, 100.0, "failed", "There is no model.")


def test_where_nothing_works_the_turn_ends_all_the_same(room: Room) -> None:
    room.turns.stage_unusable("stt", "There is no model.", room.now_s)
    room.turns.stage_unusable("tts", "There is no speaker.", room.now_s)
    room.starts()
    room.pauses()
    room.ends()
    for _ in range(3):
        room.note(room.turns.tick(room.now_s))
    assert room.finished() == [(1, "failed")]


def test_without_a_voice_the_answer_can_still_be_read(room: Room) -> None:
    room.turns.stage_unusable("tts", "There is no speaker.", room.now_s)
    room.speaks()
    room.answers("One.", last=False)
    assert room.turns.tick(room.now_s) == []
    room.answers("Two.", first=1)
    room.note(room.turns.tick(room.now_s))
    assert room.published[-1] == TurnFinished(1, 100.0, "failed", "There is no speaker.")
    assert [m.text for m in room.published if isinstance(m, Sentence)] == ["One.", "Two."]
    room.turns.stage_ready("tts", room.now_s)
    room.speaks(2)
    room.answers("Three.", turn=2)
    room.is_heard(0, turn=2)
    assert room.finished() == [(1, "failed"), (2, "answered")]


@pytest.mark.parametrize("stages", [("tts", "llm"), ("tts",)])
def test_a_voice_that_fails_before_the_end_never_leaves_the_turn_hanging(
    room: Room, stages: tuple[Stage, ...]
) -> None:
    room.starts()
    room.pauses()
    room.is_understood()
    room.answers("One.", last="llm" not in stages)
    for stage in stages:
        room.fact(stage, Failure(stage, 1, 0, "It broke."))
    room.ends()
    if "llm" in stages:
        assert room.work(Sentence) == [sentence(0, APOLOGY, last=True, revision=1)]
        room.fact("tts", Failure("tts", 1, 1, "It is still broken."))
    assert room.finished() == [(1, "failed")]


def test_a_voice_that_failed_for_a_stale_revision_speaks_the_next(room: Room) -> None:
    room.starts()
    room.pauses()
    room.is_understood()
    room.answers("One.")
    room.fact("tts", Failure("tts", 1, 0, "It broke."))
    room.resumes()
    room.pauses(revision=1)
    room.is_understood(revision=1)
    room.answers("Two.", revision=1)
    assert room.work(Sentence) == [sentence(0, "Two.", last=True, revision=1)]


def test_a_late_failure_of_a_stale_revision_is_ignored(room: Room) -> None:
    room.starts()
    room.pauses()
    room.is_understood()
    room.resumes()
    room.fact("llm", Failure("llm", 1, 0, "It broke."))
    room.pauses(revision=1)
    room.ends(revision=1)
    room.is_understood(revision=1)
    room.answers("Two.", revision=1)
    assert room.work(Sentence) == [sentence(0, "Two.", last=True, revision=1)]


@pytest.mark.parametrize("stage", ["stt", "llm"])
def test_a_failure_is_apologised_for(room: Room, stage: Stage) -> None:
    room.starts()
    room.pauses()
    room.ends()
    if stage == "llm":
        room.is_understood()
    room.fact(stage, Failure(stage, 1, 0, "A defect."))
    assert room.work(Sentence) == [sentence(0, APOLOGY, last=True, revision=1)]
    room.fact(stage, Failure(stage, 1, 0, "Another defect."))
    assert room.actions == []  # of the answer that was given up already
    room.is_heard(0, revision=1)
    assert room.published[-1] == TurnFinished(1, 100.0, "failed", "A defect.")


def test_a_failing_voice_ends_the_apology(room: Room) -> None:
    room.speaks()
    room.fact("llm", Failure("llm", 1, 0, "A defect."))
    room.fact("tts", Failure("tts", 1, 1, "No speaker."))
    assert room.finished() == [(1, "failed")]


# ---------------------------------------------------------------- clients


def test_a_typed_question(room: Room) -> None:
    room.asks(7, Ask(" Why?\x00 "))
    assert room.actions == [Tell(7, TurnAccepted(2)), Enqueue("llm", Question(2, 0, "Why?"))]
    token, last = Token(2, 0, "Because.", 1.0), Sentence(2, 0, 0, "Because.", last=True)
    assert room.fact("llm", token) == [Tell(7, token)]
    talk = (Exchange("Why?", "Because."),)
    finished = Tell(7, TurnFinished(2, 100.0, "answered"))
    assert room.fact("llm", last) == [Tell(7, last), finished, Enqueue("llm", Prefill(talk, "", 1))]
    room.asks(7, Ask("And?"))
    assert room.work(Question) == [Question(3, 0, "And?", talk)]
    room.asks(8, Ask("And?"))
    assert room.work(Question) == [Question(4, 0, "And?")]  # a conversation of its own
    room.asks(7, ForgetConversation())
    room.asks(7, Ask("And?"))
    assert room.work(Question) == [Question(5, 0, "And?")]
    assert room.published == []


def test_text_spoken_to_a_client(room: Room) -> None:
    room.asks(7, Say("One is here. Two is here.", to_client=True))
    parts = room.work(Sentence)
    assert [getattr(part, "text", "") for part in parts] == ["One is here.", "Two is here."]
    assert all(isinstance(part, Sentence) and part.to_client for part in parts)
    sounds = [Speech(2, index, PCM, 22_050, index == 1) for index in range(2)]
    assert room.fact("tts", sounds[0]) == [Tell(7, sounds[0])]
    assert room.fact("tts", sounds[0]) == []  # again, by a successor
    assert room.turns.again(parts[0]) is None
    assert room.fact("tts", sounds[1]) == [Tell(7, sounds[1]), Tell(7, TurnFinished(2, 100.0, "answered"))]


def test_a_recording(room: Room) -> None:
    room.asks(7, Recognise(PCM, 16_000, 100))
    sound = Utterance(2, 0, PCM, 16_000, 100, 100.0)
    assert room.actions == [Tell(7, TurnAccepted(2)), Enqueue("stt", sound)]
    heard = transcript(2, text="Words.")
    assert room.fact("stt", heard) == [Tell(7, heard), Tell(7, TurnFinished(2, 100.0, "answered"))]
    assert room.turns.again(sound) is None


@pytest.mark.parametrize(
    "request_",
    [
        Ask(""),
        Ask(" \x00\u200b\n"),
        Say("", to_client=False),
        Say("  ", to_client=True),
        Say("\x00", to_client=False),
    ],
)
def test_a_request_without_words_is_over_at_once(room: Room, request_: AnyMessage) -> None:
    room.asks(7, request_)
    assert room.told(7) == [TurnAccepted(2), TurnFinished(2, 100.0, "nothing")]
    assert room.turns.turns() == []
    room.asks(7, Say("And then?", to_client=False))
    assert len(room.work(Sentence)) == 1


def test_a_client_stops_its_own_turn_and_no_other(room: Room) -> None:
    room.asks(7, Ask("Why?"))
    room.answers("One two.", turn=2, last=False)
    assert room.asks(8, StopTurn(2)) == []
    room.asks(7, StopTurn(2))
    assert room.actions == [
        CancelWork(2, EVERY_REVISION),
        Tell(7, TurnFinished(2, 100.0, "cancelled")),
    ]
    assert room.turns.histories.of(7) == (Exchange("Why?", "One two. ", cut_off=True),)
    assert room.asks(7, StopTurn(2)) == []
    room.speaks(1)
    assert room.asks(7, StopTurn(1)) == []


def test_what_a_client_asked_for_goes_with_it(room: Room) -> None:
    room.asks(7, Ask("Why?"))
    room.asks(7, Say("Hello.", to_client=False))
    room.asks(8, Say("After you.", to_client=False))
    room.note(room.turns.client_left(7))
    assert CancelWork(2, EVERY_REVISION) in room.actions
    assert CancelWork(3, EVERY_REVISION) in room.actions
    assert room.work(Sentence) == [sentence(0, "After you.", last=True, turn=4)]
    assert [turn.client for turn in room.turns.turns()] == [8]
    assert room.turns.histories.of(7) == ()


@pytest.mark.parametrize(
    ("stage", "request_"),
    [("llm", Ask("Why?")), ("tts", Say("Hello.", to_client=True)), ("stt", Recognise(PCM, 16_000, 100))],
)
def test_an_unusable_stage_refuses_at_once(room: Room, stage: Stage, request_: AnyMessage) -> None:
    room.asks(7, request_)
    room.note(room.turns.stage_unusable(stage, "There is no model.", room.now_s))
    assert room.told(7) == [TurnFinished(2, 100.0, "failed", "There is no model.")]
    with pytest.raises(AnswerError, match=r"There is no model\."):
        room.asks(7, request_)
    room.turns.stage_ready(stage, room.now_s)
    room.asks(7, request_)
    assert room.told(7) == [TurnAccepted(3)]


@pytest.mark.parametrize("stage", ["llm", "tts", "stt"])
def test_a_clients_turn_fails_with_its_stage(room: Room, stage: Stage) -> None:
    requests: dict[Stage, tuple[AnyMessage, AnyMessage]] = {
        "llm": (Ask("Why?"), Question(2, 0, "Why?")),
        "tts": (Say("Hello.", to_client=True), sentence(0, "Hello.", last=True, turn=2)),
        "stt": (Recognise(PCM, 16_000, 100), utterance(2)),
    }
    asked, work = requests[stage]
    room.asks(7, asked)
    room.note(room.turns.set_aside(stage, work, room.now_s))
    (finished,) = room.told(7)
    assert finished == TurnFinished(
        2, 100.0, "failed", f"The {stage} stage failed twice on this; try it in other words."
    )
    assert room.turns.turns() == []


def test_too_many_turns_are_refused(room: Room) -> None:
    for _ in range(MOST_TURNS):
        room.asks(7, Ask("Why?"))
    with pytest.raises(QueueFull, match=f"{MOST_TURNS} questions wait already"):
        room.asks(8, Ask("Why?"))
    room.asks(7, StopTurn(2))
    room.asks(8, Ask("Why?"))
    assert len(room.work(Question)) == 1


def test_a_client_cannot_play_a_stage(room: Room) -> None:
    with pytest.raises(AnswerError, match="A client cannot send Transcript"):
        room.asks(7, transcript())
    assert room.turns.tick(room.now_s) == []
