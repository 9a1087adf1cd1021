"""What may go into a model, and what may go out to a terminal.

Pasted text carries characters that nobody sees: a model takes them for words, and a terminal for orders.
"""

from __future__ import annotations

import re
import unicodedata

# ECMA-48: CSI sequences; OSC, DCS, SOS, PM and APC strings up to their terminator; every other escape.
# Each has a one-character form in C1, too.  The strings exclude control characters, so that a missing
# terminator costs the introducer alone and never the text behind it.
_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x00-\x08\x0b-\x1f\x7f-\x9f]*(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[ -/]*[0-~]"
)
_LINE_ENDS = re.compile(r"\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]")
# Embeddings, overrides and isolates can show a text in another order than it has.
_BIDI_CONTROLS = re.compile(r"[\u202a-\u202e\u2066-\u2069]")
_SURROGATES = re.compile(r"[\ud800-\udfff]")
# Soft hyphen, direction marks, zero width space, word joiner and its invisible kin, byte order mark, tags.
_INVISIBLE = re.compile(r"[\u00ad\u061c\u180e\u200b\u200e\u200f\u2060-\u2064\ufeff\U000e0000-\U000e007f]")
# The zero width joiners are spelling in the scripts from Arabic to Sinhala, and nothing elsewhere.
_STRAY_JOINERS = re.compile(r"(?<![\u0600-\u0dff])[\u200c\u200d]|[\u200c\u200d](?![\u0600-\u0dff])")


def clean_question(text: str) -> str:
    """What a person typed or pasted, as a model may be given it: visible characters, spaces, tabs, newlines.

    The result is in Unicode NFC, stripped, and encodes to UTF-8; the letters of any script stay as they are.
    """
    text = _SURROGATES.sub("", _without_controls(text))
    text = _STRAY_JOINERS.sub("", _INVISIBLE.sub("", text))
    return unicodedata.normalize("NFC", text).strip()


def printable(text: str) -> str:
    """A model's answer as it may be printed on a terminal: no orders to it, no text shown in a false order.

    Works on every piece of a streamed answer by itself; spaces stay.  A lone surrogate becomes U+FFFD.
    """
    return _SURROGATES.sub("\ufffd", _without_controls(text))


def _without_controls(text: str) -> str:
    text = _LINE_ENDS.sub("\n", _ESCAPES.sub("", text))
    return _BIDI_CONTROLS.sub("", _CONTROLS.sub("", text))
