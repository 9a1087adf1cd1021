"""`assistant daemon`: the hub's process, for systemd or another command to start."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from assistant.messages import STAGES, Fault, Stage

if TYPE_CHECKING:
    from assistant.config import Config
    from assistant.daemon.daemon import Daemon
    from assistant.daemon.memory_watch import MemoryWatch

log = logging.getLogger(__name__)

HELP = "run the daemon that the stages connect to (what systemd starts)"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--socket", type=Path, help="listen here instead of where config.toml says")
    parser.add_argument(
        "--workers",
        type=_stages,
        default=",".join(STAGES),
        metavar="STAGES",
        help='stages to start at once (others when needed), "none" when systemd starts them; default: all',
    )
    parser.add_argument(
        "--card", type=Path, metavar="DIR", help="use the sound card that `assistant run` serves in DIR"
    )
    parser.add_argument("--owned", action="store_true", help="end when standard input does")


def run(words: argparse.Namespace) -> int:
    import asyncio

    import msgspec

    from assistant import service
    from assistant.config import load, socket_path, state_folder
    from assistant.daemon.daemon import Daemon
    from assistant.daemon.mute import NAME as MUTED
    from assistant.daemon.volume import NAME as VOLUME

    service.keep_freed_memory()
    service.log_to_stderr("info", "assistant")
    faults: tuple[Fault, ...] = ()
    if words.workers is None and words.config is None:
        config, faults = _of_appliance()
    else:
        config = load(words.config)
    if words.card is not None:
        config = _on_card(config, words.card)
    level = "debug" if words.debug else config.log.level
    if words.owned and level in ("info", "warning"):
        level = "error"  # a person at the terminal is told by the command
    config = msgspec.structs.replace(config, log=msgspec.structs.replace(config.log, level=level))
    service.log_to_stderr(level, "assistant")
    memory = _plan(config, words.workers is None)
    socket = words.socket or socket_path(config)
    # what is recorded is heard, and loud, as configured
    volume_file, mute_file = (
        (state_folder() / VOLUME, state_folder() / MUTED) if words.card is None else (None, None)
    )
    daemon = Daemon(
        config,
        socket,
        words.workers,
        words.debug,
        memory=memory,
        faults=faults,
        volume_file=volume_file,
        mute_file=mute_file,
    )
    asyncio.run(_serve(daemon, words.owned))
    return 0


def _of_appliance() -> tuple[Config, tuple[Fault, ...]]:
    """The configuration of a board that nobody logs in to: with a mistake in it, the last good one runs."""
    from assistant.config import Config, load
    from assistant.errors import ConfigError
    from assistant.state import keep_good, last_good

    good = last_good()
    try:
        config = load()
        if config != good:  # else the models were there, and their workers tell what has become of them
            _check_models(config)
    except ConfigError as error:
        running = "the last good settings" if good else "the defaults"
        log.error("%s Correct it and restart assistant.target. Until then %s run.", error, running)
        return good or Config(), ("config",)
    keep_good(config)
    return config, ()


def _check_models(config: Config) -> None:
    """Raises `ConfigError` where a model that is named is not there or cannot be one."""
    from assistant.catalogue.locate import locate
    from assistant.catalogue.read import KINDS
    from assistant.config import models_folder, origin
    from assistant.errors import ConfigError, ModelError

    for kind in KINDS:
        if (model := getattr(config, kind).model) != "auto":
            try:
                locate(kind, model, models_folder(config))
            except ModelError as error:
                raise ConfigError(f"{kind}.model in {origin(kind, 'model')} is a mistake: {error}") from None


def _plan(config: Config, others_start_workers: bool) -> MemoryWatch | None:
    """What runs on this board; None without any language model on disk, which its worker will tell.

    Workers that others start may have outlived the daemon before: what they hold is the plan's already.
    """
    from assistant.board.memory import MemoryGauge
    from assistant.daemon.memory_watch import MemoryWatch, held_bytes, own_pids
    from assistant.errors import ModelError
    from assistant.plan import planner
    from assistant.plan.selection import select

    gauge = MemoryGauge()
    held = sum(map(held_bytes, own_pids())) if others_start_workers else 0
    try:
        facts = planner.gather(config, planner.budget_bytes(gauge, held), only_on_disk=True)
    except ModelError as error:
        log.warning("there is no plan: %s", error)
        return None
    return MemoryWatch(config, facts, select(facts), gauge)


def _stages(names: str) -> list[Stage] | None:
    if names == "none":
        return None
    wanted = [name for name in names.split(",") if name]
    if unknown := set(wanted) - set(STAGES):
        raise argparse.ArgumentTypeError(f"there is no {unknown.pop()}, only {', '.join(STAGES)}")
    return [stage for stage in STAGES if stage in wanted]


def _on_card(config: Config, folder: Path) -> Config:
    import msgspec

    from assistant.audio.card_link import microphone_name, speaker_name

    replace = msgspec.structs.replace
    audio = replace(
        config.audio,
        microphone=microphone_name(folder),
        speaker=speaker_name(folder),
    )
    return replace(config, audio=audio, sounds=replace(config.sounds, earcons=False))


async def _serve(daemon: Daemon, owned: bool) -> None:
    import asyncio

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if owned:

        def read() -> None:
            if not os.read(sys.stdin.fileno(), 4096):
                stop.set()

        loop.add_reader(sys.stdin.fileno(), read)
    await daemon.run(stop)
