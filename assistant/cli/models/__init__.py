"""`assistant models`: which models there are, and what changes those on disk."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from assistant.config import load, models_folder
from assistant.errors import ConfigError

HELP = "plan, list, fetch, check, remove and import models"


def arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    plan = actions.add_parser("plan", help="what runs on this board, or on another, and why")
    plan.add_argument("--memory", type=_memory_size, metavar="SIZE", help="of a board with so much: 4G, 512M")
    plan.add_argument("--board", type=_board_name, metavar="NAME", help="with --memory: of a pi4 or a pi5")
    plan.add_argument("--json", action="store_true", help="for programs")
    pull = actions.add_parser("pull", help="fetch models", allow_abbrev=False)
    pull.add_argument("names", nargs="*", metavar="NAME", help="default: as --plan")
    pull.add_argument("--plan", action="store_true", help="those that suit this board")
    pull.add_argument("--allow-unverified", action="store_true", help="also files whose hash nobody states")
    actions.add_parser("verify", help="read every model on disk and compare it with its hash")
    remove = actions.add_parser("remove", help="delete models from the disk")
    remove.add_argument("names", nargs="+", metavar="NAME")
    bring = actions.add_parser("import", help="copy models from a folder, such as a USB stick's")
    bring.add_argument("source", type=Path, metavar="DIR", help="models lie in it or up to 4 folders below")
    bring.add_argument("names", nargs="*", default=[], metavar="NAME", help="default: all that are there")
    update = actions.add_parser("update", help="take a newer list of models")
    update.add_argument("source", nargs="?", metavar="FILE|URL", help="a catalogue.toml")


def _memory_size(text: str) -> int:
    from assistant.cli.models.plan import memory_size

    return memory_size(text)


def _board_name(text: str) -> str:
    from assistant.cli.models.plan import board_name

    return board_name(text)


def run(words: argparse.Namespace) -> int:
    from assistant.catalogue.read import current
    from assistant.cli.models import listing, plan, pull, store

    config = load(words.config)
    folder = models_folder(config)
    catalogue = current(folder)
    match words.action:
        case "pull":
            if words.names and words.plan:
                raise ConfigError("`assistant models pull` takes names or --plan, not both; leave one out.")
            if words.names:
                entries = [catalogue.entry(name) for name in dict.fromkeys(words.names)]
                facts, _ = plan.facts_anyway(config)
            else:
                facts = plan.facts_here(config)
                entries = pull.wanted_by_plan(facts, catalogue)
            fits = partial(pull.misfit, facts, catalogue, folder)
            return pull.pull(entries, folder, words.allow_unverified, fits)
        case "plan":
            if words.board and not words.memory:
                raise ConfigError(
                    "`assistant models plan --board` needs to know the board's memory; add --memory 4G."
                )
            return plan.show(config, words.memory, words.board, words.json)
        case "verify":
            return listing.verify(catalogue, folder)
        case "remove":
            entries = [catalogue.entry(name) for name in dict.fromkeys(words.names)]
            return store.remove(entries, folder, config)
        case "import":
            return store.import_models(words.source, catalogue, words.names, folder)
        case "update":
            return store.update(words.source, catalogue, folder)
        case _:
            return listing.show(catalogue, config, folder)
