"""llm: questions in, tokens and sentences out."""

from __future__ import annotations

import time
from collections.abc import Iterator

from assistant.catalogue.locate import locate
from assistant.config import models_folder
from assistant.engines.llama import LlamaEngine
from assistant.messages import AnyMessage, Prefill, Question, Sentence, Token, Worked
from assistant.queues.link import Delivery, Link
from assistant.text.sentences import SentenceSplitter


class LlmStage:
    """Keeps nothing between questions but llama.cpp's cache of the prompt, which only saves time."""

    acknowledges = False

    def __init__(self, link: Link) -> None:
        config = link.config
        located = locate("llm", config.llm.model, models_folder(config))
        self._link = link
        self._engine = LlamaEngine(located.path, config.llm, located.template)
        self._engine.warm()

    def _prefill(self, message: Prefill) -> Iterator[AnyMessage]:
        turn, revision = message.turn, message.revision
        began_s = time.monotonic()
        self._engine.prefill(message.history, message.begun, lambda: self._link.cancelled(turn, revision))
        ended_s = time.monotonic()
        yield Worked("llm", turn, revision, began_s, ended_s, ended_s)

    def handle(self, delivery: Delivery) -> Iterator[AnyMessage]:
        """Sentences go out as soon as they are whole; those that a dead predecessor sent are skipped."""
        question = delivery.message
        if isinstance(question, Prefill):
            yield from self._prefill(question)
            return
        assert isinstance(question, Question)
        turn, revision = question.turn, question.revision

        def cancelled() -> bool:
            return self._link.cancelled(turn, revision)

        began_s = first_s = time.monotonic()
        splitter = SentenceSplitter(hurry=question.hurry)
        ready = splitter.feed(question.answer_so_far)
        index = 0
        for piece in self._engine.answer(question.text, question.history, question.answer_so_far, cancelled):
            at_s = time.monotonic()
            if first_s == began_s:
                first_s = at_s
            yield Token(turn, revision, piece, at_s)
            for text in (*ready, *splitter.feed(piece)):
                if index >= question.next_sentence:
                    yield Sentence(turn, revision, index, text, last=False, at_s=time.monotonic())
                    self._engine.leave_a_core()
                index += 1
            ready = []
        yield Worked("llm", turn, revision, began_s, first_s, time.monotonic())
        if cancelled():
            return
        rest = [*ready, *splitter.end()]
        for left, text in zip(range(len(rest) - 1, -1, -1), rest, strict=True):
            if index >= question.next_sentence:
                yield Sentence(turn, revision, index, text, last=left == 0, at_s=time.monotonic())
            index += 1
        if not rest or index <= question.next_sentence:
            yield Sentence(
                turn, revision, max(index, question.next_sentence), "", last=True, at_s=time.monotonic()
            )
