"""`assistant sounds`: speak what can go wrong, into files that can be played when nothing else works."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from assistant.config import SOUNDS_FOLDER

if TYPE_CHECKING:
    from assistant.config import Config

HELP = "make the sounds that `assistant alert` plays (what the installer does)"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--folder", type=Path, default=SOUNDS_FOLDER, metavar="DIR", help="where to; default: %(default)s"
    )


def run(words: argparse.Namespace) -> int:
    from assistant.audio.fault_sounds import FAULT_SENTENCES, render
    from assistant.config import load
    from assistant.engines.piper import PiperEngine

    config = load(words.config)
    voice = _voice(config)
    engine = PiperEngine(voice, config.tts)
    render(words.folder, engine.speak, engine.rate_hz)
    print(f"{len(FAULT_SENTENCES)} sounds are in {words.folder}, spoken by {voice.stem}.")
    return 0


def _voice(config: Config) -> Path:
    """The voice that speaks English sentences: that of the answers, or the small test voice.

    The latter where there is no other, and where the answers are in another language.  Raises `ModelError`.
    """
    from assistant.catalogue.locate import locate
    from assistant.catalogue.read import current
    from assistant.config import models_folder
    from assistant.plan.candidates import candidates

    folder = models_folder(config)
    if config.stt.language != "en":
        return locate("tts", "auto", folder).path
    found = candidates("tts", config, current(folder), folder, only_on_disk=True)
    return locate("tts", found[0].wanted if found else "auto", folder).path
