"""Turns a piece of a model's answer into what a speech synthesiser should read aloud.

A piece is one sentence: its markup may begin or end in another one ("**Bold start." / "End** here."), and
"1986. A good year" is no list.  A Markdown parser takes such fragments for what they are not; therefore each
rule here works without a partner.  Symbols, units and abbreviations become English words.  Piper (through
espeak-ng) ends a sentence at every full stop before a capital letter ("Dr. Smith"), spells "km", reads
"[[...]]" as phonemes and runs the words around an ellipsis together: that is what the tables are for.

No rule looks at a character from more than a few places: the time is proportional to the length of the text.
"""

# ruff: noqa: RUF001 - characters that look like others are what the tables are about

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable

from assistant.text.clean import printable
from assistant.text.sentences import BEGINNERS

CODE = "The code is in the written answer."
"""What is said in place of a code block."""

_Rule = tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]
_MOST_PASSES = 8


def speakable(text: str) -> str:
    """`text` in words and punctuation on one line, or "" if nothing in it can be pronounced.

    Free of * ` # _ ~ | < > [ ] { } \\, emoji and control characters.  What is speakable stays as it is.
    """
    text = printable(text)
    # Where one rule uncovers what an earlier one is for ("**1.** Milk"), the next pass finds it.
    for _ in range(_MOST_PASSES):
        before, text = text, _pass(text)
        if text == before:
            break
    return text


def _pass(text: str) -> str:
    text = _apply(_MARKUP, _without_code_blocks(text)).translate(_CHARACTERS)
    text = " ".join(_lines(_apply(_LINKS, text)))
    for rules in (_SYMBOLS, _ABBREVIATIONS, _SPACING):
        text = _apply(rules, " ".join(text.split()))
    return text.strip() if _PRONOUNCED.search(text) else ""


def _apply(rules: list[_Rule], text: str) -> str:
    for pattern, replacement in rules:
        text = pattern.sub(replacement, text)
    return text


_PRONOUNCED = re.compile(r"[^\W_]")

# ---------------------------------------------------------------- code, lines

_FENCE = re.compile("`{3,}")
_MARKERS = re.compile(r"(?:(?:[-+*•‣◦·–]|#{1,6})\s+(?:\[[ xX]\]\s+)?|>\s*)+")
_NUMBER = re.compile(r"(\d{1,3})[.)]\s+(?=\S)")
_RULED = re.compile(r"[\s|:+=*_-]*$")
_CLOSERS = " *_~`\"'”’»)]}"


def _without_code_blocks(text: str) -> str:
    parts = _FENCE.split(text)
    for i in range(1, len(parts), 2):
        if "\n" in parts[i]:  # else three backticks within a line
            code = parts[i].partition("\n")[2]
            parts[i] = f"\n\n{CODE}\n\n" if code.strip() else "\n"
    return "".join(parts)


def _lines(text: str) -> list[str]:
    """The lines without what marks them as headings, items, quotations and rows, a pause behind each such."""
    lines: list[str] = []
    for line in text.strip().split("\n"):
        row = line.count("|") > 1
        marked = _MARKERS.match(line.strip())
        rest = line.strip()[marked.end() :] if marked else line.strip()
        numbered = _NUMBER.match(rest)
        if numbered:
            rest = f"{numbered[1]}, {rest[numbered.end() :]}"
        apart = row or bool(numbered) or bool(marked and marked[0].strip(" >"))
        empty = bool(_RULED.match(rest))
        if lines and (apart or empty):
            lines[-1] = _with_pause(lines[-1])
        if empty:
            continue
        if row:
            cells = (cell.strip(" .,;") for cell in rest.split("|"))
            rest = ", ".join(cell for cell in cells if cell)
        lines.append(_with_pause(rest) if apart else rest)
    return lines


def _with_pause(line: str) -> str:
    """`line` with a full stop, unless punctuation ends it."""
    words = line.rstrip(_CLOSERS)
    return line + "." if words and (words[-1].isalnum() or words[-1] in "%€$£°#+") else line


# ---------------------------------------------------------------- characters

_EMOJI = re.compile(r"[\u2300-\u23ff\u2500-\u27bf\u2b00-\u2bff\u3030\u303d\U0001f000-\U0001fbff]")
_NAMED = {
    "×": " times ", "∗": " times ", "÷": " divided by ", "±": " plus or minus ", "−": " minus ",
    "≈": " about ", "≠": " is not equal to ", "≤": " less than or equal to ", "∞": " infinity ",
    "≥": " greater than or equal to ", "√": " square root of ", "§": " section ", "№": " number ",
    "°": "°", "℃": "°C", "℉": "°F", "⁄": "/", "…": "...",
    **dict.fromkeys("→⇒⟶⟹➔➙➜➝➞➡", " to "),
    **dict.fromkeys("＊﹡⁎＃﹟～｜＜＞［］｛｝＼｀", " "),
}  # fmt: skip


class _Characters(dict[int, str]):
    """What `str.translate` makes of each character: found when it is first met, and kept."""

    def __missing__(self, code: int) -> str:
        self[code] = spoken = _character(chr(code))
        return spoken


def _character(character: str) -> str:
    if character.isascii():
        return character
    if character in _NAMED:
        return _NAMED[character]
    category = unicodedata.category(character)
    if category == "No":  # circled and lowered digits, fractions
        plain = unicodedata.normalize("NFKC", character).replace("⁄", "/")
        return f" {plain} " if "/" in plain else plain
    if "\U0001d400" <= character <= "\U0001d7ff":  # the bold and italic letters of mathematics
        return unicodedata.normalize("NFKC", character)
    if category in ("So", "Pc") or "←" <= character <= "⇿" or _EMOJI.match(character):
        return " "
    # What cannot be seen, is not assigned, encloses other characters, or selects a variant of them.
    unseen = category[0] == "C" or category == "Me" or "VARIATION SELECTOR" in unicodedata.name(character, "")
    return "" if unseen else character


_CHARACTERS = _Characters()

# ---------------------------------------------------------------- markup, links, addresses


def _power(found: re.Match[str]) -> str:
    return "^" + unicodedata.normalize("NFKC", found[0]).replace("−", "-")


_ATTRIBUTES = r"(?:\s[^<>=]*=[^<>]*+|\s*/?)>"
_MARKUP: list[_Rule] = [
    (re.compile(r"<!--[^<>]*-->|<[!?][^<>]*>|<\|[^<>|]*\|>"), " "),  # comments, a model's own marks
    (re.compile(r"<((?:https?://|mailto:)[^<>\s]+|[^<>\s@]+@[^<>\s@]+)>"), r" \1 "),
    (re.compile(rf"</?(?:p|div|[uo]l|li|h[1-6r]|br|table|t[rdh]|pre|blockquote){_ATTRIBUTES}", re.I), "\n\n"),
    # A capital letter behind a word is no tag but a type, as in "List<String>".
    (re.compile(rf"</?(?:[a-z]|(?<!\w<)[A-Z])[\w:.-]*{_ATTRIBUTES}"), ""),
    # The bounds keep html.unescape from numbers that Python refuses to read.
    (
        re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z]\w{1,31});"),
        lambda found: html.unescape(found[0]),
    ),
    (re.compile(r"(?<=[\w)])[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+"), _power),
]


def _host(found: re.Match[str]) -> str:
    """A bare address as the name of its host, and the punctuation behind it."""
    address = found[0].rstrip(".,;:!?'’*_~")
    host = re.split(r"[/?#\\]", re.sub(r"^\w+://", "", address))[0].rpartition("@")[2].partition(":")[0]
    return _dotted(re.sub(r"^www\.", "", host, flags=re.I)) + found[0][len(address) :]


def _dotted(name: str) -> str:
    return " dot ".join(part for part in name.split(".") if part)


_LINKS: list[_Rule] = [
    (re.compile(r"!\["), "["),
    # The target behind a link's text, even if its bracket is in another piece.
    (re.compile(r"\]\(\s*(?:[^\s()]|\([^\s()]*\))*+(?:\s+\"[^\"]*\"|\s+'[^']*')?\s*\)?"), "]"),
    (re.compile(r"\]\[(?!\d+\])[^\[\]]*\]"), "]"),
    (re.compile(r"\[\^[^\[\]\s]*\]|(?<=[.!?,;:\"”)])(?:\[\d{1,3}\])+"), ""),  # footnotes
    (re.compile(r"\bmailto:", re.I), ""),
    (re.compile(r"(?:\b(?:https?|ftp)://|\bwww\.)(?:[^\s<>()\[\]{}|\"“”`]|\([^\s<>()]*\))++", re.I), _host),
    (
        re.compile(r"(?<![\w.+-])([\w.+-]+)@([\w-]+(?:\.[\w-]+)+)"),
        lambda found: f"{_dotted(found[1].replace('_', ' '))} at {_dotted(found[2])}",
    ),
]

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
_SYMBOLS: list[_Rule] = [
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

# ---------------------------------------------------------------- abbreviations, spacing

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


_ABBREVIATIONS: list[_Rule] = [
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

_SPACING: list[_Rule] = [
    (re.compile(r"(?<!\.)\.{3,} (?=\w)"), ", "),
    (re.compile(r"(?<!\()(?<!\( )(?:\( ?)++(?:\) ?)+"), " "),
    (re.compile(r" ([,.;:!?])(?![\w.])"), r"\1"),
    (re.compile(r",(?: ?,)+"), ","),
    (re.compile(r"^(?:[,;:–•‣◦·-] ?)+(?!\d)|(?<=\() | (?=[ )])"), ""),
]
