"""The language model engine beside llama.cpp alone, what it reads anew in a conversation, its first answer.

    python -m benchmarks.llm [--model FILE] [--threads 2] [--rounds 7] [--reloads 5]

Decoding: tokens a second of an answer, and of a bare loop of `llama_decode` and llama.cpp's greedy sampler in
the same context, in turns.  Goal: a ratio of 0.97.
Reading: over a conversation, prompt tokens that are evaluated for a question, and for what comes before it is
asked (`ahead`), beside those that are new: the question, the marks around it, those behind the answer before.
Where the model's own answer has other tokens than its text in the next prompt, llama.cpp's cache is `cut`.
Goal: 1.05 times as many.
First answer: time to the first token after loading, beside a later one's.  Goal: 1.1 times as long.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from assistant.config import Llm
from assistant.engines.llama import LlamaEngine  # before llama.cpp, whose environment it sets

# isort: split
from llama_cpp import llama_cpp as lib

from assistant.messages import Exchange
from assistant.plan.prediction import PROMPT_STEP_TOKENS
from assistant.text.sentences import split_sentences
from benchmarks.report import report

MODEL = Path(__file__).parent.parent / "tests/models/recipes/build/inflated" / "tiny-chat-1.1b-q4_k_m.gguf"
LONG = "Tell me a story."
CONVERSATION = (
    "What is the capital of Germany?",
    "Tell me a joke.",
    "What is two plus three?",
    LONG,
    "Which city is the capital of Sweden?",
    "How many legs has a spider?",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=MODEL, help="a GGUF file")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--reloads", type=int, default=5)
    options = parser.parse_args()
    if not options.model.is_file():
        sys.exit(f"{options.model} is not there: tests/models/recipes/build.sh inflate-llama makes it")
    settings = Llm(model=str(options.model), threads=options.threads, temperature=0)

    def load() -> LlamaEngine:
        return LlamaEngine(options.model, settings, "zephyr")

    engine = load()
    engine.warm()
    read = list(_conversation(engine))
    decoded = _decoding(engine, options.rounds)
    engine.close()
    report("llm_reading", read)
    print()
    report("llm", [decoded, _reading(read), _first_answers(load, options.reloads)])


# ------------------------------------------------------------ decoding


def _decoding(engine: LlamaEngine, rounds: int) -> dict[str, object]:
    model: Any = engine._model
    tokens, _ = engine._prompt(LONG, (), "")
    ours, bare, count = [], [], 0
    for _ in range(rounds):
        model._forget_behind(0)
        steps: list[tuple[float, int]] = []
        with _watched(model, steps):
            for _ in engine.answer(LONG, ()):
                pass
        made = steps[-(-len(tokens) // PROMPT_STEP_TOKENS) :]
        count = len(made)
        ours.append(count / (time.perf_counter() - made[0][0]))
        model._forget_behind(0)
        bare.append(_bare(model, tokens, count))
        model._forget_behind(0)
    row = _row(
        f"decoding {count} tokens, tokens/s", statistics.median(ours), statistics.median(bare), ">= 0.97"
    )
    return {**row, "per_pair": statistics.median(a / b for a, b in zip(ours, bare, strict=True))}


def _bare(model: Any, tokens: list[int], count: int) -> float:
    """Tokens a second of llama.cpp alone, `count` of them behind the prompt `tokens`."""
    context = model._context
    sampler = lib.llama_sampler_init_greedy()
    lib.llama_set_abort_callback(context, lib.ggml_abort_callback(), None)
    for at in range(0, len(tokens), PROMPT_STEP_TOKENS):
        step = tokens[at : at + PROMPT_STEP_TOKENS]
        lib.llama_decode(context, lib.llama_batch_get_one((lib.llama_token * len(step))(*step), len(step)))
    token = (lib.llama_token * 1)(lib.llama_sampler_sample(sampler, context, -1))
    began_s = time.perf_counter()
    for _ in range(count):
        lib.llama_decode(context, lib.llama_batch_get_one(token, 1))
        token[0] = lib.llama_sampler_sample(sampler, context, -1)
    took_s = time.perf_counter() - began_s
    lib.llama_sampler_free(sampler)
    lib.llama_memory_clear(model._memory, True)
    return count / took_s


# ------------------------------------------------------------ reading


def _conversation(engine: LlamaEngine) -> Iterator[dict[str, object]]:
    """A row for each question: how many tokens its prompt has, how many are new, how many were evaluated."""
    model: Any = engine._model
    history: list[Exchange] = []
    known = 0  # tokens of everything up to the end of the answer before
    steps: list[tuple[float, int]] = []
    for question in CONVERSATION:
        before = list(model.evaluated)
        steps.clear()
        with _watched(model, steps):
            if history:
                engine.prefill(history)
            ahead = sum(size for _, size in steps)
            prompt, _ = engine._prompt(question, history, "")
            answer = "".join(engine.answer(question, history))
        evaluated = sum(size for _, size in steps) - (len(model.evaluated) - len(prompt))
        same = next((i for i, (a, b) in enumerate(zip(before, prompt, strict=False)) if a != b), len(before))
        yield {
            "question": question,
            "prompt": len(prompt),
            "new": len(prompt) - known,
            "ahead": ahead,
            "evaluated": evaluated,
            "cut_tokens": len(before) - same if history else 0,
            "cut": _text(model, before[same:]) if history else "",
            "as_read": _text(model, prompt[same:]) if history and same < len(before) else "",
        }
        heard = " ".join(split_sentences(answer))  # as the daemon remembers it
        known = len(engine._prompt(question, history, heard)[0])
        history.append(Exchange(question, heard))


def _reading(rows: list[dict[str, Any]]) -> dict[str, object]:
    """Of the questions behind the first."""
    evaluated, new = (sum(row[column] for row in rows[1:]) for column in ("evaluated", "new"))
    worst = max(row["evaluated"] / row["new"] for row in rows[1:])
    return {**_row("prompt tokens of follow-up questions", evaluated, new, "<= 1.05"), "per_pair": worst}


# ------------------------------------------------------------ the first answer


def _first_answers(load: Callable[[], LlamaEngine], reloads: int) -> dict[str, object]:
    first, later = [], []
    for _ in range(reloads):
        engine = load()
        engine.warm()
        first.append(_first_token_ms(engine, CONVERSATION[0]))
        _first_token_ms(engine, LONG)  # or the question would be known
        later.append(_first_token_ms(engine, CONVERSATION[0]))
        engine.close()
    what = "first token, ms, after loading and later"
    row = _row(what, statistics.median(first), statistics.median(later), "<= 1.1")
    return {**row, "per_pair": statistics.median(a / b for a, b in zip(first, later, strict=True))}


def _first_token_ms(engine: LlamaEngine, question: str) -> float:
    began_s = time.perf_counter()
    answer = engine.answer(question, ())
    next(answer)
    took_ms = 1000 * (time.perf_counter() - began_s)
    for _ in answer:
        pass
    return took_ms


# ------------------------------------------------------------ both


@contextmanager
def _watched(model: Any, steps: list[tuple[float, int]]) -> Iterator[None]:
    """Note when the model evaluates, and how many tokens."""
    decode = model._decode

    def noted(step: list[int], cancelled: Callable[[], bool]) -> int:
        steps.append((time.perf_counter(), len(step)))
        return int(decode(step, cancelled))

    model._decode = noted
    try:
        yield
    finally:
        del model._decode


def _row(what: str, ours: float, other: float, goal: str) -> dict[str, object]:
    return {"what": what, "ours": ours, "other": other, "ratio": ours / other, "goal": goal}


def _text(model: Any, tokens: list[int]) -> str:
    """The first few of `tokens`."""
    return repr(b"".join(map(model._bytes, tokens[:8])).decode("utf-8", "replace")) if tokens else ""


if __name__ == "__main__":
    main()
