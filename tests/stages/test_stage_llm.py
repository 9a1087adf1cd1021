"""The llm stage on a real link, with llama.cpp and the tiny chat model."""

from __future__ import annotations

import time

import pytest
from stage_hub import MemoryDaemon

from assistant.errors import AnswerError
from assistant.messages import AnyMessage, Exchange, Prefill, Question, Sentence, Token, Worked
from assistant.stages.llm import LlmStage

MOON = [
    "The moon goes around the earth.",
    "It takes about one month.",
    "It has no air and no water.",
    "Twelve men walked on it.",
]
ABOUT_THE_MOON = "Tell me about the moon."
LONG_ANSWERS = [ABOUT_THE_MOON, "Tell me a story.", "Tell me a joke."]


class Desk:
    """The stage, and the daemon that gives it questions."""

    def __init__(self) -> None:
        self.daemon = MemoryDaemon()
        self.link = self.daemon.connect("llm")
        self.stage = LlmStage(self.link)
        self.turn = 0

    def ask(self, text: str, so_far: str = "", next_sentence: int = 0) -> list[AnyMessage]:
        """All that the stage makes of a question."""
        self.turn += 1
        question = Question(self.turn, 0, text, (), so_far, next_sentence)
        return self.daemon.have_done("llm", self.stage, self.link, question)

    def ask_and_cancel(self, text: str, after: int) -> list[AnyMessage]:
        """What the stage makes of a question of which, after so many messages, nothing is wanted any more."""
        self.turn += 1
        self.daemon.broker.offer("llm", Question(self.turn, 0, text), ttl_s=60)
        delivery = self.link.receive(0)
        assert delivery is not None
        made: list[AnyMessage] = []
        for message in self.stage.handle(delivery):
            made.append(message)
            if len(made) == after:
                self.daemon.broker.cancel(self.turn, 0)
        return made


@pytest.fixture(scope="module")
def desk() -> Desk:
    return Desk()


def text_of(messages: list[AnyMessage]) -> str:
    return "".join(message.text for message in messages if isinstance(message, Token))


def sentences_of(messages: list[AnyMessage]) -> list[tuple[int, str, bool]]:
    return [(m.index, m.text, m.last) for m in messages if isinstance(m, Sentence)]


def test_an_answer_comes_in_tokens_and_in_sentences(desk: Desk) -> None:
    before_s = time.monotonic()
    made = desk.ask(ABOUT_THE_MOON)
    assert text_of(made) == " ".join(MOON)
    assert sentences_of(made) == [(i, text, i == 3) for i, text in enumerate(MOON)]
    (worked,) = (message for message in made if isinstance(message, Worked))
    assert (worked.stage, worked.turn, worked.revision) == ("llm", desk.turn, 0)
    (first, *_, last) = (message.at_s for message in made if isinstance(message, Token))
    assert before_s <= worked.began_s <= worked.first_s == first <= last <= worked.ended_s
    for message in made:
        if isinstance(message, Worked):
            continue
        assert isinstance(message, Token | Sentence)
        assert (message.turn, message.revision) == (desk.turn, 0)
        assert before_s <= message.at_s <= time.monotonic()
        before_s = message.at_s


def test_a_sentence_goes_out_as_soon_as_it_is_whole(desk: Desk) -> None:
    made = desk.ask(ABOUT_THE_MOON)
    for number, message in enumerate(made):
        if isinstance(message, Sentence) and not message.last:
            written = text_of(made[:number])
            begun = " ".join(MOON[: message.index + 1])
            assert written.startswith(begun)
            assert len(written) <= len(begun) + 4, "the next sentence's first token, no more"


@pytest.mark.parametrize("question", LONG_ANSWERS)
def test_a_successor_goes_on_wherever_its_predecessor_died(desk: Desk, question: str) -> None:
    """Whatever the daemon had got until then, there is nothing twice and nothing missing."""
    whole = desk.ask(question)
    assert len(sentences_of(whole)) > 1
    for cut in range(len(whole)):
        before = whole[:cut]
        after = desk.ask(question, text_of(before), len(sentences_of(before)))
        assert text_of(before) + text_of(after) == text_of(whole), cut
        assert sentences_of(before) + sentences_of(after) == sentences_of(whole), cut


def test_an_answer_without_words_still_has_an_end(desk: Desk) -> None:
    made = desk.ask(" ")
    assert [type(message) for message in made] == [Worked, Sentence]
    assert sentences_of(made) == [(0, "", True)]


def test_of_a_cancelled_question_no_last_sentence_comes(desk: Desk) -> None:
    whole = desk.ask(ABOUT_THE_MOON)
    for after in range(1, len(whole) - 1):
        made = desk.ask_and_cancel(ABOUT_THE_MOON, after)
        assert not any(last for _, _, last in sentences_of(made)), after
        made = [message for message in made if not isinstance(message, Worked)]
        assert len(made) <= after + 1, "a token may have been made already, or completed a sentence"
    assert sentences_of(desk.ask(ABOUT_THE_MOON)) == sentences_of(whole)


def test_a_question_too_long_is_refused_in_a_sentence(desk: Desk) -> None:
    with pytest.raises(AnswerError, match="too long"):
        desk.ask("hello " * 3000)
    desk.daemon.broker.cancel(desk.turn, 0)
    assert text_of(desk.ask("What is the capital of France?")) == "The capital of France is Paris."


def test_the_conversation_so_far_is_read_and_nothing_said(desk: Desk) -> None:
    history = (Exchange("My name is Anna.", "Nice to meet you, Anna."),)
    (worked,) = desk.daemon.have_done("llm", desk.stage, desk.link, Prefill(history, "", 1))
    assert isinstance(worked, Worked)
    assert (worked.stage, worked.turn, worked.revision) == ("llm", 0, 1)
    desk.turn += 1
    question = Question(desk.turn, 0, "What is my name?", history)
    assert text_of(desk.daemon.have_done("llm", desk.stage, desk.link, question)) == "Your name is Anna."


def test_the_conversation_is_known(desk: Desk) -> None:
    desk.turn += 1
    history = (Exchange("My name is Anna.", "Nice to meet you, Anna."),)
    question = Question(desk.turn, 0, "What is my name?", history)
    made = desk.daemon.have_done("llm", desk.stage, desk.link, question)
    assert text_of(made) == "Your name is Anna."
