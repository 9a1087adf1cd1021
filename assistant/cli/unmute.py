"""`assistant unmute`: the running assistant hears again."""

from __future__ import annotations

import argparse

from assistant.cli.mute import set_mute

HELP = "have the running assistant hear again after `assistant mute`"


def arguments(_parser: argparse.ArgumentParser) -> None:
    """There are none."""


def run(words: argparse.Namespace) -> int:
    return set_mute(words, muted=False)
