"""`assistant ask`: one question, one answer."""

from __future__ import annotations

import argparse
import sys

from assistant.errors import AnswerError

HELP = "ask one question and print the answer"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("question", nargs="+", help='the question, or "-" to read it from standard input')
    parser.add_argument("--json", action="store_true", help="one line of JSON with the times it took")


def run(words: argparse.Namespace) -> int:
    import json
    import time

    from assistant.client import Assistant
    from assistant.text.clean import clean_question, printable

    question = " ".join(words.question)
    if question == "-":
        question = sys.stdin.buffer.read().decode(errors="replace")
    if not clean_question(question):
        raise AnswerError('The question is empty; write it in quotes: assistant ask "What is two plus two?"')
    opened_s = time.monotonic()
    with Assistant.open(words.config, workers=["llm"], debug=words.debug) as assistant:
        asked_s = time.monotonic()
        first_s = 0.0
        parts: list[str] = []
        try:
            for part in assistant.ask(question):
                first_s = first_s or time.monotonic()
                parts.append(part)
                if not words.json:
                    print(printable(part), end="", flush=True)
        finally:
            if parts and not words.json:
                print()
        done_s = time.monotonic()
    if words.json:
        seconds = {
            "connect": round(asked_s - opened_s, 4),
            "first_token": round((first_s or done_s) - asked_s, 4),
            "answer": round(done_s - asked_s, 4),
        }
        answer = "".join(parts).strip()
        print(json.dumps({"question": question, "answer": answer, "seconds": seconds}, ensure_ascii=False))
    return 0
