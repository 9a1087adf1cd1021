"""What words that are heard during an answer mean: "stop", or nothing but the answer's own echo.  Pure."""

from __future__ import annotations

import re
from difflib import SequenceMatcher

STOPS = {
    "en": (
        "stop",
        "stop it",
        "stop talking",
        "please stop",
        "stop please",
        "be quiet",
        "quiet",
        "silence",
        "shut up",
        "enough",
        "thats enough",
        "cancel",
        "halt",
    ),
    "de": (
        "stopp",
        "stop",
        "halt",
        "ruhe",
        "sei still",
        "sei ruhig",
        "still",
        "genug",
        "hör auf",
        "aufhören",
        "schluss",
        "abbrechen",
    ),
    "fr": ("stop", "arrête", "arrêtez", "silence", "tais toi", "taisez vous", "ça suffit", "assez"),
    "es": ("para", "alto", "basta", "detente", "silencio", "cállate", "cancela", "stop"),
    "it": ("ferma", "fermati", "basta", "silenzio", "zitto", "zitta", "stai zitto", "stop"),
    "nl": ("stop", "hou op", "stil", "wees stil", "stilte", "genoeg", "ophouden"),
}
"""What makes the assistant stop, said alone; in other languages English does."""

ECHOED = 0.85
"""The part of a transcript's letters which, found in what was just said, in that order, make it an echo."""

FEWEST_LETTERS = 8
"""Of a transcript that is compared by its letters: those of shorter ones are found in any answer, so that its
words have to be."""

LETTERS_PER_S = 20
"""No voice says more: 200 words a minute, which is fast, are 17 of English."""

_NO_LETTERS = re.compile(r"[^\w\s]|_")
_BETWEEN = re.compile(r"[\s-]+")


def is_stop(text: str, language: str) -> bool:
    """Whether `text` is the wish that the assistant be silent, said once or more, and nothing else."""
    said = " ".join(_words(text))
    stops = sorted(STOPS.get(language, STOPS["en"]), key=len, reverse=True)
    return re.fullmatch(f"(?:(?:{'|'.join(stops)})(?: |$))+", said) is not None


def is_echo(text: str, spoken: str) -> bool:
    """Whether `text` is so like a part of what the assistant has just `spoken` that it has heard itself.

    Recognisers mishear an echo, and hear only a part of it: the letters count, without spaces.
    """
    heard, said = "".join(_words(text)), "".join(_words(spoken))
    if len(heard) < FEWEST_LETTERS:
        return bool(heard) and f" {' '.join(_words(text))} " in f" {' '.join(_words(spoken))} "
    # the stretch that it may be: as long, around the longest piece that both have
    match = SequenceMatcher(None, heard, said, autojunk=False).find_longest_match()
    start = max(0, match.b - match.a)
    blocks = SequenceMatcher(
        None, heard, said[start : start + len(heard)], autojunk=False
    ).get_matching_blocks()
    return sum(block.size for block in blocks) >= ECHOED * len(heard)


def shortest_s(text: str) -> float:
    """How long it takes at least to say `text`, at a speed of 1."""
    return len("".join(_words(text))) / LETTERS_PER_S


def _words(text: str) -> list[str]:
    return _NO_LETTERS.sub("", _BETWEEN.sub(" ", text.casefold())).split()
