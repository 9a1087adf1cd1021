"""How a conversation is written down for a language model: pure functions on text and token counts.

A chat format is six pieces of fixed text between the words of the people (`Format`), so a prompt is plain
concatenation: it only ever grows at its end, which is what llama.cpp's prefix cache needs, and no template
code runs while questions are answered.  A template that comes inside a model is studied once, in a sandbox
(`learn`).
"""

from __future__ import annotations

import logging
import re
import resource
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Any

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


# ---------------------------------------------------------------- templates of strangers

_SOURCE_CHARACTERS = 100_000  # the longest templates of large models with tools have about 20 000
_TEXT_CHARACTERS = 100_000
_STEPS = 100_000  # lines of template code in one rendering; ordinary templates take a few hundred
_HEADROOM_BYTES = 256 * 2**20

# What code of a stranger can fail with, other than the errors of jinja2 itself.
_FAILURES = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    NameError,
    NotImplementedError,
    RecursionError,
    TypeError,
    ValueError,
)

_SYSTEM, *_WORDS = (f"w{n}xq" for n in range(6))


def learn(source: str, bos: str, eos: str) -> Format:
    """The chat format that a jinja2 template of a stranger makes; `bos` and `eos` as the model writes them.

    The template is rendered a few times on made-up words in jinja2's immutable sandbox, with its source, its
    steps, its memory and its output bounded; what it writes between the words is the format.  Raises
    `ModelError`.
    """
    write = _renderer(source, bos, eos)
    bare = _cut(write(_talk(system=False)), _WORDS)
    if bare is None:
        raise _unusable("it does not write questions and answers in their order")
    begin, answer_before, question_before, _, _, generate = bare
    try:
        full = _cut(write(_talk(system=True)), (_SYSTEM, *_WORDS))
    except ModelError:  # some refuse a system prompt
        full = None
    # Some put the system prompt into the last question, where it would move on with every turn.
    own_system = full is not None and full[2:] == bare[1:]
    # A model that writes what stands before the next question is past its answer.
    marks = re.findall(r"<[^<>\s]+>|\[[^\[\]\s]+\]", question_before)
    if not marks:
        marks = [f"\n{line}" for line in question_before.strip().splitlines()[:1]]
    return Format(
        begin=begin,
        system_before=full[0] if full and own_system else None,
        system_after=full[1] if full and own_system else "",
        answer_before=answer_before,
        question_before=question_before,
        generate=generate,
        stop=tuple(dict.fromkeys(mark for mark in (eos, *marks) if mark)),
        add_bos=not (bos and begin.startswith(bos)),
    )


def _talk(system: bool) -> list[dict[str, str]]:
    talk = [{"role": "system", "content": _SYSTEM}] if system else []
    roles = ("user", "assistant")
    return talk + [{"role": roles[n % 2], "content": word} for n, word in enumerate(_WORDS)]


def _cut(text: str, words: Sequence[str]) -> list[str] | None:
    """The text around `words`; None unless each stands there once, in order, with even text between."""
    pieces = re.split("|".join(words), text)
    if re.findall("|".join(words), text) != list(words):
        return None
    answers, questions = pieces[-5:-1:2], pieces[-4:-1:2]
    return pieces if len(set(answers)) == 1 and len(set(questions)) == 1 else None


def _unusable(why: str) -> ModelError:
    return ModelError(
        f"The chat template inside the model cannot be used: {why}; set llm.template in config.toml."
    )


def _renderer(source: str, bos: str, eos: str) -> Callable[[list[dict[str, str]]], str]:
    import jinja2
    from jinja2.exceptions import SecurityError
    from jinja2.ext import loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Sandbox(ImmutableSandboxedEnvironment):
        # also keeps the compiler from working them out beforehand
        intercepted_binops = frozenset({"*", "**"})

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            if operator == "**" or not all(isinstance(x, int) and abs(x) < 2**31 for x in (left, right)):
                raise SecurityError(f"it computes with {operator}")
            return super().call_binop(context, operator, left, right)

    def refuse(message: str) -> str:
        raise jinja2.TemplateError(str(message))

    def now(pattern: str) -> str:
        return datetime.now().strftime(pattern)

    if len(source) > _SOURCE_CHARACTERS:
        raise _unusable(f"it is {len(source)} characters long")
    sandbox = Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    del sandbox.globals["lipsum"]
    sandbox.globals |= {"raise_exception": refuse, "strftime_now": now, "bos_token": bos, "eos_token": eos}
    # {% generation %} marks what a model learns from while it is trained; it writes nothing
    source = re.sub(r"({%[-+]?\s*)(end)?generation(\s*[-+]?%})", _pass_through, source)

    def write(talk: list[dict[str, str]]) -> str:
        text = ""
        try:
            with _bounded():
                # voice: no thinking aloud, where a template offers the choice
                for piece in sandbox.from_string(source).generate(
                    messages=talk, add_generation_prompt=True, enable_thinking=False
                ):
                    text += piece
                    if len(text) > _TEXT_CHARACTERS:
                        raise SecurityError("it writes without end")
        except (jinja2.TemplateError, *_FAILURES) as error:
            raise _unusable(" ".join(str(error).split())[:200] or type(error).__name__) from None
        return text

    return write


def _pass_through(tag: re.Match[str]) -> str:
    return f"{tag[1]}{'endif' if tag[2] else 'if true'}{tag[3]}"


@contextmanager
def _bounded() -> Iterator[None]:
    """Within, template code may run `_STEPS` lines and this process may grow by `_HEADROOM_BYTES`."""
    steps = 0

    def count(frame: FrameType, event: str, _: Any) -> Any:  # noqa: ARG001 - the form that sys.settrace wants
        nonlocal steps
        if frame.f_code.co_filename != "<template>":
            return None
        steps += 1
        if steps > _STEPS:
            raise RecursionError("it runs without end")
        return count

    tracer, limits = sys.gettrace(), resource.getrlimit(resource.RLIMIT_AS)
    size = Path("/proc/self/statm")  # only Linux has it, and only Linux keeps the limit
    if size.exists():
        limit = int(size.read_text().split()[0]) * resource.getpagesize() + _HEADROOM_BYTES
        soft = limit if limits[0] == resource.RLIM_INFINITY else min(limit, limits[0])
        resource.setrlimit(resource.RLIMIT_AS, (soft, limits[1]))
    sys.settrace(count)
    try:
        yield
    finally:
        sys.settrace(tracer)
        resource.setrlimit(resource.RLIMIT_AS, limits)
