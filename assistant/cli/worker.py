"""`assistant worker`: one stage's process, for the daemon or systemd to start."""

from __future__ import annotations

import argparse
from pathlib import Path

from assistant.messages import STAGES

HELP = "run one stage for a daemon (what systemd starts)"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--socket", type=Path, help="the daemon's socket, if not the one of config.toml")


def run(words: argparse.Namespace) -> int:
    from assistant import service
    from assistant.config import load, socket_path
    from assistant.stages.loop import work

    service.keep_freed_memory()
    service.ignore_sigint()
    service.log_to_stderr("debug" if words.debug else "warning", f"assistant-{words.stage}")
    return work(words.stage, words.socket or socket_path(load(words.config)))
