"""`assistant`: speaking and listening, in the foreground."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from assistant.config import Wake
    from assistant.queues.link import Link


def run(words: argparse.Namespace) -> int:
    from assistant.client import OwnDaemon, attach
    from assistant.config import load, socket_path
    from assistant.errors import DaemonError
    from assistant.messages import STAGES

    config = load(words.config)
    if (running := attach(config, "watcher")) is not None:
        running.close()
        raise DaemonError("The assistant runs already; type to it with `assistant --text`, or stop it first.")
    print("Starting …  (Ctrl-C ends)", flush=True)
    daemon = OwnDaemon(words.config, STAGES, socket=socket_path(config), debug=words.debug)
    try:
        _watch(daemon.connect("watcher"), listening(config.wake))
    finally:
        daemon.stop()
    return 0


def listening(wake: Wake) -> str:
    """What it says when it is ready: how it is called."""
    words = {
        "open": "Listening.",
        "word": f'Say "{wake.word.replace("_", " ").title()}".',
        "phrase": f'Listening for "{wake.phrase}".',
        "button": "Press the button.",
    }
    return words[wake.mode]


def _watch(link: Link, listening: str) -> None:
    """Show the conversation until Ctrl-C; raises `AssistantError` if a stage cannot begin at all."""
    from assistant.errors import AssistantError
    from assistant.messages import STAGES, Muted, Sentence, StageState, Transcript, TurnFinished
    from assistant.text.clean import printable

    missing = set(STAGES)
    has_listened = False
    while True:
        match link.notice():
            case Muted(muted):
                print("(Muted, until `assistant unmute`.)" if muted else "(Not muted any more.)", flush=True)
            case StageState(stage, "ready", detail) if stage in missing or detail:
                if detail:
                    print(f"({printable(detail)})", flush=True)
                missing.discard(stage)
                if not missing:
                    has_listened = True
                    print(listening, flush=True)
            case StageState(stage, "gone", detail) if detail:
                if not has_listened:
                    raise AssistantError(detail)
                if stage not in missing:  # a microphone that was pulled out may come back
                    missing.add(stage)
                    print(f"({printable(detail)})", flush=True)
            case Transcript(_, _, text) if text:
                print(f"\nYou:       {printable(text)}", flush=True)
            case Sentence(_, _, index, text) if text:
                print(f"{'Assistant: ' if index == 0 else '           '}{printable(text)}", flush=True)
            case TurnFinished(_, _, "cancelled"):
                print("           (Interrupted.)", flush=True)
            case TurnFinished(_, _, "failed", failure):
                print(f"           ({printable(failure)})", flush=True)
