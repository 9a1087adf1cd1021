"""The boards that plans are made for in tests, and the facts of a plan for one of them."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from assistant.board.recognise import GIB, Board
from assistant.board.speed import Speed
from assistant.catalogue.read import Catalogue
from assistant.config import CHECKOUT, Config
from assistant.plan import planner
from assistant.plan.boards import BOARDS
from assistant.plan.sets import Facts

TINY = CHECKOUT / "tests" / "models"
TINY_CHAT = TINY / "tiny-chat-q8_0.gguf"

PI_4, PI_5 = "Raspberry Pi 4 Model B", "Raspberry Pi 5"
MEASURED = {board.name: board for board, _ in BOARDS.values()}
SPEEDS = {board.name: speed for board, speed in BOARDS.values()}


def board(name: str, gb: float) -> Board:
    return msgspec.structs.replace(MEASURED[name], memory_bytes=int(gb * GIB), nominal_gb=gb)


def facts_of(
    config: Config, name: str, gb: float, speed: Speed | None = None, only_on_disk: bool = False
) -> Facts:
    """What there is to choose from for a board that does nothing else."""
    budget = planner.budget_of_board(int(gb * GIB))
    speed = speed or SPEEDS[name]
    return planner.gather(config, budget, only_on_disk=only_on_disk, board=board(name, gb), speed=speed)


def in_folder(config: Config, folder: Path) -> Config:
    """`config` with the models in `folder`."""
    return msgspec.structs.replace(config, models=msgspec.structs.replace(config.models, folder=str(folder)))


def put(catalogue: Catalogue, name: str, folder: Path, lacking_bytes: int = 0) -> None:
    """Files of the right sizes for a model, but for `lacking_bytes` of the first, with nothing in them."""
    entry = catalogue.entry(name)
    for number, file in enumerate(entry.files):
        place = entry.place(file, folder)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
        os.truncate(place, file.size_bytes - (0 if number else lacking_bytes))
