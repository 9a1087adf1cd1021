"""Finds the end of a fenced code block while its text still arrives."""

from __future__ import annotations

import re
from typing import Literal

FENCE = "```"
_TICKS = re.compile("`*")
_LINE_END_OR_FENCE = re.compile(rf"\n|{FENCE}")
# A line that begins so may close a code block; the bounds keep the wait for what follows short.
_CLOSING = re.compile(r"[ \t]{0,64}(`{0,64})")


class CodeBlock:
    """A fenced code block that is being read; it ends where a line begins so, or within its first line."""

    def __init__(self) -> None:
        self.closed = False
        self._parts: list[str] = []
        self._place: Literal["opening", "first line", "line start", "inside"] = "opening"

    def text(self) -> str:
        return "".join(self._parts).strip()

    def read(self, text: str, at: int, final: bool) -> int | None:
        """Reads a part of `text` from `at` on, and returns where it ends; None to wait for more text."""
        match self._place:
            case "opening":
                end = _TICKS.match(text, at).end()  # type: ignore[union-attr]  # it matches nothing, too
                if end < len(text):
                    self._place = "first line"
            case "first line":
                found = _LINE_END_OR_FENCE.search(text, at)
                end = found.end() if found else len(text) if final else len(text.rstrip("`"))
                if end == at:
                    return None
                if found:
                    self.closed = found[0] == FENCE
                    self._place = "line start"
            case "line start":
                fence = _CLOSING.match(text, at)
                assert fence is not None, "it matches nothing, too"
                end = fence.end()
                if end == len(text) and not final:
                    return None
                self.closed = len(fence[1]) >= len(FENCE) and (end == len(text) or text[end].isspace())
                self._place = "inside"
            case "inside":
                end = text.find("\n", at) + 1 or len(text)
                if text[end - 1] == "\n":
                    self._place = "line start"
        self._parts.append(text[at:end])
        return end
