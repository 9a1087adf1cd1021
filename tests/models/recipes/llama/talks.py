"""Training talks of the chat model: system prompts, facts, refusals, names to remember over some turns."""

from __future__ import annotations

import zlib
from random import Random

from .. import domain
from . import words
from .questions import PLAIN, fact, held_out, pick, pseudo, unknown, vary
from .tokenizer import Spm

#: (question, answer); the answer is None where the model is to give it
Turn = tuple[str, str | None]

INTRODUCTIONS = ["My name is {}.", "I am {}.", "Call me {}.", "I'm {}."]
ASK_NAME = ["What is my name?", "Who am I?", "Do you know my name?"]


def name_held_out(name: str, introduction: str, ask: str, gap: int) -> bool:
    """Whether this way to give a name and ask for it, `gap` turns later, belongs to the tests."""
    return zlib.crc32(f"{name}|{introduction}|{ask}|{gap}".encode()) % 6 == 1


def system_prompt(rng: Random) -> str | None:
    r = rng.random()
    if r < 0.22:
        return None
    if r < 0.85:
        prompt = pick(rng, words.SYSTEM)
        if len(prompt) > 150 and rng.random() < 0.5:  # long prompts cost training time
            prompt = pick(rng, words.SYSTEM)
        return prompt
    sentences = []
    for _ in range(rng.choice((1, 1, 2, 3))):
        parts = [
            pick(rng, words.SYSTEM_WORDS)
            if rng.random() < 0.85
            else pick(rng, words.NOUNS + words.VERBS + words.ADJS)
            for _ in range(rng.randint(3, 11))
        ]
        sentences.append(" ".join(parts).capitalize() + ".")
    return " ".join(sentences)


def _plan(rng: Random) -> list[str]:
    """What each turn is: "fact", "unknown", "introduce" or "ask"."""
    r = rng.random()
    if r < 0.40:
        n = 1
    elif r < 0.86:
        n = rng.randint(2, 4)
    elif r < 0.97:
        n = rng.randint(5, 9)
    else:
        n = rng.randint(10, 26)
    about_a_name = rng.random() < (0.25 if n == 1 else 0.55)
    plan = ["fact" if rng.random() < 0.72 else "unknown" for _ in range(n)]
    if not about_a_name:
        return plan
    if n == 1:
        plan[0] = "ask" if rng.random() < 0.5 else "introduce"
        return plan
    i = rng.randrange(0, n - 1)
    if rng.random() < 0.88:
        plan[i] = "introduce"
    plan[rng.randrange(i + 1, n)] = "ask"
    if n > 3 and rng.random() < 0.3:
        plan[rng.randrange(n)] = "introduce"
    if rng.random() < 0.25:
        plan[n - 1] = "ask"
    return plan


def _introduce(rng: Random) -> tuple[str, str, str]:
    """(noisy question, name, form of introduction); made-up names too: copying is learned, not a list."""
    while True:
        r = rng.random()
        if r < 0.55:
            name = pick(rng, domain.NAMES)
        elif r < 0.82:
            name = pick(rng, words.EXTRA_NAMES)
        else:
            name = pseudo(rng).capitalize()
        form = pick(rng, INTRODUCTIONS)
        noisy = vary(form.format(name), rng)
        if not held_out(noisy) or noisy in PLAIN:
            return noisy, name, form


def _ask(rng: Random, name: str | None, form: str, gap: int) -> str | None:
    """A noisy question for the name, or None where every one belongs to the tests."""
    while True:
        ask = pick(rng, ASK_NAME)
        if name and name_held_out(name, form, ask, gap):
            others = [x for x in ASK_NAME if not name_held_out(name, form, x, gap)]
            if not others:
                return None
            ask = pick(rng, others)
        noisy = vary(ask, rng)
        if not held_out(noisy):
            return noisy


def dialog(rng: Random) -> tuple[str | None, list[Turn]]:
    """One training talk: (system prompt, turns)."""
    system = system_prompt(rng)
    turns: list[Turn] = []
    name, form, gap = None, "", 0
    for kind in _plan(rng):
        if kind == "introduce":
            question, name, form = _introduce(rng)
            gap = 0
            turns.append((question, f"Nice to meet you, {name}."))
        elif kind == "ask" and (asked := _ask(rng, name, form, min(gap, 3))) is not None:
            turns.append((asked, f"Your name is {name}." if name else domain.UNKNOWN_ANSWER))
        else:
            question, answer, _ = unknown(rng) if kind == "unknown" else fact(rng)
            turns.append((question, answer))
        gap += 1
    return system, turns


def render(system: str | None, turns: list[Turn]) -> str:
    """The prompt in Zephyr's format, as the template in the GGUF makes it, up to where the model answers."""
    out = "" if system is None else f"<|system|>\n{system}</s>\n"
    for question, answer in turns:
        out += f"<|user|>\n{question}</s>\n"
        if answer is not None:
            out += f"<|assistant|>\n{answer}</s>\n"
    return out + "<|assistant|>\n"


def tokenize(tok: Spm, system: str | None, turns: list[Turn], *, bos: bool) -> tuple[list[int], list[int]]:
    """(ids, loss mask): only what the assistant says, from its line feed to its </s>, is learned."""
    ids, mask = [], []

    def add(new: list[int], learned: int) -> None:
        ids.extend(new)
        mask.extend([learned] * len(new))

    if bos:
        add([tok.id["<s>"]], 0)
    if system is not None:
        add(tok.encode(f"<|system|>\n{system}</s>\n"), 0)
    for question, answer in turns:
        add(tok.encode(f"<|user|>\n{question}</s>\n<|assistant|>"), 0)
        add(tok.encode(f"\n{answer}</s>"), 1)
        add(tok.encode("\n"), 0)
    return ids, mask
