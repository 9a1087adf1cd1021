"""`assistant --text`: typing instead of speaking."""

from __future__ import annotations

import argparse
import contextlib
import re
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from assistant.errors import AnswerError, QueueFull
from assistant.service import ignore_sigint, interruptible

if TYPE_CHECKING:
    from assistant.client import Assistant

HINT = "Type a question. /new begins a new conversation, /quit ends, Ctrl-C stops an answer."


def run(words: argparse.Namespace) -> int:
    from assistant.client import Assistant

    at_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    with Assistant.open(words.config, workers=["llm"], debug=words.debug) as assistant:
        if at_terminal:
            ignore_sigint()  # until it can be told what it shall interrupt
            print(HINT)
        lines = _typed() if at_terminal else _piped()
        return _talk(assistant, lines, at_terminal)


def _talk(assistant: Assistant, lines: Iterator[str], at_terminal: bool) -> int:
    """Answer line after line; gives back the exit code: 1 if a question of a pipe was not answered."""
    from assistant.text.clean import clean_question

    failed = False
    for line in lines:
        question = clean_question(line)
        if question == "/quit":
            break
        if question == "/new":
            assistant.forget()
            if at_terminal:
                print("A new conversation.")
        elif question:
            try:
                if re.fullmatch(r"/\w+", question):
                    raise AnswerError(f"There is no {question}, only /new and /quit; ask without the slash.")
                _answer(assistant, question, at_terminal)
            except (AnswerError, QueueFull) as error:
                failed = True
                print(f"assistant: {error}", file=sys.stderr, flush=True)
    return 1 if failed and not at_terminal else 0


def _answer(assistant: Assistant, question: str, at_terminal: bool) -> None:
    """Print the answer as it is made; at a terminal Ctrl-C stops it, not the program."""
    from assistant.text.clean import printable

    column = 0
    try:
        with (
            contextlib.closing(assistant.ask(question)) as parts,
            interruptible() if at_terminal else contextlib.nullcontext(),
        ):
            for part in parts:
                print(printable(part), end="", flush=True)
                column += len(part)
        print(flush=True)
    except KeyboardInterrupt:
        if not at_terminal:
            raise
        print(" …" if column else "…", flush=True)
    except AnswerError:
        if column:
            print(flush=True)
        raise


def _typed() -> Iterator[str]:
    """Lines from a terminal, with editing and history; what is typed is kept in memory alone."""
    import readline

    readline.set_auto_history(True)
    while True:
        try:
            with interruptible():
                line = input("> ")
            yield line
        except KeyboardInterrupt:
            print("\n(/quit ends)")
        except EOFError:
            print()
            return
        except UnicodeDecodeError:
            print("That was not UTF-8 text; type it again.")


def _piped() -> Iterator[str]:
    for line in sys.stdin.buffer:
        yield line.decode(errors="replace")
