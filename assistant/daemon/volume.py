"""How loud the assistant is: as the settings say, until somebody says otherwise.

What was said is kept over restarts in one small file, beside the settings of that time: once config.toml says
something else than then, that is newer, and counts.
"""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path

import msgspec

from assistant.config import Config
from assistant.errors import AnswerError
from assistant.messages import SetVolume, Volume
from assistant.state import write_whole

log = logging.getLogger(__name__)

NAME = "volume.json"
"""In the folder for what is kept from one run to the next."""


class KeptVolume(msgspec.Struct, frozen=True):
    """What the file holds: the volume that somebody set, and what the settings were then."""

    volume: Volume
    settings: Volume


class VolumeControl:
    """`now` is the volume in force.  It is kept in `file`; with None it is not, and nothing kept is used."""

    def __init__(self, config: Config, file: Path | None) -> None:
        self._settings = Volume(config.tts.volume, config.sounds.volume)
        self._file = file
        self.now = self._settings
        if file is not None and (kept := _read(file)) is not None:
            self.now = in_force(self._settings, kept)

    def set(self, wanted: SetVolume) -> bool:
        """Change what `wanted` names; whether there was anything to change.  Raises `AnswerError`."""
        answers = self.now.answers if wanted.answers is None else wanted.answers
        earcons = self.now.earcons if wanted.earcons is None else wanted.earcons
        if not (0 <= answers <= 1 and 0 <= earcons <= 1):
            raise AnswerError("A volume is from 0, silent, to 1, full; choose one in between.")
        before, self.now = self.now, Volume(answers, earcons)
        return self.now != before

    def keep(self) -> None:
        """Write what is in force to the file; where that cannot be, it holds until the daemon ends."""
        if self._file is None:
            return
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self._file, msgspec.json.encode(KeptVolume(self.now, self._settings)))
        except OSError as error:
            log.warning("the volume cannot be kept (%s); it holds until the restart", error.strerror)


def in_force(settings: Volume, kept: KeptVolume) -> Volume:
    """What was set, but where the settings have changed since."""
    then, volume = kept.settings, kept.volume
    return Volume(
        volume.answers if settings.answers == then.answers else settings.answers,
        volume.earcons if settings.earcons == then.earcons else settings.earcons,
    )


def _read(file: Path) -> KeptVolume | None:
    """What is kept in `file`; None if there is nothing, or nothing that makes sense."""
    with contextlib.suppress(OSError, msgspec.MsgspecError, UnicodeDecodeError):
        kept = msgspec.json.decode(file.read_bytes(), type=KeptVolume)
        if 0 <= kept.volume.answers <= 1 and 0 <= kept.volume.earcons <= 1:
            return kept
    return None
