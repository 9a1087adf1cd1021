"""`assistant say`: speak text."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from assistant.errors import AnswerError, AudioError

HELP = "speak text, or write it to a file"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "spoken", nargs="+", metavar="text", help='what to say, or "-" to read it from standard input'
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE.wav",
        help='write WAV instead of speaking; "-" to standard output',
    )


def run(words: argparse.Namespace) -> int:
    from assistant.audio.pipes import refuse_other_endings
    from assistant.client import Assistant
    from assistant.text.clean import clean_question

    text = " ".join(words.spoken)
    if text == "-":
        text = sys.stdin.buffer.read().decode(errors="replace")
    if not clean_question(text):
        raise AnswerError('There is nothing to say: write the text in quotes: assistant say "Hello."')
    if words.output == Path("-") and sys.stdout.isatty():
        raise AudioError("Standard output is a terminal; send the sound to a file or a program.")
    if words.output is not None:
        refuse_other_endings(str(words.output))  # before models are loaded for it
    with Assistant.open(words.config, workers=["tts"], debug=words.debug) as assistant:
        assistant.say(text, words.output)
    return 0
