"""`assistant status`: how the running assistant is, at a glance or for a program."""

from __future__ import annotations

import argparse
import functools
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from assistant.errors import DaemonError

if TYPE_CHECKING:
    from assistant.board.health import Health
    from assistant.config import Config
    from assistant.messages import AnyMessage, Status

Reply = TypeVar("Reply")
HELP = "show how the running assistant is: stages, plan, memory, microphone, last turns"
EXIT_CODES = (
    "exit code: 0 when every stage that should run is ready, 3 when one is not (yet), cannot work or has no "
    "microphone or speaker, or its microphone is silent since it is what the board itself plays, 1 when no "
    "daemon answers"
)
EVERY_S = 1.0
ANSWER_WITHIN_S = 5.0


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="JSON with units in its names; one line a look")
    parser.add_argument("--watch", action="store_true", help="look every second, until Ctrl-C")
    parser.epilog = EXIT_CODES


def run(words: argparse.Namespace) -> int:
    import json
    import sys
    import time

    from assistant.board.health import read_health

    config = settings(words.config)
    status = ask(config)
    if words.watch and not words.json and sys.stdout.isatty():
        _redraw(config, status)
    while True:
        if words.json:
            print(json.dumps(as_tree(status, read_health()), ensure_ascii=False), flush=True)
        else:
            print(_glance(config, status), flush=True)
        if not words.watch:
            return exit_code(status)
        time.sleep(EVERY_S)
        if not words.json:
            print()
        status = ask(config)


def settings(path: Path | None) -> Config:
    """The settings; where the appliance has a mistake in its own, the defaults: it runs all the same.

    Raises `ConfigError`.
    """
    import sys

    from assistant.client import INSTALLED_SOCKET
    from assistant.config import Config, load
    from assistant.errors import ConfigError

    try:
        return load(path)
    except ConfigError as error:
        if path is not None or not INSTALLED_SOCKET.exists():
            raise
        print(f"assistant: {error} The last good settings run.", file=sys.stderr)
        return Config()


def exit_code(status: Status) -> int:
    """What scripts are told."""
    return 3 if any(stage.hinders for stage in status.stages) or hears_itself(status) else 0


def ask(config: Config) -> Status:
    """The running daemon's status.  Raises `DaemonError` where none runs, or it is of another version."""
    from assistant.messages import Status, StatusWanted

    return reply(config, StatusWanted(), Status)


def reply(config: Config, request: AnyMessage, kind: type[Reply]) -> Reply:
    """What the running daemon answers to `request`, a message of that kind.

    Raises `DaemonError` where none runs, or it is of another version.
    """
    import contextlib
    import time

    from assistant.client import attach
    from assistant.queues.link import Disconnected
    from assistant.queues.wire import ProtocolError

    link = attach(config, "client")
    if link is None:
        raise DaemonError(
            "No daemon runs; start one with `assistant daemon`, or the installed one with "
            "`sudo systemctl start assistant.target`."
        )
    with contextlib.closing(link):
        try:
            link.post(request, confirm=True)
            give_up_s = time.monotonic() + ANSWER_WITHIN_S
            while (left_s := give_up_s - time.monotonic()) > 0:
                if isinstance(message := link.notice(left_s), kind):
                    return message
        except (Disconnected, ProtocolError) as error:
            if isinstance(error, ProtocolError) or type(request).__name__ in str(error):
                raise DaemonError(
                    "The running daemon is of another version than this command; restart it."
                ) from None
            raise
    raise DaemonError("The daemon does not answer; it may be overloaded or stopped: restart it.")


def _redraw(config: Config, status: Status) -> None:
    """The same again and again on a terminal, until Ctrl-C; a daemon that is restarted is waited for."""
    import time

    from rich.live import Live
    from rich.text import Text

    text = _glance(config, status)
    with Live(Text(text), screen=True, auto_refresh=False) as live:
        while True:
            live.update(Text(text), refresh=True)
            time.sleep(EVERY_S)
            try:
                text = _glance(config, ask(config))
            except DaemonError as error:
                text = str(error)


def _glance(config: Config, status: Status) -> str:
    from datetime import datetime

    from assistant.board.health import read_health
    from assistant.cli.glance import lines
    from assistant.cli.speak import listening

    call = "" if config.wake.mode == "open" else listening(config.wake)
    return "\n".join(lines(status, read_health(), datetime.now(), hears_itself(status), call))


def hears_itself(status: Status) -> bool:
    """Whether the microphone gives no sound because it is what this board plays; asks only then, and of each
    process once: `--watch` looks every second.
    """
    level = status.microphone
    if level is None or level.trouble != "silent":
        return False
    return _hears_itself(next(stage.pid for stage in status.stages if stage.stage == "vad"))


@functools.cache
def _hears_itself(vad: int) -> bool:
    from assistant.cli.doctor import monitors

    return monitors.hears_itself({vad})


def as_tree(status: Status, health: Health) -> dict[str, object]:
    """The status for programs; what is not known is null.

    `version`, `pid`, `running_s`, `state` (as `Status` has it), `ready` (what exit code 0 says), `stages` by
    name (`StageStatus`), `plan` (`PlanStatus`), `memory` (`held_bytes`, `available_bytes`, `limited_by`),
    `microphone` (`rms_dbfs`, `peak_dbfs`, `frames`, `lost_frames` of the last second, which ended `ago_s`;
    `hears_itself`),
    `volume` (`answers`, `earcons`),
    `muted`,
    `board` (`Health`), `turns`, the last first (`TurnStatus`, with `ago_s`).
    """
    import msgspec

    tree = msgspec.to_builtins(status)
    at_s = status.at_s
    microphone = tree["microphone"]
    if microphone is not None:
        del microphone["type"]
        microphone["ago_s"] = at_s - microphone.pop("at_s")
        microphone["hears_itself"] = hears_itself(status)
    for turn in tree["turns"]:
        turn["ago_s"] = at_s - turn.pop("finished_at_s")
    tree = {
        "version": status.version,
        "pid": status.pid,
        "running_s": at_s - status.started_at_s,
        "state": status.state,
        "ready": exit_code(status) == 0,
        "stages": {stage.pop("stage"): stage for stage in tree["stages"]},
        "plan": tree["plan"],
        "memory": {key: tree[key] for key in ("held_bytes", "available_bytes", "limited_by")},
        "microphone": microphone,
        "volume": {"answers": status.volume.answers, "earcons": status.volume.earcons},
        "muted": status.muted,
        "board": msgspec.to_builtins(health),
        "turns": tree["turns"][::-1],
    }
    return {key: _rounded(value) for key, value in tree.items()}


def _rounded(value: object) -> object:
    """Milliseconds and thousandths of decibels are fine enough."""
    if isinstance(value, dict):
        return {key: _rounded(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_rounded(part) for part in value]
    return round(value, 3) if isinstance(value, float) else value
