"""The command line: one file a command; the only place that prints.

Each command's module has `HELP`, `arguments(parser)` and `run(words) -> exit code`, and imports what is heavy
inside `run`: `assistant --help` is to be instant.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import io
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from assistant import __version__
from assistant.errors import AssistantError
from assistant.service import Stop, as_error, stop_on_sigterm

COMMANDS = (
    "ask",
    "say",
    "transcribe",
    "run",
    "volume",
    "mute",
    "unmute",
    "devices",
    "models",
    "status",
    "doctor",
    "sounds",
    "alert",
    "daemon",
    "worker",
    "limits",
)
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
    for stream in ("stdout", "stderr"):
        if getattr(sys, stream) is None:  # closed by whoever started us
            setattr(sys, stream, open(os.devnull, "w"))  # noqa: SIM115 - for as long as the process lives
    words = _parser().parse_args(argv)
    if words.command is None:
        words.module = _module("text" if words.text else "speak")
    elif words.text:
        print(
            "assistant: --text goes without a command; to ask one question use `assistant ask`.",
            file=sys.stderr,
        )
        return 2
    if words.command not in ("daemon", "worker"):  # which have their own ways
        stop_on_sigterm()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # an answer may have letters that the terminal has not
    try:
        code = int(words.module.run(words))
        sys.stdout.flush()
        return code
    except AssistantError as error:
        if words.debug:
            traceback.print_exc()
        if not error.is_said:
            print(as_error(f"assistant: {error}"), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except Stop:
        return 128 + signal.SIGTERM
    except BrokenPipeError:
        _discard_output()
        return 128 + signal.SIGPIPE
    except OSError as error:
        if words.debug:
            traceback.print_exc()
        if error.errno == errno.ENOSPC:
            _discard_output()
            print("assistant: The disk is full; make room on it, then run this again.", file=sys.stderr)
        else:
            print(f"assistant: The system refused ({error}); --debug shows where.", file=sys.stderr)
        return 1


def _discard_output() -> None:
    """Nobody takes our output any more; without this Python would complain again when it closes it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="assistant",
        description="An offline voice assistant. Without a command it speaks and listens.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="use this config.toml")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
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
