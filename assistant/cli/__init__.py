"""The command line: one file a command; the only place that prints.

Each command's module has `HELP`, `arguments(parser)` and `run(words) -> exit code`, and imports what is heavy
inside `run`: `assistant --help` is to be instant.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from assistant.errors import AssistantError
from assistant.service import Stop

COMMANDS = ("ask", "say", "transcribe", "run", "devices", "models", "daemon", "worker")
EXAMPLES = """examples:
  assistant                          speak and listen
  assistant --text                   type instead of speaking
  assistant ask "What is two plus two?"
  assistant say "Hello." -o hello.wav
  assistant transcribe recording.mp3
  assistant run --mic question.wav --speaker answer.wav
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; gives back its exit code.  A user's error is one sentence on standard error."""
    words = _parser().parse_args(argv)
    if words.command is None:
        words.module = _module("text" if words.text else "speak")
    elif words.text:
        print(
            "assistant: --text goes without a command; to ask one question use `assistant ask`.",
            file=sys.stderr,
        )
        return 2
    try:
        code = int(words.module.run(words))
        sys.stdout.flush()
        return code
    except AssistantError as error:
        if words.debug:
            raise
        print(f"assistant: {error}", file=sys.stderr)
        return error.exit_code
    except (KeyboardInterrupt, Stop):
        return 130
    except BrokenPipeError:
        # whoever read our output has gone; Python would complain again on closing standard output
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="assistant",
        description="An offline voice assistant. Without a command it speaks and listens.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="use this config.toml")
    parser.add_argument("--debug", action="store_true", help="log everything, and show tracebacks")
    parser.add_argument("--text", action="store_true", help="type instead of speaking")
    commands = parser.add_subparsers(dest="command", metavar="command")
    for name in COMMANDS:
        module = _module(name)
        command = commands.add_parser(name, help=module.HELP, description=module.HELP, allow_abbrev=False)
        module.arguments(command)
        command.set_defaults(module=module)
    return parser


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"assistant.cli.{name}")
