"""The sentences that the recogniser hears: the domain, commands, and recombinations of their words."""

from __future__ import annotations

import re
from collections.abc import Iterable
from random import Random

from .. import domain

_COUNTS = [
    *domain.NUMBERS[1:19],
    "nineteen",
    "twenty",
    "twenty five",
    "thirty",
    "thirty five",
    "forty",
    "forty five",
    "fifty",
    "sixty",
    "ninety",
]
PLAIN_COMMANDS = [
    "Stop.",
    "Cancel.",
    "Repeat that.",
    "Louder.",
    "Quieter.",
    "What time is it?",
    "What is the date today?",
    "Cancel the timer.",
    "New conversation.",
    "Hey Jarvis.",
    "Turn the light on.",
    "Turn the light off.",
]


def commands() -> list[str]:
    timers = [
        f"Set a timer for {n} {unit}{'' if n == 'one' else 's'}."
        for n in _COUNTS
        for unit in ("minute", "second")
    ]
    return PLAIN_COMMANDS + timers


def parts(text: str) -> list[str]:
    """The sentences of a text."""
    return re.split(r"(?<=[.!?]) ", text)


def domain_sentences() -> list[str]:
    """Every way to ask, every answer (whole, and each of its sentences), every turn of a talk; each once."""
    out: dict[str, None] = {}
    for questions, answer in domain.pairs():
        out.update(dict.fromkeys([*questions, answer]))
        if len(parts(answer)) > 1:
            out.update(dict.fromkeys(parts(answer)))
    for talk in domain.conversations():
        for turn in talk:
            out.update(dict.fromkeys(turn))
    return list(out)


def without_sums(texts: Iterable[str]) -> list[str]:
    return [text for text in texts if " plus " not in text]


def sums(texts: Iterable[str]) -> list[str]:
    return [text for text in texts if " plus " in text]


#: names that the domain only has at the start of a sentence
_NAMES_AT_START = {
    "Jarvis",
    "Mercury",
    "Jupiter",
    "Mars",
    "George",
    "Neil",
    "William",
    "Leonardo",
    "Isaac",
    "Alexander",
    "Mount",
}
_QUESTION_WORDS = {"what", "which", "how", "who", "when", "where", "why", "do", "at"}


def vocabulary() -> list[str]:
    """Every word as it is written inside a sentence."""
    written: dict[str, str] = {}
    first: set[str] = set()
    for text in domain_sentences() + commands():
        starts = True
        for token in text.split():
            word = re.sub(r"[^A-Za-z']", "", token)
            if not word:
                continue
            if starts:
                first.add(word)
            else:
                written.setdefault(word.lower(), word)
            starts = token[-1] in ".!?"
    for word in sorted(first):
        written.setdefault(word.lower(), word if word in _NAMES_AT_START else word.lower())
    return sorted(written.values())


def _finish(words: list[str]) -> str:
    """A capital first, no marks inside, a question mark after a question word."""
    words = [re.sub(r"[.!?,]", "", w) for w in words]
    words[0] = words[0][0].upper() + words[0][1:]
    return " ".join(words) + ("?" if words[0].lower() in _QUESTION_WORDS else ".")


def recombinations(n: int, seed: int, avoid: frozenset[str] = frozenset()) -> list[str]:
    """n sentences that are not the domain's: words replaced, halves joined, pieces strung together, salad."""
    rng = Random(seed)
    base = domain_sentences() + commands()
    few_sums = without_sums(base) + rng.sample(sums(base), 60)
    words = vocabulary()
    written = {word.lower(): word for word in words}
    known = set(base) | set(avoid)

    def drawn() -> list[str]:
        text = rng.choice(few_sums)
        return [written.get(re.sub(r"[^a-z']", "", w.lower()), w) for w in text.split()]

    out: dict[str, None] = {}
    while len(out) < n:
        kind = rng.random()
        a, b = drawn(), drawn()
        if kind < 0.40:
            new = list(a)
            for _ in range(rng.choice([1, 1, 2])):
                new[rng.randrange(len(new))] = rng.choice(words)
        elif kind < 0.65:
            new = a[: rng.randint(1, max(1, len(a) - 1))] + b[rng.randint(0, max(0, len(b) - 1)) :]
        elif kind < 0.85:
            new = []
            for _ in range(rng.choice([2, 2, 3])):
                c = drawn()
                k = rng.randint(1, 3)
                i = rng.randint(0, max(0, len(c) - k))
                new += c[i : i + k]
        else:
            new = [rng.choice(words) for _ in range(rng.randint(1, 6))]
        if 1 <= len(new) <= 12 and (text := _finish(new)) not in known:
            out[text] = None
    return list(out)


def to_jarvis(text: str) -> str:
    """The same, after the wake word."""
    first, _, rest = text.partition(" ")
    names = {*_NAMES_AT_START, *domain.NAMES, *domain.DAYS, *domain.MONTHS, "I"}
    return "Hey Jarvis, " + (first if first in names else first.lower()) + (" " + rest if rest else "")
