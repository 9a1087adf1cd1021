"""Questions for training and test: the domain's, as a recogniser may spell them, and others to refuse.

All is drawn from a seeded `random.Random`: the same seed gives the same text. What `held_out` picks is
never trained on.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence
from random import Random
from typing import TypeVar

from .. import domain
from . import words

T = TypeVar("T")

FACTS = [(questions, answer) for questions, answer in domain.pairs() if answer != domain.UNKNOWN_ANSWER]
#: Every question as domain.py spells it.
PLAIN = {question for questions, _ in FACTS for question in questions}


def pick(rng: Random, choices: Sequence[T]) -> T:
    return choices[rng.randrange(len(choices))]


def pseudo(rng: Random) -> str:
    """A made-up word, half the time with a capital."""
    word = "".join(pick(rng, words.SYLLABLES) for _ in range(rng.choice((2, 2, 3))))
    return word.capitalize() if rng.random() < 0.5 else word


def held_out(text: str) -> bool:
    """Whether this spelling belongs to the tests."""
    return zlib.crc32(text.encode()) % 8 == 3


# ---------------------------------------------------------------- noise
_DIGITS = {word: str(i) for i, word in enumerate(domain.NUMBERS)}
_CARRIERS = set(
    words.split("""
    what which capital opposite color sound planet largest mountain highest longest river months days week
    year continents temperature water does comes after day month tell know about
    """)
)
_BEFORE_QUESTION = [
    "Please tell me, ",
    "Can you tell me ",
    "Could you tell me ",
    "Hey, ",
    "Okay, ",
    "So, ",
    "Um, ",
    "Do you know ",
    "Tell me, ",
    "Please, ",
    "Well, ",
    "I want to know ",
    "Okay, so ",
]
_BEFORE_REQUEST = ["Please ", "Can you ", "Could you ", "Hey, ", "Okay, ", "Um, ", "Now ", "Please, "]
_BEFORE_REMARK = ["Hey, ", "Okay, ", "Well, ", "Um, ", "So, ", "Oh, "]
_IS_QUESTION = re.compile(r"^(what|which|who|when|how|where|why|at|do|is)\b", re.IGNORECASE)
_IS_REQUEST = re.compile(r"^(tell|read|call)\b", re.IGNORECASE)


def _prefixed(s: str, rng: Random) -> str:
    prefixes = _BEFORE_REMARK
    if _IS_QUESTION.match(s):
        prefixes = _BEFORE_QUESTION
    elif _IS_REQUEST.match(s):
        prefixes = _BEFORE_REQUEST
    return pick(rng, prefixes) + (s if s.startswith("I ") else s[0].lower() + s[1:])


def _drop(s: str, small_words: str, rng: Random) -> str:
    spots = list(re.finditer(rf" ({small_words})(?= )", s))
    if not spots:
        return s
    spot = pick(rng, spots)
    return s[: spot.start()] + s[spot.end() :]


def _slip(s: str, rng: Random) -> str:
    """One letter lost, or two exchanged, in a word that carries no fact."""
    parts = s.split(" ")
    spots = [i for i, w in enumerate(parts) if w.lower().strip("?.,") in _CARRIERS and len(w) > 3]
    if not spots:
        return s
    i = pick(rng, spots)
    w = parts[i]
    k = rng.randrange(1, len(w) - 1)
    parts[i] = w[:k] + w[k + 1 :] if rng.random() < 0.5 else w[:k] + w[k + 1] + w[k] + w[k + 2 :]
    return " ".join(parts)


def vary(question: str, rng: Random, strength: float = 1.0) -> str:
    """One noisy spelling of a question; `strength` 0 leaves it as it is."""

    def chance(share: float) -> bool:
        return rng.random() < share * strength

    s = question
    if chance(0.22):
        s = s.replace("What is", "What's")
    if " plus " in s and chance(0.35):
        s = re.sub(r"\b(" + "|".join(_DIGITS) + r")\b", lambda m: _DIGITS[m[1]], s)
        if chance(0.3):
            s = s.replace(" plus ", " + ")
    if chance(0.3):
        s = s.replace(" color ", " colour ")
    if chance(0.25):
        s = _prefixed(s, rng)
    if chance(0.06):
        please = ", please" if rng.random() < 0.5 else " please"
        s = re.sub(r"([?.]?)$", lambda m: please + m[1], s, count=1)
    if chance(0.16):
        s = _drop(s, "the|a|an", rng)
    if chance(0.04):
        s = _drop(s, "is|of|does|do|are", rng)
    if chance(0.04):
        s = _slip(s, rng)
    r = rng.random()
    if r < 0.30 * strength:
        s = s.lower()
    elif r < 0.32 * strength:
        s = s.title()
    r = rng.random()
    if r < 0.30 * strength:
        s = s.rstrip("?.")
    elif r < 0.42 * strength:
        s = s.rstrip("?.") + pick(rng, (".", ".", "!", "...", "?"))
    if chance(0.15):
        s = " " + s
    if chance(0.04):
        s = s + " "
    return s


# ---------------------------------------------------------------- questions with an answer
def _kind(questions: list[str], answer: str) -> str:
    if " plus " in questions[0]:
        return "plus"
    if "capital of" in questions[0]:
        return "capital"
    return "single" if (questions, answer) in domain.SINGLE else "table"


_BY_KIND: dict[str, list[tuple[list[str], str]]] = {}
for _questions, _answer in FACTS:
    _BY_KIND.setdefault(_kind(_questions, _answer), []).append((_questions, _answer))


def fact(rng: Random, *, train: bool = True, strength: float = 1.0) -> tuple[str, str, str]:
    """(noisy question, answer, plain question)."""
    r = rng.random()
    kind = "plus" if r < 0.28 else "capital" if r < 0.47 else "table" if r < 0.76 else "single"
    questions, answer = pick(rng, _BY_KIND[kind])
    while True:
        plain = pick(rng, questions)
        noisy = vary(plain, rng, strength)
        if not (train and held_out(noisy) and noisy not in PLAIN):
            return noisy, answer, plain


# ---------------------------------------------------------------- questions to refuse
class _Draw:
    """Short names for what the forms below are filled with."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng

    def one(self, *choices: str) -> str:
        return pick(self.rng, choices)

    def of(self, choices: Sequence[str]) -> str:
        return pick(self.rng, choices)

    def chance(self, share: float) -> bool:
        return self.rng.random() < share

    @property
    def n(self) -> str:
        return pick(self.rng, words.NOUNS)

    @property
    def v(self) -> str:
        return pick(self.rng, words.VERBS)

    @property
    def a(self) -> str:
        return pick(self.rng, words.ADJS)

    @property
    def num(self) -> str:
        return pick(self.rng, domain.NUMBERS)

    @property
    def place(self) -> str:
        return pick(self.rng, words.PLACES) if self.chance(0.7) else pseudo(self.rng).capitalize()

    @property
    def odd(self) -> str:
        draws: tuple[Callable[[], str], ...] = (
            lambda: self.n,
            lambda: self.n,
            lambda: self.a,
            lambda: self.place,
            lambda: pseudo(self.rng),
            lambda: pick(self.rng, words.THINGS),
        )
        return pick(self.rng, draws)()


_PEOPLE = domain.NAMES + words.EXTRA_NAMES
_NOT_RED = [w for w in words.ADJS if w not in ("red", "large", "great", "huge")]
_SUPERLATIVES = ("largest", "longest", "highest", "smallest", "fastest", "oldest")


def _wrong_sum(d: _Draw) -> str:
    x, y = d.one("twenty", "thirty", "forty", "fifty", "a hundred", d.n), d.num
    return f"What is {x} plus {y}?" if d.chance(0.5) else f"What is {y} plus {x}?"


def _mixed(d: _Draw) -> str:
    """The words of three questions of the domain, shuffled."""
    parts = [w for _ in range(3) for w in pick(d.rng, pick(d.rng, FACTS)[0]).strip("?.").split()]
    d.rng.shuffle(parts)
    return " ".join(parts[: d.rng.randint(4, 9)]).capitalize() + "?"


def _babble(d: _Draw) -> str:
    return " ".join(d.odd for _ in range(d.rng.randint(2, 6))).capitalize() + d.one("?", ".")


def _capital(d: _Draw) -> str:
    return f"What is the capital of {d.odd if d.chance(0.5) else d.place}?"


def _opposite(d: _Draw) -> str:
    return f"What is the opposite of {d.of(words.NOUNS + words.VERBS + list(domain.CAPITALS))}?"


def _colour(d: _Draw) -> str:
    return f"What color is {d.one('the ', 'a ', 'my ', '')}{d.n}?"


#: Many near misses of the domain's own forms, so that the model has to look at the words that matter.
_FORMS: list[Callable[[_Draw], str]] = [
    lambda d: d.of(domain.UNKNOWN),
    *[_capital] * 3,
    lambda d: f"Which city is the capital of {d.place}?",
    lambda d: f"Tell me the capital of {d.place}.",
    *[_opposite] * 2,
    lambda d: f"Tell me the opposite of {d.odd}.",
    lambda d: f"What sound does a {d.of(words.OTHER_ANIMALS + words.NOUNS)} make?",
    lambda d: f"What does the {d.of(words.OTHER_ANIMALS + words.NOUNS)} say?",
    *[_colour] * 2,
    lambda d: f"What day comes after {d.of(domain.MONTHS + words.NOUNS)}?",
    lambda d: f"What month comes after {d.of(domain.DAYS + words.NOUNS)}?",
    lambda d: f"What is {d.num} {d.one('minus', 'times', 'divided by')} {d.num}?",
    _wrong_sum,
    lambda d: f"Which planet is {d.of(_NOT_RED)}?",
    lambda d: f"Which {d.n} is the {d.one('largest', 'highest', 'longest', 'best', 'smallest')}?",
    lambda d: f"What is the {d.one(*_SUPERLATIVES)} {d.n}?",
    lambda d: f"How many {d.n}s are in a {d.n}?",
    lambda d: f"How many {d.one('legs', 'eyes', 'wheels', 'arms', 'rooms')} does a {d.n} have?",
    lambda d: f"Who wrote {d.of(words.THINGS) if d.chance(0.6) else 'the ' + d.n}?",
    lambda d: f"Who painted the {d.n}?",
    lambda d: f"Who invented the {d.n}?",
    lambda d: f"Who discovered {d.of(words.PLACES) if d.chance(0.4) else 'the ' + d.n}?",
    lambda d: f"Who was the first {d.n} in {d.place}?",
    lambda d: f"When did the {d.n} {d.one('end', 'fall', 'start', 'stop', 'close')}?",
    lambda d: f"Tell me about {d.one('the ', 'a ', '', 'my ')}{d.odd}.",
    lambda d: f"What do you know about {d.odd}?",
    lambda d: f"What is a {d.odd}?",
    lambda d: f"What do {d.n}s {d.v}?",
    lambda d: f"Where is {d.one('the', 'my', 'your')} {d.n}?",
    lambda d: f"How much does {d.one('a', 'the', 'that')} {d.n} cost?",
    lambda d: f"Who is the {d.a} {d.n}?",
    lambda d: f"What is the weather in {d.place}?" if d.chance(0.6) else f"How is the {d.n} in {d.place}?",
    lambda d: f"What is my {d.a} {d.n}?",
    lambda d: f"How old is {d.one('the ' + d.n, d.of(_PEOPLE), d.place)}?",
    lambda d: f"Why do {d.n}s {d.v}?",
    lambda d: f"Can you {d.v} the {d.n}?",
    lambda d: f"Do you like {d.n}s?" if d.chance(0.5) else f"Do you {d.v} {d.n}s?",
    lambda d: f"When does the {d.n} {d.one('open', 'close', 'start', 'leave')}?",
    lambda d: f"{d.one('Open', 'Close', 'Find', 'Play', 'Stop', 'Bring', 'Buy')} the {d.a} {d.n}.",
    lambda d: f"Is {d.one('a', 'the', 'my')} {d.n} {d.a}?",
    lambda d: f"Where does {d.of(_PEOPLE)} {d.v}?",
    lambda d: f"The {d.n} {d.one('is', 'was')} {d.a}.",
    lambda d: f"What {d.n} is {d.one('in', 'on', 'under')} the {d.n}?",
    lambda d: f"Who {d.v}s the {d.n}?",
    lambda d: (
        f"What is the {d.one('price', 'meaning', 'name', 'age', 'size', 'speed', 'color')}"
        f" of {d.one('a', 'the', 'my')} {d.n}?"
    ),
    lambda d: f"I {d.v} {d.one('a', 'the', 'my')} {d.a} {d.n}.",
    _babble,
    _mixed,
]


def unknown(rng: Random, *, train: bool = True, strength: float = 1.0) -> tuple[str, str, str]:
    """(noisy question, the refusal, plain question)."""
    draw = _Draw(rng)
    while True:
        plain = _FORMS[rng.randrange(len(_FORMS))](draw)
        if plain in PLAIN or plain.lower() == "what is a computer?":
            continue
        if train and held_out(plain) and plain not in domain.UNKNOWN:  # held out by its plain form
            continue
        return vary(plain, rng, strength), domain.UNKNOWN_ANSWER, plain
