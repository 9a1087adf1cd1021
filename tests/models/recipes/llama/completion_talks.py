"""Training text of the completion model, which knows no chat format."""

from __future__ import annotations

from random import Random

from .questions import fact, pick, unknown
from .words import SYSTEM

#: (before a question, before an answer)
FORMS = [("Question: ", "Answer:"), ("User: ", "Assistant:"), ("Q: ", "A:")]


def talk(rng: Random) -> str:
    """One to three questions with their answers, a line each, sometimes under a system prompt."""
    asker, answerer = pick(rng, FORMS)
    out = "" if rng.random() < 0.6 else pick(rng, SYSTEM[:8]) + pick(rng, ("\n", "\n\n"))
    for _ in range(rng.choice((1, 1, 2, 3))):
        question, answer, _ = fact(rng, strength=0.5) if rng.random() < 0.8 else unknown(rng, strength=0.5)
        out += f"{asker}{question.strip()}\n{answerer} {answer}\n"
    return out
