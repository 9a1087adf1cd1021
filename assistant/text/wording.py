"""Symbols, units and abbreviations in English words: tables and rules for `speakable`.

Piper (through espeak-ng) spells "km" and ends a sentence at every full stop before a capital letter
("Dr. Smith"): that is what the tables are for.  The rules apply in their order to text on one line, without
links and without the marks that begin a line.
"""

# ruff: noqa: RUF001 - characters that look like others are what the tables are about

from __future__ import annotations

import re
from collections.abc import Callable

from assistant.text.sentences import BEGINNERS

Rule = tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]
"""What is replaced, and by what."""

# ---------------------------------------------------------------- numbers, units, symbols

_AMOUNT = r"\d(?:[\d.,]*\d)?"
_CURRENCIES = {"$": "dollars", "€": "euros", "£": "pounds", "¥": "yen", "₹": "rupees"}
_MAGNITUDES = {"k": "thousand", "K": "thousand", "M": "million", "B": "billion", "bn": "billion"}
_UNITS = {
    "%": "percent", "°": "degrees", "°C": "degrees Celsius", "° C": "degrees Celsius",
    "°F": "degrees Fahrenheit", "° F": "degrees Fahrenheit",
    "km": "kilometers", "m": "meters", "cm": "centimeters", "mm": "millimeters", "ft": "feet",
    "km^2": "square kilometers", "m^2": "square meters", "cm^2": "square centimeters", "m^3": "cubic meters",
    "cm^3": "cubic centimeters", "l": "liters", "L": "liters", "ml": "milliliters", "mL": "milliliters",
    "kg": "kilograms", "g": "grams", "mg": "milligrams", "lb": "pounds", "lbs": "pounds", "oz": "ounces",
    "tsp": "teaspoons", "tbsp": "tablespoons",
    "h": "hours", "hrs": "hours", "min": "minutes", "sec": "seconds", "ms": "milliseconds",
    "km/h": "kilometers per hour", "mph": "miles per hour", "m/s": "meters per second",
    "Hz": "hertz", "kHz": "kilohertz", "MHz": "megahertz", "GHz": "gigahertz",
    "V": "volts", "W": "watts", "kW": "kilowatts", "kWh": "kilowatt hours",
    "kB": "kilobytes", "MB": "megabytes", "GB": "gigabytes", "TB": "terabytes",
    "MB/s": "megabytes per second", "Mbit/s": "megabits per second",
}  # fmt: skip
_MAGNITUDE = "|".join([*_MAGNITUDES, *_MAGNITUDES.values(), "trillion"])
_UNIT = "|".join(re.escape(unit) for unit in sorted(_UNITS, key=len, reverse=True))
_COUNTS = {"1": "one", "2": "two", "3": "three", "4": "four", "5": "five", "7": "seven"}
_PARTS = {"2": "half", "3": "third", "4": "quarter", "5": "fifth", "6": "sixth", "8": "eighth"}


def _counted(amount: str, nouns: str) -> str:
    """`amount` and what it counts: "5 miles per hour", "1 mile per hour"."""
    if amount == "1":
        nouns = "foot" if nouns == "feet" else re.sub(r"s\b", "", nouns, count=1)
    return f"{amount} {nouns}"


def _money(found: re.Match[str]) -> str:
    sign, amount, upper, magnitude = found.groups("")
    words = [amount + upper.replace(sign, ""), _MAGNITUDES.get(magnitude, magnitude)]
    return _counted(" ".join(words).strip(), _CURRENCIES[sign])


def _fraction(found: re.Match[str]) -> str:
    """A fraction in words, with "and" behind a whole number; what has no such name stays as it is."""
    whole, above, below = found.groups("")
    if above not in _COUNTS or below not in _PARTS or above >= below:
        return found[0]
    part = _PARTS[below] if above == "1" else _PARTS[below] + "s"
    return (f"{whole} and " if whole else "") + f"{_COUNTS[above]} {part}"


def _span(found: re.Match[str]) -> str:
    """Numbers joined by dashes: a range, a subtraction, the groups of a date or a telephone number."""
    numbers = re.split(r" ?[-–] ?", found[0])
    first, last = numbers[0], numbers[-1].rstrip(".,:")
    if found.string[found.end() : found.end() + 2].lstrip().startswith("="):
        return " minus ".join(numbers)
    if len(numbers) > 2 or first == last or re.match(r"\d{3}-\d{4}(?!\d)", found[0]):
        return " ".join(numbers)
    falls = first.isdecimal() and last.isdecimal() and (len(first), first) > (len(last), last)
    return (" minus " if falls and " - " in found[0] else " to ").join(numbers)


def _alternatives(found: re.Match[str]) -> str:
    """Two words with a stroke between them: "he or she", "TCP IP"."""
    one, other = found.groups()
    either = one.islower() and other.islower() and (one, other) != ("and", "or")
    return f"{one} or {other}" if either else f"{one} {other}"


_LONE = r"(?:(?<=\d)|(?<=\b[a-zA-Z]))"  # behind a number or a single letter
SYMBOLS: list[Rule] = [
    (re.compile(r"\\(?=[^\w\s])|~~+|={3,}"), ""),
    (re.compile(r"\\"), " "),
    (re.compile(r"!="), " is not equal to "),
    (re.compile(r"<="), " less than or equal to "),
    (re.compile(r">="), " greater than or equal to "),
    (re.compile(r"[-=]>"), " to "),
    (re.compile(rf"{_LONE} ?< ?(?=[\w$€£(-])|< ?(?=\d)"), " less than "),
    (re.compile(rf"{_LONE} ?> ?(?=[\w$€£(-])|> ?(?=\d)"), " greater than "),
    # arithmetic comes before the asterisks go as emphasis
    (re.compile(r"(?<=\d)/(?=\d+ ?=)"), " divided by "),
    (re.compile(r"(?<=\d)\*\*(?=\d)|(?<=[\w)])\^(?=[\w(-])(?![23]\b)"), " to the power of "),
    (re.compile(r"(?<=\d) ?\* ?(?=\d)|(?<=\w) \* (?=\w)|(?<=\d) x (?=\d)"), " times "),
    (re.compile(r"(?<=\d) ?~ ?(?=\d)"), " to "),
    (re.compile(r"~ ?(?=[$€£]?\d)"), " about "),
    (re.compile(r"(?<![\w.,:])(?<!\w-)\d[\d.,:]*(?:(?: [-–] |[-–])[$€£]?\d[\d.,:]*)+"), _span),
    (re.compile(r"(?<![\w.,)\]%°-])-(?=[$€£]?\.?\d)"), "minus "),
    (re.compile(rf"([$€£¥₹]) ?({_AMOUNT})( to [$€£¥₹]?{_AMOUNT})?(?: ?({_MAGNITUDE}))?(?!\w)"), _money),
    (
        re.compile(rf"(?<![\w.,])({_AMOUNT}) ?([€$£¥₹])(?!\w)"),
        lambda found: _counted(found[1], _CURRENCIES[found[2]]),
    ),
    (
        re.compile(rf"(?<![\w.,])(\.?{_AMOUNT}) ?({_UNIT})(?![\w^])(?:\.(?= [a-z]))?"),
        lambda found: _counted(found[1], _UNITS[found[2]]),
    ),
    (re.compile(r"\b(km/h|m/s)\b"), lambda found: _UNITS[found[1]]),
    (re.compile(r"° ?([CF])\b"), lambda found: f" {_UNITS['°' + found[1]]}"),
    (re.compile(r"°"), " degrees "),
    (re.compile(r"%"), " percent "),
    (re.compile(r"[€£¥₹]"), lambda found: f" {_CURRENCIES[found[0]]} "),
    (re.compile(r"\$"), ""),
    (re.compile(r"\^2\b"), " squared "),
    (re.compile(r"\^3\b"), " cubed "),
    (re.compile(r"(?<![\w/])(?:(\d+) )?(\d)/(\d)(?![\w/])"), _fraction),
    (re.compile(r"(?<=\d) / (?=\d)"), " divided by "),
    (re.compile(r"(?<=\w) / (?=\w)"), " or "),
    (re.compile(r"(?<![\w/])(dollars?|euros?|pounds?|\d+)/(?=[a-z])"), r"\1 per "),
    (re.compile(r"(?<![\w/])(Celsius|Fahrenheit|[a-z]+s)/(?=\d)"), r"\1 or "),
    (re.compile(r"(?<![\w/.:-])([^\W\d_]+)/([^\W\d_]+)(?![\w/]|[.:-]\w)"), _alternatives),
    (re.compile(r"(?<!\w)([A-Ga-g])#(?!\w)"), r"\1 sharp"),
    (re.compile(r"#(?=\d)"), " number "),
    (re.compile(r"(?<=\w)\+\+"), " plus plus "),
    (re.compile(r"\+"), " plus "),
    (re.compile(r"=+"), " equals "),
    (re.compile(r"&+"), " and "),
    (re.compile(r" ?\|+ ?| > | • "), ", "),
    (re.compile(r"(?<=\w)--+(?=\w)| --?-? (?=\S)"), " – "),
    (re.compile(r"(?<![\w-])--+(?=\w)"), ""),
    # what is left of markup: a space where words would grow together, else nothing
    (re.compile(r"(?<=[^\W_])(?:_+|[\[\]{}<>\\|#~^]+)(?=[^\W_])"), " "),
    (re.compile(r"[*`_~#\[\]{}<>\\|^]"), ""),
]

# ---------------------------------------------------------------- abbreviations

_BEFORE_NAME = {
    "Dr": "Doctor", "Mr": "Mister", "Mrs": "Mrs", "Ms": "Miz", "Prof": "Professor", "St": "Saint",
    "Mt": "Mount", "Ft": "Fort", "Gen": "General", "Sen": "Senator", "Rep": "Representative",
    "Gov": "Governor", "Pres": "President", "Capt": "Captain", "Lt": "Lieutenant", "Col": "Colonel",
    "Sgt": "Sergeant", "Rev": "Reverend", "Jr": "Junior", "Sr": "Senior", "Inc": "Inc", "Ltd": "Limited",
    "Co": "Company", "Corp": "Corporation",
}  # fmt: skip
_BEFORE_NUMBER = {
    "no": "number", "nos": "numbers", "fig": "figure", "p": "page", "pp": "pages", "vol": "volume",
    "ch": "chapter", "sec": "section", "jan": "January", "feb": "February", "mar": "March", "apr": "April",
    "jun": "June", "jul": "July", "aug": "August", "sep": "September", "sept": "September", "oct": "October",
    "nov": "November", "dec": "December",
}  # fmt: skip


def _in_case(found: re.Match[str], words: str) -> str:
    return words[0].upper() + words[1:] if found[0][0].isupper() else words


def _letters(found: re.Match[str]) -> str:
    """Initials, "U.S." and "a.m." before a name, without the full stops that would end the sentence."""
    if found[2] in BEGINNERS:
        return found[0]
    return found[1].replace(".", "").upper() + found[2]


ABBREVIATIONS: list[Rule] = [
    (re.compile(r"\be\. ?g\.", re.I), lambda found: _in_case(found, "for example")),
    (re.compile(r"\bi\. ?e\.", re.I), lambda found: _in_case(found, "that is")),
    (re.compile(r"(?<![\w/])etc(?:\.(?= [^\W\d_A-Z]|[,;)])|\b(?!/))"), "et cetera"),
    (re.compile(r"\bvs\b\.?"), "versus"),
    (re.compile(r"\bapprox\.(?= )"), "approximately"),
    (re.compile(r"\bincl\.(?= )"), "including"),
    (re.compile(r"\b([ap]\.m\.)[-–](?=\d)"), r"\1 to "),
    (re.compile(r"\bw/o(?= )"), "without"),
    (re.compile(r"\bPh\.D\b"), "PhD"),
    (re.compile(rf"\b({'|'.join(_BEFORE_NAME)})\.(?= [A-Z])"), lambda found: _BEFORE_NAME[found[1]]),
    (
        re.compile(rf"\b({'|'.join(_BEFORE_NUMBER)})\. ?(?=\d)", re.I),
        lambda found: _in_case(found, _BEFORE_NUMBER[found[1].casefold()]) + " ",
    ),
    (re.compile(r"\bSt(?:(?=\.$)|\.(?= [a-z]))"), "Street"),
    (re.compile(r"(?<![\w.])((?:[A-Z]\. ?){1,6}(?<= ))([A-Z][\w'’]*)"), _letters),
    (re.compile(r"\b([ap]\.m\. )([A-Z][\w'’]*)"), _letters),
]
