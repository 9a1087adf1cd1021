"""`assistant mute`: the running assistant hears nothing, over restarts, too."""

from __future__ import annotations

import argparse

HELP = "have the running assistant hear nothing until `assistant unmute`"


def arguments(_parser: argparse.ArgumentParser) -> None:
    """There are none."""


def run(words: argparse.Namespace) -> int:
    return set_mute(words, muted=True)


def set_mute(words: argparse.Namespace, muted: bool) -> int:
    """Mute or unmute the running assistant, and say so."""
    from assistant.cli.status import reply, settings
    from assistant.messages import Muted, SetMute

    now = reply(settings(words.config), SetMute(muted), Muted)
    print("The microphone is muted, also after a restart." if now.muted else "The microphone is heard.")
    return 0
