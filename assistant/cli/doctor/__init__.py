"""`assistant doctor`: what goes wrong on real boards, a line each, with the command that mends it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from assistant.cli.doctor.check import Check

HELP = "check the board, its sound, the models and the services, and say what mends what is wrong"

MARKS = {"ok": "✓", "warning": "!", "fault": "✗", "skipped": "–"}  # noqa: RUF001 - a dash, as it is to look
PLAIN_MARKS = {"ok": "+", "warning": "!", "fault": "X", "skipped": "-"}
NAME_WIDTH = 13


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--full", action="store_true", help="also read all models and compare their hashes")
    parser.add_argument("--json", action="store_true", help="a JSON list of name, state, what, mend")
    parser.add_argument(
        "--bundle", type=Path, metavar="FILE", help="also write a .tar.gz for somebody who is to help"
    )
    parser.add_argument(
        "--sound",
        action="store_true",
        help="instead: play a chirp and a sentence, listen, and say what to change; with --json its figures",
    )
    parser.epilog = (
        "Exit code 1 if there is a fault. The bundle holds no speech, no words, and no name of a person, "
        "computer or network; an existing file is not overwritten."
    )


def run(words: argparse.Namespace) -> int:
    import json
    import os

    from assistant.errors import AssistantError, ConfigError

    if words.sound:
        from assistant.cli.doctor import self_test

        if words.full or words.bundle:
            raise ConfigError("--sound goes without --full and --bundle; run them one after the other.")
        return self_test.run(words)

    from assistant.cli.doctor.visit import Visit

    if words.bundle is not None and os.path.lexists(words.bundle):  # said before a minute of hashing
        raise AssistantError(f"{words.bundle} is there already; delete it, or give the bundle another name.")
    if words.full and sys.stderr.isatty():
        print("All models on disk are read, which takes about a minute for 3 GB.", file=sys.stderr)
    visit = Visit(words.config, words.full, Path("/"))
    checks = []
    for check in visit.checks():
        checks.append(check)
        if not words.json:
            print(line(check, sys.stdout.encoding), flush=True)
    if words.json:
        shown = ("name", "state", "what", "mend")
        print(
            json.dumps([{key: getattr(check, key) for key in shown} for check in checks], ensure_ascii=False)
        )
    else:
        print(f"\n{summary(checks)}")
    if words.bundle is not None:
        visit.write_bundle(words.bundle, checks)
        print(
            f"{words.bundle} is for somebody who is to help; README.txt in it says what it holds.",
            file=sys.stderr,
        )
    return 1 if any(check.state == "fault" for check in checks) else 0


def line(check: Check, encoding: str) -> str:
    """A check for a person: its mark, name and sentence; below it what mends it."""
    marks, arrow = MARKS, "→"
    try:
        "".join((*MARKS.values(), arrow)).encode(encoding)
    except UnicodeEncodeError:
        marks, arrow = PLAIN_MARKS, "->"
    text = f"{marks[check.state]} {check.name:{NAME_WIDTH}} {check.what}"
    return f"{text}\n  {'':{NAME_WIDTH}} {arrow} {check.mend}" if check.mend else text


def summary(checks: list[Check]) -> str:
    from assistant.cli.doctor.check import count

    found = {state: sum(check.state == state for check in checks) for state in ("fault", "warning")}
    if not any(found.values()):
        return "All is well."
    return ", ".join(count(number, noun) for noun, number in found.items() if number) + "."
