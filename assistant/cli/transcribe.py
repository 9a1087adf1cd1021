"""`assistant transcribe`: the words in a recording."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

HELP = "print the words in a recording"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help="WAV, FLAC, MP3 or OGG, of any rate, mono or stereo")
    parser.add_argument("--json", action="store_true", help="one line of JSON with times and confidence")


def run(words: argparse.Namespace) -> int:
    import json

    import msgspec

    from assistant.audio.files import duration_s
    from assistant.client import Assistant
    from assistant.text.clean import printable

    seconds = duration_s(words.file)  # says what is wrong with the file before a model is loaded
    with Assistant.open(words.config, workers=["stt"], debug=words.debug) as assistant:
        segments = []
        for segment in assistant.segments(words.file):
            segments.append(segment)
            if not words.json:
                print(printable(segment.text), flush=True)
    if not segments:
        print("assistant: No speech was heard in it.", file=sys.stderr)
    if words.json:
        text = " ".join(segment.text for segment in segments)
        parts = [msgspec.to_builtins(segment) for segment in segments]
        print(json.dumps({"text": text, "seconds": round(seconds, 3), "segments": parts}, ensure_ascii=False))
    return 0
