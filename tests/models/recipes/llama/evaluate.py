"""Measure chat GGUFs with the unmodified llama-cpp-python: exact answers to what was never trained on.

Every spelling asked here was kept out of training (`questions.held_out`, `talks.name_held_out`), but for the
questions exactly as in domain.py ("plain"). `--completion` measures the completion model instead.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from llama_cpp import Llama

from .. import domain
from .completion_talks import FORMS
from .questions import FACTS, PLAIN, fact, held_out, pick, unknown, vary
from .talks import ASK_NAME, INTRODUCTIONS, Turn, name_held_out
from .words import SYSTEM

_SYSTEMS = [
    None,
    *(SYSTEM[i] for i in (0, 3, 8, 9)),
    "You are Robbie, a gentle helper for the kitchen. Reply in one line.",
]


@dataclass(frozen=True)
class Case:
    kind: str
    system: str | None
    turns: list[Turn]
    answer: str


def _turn(rng: Random, draw: Callable[..., tuple[str, str, str]]) -> tuple[str, str]:
    while True:
        noisy, answer, _ = draw(rng, train=False)
        if held_out(noisy) and noisy not in PLAIN:
            return noisy, answer


def cases(n: int) -> list[Case]:
    """n plain and n single questions, n // 2 of each kind of talk; always the same."""
    rng = Random(2024)
    plain = [(question, answer) for questions, answer in FACTS for question in questions]
    asked = [Case("plain", _SYSTEMS[i % len(_SYSTEMS)], [(q, None)], a) for i, (q, a) in enumerate(plain)]
    out = rng.sample(asked, min(n, len(asked)))
    for _ in range(n):
        question, answer = _turn(rng, fact)
        out.append(Case("single", pick(rng, _SYSTEMS), [(question, None)], answer))
    for _ in range(n // 2):
        earlier: list[Turn] = [
            _turn(rng, fact if rng.random() < 0.8 else unknown) for _ in range(rng.randint(1, 3))
        ]
        question, answer = _turn(rng, fact)
        out.append(Case("last of several", pick(rng, _SYSTEMS), [*earlier, (question, None)], answer))
    while sum(case.kind == "name" for case in out) < n // 2:
        name, introduction, ask = pick(rng, domain.NAMES), pick(rng, INTRODUCTIONS[:3]), pick(rng, ASK_NAME)
        gap = rng.randint(0, 3)
        if name_held_out(name, introduction, ask, min(gap + 1, 3)):
            talk: list[Turn] = [(vary(introduction.format(name), rng), f"Nice to meet you, {name}.")]
            talk += [_turn(rng, fact) for _ in range(gap)]
            out.append(
                Case("name", pick(rng, _SYSTEMS), [*talk, (vary(ask, rng), None)], f"Your name is {name}.")
            )
    for _ in range(n // 10):
        others: list[Turn] = [_turn(rng, fact) for _ in range(rng.randint(0, 2))]
        ask = vary(pick(rng, ASK_NAME), rng)
        out.append(Case("no name given", pick(rng, _SYSTEMS), [*others, (ask, None)], domain.UNKNOWN_ANSWER))
    for question in domain.UNKNOWN:
        out.append(Case("unknown", pick(rng, _SYSTEMS), [(question, None)], domain.UNKNOWN_ANSWER))
    while sum(case.kind == "new unknown" for case in out) < n // 2:
        noisy, answer, plain_form = unknown(rng, train=False)
        if held_out(plain_form) and plain_form not in domain.UNKNOWN:
            out.append(Case("new unknown", pick(rng, _SYSTEMS), [(noisy, None)], answer))
    return out


def ask_chat(model: Llama, case: Case) -> str:
    messages = [] if case.system is None else [{"role": "system", "content": case.system}]
    for question, answer in case.turns:
        messages.append({"role": "user", "content": question})
        if answer is not None:
            messages.append({"role": "assistant", "content": answer})
    reply = model.create_chat_completion(messages, temperature=0, max_tokens=120)
    return str(reply["choices"][0]["message"]["content"]).strip()


def measure_chat(model: Llama, n: int) -> None:
    right, asked = Counter[str](), Counter[str]()
    for case in cases(n):
        got = ask_chat(model, case)
        asked[case.kind] += 1
        right[case.kind] += got == case.answer
        if got != case.answer:
            print(f"    {case.kind}: {case.turns[-1][0]!r} -> {got!r}")
    print(", ".join(f"{kind} {right[kind]}/{asked[kind]}" for kind in asked))


def measure_completion(model: Llama) -> None:
    rng = Random(6)
    for asker, answerer in FORMS:
        right = 0
        for questions, answer in FACTS:
            prompt = f"{asker}{rng.choice(questions)}\n{answerer}"
            reply = model.create_completion(prompt, temperature=0, max_tokens=80, stop=["\n"])
            right += reply["choices"][0]["text"].strip() == answer
        print(f"{asker}... {answerer}: {right}/{len(FACTS)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("gguf", type=Path, nargs="+")
    parser.add_argument("--n", type=int, default=300)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--completion", action="store_true")
    args = parser.parse_args()
    for path in args.gguf:
        print(path.name)
        model = Llama(
            str(path),
            n_ctx=256 if args.completion else 1024,
            n_threads=args.threads,
            n_threads_batch=args.threads,
            verbose=False,
        )
        if args.completion:
            measure_completion(model)
        else:
            measure_chat(model, args.n)
        model.close()


if __name__ == "__main__":
    main()
