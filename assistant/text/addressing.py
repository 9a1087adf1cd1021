"""Who a transcript is addressed to: a phrase is found in it, though misheard, and taken out.  Pure.

Letters are compared without case, accents, spaces and punctuation, in any script.
"""

# ruff: noqa: RUF001 - the punctuation of other scripts looks like ours, and is meant

from __future__ import annotations

import re
import unicodedata

GREETINGS = ("hey", "hi", "hello", "ok", "okay", "oh")
"""Words that people put before a name."""

LETTERS_AN_ERROR = 5
"""A phrase may be misheard by one letter in so many: "computor" is taken for "computer", "alexis" not for
"alexa", and a name of four letters has to be heard as it is.  A single word only before a mark, since it may
be another one: "commuter trains are late"."""

FEWEST_LEFT = 4
"""Letters of a word's end taken for what is left of it; fewer, as "is" of "jarvis", before a mark."""

LETTERS_AN_ERROR_SAID = 3
"""The same where the sound itself has told that the phrase was said: "okay naboo" is "okay nabu"."""

_AROUND = re.compile(r"^[\s,;:.!?。！？、，،؛؟।…–—-]+")
_GOES_ON = re.compile(r"['’]\w")
_END = re.compile(r"[.!?。！？؟।…\s]*$")
_MARK = re.compile(r"\s*(?:[,;:.!?。！？、，،؛؟।…–—]|$)")
_WORD = re.compile(r"\w+")


class Letters:
    """The letters and digits of a text, folded; `ends[i]` is where in the text the i-th of them ends."""

    def __init__(self, text: str) -> None:
        self.folded = ""
        self.ends: list[int] = []
        for at, character in enumerate(text):
            plain = unicodedata.normalize("NFKD", character.casefold())
            for letter in plain:
                if letter.isalnum():
                    self.folded += letter
                    self.ends.append(at + 1)


def question_behind(phrase: str, text: str) -> str | None:
    """What `text` asks of whoever is called by `phrase`; "" if it is the call alone, None if it is none.

    The phrase stands at the beginning, behind a greeting or not, or, exactly, at the end behind a comma.
    """
    rest = _without_beginning(phrase, text, LETTERS_AN_ERROR)
    if rest is None and (greeting := _WORD.search(text)) and greeting.group().casefold() in GREETINGS:
        rest = _without_beginning(phrase, text[greeting.end() :], LETTERS_AN_ERROR)
    return rest if rest is not None else _without_end(phrase, text)


def question_after(word: str, text: str) -> str:
    """`text` without the wake word that was said just before it, or what is left of that: its end."""
    rest = _without_beginning(word, text, LETTERS_AN_ERROR_SAID)
    if rest is None and (first := _WORD.search(text)):
        heard, said = Letters(first.group()).folded, Letters(word).folded
        is_left = len(heard) >= FEWEST_LEFT or _MARK.match(text, first.end())
        if len(heard) > 1 and is_left and said.endswith(heard):
            rest = _begun(text[first.end() :])
    return text if rest is None else rest


def _without_beginning(phrase: str, text: str, letters_an_error: int) -> str | None:
    said, heard = Letters(phrase).folded, Letters(text)
    most = len(said) // letters_an_error
    if heard.folded.startswith(said) and not _ends_word(text, heard.ends[len(said) - 1]):
        return None  # another word, that only begins so: "computers"
    is_one_word = len(_WORD.findall(phrase)) == 1
    distances = _distances(said, heard.folded[: len(said) + most])
    near = [
        (distance, -length)
        for length, distance in enumerate(distances)
        if length
        and distance <= most
        and _ends_word(text, heard.ends[length - 1])
        and not (distance and is_one_word and not _MARK.match(text, heard.ends[length - 1]))
    ]
    return _begun(text[heard.ends[-min(near)[1] - 1] :]) if near else None


def _without_end(phrase: str, text: str) -> str | None:
    said = Letters(phrase).folded
    body = text[: _END.search(text).start()]  # type: ignore[union-attr] # it may be empty, and is always found
    for comma in re.finditer(r"[,，、،;]", body):
        if Letters(body[comma.end() :]).folded == said:
            return text[: comma.start()].rstrip() + text[len(body) :]
    return None


def _begun(rest: str) -> str:
    """What follows a phrase, as a sentence of its own."""
    rest = _AROUND.sub("", rest)
    return rest[:1].upper() + rest[1:]


def _ends_word(text: str, end: int) -> bool:
    """Whether a word may end there; in scripts without capitals, some of which have no spaces, anywhere."""
    if _GOES_ON.match(text, end):
        return False
    if end >= len(text) or not text[end].isalnum():
        return True
    return text[end].upper() == text[end].lower() and not text[end].isdecimal()


def _distances(said: str, heard: str) -> list[int]:
    """For each n, how many letters differ, are missing or too many in the first n of `heard` to be `said`.

    Levenshtein, "Binary codes capable of correcting deletions, insertions, and reversals", 1966.
    """
    row = list(range(len(heard) + 1))
    for i, letter in enumerate(said, 1):
        row, above = [i], row
        for j, other in enumerate(heard, 1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (letter != other)))
    return row
