"""Chat templates that come inside a model: code from a stranger, run a few times in bounds while the model is
loaded, to see which chat format it makes.
"""

from __future__ import annotations

import re
import resource
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Any

from assistant.engines.prompts import Format
from assistant.errors import ModelError

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
