"""Cuts an answer into pieces to speak while the language model still writes it.

The text is read word by word, and a decision rests only on words that are complete, or on the first letter of
the next one where no further letter could change it.  How the text was cut on its way here therefore changes
nothing but the moment at which a piece comes out.  Every character is looked at a bounded number of times.
"""

# ruff: noqa: RUF001 - the punctuation of other scripts looks like ours, and is meant

from __future__ import annotations

import re

from assistant.text.code_block import FENCE, CodeBlock

MOST_WORDS = 30
"""Words in a row without punctuation: a synthesiser's voice gives way in longer stretches."""

LONGEST_CHARS = 120
"""About eight seconds of speech: a voice takes 12 MiB of memory for each that it makes in one piece."""

_STOPS = ".!?…؟۔।。！？｡"
_CLOSERS = "\"'”’»›)]}*_~`」』）】》〉"
_OPENERS = "\"'“‘„«‹([{*_~`¿¡「『（【《〈"

FIRST_CLAUSE_WORDS = 4
"""The least words of a clause that is spoken before its sentence is whole: more than a second, in which the
model writes on."""

_SPACE = re.compile(r"\s+")
# Chinese and Japanese punctuation ends a word although no space follows it.
_WORD = re.compile(r"[^\s。！？｡、，；：]*[。！？｡、，；：]+[」』）】》〉”’\"')\]]*|[^\s。！？｡、，；：]+")
_WIDE_STOP = re.compile(r"[。！？｡][」』）】》〉”’\"')\]]*$")
_CLAUSE = re.compile(r"(?:[,;:)\]–—،؛、，；：）」】]|^-+)[\"'”’»*_]*$")
_PUNCTUATED = re.compile(r"(?:[,;:!?)\]…–—،؛؟।、，；：。！？｡）」】]|\.\.|^-+)[\"'”’»*_]*$")
_BEGINS = re.compile(r"(?:[-–—]+|[„«‹([¿¡「『（【《〈]+)$")
_LETTER_OR_DIGIT = re.compile(r"[^\W_]")

_ITEM = re.compile(r"(?:[-+*•‣◦·–]|\(?(?:\d{1,3}|[a-zA-Z])[.)])$")
# The first words of lines that stand apart: from the line before them, and from the line behind them.
_APART = re.compile(rf"{_ITEM.pattern}|#{{1,6}}$|\||>|[-=*_]{{3,}}$")
_ALONE = re.compile(rf"{_ITEM.pattern}|#{{1,6}}$|\||[-=*_]{{3,}}$")
_NUMBERING = re.compile(r"\d{1,3}|[a-zA-Z]")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Words whose full stop never ends a sentence: a name follows, or a word that belongs to them.
_TITLES = _words(
    "Dr Mr Mrs Ms Mx Prof dr mr mrs ms prof Hr Fr Hrn Sra Srta Mme Mlle Messrs Gen Sen Rep Gov Pres Capt "
    "Cmdr Adm Lt Col Maj Sgt Rev Hon Supt Insp Mt Ft vs cf viz ca approx esp incl e.g E.g i.e I.e "
    "resp bzw vgl sog evtl ggf z.B d.h"
)
# Words whose full stop does not end a sentence when a number follows.
_BEFORE_NUMBER = _words("no nos nr fig figs eq sec ch vol p pp pg art para abs ed ver v op")
# Words, letters and groups of letters with a full stop that a capital letter often follows in mid-sentence.
_OFTEN_INSIDE = _words(
    "St Jr Sr Inc Ltd Co Corp Bros Dept Univ Assn Ave Blvd Jan Feb Mar Apr Jun Jul Aug Sep Sept Oct Nov Dec"
)
_LETTERS = re.compile(r"[^\W\d_]|(?:[^\W\d_]{1,3}\.)+[^\W\d_]{1,3}")
BEGINNERS = _words(
    "The A An It He She They We You I It's He's She's They're We're You're I'm There There's Here This That "
    "These Those In On At By For From To With Without As If When While Then So But And Or Yet No Yes "
    "However Also After Before Since Because Although Though Its His Her Their My Our Your What Who Why How "
    "Where Which Is Are Was Were Do Does Did Can Could Would Should Let Please Today Now Later Every Each "
    "Some Many Most Both"
)
"""What begins a sentence behind "a.m.", "U.S." or "Jr."; any other capital letter there may be a name."""
# What belongs to the name before its comma: "King, Jr."
_BEHIND_NAME = re.compile(r"(?:Jr|Sr|Inc|Ltd|Ph\.?D|M\.?D)\W*")
# Where a long stretch breaks best: before a word that begins a clause of its own.
_JOINTS = _words("and or but because which who that when while where so then if although unless until")


class SentenceSplitter:
    """Takes an answer in arbitrary pieces and gives it out in pieces to speak; `end` makes it ready for more.

    A piece is a sentence, a list item, a heading, a row of a table, or a whole fenced code block.  White
    space in it becomes a single space, except in code.  No piece but code is longer than `longest_chars`,
    and none has more than `MOST_WORDS` words in a row without punctuation.  There are pieces with nothing
    to pronounce, such as a ruled line.  With `hurry` the first sentence comes clause by clause, so that
    its beginning can be heard sooner.
    """

    def __init__(self, longest_chars: int = LONGEST_CHARS, hurry: bool = False) -> None:
        if longest_chars < 1:
            raise ValueError(f"longest_chars must be at least 1, not {longest_chars}")
        self._longest_chars = longest_chars
        self._hurry = hurry
        self._begin()

    def _begin(self) -> None:
        self._in_first = self._hurry  # whether this is the first sentence, to be given out in clauses
        self._began_lower: bool | None = None  # of a sentence of which a clause has been given out
        self._text = ""  # what is not read yet: the beginning of a word
        self._gap = "\n"  # what stands before it: "", " ", "\n", "\n " (its line is indented) or "\n\n"
        self._words: list[tuple[str, str]] = []  # the piece so far: gap and word
        self._chars = 0  # its length
        self._unpunctuated = 0  # its words since the last punctuation
        self._last = ""  # its last word that is more than decoration
        self._line = ""  # the first word of the line
        self._code: CodeBlock | None = None  # the code block that is being read
        self._out: list[str] = []

    def feed(self, piece: str) -> list[str]:
        """What is certain now that `piece` has arrived."""
        self._read(self._text + piece, final=False)
        out, self._out = self._out, []
        return out

    def end(self) -> list[str]:
        """The rest: no more text will come."""
        self._read(self._text, final=True)
        self._give_out(len(self._words))
        if self._code:
            self._out.append(self._code.text())
        out = self._out
        self._begin()
        return out

    # ---------------------------------------------------------------- reading

    def _read(self, text: str, final: bool) -> None:
        at = 0
        while at < len(text):
            read = self._code.read if self._code else self._read_word
            reached = read(text, at, final)
            if reached is None:
                break
            at = reached
            if self._code and self._code.closed:
                self._out.append(self._code.text())
                self._code = None
        self._text = text[at:]

    def _read_word(self, text: str, at: int, final: bool) -> int | None:
        """Reads white space or a word, and returns where it ends; None to wait for more text."""
        if space := _SPACE.match(text, at):
            self._gap = _squeezed(self._gap + space[0])
            return space.end()
        if text.startswith(FENCE, at):
            self._give_out(len(self._words))
            self._code, self._gap, self._line = CodeBlock(), "", ""
            return at
        if not final and FENCE.startswith(text[at : at + len(FENCE)]):
            return None
        window = text[at : at + self._longest_chars]
        found = _WORD.match(window)
        assert found is not None, "the pattern takes every character but white space"
        word = found[0]
        complete = final or len(word) < len(window) or len(window) == self._longest_chars
        ends = self._ends_before(word, complete)
        if ends:
            whole = self._gap != " " or self._is_sentence(word, complete)
            self._began_lower = None if whole else self._begins_lower()
            self._in_first = self._in_first and not whole
            self._give_out(len(self._words))
        if ends is None or not complete:
            return None
        self._append(word)
        return at + len(word)

    # ---------------------------------------------------------------- deciding

    def _ends_before(self, word: str, complete: bool) -> bool | None:
        """Whether the piece ends before `word`, which may still grow; None if too little of it is there."""
        if not self._words:
            return False
        if not self._gap:
            return bool(_WIDE_STOP.search(self._words[-1][1]))
        if self._gap == "\n\n":
            return True
        if "\n" not in self._gap:
            ends = self._is_sentence(word, complete)
            return self._is_clause(word, complete) if ends is False else ends
        if _ALONE.match(self._line) and not self._item_goes_on():
            return True
        ends = self._is_sentence(word, complete)
        if ends:
            return True
        return bool(_APART.match(word)) if complete else None

    def _is_sentence(self, word: str, complete: bool) -> bool | None:
        """Whether the piece is a sentence, given that `word` is next; None if too little of it is there."""
        bare = self._last.rstrip(_CLOSERS)
        body = bare.rstrip(_STOPS)
        stops = bare[len(body) :]
        if not stops:
            return False
        found = _LETTER_OR_DIGIT.search(word)
        if found is None:  # an emoji and a closing quote belong to what was said; a dash begins something
            return bool(_BEGINS.match(word)) if complete else None
        first = found[0]
        goes_on = first.islower() and not self._begins_lower()
        body = body.lstrip(_OPENERS)
        if stops == ".":
            if body in _TITLES or (_NUMBERING.fullmatch(body) and self._is_numbering()):
                return False
            if first.isdigit() and body.casefold() in _BEFORE_NUMBER:
                return False
            if body in _OFTEN_INSIDE or _LETTERS.fullmatch(body):
                if not first.isupper():
                    return False
                return word.strip(_OPENERS + _CLOSERS + ",;:") in BEGINNERS if complete else None
            return not goes_on
        if stops.strip(".…") == "":
            return not goes_on and first != "I" and not first.isdigit()
        return not goes_on

    def _is_clause(self, word: str, complete: bool) -> bool | None:
        """Whether the first sentence, so far as it is there, can be spoken before `word` and the rest."""
        if not self._in_first or len(self._words) < FIRST_CLAUSE_WORDS:
            return False
        if not _CLAUSE.search(self._words[-1][1]):
            return False
        if word[0].isupper() and not complete:
            return None
        return not _BEHIND_NAME.fullmatch(word)

    def _item_goes_on(self) -> bool:
        """Whether the next word begins an indented line behind a list item."""
        return self._gap == "\n " and bool(_ITEM.match(self._line))

    def _is_numbering(self) -> bool:
        """Whether the last word, a number, stands where the number of a list item does."""
        if self._began_lower is not None:
            return False  # a clause of its sentence stands before it
        before = [word for _, word in self._words if _LETTER_OR_DIGIT.search(word)][:-1]
        return not before or before[-1].endswith(":")

    def _begins_lower(self) -> bool:
        """Whether the sentence begins with a small letter: where all do, so may the next."""
        if self._began_lower is not None:
            return self._began_lower
        characters = (c for _, word in self._words for c in word if c.isalnum())
        return next(characters, "").islower()

    # ---------------------------------------------------------------- writing

    def _append(self, word: str) -> None:
        """Adds `word` to the piece, giving out so much of what stands before it that the limits are kept."""
        if "\n" in self._gap and not self._item_goes_on():
            self._line = word
        while self._words and self._chars + bool(self._gap) + len(word) > self._longest_chars:
            self._give_out(self._after_clause() or self._before_joint())
        while self._unpunctuated >= MOST_WORDS:
            self._give_out(self._before_joint())
        self._words.append((" " if self._gap else "", word))
        self._count(self._words[-1:])
        if _LETTER_OR_DIGIT.search(word) or word.strip(_STOPS) != word:
            self._last = word
        self._gap = ""

    def _after_clause(self) -> int:
        """How many words to give out for the piece to end behind a clause, 0 if there is none."""
        return next((i for i in range(len(self._words), 0, -1) if _CLAUSE.search(self._words[i - 1][1])), 0)

    def _before_joint(self) -> int:
        """How many words to give out for the piece to end before a word that goes well first; else all."""
        count = len(self._words)
        joints = (i for i in range(count - 1, count // 2, -1) if self._words[i][1] in _JOINTS)
        ends_in_title = count > 1 and self._words[-1][1].lstrip(_OPENERS).removesuffix(".") in _TITLES
        return next(joints, count - ends_in_title)

    def _give_out(self, count: int) -> None:
        """Gives out the first `count` words of the piece; the others begin the next one."""
        if count:
            self._out.append("".join(gap + word for gap, word in self._words[:count]).lstrip(" "))
        rest = self._words[count:]
        self._words, self._chars, self._unpunctuated = rest, 0, 0
        self._count(rest)
        if not rest:
            self._last = ""

    def _count(self, words: list[tuple[str, str]]) -> None:
        for gap, word in words:
            self._chars += len(word) + (len(gap) if self._chars else 0)
            self._unpunctuated = 0 if _PUNCTUATED.search(word) else self._unpunctuated + 1


def split_sentences(text: str) -> list[str]:
    """The pieces to speak of a text that is there as a whole."""
    splitter = SentenceSplitter()
    return splitter.feed(text) + splitter.end()


def _squeezed(gap: str) -> str:
    """White space as far as it matters: "", " ", a new line, an indented new line, or a blank line."""
    lines = gap.count("\n")
    if lines == 1:
        return "\n" if gap.endswith("\n") else "\n "
    return "\n\n" if lines else gap[:1] and " "
