"""How a conversation is written down for a language model: pure functions on text and token counts.

A chat format is six pieces of fixed text between the words of the people (`Format`), so a prompt is plain
concatenation: it only ever grows at its end, which is what llama.cpp's prefix cache needs, and no template
code runs while questions are answered.  A template that comes inside a model is studied once: `templates`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence

import msgspec

from assistant.errors import AnswerError, ModelError
from assistant.messages import Exchange

log = logging.getLogger(__name__)

FROM_GGUF = "gguf"
"""What `choose_template` says when the template inside the model is to be used."""


class Prompt(msgspec.Struct, frozen=True):
    """Text for the model to go on with; `stop` are the strings that end its answer.

    `add_bos`: the token that begins a text belongs in front, if the model wants one; else the text has its
    own.
    """

    text: str
    stop: tuple[str, ...]
    add_bos: bool


class Format(msgspec.Struct, frozen=True):
    """The fixed text of a chat format, in the order in which it stands in a prompt.

    `begin` comes before the first question where there is no system prompt, `system_before` and
    `system_after` around the system prompt where there is one; a format with no place for it (`None`) has it
    in the first question. `generate` follows the last question; mostly it is `answer_before` without the
    white space at its end.
    """

    begin: str
    system_before: str | None
    system_after: str
    answer_before: str
    question_before: str
    generate: str
    stop: tuple[str, ...]
    add_bos: bool = True


FORMATS = {
    "zephyr": Format(
        begin="<|user|>\n",
        system_before="<|system|>\n",
        system_after="</s>\n<|user|>\n",
        answer_before="</s>\n<|assistant|>\n",
        question_before="</s>\n<|user|>\n",
        generate="</s>\n<|assistant|>\n",
        stop=("</s>", "<|user|>", "<|system|>", "<|assistant|>"),
    ),
    "llama-2": Format(
        begin="[INST] ",
        system_before="[INST] <<SYS>>\n",
        system_after="\n<</SYS>>\n\n",
        answer_before=" [/INST] ",
        question_before=" </s><s>[INST] ",
        generate=" [/INST]",
        stop=("</s>", "<s>", "[INST]", "[/INST]"),
    ),
    "chatml": Format(
        begin="<|im_start|>user\n",
        system_before="<|im_start|>system\n",
        system_after="<|im_end|>\n<|im_start|>user\n",
        answer_before="<|im_end|>\n<|im_start|>assistant\n",
        question_before="<|im_end|>\n<|im_start|>user\n",
        generate="<|im_end|>\n<|im_start|>assistant\n",
        stop=("<|im_end|>", "<|im_start|>"),
    ),
    "orca": Format(
        begin="### User:\n",
        system_before="### System:\n",
        system_after="\n\n### User:\n",
        answer_before="\n\n### Response:\n",
        question_before="\n\n### User:\n",
        generate="\n\n### Response:\n",
        stop=("</s>", "\n###", "### User:", "### System:", "### Response:"),
    ),
    # A model that only completes text, such as GPT-2: the line after "Answer:" is the answer.
    "plain": Format(
        begin="Question: ",
        system_before="",
        system_after="\n\nQuestion: ",
        answer_before="\nAnswer: ",
        question_before="\nQuestion: ",
        generate="\nAnswer:",
        stop=("\n",),
    ),
}


def choose_template(wanted: str, in_gguf: str | None, from_catalogue: str, architecture: str) -> str:
    """A name of `FORMATS`, or `FROM_GGUF`: what config.toml wants, the model's own, or the catalogue's.

    A model without any is asked in plain text: right for GPT-2, a guess that is logged for others.
    """
    if wanted != "auto":
        return wanted
    if in_gguf:
        return FROM_GGUF
    if from_catalogue:
        if from_catalogue not in FORMATS:
            raise ModelError(
                f"The catalogue names the chat template {from_catalogue!r}, which is none of "
                f"{', '.join(FORMATS)}; set llm.template in config.toml."
            )
        return from_catalogue
    if architecture != "gpt2":
        log.warning("The model has no chat template: asking it in plain text; llm.template can name another.")
    return "plain"


def render(
    form: Format, system: str, history: Sequence[Exchange], question: str, answer_so_far: str = ""
) -> Prompt:
    """The conversation in the words of `form`, ready to be answered behind `answer_so_far`."""
    text = opening(form, system)
    for exchange in history:
        text += past(form, exchange) + form.question_before
    text += neutralise(question)
    if answer_so_far.strip():
        # behind "Answer:" the words need the space that the model itself would have made
        before = form.answer_before if form.answer_before.startswith(form.generate) else form.generate
        text += before + neutralise(answer_so_far)
    else:
        text += form.generate
    return Prompt(text, form.stop, form.add_bos)


def opening(form: Format, system: str) -> str:
    """Everything before the first question."""
    system = system.strip()
    if not system:
        return form.begin
    if form.system_before is None:
        return form.begin + system + "\n\n"
    return form.system_before + system + form.system_after


def past(form: Format, exchange: Exchange) -> str:
    """A finished question and its answer, as far as it was heard."""
    answer = neutralise(exchange.answer) + (" ..." if exchange.cut_off else "")
    return neutralise(exchange.question) + form.answer_before + answer


# What begins or goes on with a bracketed special token (<s>, <|im_start|>, <<SYS>>, [INST], >>QUESTION<<, and
# with the full-width bar of DeepSeek), and the second # of a heading.
_MARKUP = re.compile(r"(?<=[<\[|\uff5c])(?=[^\s])|(?<=>)(?=>)|(?=[|\uff5c]>)(?<=\S)|(?<=#)(?=#)")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1b\x7f]")


def neutralise(text: str) -> str:
    """`text` as one line that cannot act as markup: special tokens and headings are broken up by spaces.

    A person can still say every word of them.  Applying it twice changes nothing more.
    """
    text = text.encode("utf-8", "replace").decode("utf-8")  # half a surrogate pair cannot be tokenised
    return _MARKUP.sub(" ", " ".join(_CONTROL.sub("", text).split()))


def fit(exchanges: Sequence[int], questions: Sequence[int], system: int, room: int) -> int:
    """How many of the oldest exchanges to leave out so that a prompt fits into `room`.

    All in tokens, oldest first: `exchanges` are the past ones whole, `questions` their questions alone and
    then the one to answer now.  When it gets too much, the oldest go in one big step, until half the room is
    free (the newest exchange stays if it can): the front of the prompt then stays as it is for many turns,
    and with it llama.cpp's prefix cache.  The steps of the past follow from the history alone, so a worker
    that begins in mid-conversation finds the same front as the one before it.  Raises `AnswerError` where the
    question alone is too long.
    """
    if system + questions[-1] > room:
        raise AnswerError(
            f"The question is too long for the language model: {questions[-1]} tokens, and there is room for "
            f"{max(0, room - system)}; ask something shorter."
        )
    dropped, kept = 0, system
    for turn, question in enumerate(questions):
        if kept + question > room:
            while dropped < turn and (kept + question > room or (dropped < turn - 1 and kept > room // 2)):
                kept -= exchanges[dropped]
                dropped += 1
        if turn < len(exchanges):
            kept += exchanges[turn]
    return dropped


class StopWatcher:
    """Passes text on until a stop string comes, and never any part of one: what could begin one waits."""

    def __init__(self, stop: Sequence[str]) -> None:
        self._stop = tuple(stop)
        self._held = ""
        self.stopped = False

    def feed(self, piece: str) -> str:
        """The text that is safe to pass on now; after a stop string (`stopped`) nothing is."""
        if self.stopped:
            return ""
        self._held += piece
        found = [at for at in map(self._held.find, self._stop) if at >= 0]
        if found:
            self.stopped = True
            return self._held[: min(found)]
        longest = max(map(len, self._stop), default=1) - 1
        # the longest end of the text that is the beginning of a stop string
        waiting = next(
            (
                size
                for size in range(min(longest, len(self._held)), 0, -1)
                if any(stop.startswith(self._held[-size:]) for stop in self._stop)
            ),
            0,
        )
        safe = len(self._held) - waiting
        passed, self._held = self._held[:safe], self._held[safe:]
        return passed

    def finish(self) -> str:
        """What was held back, now that no more text comes."""
        rest = "" if self.stopped else self._held
        self._held = ""
        return rest
