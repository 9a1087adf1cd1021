"""Whether the microphone is to be heard: kept over restarts, since who muted it relies on that."""

from __future__ import annotations

import os
from pathlib import Path

from assistant.errors import AnswerError
from assistant.state import sync_folder, write_whole

NAME = "muted"
"""In the folder for what is kept from one run to the next; while the file is there, nothing is heard."""


class Mute:
    """`now` says whether it is muted.  Kept in `file`; with None it is not, and nothing kept is used."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self.now = file is not None and os.path.lexists(file)

    def set(self, muted: bool | None) -> None:
        """Mute, or listen again; None is the other of the two."""
        self.now = not self.now if muted is None else muted

    def keep(self) -> None:
        """Have it hold over restarts and power cuts, too.  Raises `AnswerError` where that cannot be."""
        if self._file is None:
            return
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            if self.now:
                write_whole(self._file, b"")
            else:
                self._file.unlink(missing_ok=True)
                sync_folder(self._file.parent)
        except OSError as error:
            what, lacks = ("muted", "written") if self.now else ("heard again", "removed")
            raise AnswerError(
                f"The microphone is {what}, but only until the next start, as {self._file} cannot be {lacks} "
                f"({error.strerror}): mend that, then do it again."
            ) from None
