"""Answers from a language model: a conversation in, the words of the answer out."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from pathlib import Path

from assistant.config import Llm
from assistant.engines import prompts, templates
from assistant.engines.llama_model import LlamaModel, never
from assistant.errors import AnswerError, ModelError
from assistant.messages import Exchange


class LlamaEngine:
    """One language model in memory; answers one question at a time, from one thread.

    `path` is a GGUF file, `template` the chat template that the catalogue knows for it ("" for none).
    Raises `ModelError` where the file cannot be used.
    """

    def __init__(self, path: Path, settings: Llm, template: str) -> None:
        self._settings = settings
        self._model = LlamaModel(path, settings)
        try:
            self._form = self._choose_format(template)
            self._limit = min(settings.max_tokens, self.context_tokens // 2)
            self._room = self.context_tokens - self._limit
            self._system = len(self._model.tokens(prompts.opening(self._form, settings.system_prompt)))
            if self._system > self._room // 2:
                raise ModelError(
                    f"llm.system_prompt in config.toml takes {self._system} tokens, and the model "
                    f"{path.name} has only {self._room} for a whole conversation; make it shorter."
                )
        except BaseException:
            self.close()
            raise

    @property
    def context_tokens(self) -> int:
        """How much text, in tokens, the model sees at once: prompt and answer together."""
        return self._model.context_tokens

    def warm(self) -> None:
        """Evaluate what every conversation begins with, so that the first question need not wait for it."""
        opening = prompts.opening(self._form, self._settings.system_prompt)
        self._model.read(self._model.tokens(opening, self._form.add_bos))

    def prefill(
        self, history: Sequence[Exchange], begun: str = "", cancelled: Callable[[], bool] = never
    ) -> None:
        """Evaluate the conversation so far, and what its next question begins with, as far as that is heard.

        `cancelled` is asked as in `answer`.  Raises `AnswerError` where even that is too long for the model.
        """
        if begun and not self._model.can_be_cut:
            return  # words that turn out to be others could not be taken back
        self._model.leave_a_core(False)
        dropped = self._dropped(history, begun)
        text = prompts.opening(self._form, self._settings.system_prompt) + "".join(
            prompts.past(self._form, past) + self._form.question_before for past in history[dropped:]
        )
        tokens = self._model.tokens(text + prompts.neutralise(begun), self._form.add_bos)
        self._model.read(tokens, cancelled)

    def answer(
        self,
        question: str,
        history: Sequence[Exchange],
        answer_so_far: str = "",
        cancelled: Callable[[], bool] = never,
    ) -> Generator[str, None, None]:
        """The answer, piece by piece as the model makes it; behind `answer_so_far`, if there is any.

        `cancelled` is asked before every token and about 20 times a second inside the prompt; once it says
        yes, the answer ends.  Raises `AnswerError` where the question is too long for the model.
        """
        if self._model.is_closed:
            raise RuntimeError("the engine is closed")
        if not prompts.neutralise(question):
            return
        tokens, stop = self._prompt(question, history, answer_so_far)
        self._model.leave_a_core(False)
        begun = len(self._model.tokens(answer_so_far)) if answer_so_far.strip() else 0
        budget = min(self._limit - begun, self.context_tokens - len(tokens))
        watcher = prompts.StopWatcher(stop)
        # A new answer begins with a word; so does what follows a space.
        strip = not begun or answer_so_far[-1:].isspace()
        for piece in self._model.go_on(tokens, budget, cancelled):
            text = watcher.feed(piece)
            if strip:
                text = text.lstrip()
            if text:
                strip = False
                yield text
            if watcher.stopped:
                return
        if rest := watcher.finish():
            yield rest.lstrip() if strip else rest

    def leave_a_core(self) -> None:
        """Go on with the answer at hand beside the voice, which speaks what there is of it already."""
        self._model.leave_a_core(True)

    def close(self) -> None:
        """Give the memory back.  The engine cannot be used afterwards."""
        self._model.close()

    def _choose_format(self, from_catalogue: str) -> prompts.Format:
        model = self._model
        source = model.metadata("tokenizer.chat_template")
        name = prompts.choose_template(self._settings.template, source, from_catalogue, model.architecture)
        if name == prompts.FROM_GGUF and source:
            return templates.learn(source, model.bos, model.eos)
        return prompts.FORMATS[name]

    def _prompt(
        self, question: str, history: Sequence[Exchange], answer_so_far: str
    ) -> tuple[list[int], tuple[str, ...]]:
        """The tokens of a prompt that fits, and the strings that end the answer."""
        dropped = self._dropped(history, question)
        prompt = prompts.render(
            self._form, self._settings.system_prompt, history[dropped:], question, answer_so_far
        )
        tokens = self._model.tokens(prompt.text, prompt.add_bos)
        if len(tokens) >= self.context_tokens:
            raise AnswerError(
                "The question and the answer so far are too long for the language model; ask anew."
            )
        return tokens, prompt.stop

    def _dropped(self, history: Sequence[Exchange], question: str) -> int:
        """How many of the oldest exchanges have no room; raises `AnswerError` where the question has none."""
        form = self._form
        # One more for each, as pieces counted by themselves can have a token less than they have together.
        exchanges = [
            len(self._model.tokens(prompts.past(form, past) + form.question_before)) + 1 for past in history
        ]
        asked = [*(past.question for past in history), question]
        questions = [len(self._model.tokens(prompts.neutralise(words) + form.generate)) for words in asked]
        return prompts.fit(exchanges, questions, self._system, self._room)
