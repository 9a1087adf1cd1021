"""Turns a piece of a model's answer into what a speech synthesiser should read aloud.

A piece is one sentence: its markup may begin or end in another one ("**Bold start." / "End** here."), and
"1986. A good year" is no list.  A Markdown parser takes such fragments for what they are not; therefore each
rule here works without a partner.  Symbols, units and abbreviations become English words (`wording`).  Piper
(through espeak-ng) reads "[[...]]" as phonemes and runs the words around an ellipsis together.

No rule looks at a character from more than a few places: the time is proportional to the length of the text.
"""

# ruff: noqa: RUF001 - characters that look like others are what the tables are about

from __future__ import annotations

import html
import re
import unicodedata

from assistant.text.clean import printable
from assistant.text.wording import ABBREVIATIONS, SYMBOLS, Rule

CODE = "The code is in the written answer."
"""What is said in place of a code block."""

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
    for rules in (SYMBOLS, ABBREVIATIONS, _SPACING):
        text = _apply(rules, " ".join(text.split()))
    return text.strip() if _PRONOUNCED.search(text) else ""


def _apply(rules: list[Rule], text: str) -> str:
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
_MARKUP: list[Rule] = [
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


_LINKS: list[Rule] = [
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

# ---------------------------------------------------------------- spacing

_SPACING: list[Rule] = [
    (re.compile(r"(?<!\.)\.{3,} (?=\w)"), ", "),
    (re.compile(r"(?<!\()(?<!\( )(?:\( ?)++(?:\) ?)+"), " "),
    (re.compile(r" ([,.;:!?])(?![\w.])"), r"\1"),
    (re.compile(r",(?: ?,)+"), ","),
    (re.compile(r"^(?:[,;:–•‣◦·-] ?)+(?!\d)|(?<=\() | (?=[ )])"), ""),
]
