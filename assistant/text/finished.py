"""Whether what was said until a pause reads as if the person had finished.  Pure."""

# ruff: noqa: RUF001 - the punctuation of other scripts looks like ours, and is meant

from __future__ import annotations

import re
from enum import Enum

FINISHED_SHARE, SHORTEST_MS = 2 / 5, 260
UNFINISHED_SHARE, LONG_MS = 3 / 2, 900
"""Of the usual hangover, and at least.  Between two people's turns are 200 ms most often; a pause inside one
is rarely above a second (Heldner and Edlund, "Pauses, gaps and overlaps in conversations", 2010)."""


class Ending(Enum):
    """How a transcript ends."""

    FINISHED = "a whole sentence"
    UNFINISHED = "in the middle of one"
    UNCLEAR = "one cannot tell"


_GOES_ON = re.compile(r"(?:[,;:–—-]|\.\.|…)[\"'”’»)]*$")
_STOPS = re.compile(r"[.!?。！？؟।][\"'”’»)]*$")
_LAST_WORD = re.compile(r"([^\W\d_]+(?:['’][^\W\d_]+)?)\W*$")
_NUMBER = re.compile(r"\d\W*$")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Hardly a sentence ends with these, whatever mark the recogniser puts behind them: it likes to put one.
_NEVER_LAST = {
    "en": _words("a an the of and or but because if than my your our their every whose very um uh erm er"),
    "de": _words("der und oder aber weil wenn dass mein meine dein deine sehr äh ähm"),
    "fr": _words("le les des et ou mais parce que si mon ma mes ton ta tes du très euh"),
    "es": _words("el los las y o pero porque que si mi tu su muy del eh"),
    "it": _words("il gli e o ma perché che se mio mia molto del ehm"),
}
# Sentences rarely end with these, and a mark behind them may be a guess ("Who is it for?").
_RARELY_LAST = {
    "en": _words(
        "to in on at for with from by into about as is are was were do does did has have had can could "
        "will would should what which who when where how that this these those i we they he she it's not so"
    ),
    "de": _words(
        "ein eine einen einem einer von zu in auf an für mit aus bei nach über ist sind war hat kann wird "
        "was wer wie wo die das"
    ),
    "fr": _words(
        "la un une de à en dans sur pour avec par chez est sont qui où quand comment je nous vous il elle"
    ),
    "es": _words("la un una de a en con por para sobre es son está qué quién cómo cuándo dónde yo"),
    "it": _words("lo la un una di a in con su per da è sono chi come quando dove io"),
}
# A question that begins with what is asked for does not end with its verb ("Which planet is?"), and its first
# word is none, whatever mark is put behind it ("What.").
_ASKED_HALF = {
    "en": re.compile(
        r"(?:what|which|who|whose|where|when|why|how)\b.* (?:is|are|was|were|does|did|plus|minus)\?"
        r"|(?:what|which|whose|how|how many|how much)[.?]",
        re.IGNORECASE,
    ),
    "de": re.compile(
        r"(?:was|welche[rsmn]?|wer|wo|wann|wie)\b.* (?:ist|sind|war|plus|minus)\?", re.IGNORECASE
    ),
}
_NUMBER_WORDS = (
    "zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|(?:thir|four|fif|six|seven|eigh|nine)teen"
    "|(?:twen|thir|for|fif|six|seven|eigh|nine)ty|hundred|thousand|million|and"
)
# What is asked about, and no verb yet ("How many legs?"); a thing, and not whose ("What is the capital?");
# a number, and nothing to reckon ("What is two?").
_HALF_SAID = {
    "en": re.compile(
        r"(?:what|which|whose|how (?:many|much)) [^\W\d_]+\?"
        r"|(?:(?:what|which|who)(?: is| are| was| were|['’]s)|tell me) the [^\W\d_]+[.?]"
        rf"|(?:what(?: is|['’]s)|how much is) (?:(?:{_NUMBER_WORDS})[ -]?)+[.?]",
        re.IGNORECASE,
    )
}


def reads_as(transcript: str, language: str) -> Ending:
    """How `transcript` ends; its language is an ISO 639 code, of which some are known word by word."""
    text = transcript.rstrip()
    if not text or _GOES_ON.search(text):
        return Ending.UNFINISHED if text else Ending.UNCLEAR
    found = _LAST_WORD.search(text)
    word = found[1].casefold() if found else ""
    if word in _NEVER_LAST.get(language, ()):
        return Ending.UNFINISHED
    if (half := _ASKED_HALF.get(language)) and half.fullmatch(text):
        return Ending.UNFINISHED
    if (half_said := _HALF_SAID.get(language)) and half_said.fullmatch(text):
        return Ending.UNCLEAR
    rare = word in _RARELY_LAST.get(language, ())
    if _NUMBER.search(text):
        return Ending.UNCLEAR  # more digits may follow
    if _STOPS.search(text):
        return Ending.UNCLEAR if rare else Ending.FINISHED
    # where sentences end with a mark, a recogniser that leaves it out has heard that this one goes on
    return Ending.UNFINISHED if rare or language in _NEVER_LAST else Ending.UNCLEAR


def hangover_ms(ending: Ending, usual_ms: int) -> int:
    """The silence that makes the end of what reads so."""
    if ending is Ending.FINISHED:
        return min(usual_ms, max(SHORTEST_MS, round(FINISHED_SHARE * usual_ms)))
    if ending is Ending.UNFINISHED:
        return max(LONG_MS, round(UNFINISHED_SHARE * usual_ms))
    return usual_ms
