"""Making the plan of this board: gathering the facts, and putting the choice into the configuration."""

from __future__ import annotations

import logging
from typing import Literal

import msgspec

from assistant.board.memory import MemoryGauge
from assistant.board.recognise import Board, recognise
from assistant.board.speed import Speed, kept
from assistant.board.threads import threads
from assistant.catalogue.read import KINDS, Kind, current
from assistant.config import Config, models_folder, state_folder
from assistant.errors import BoardError, ModelError
from assistant.plan.candidates import Candidate, candidates, stand_in
from assistant.plan.prediction import MIB, repacked_types, vad_need
from assistant.plan.selection import Plan
from assistant.plan.sets import Facts

log = logging.getLogger(__name__)

SYSTEM_BYTES = 130 * MIB
"""What Debian without a desktop takes for itself."""

LEAST_CONTEXT_TOKENS = 512
"""Fewer make no conversation, however short its answers are."""


def kernel_bytes(memory_bytes: int) -> int:
    """What firmware and kernel keep of the memory a board is sold with: a Pi 4 of 4 GB has 3.7 GiB left."""
    return 76 * MIB + memory_bytes // 25


def reserve_bytes(memory_bytes: int) -> int:
    """What a plan leaves free, so that the rest of the system can breathe: 64 MiB and 4 %."""
    return 64 * MIB + memory_bytes // 25


def budget_bytes(gauge: MemoryGauge, held_bytes: int = 0) -> int:
    """What the assistant may take now on this board, `held_bytes` being what it has already."""
    return max(0, gauge.available().bytes + held_bytes - reserve_bytes(gauge.total().bytes))


def budget_of_board(memory_bytes: int) -> int:
    """What it could take on a board that is sold with `memory_bytes` and does nothing else."""
    left_bytes = memory_bytes - kernel_bytes(memory_bytes) - SYSTEM_BYTES - reserve_bytes(memory_bytes)
    return max(0, left_bytes)


def gather(
    config: Config, budget: int, *, only_on_disk: bool, board: Board | None = None, speed: Speed | None = None
) -> Facts:
    """What a plan for `config` rests on, of what is on disk or of all there is.

    The board's speed is measured if it was never, and if there is anything to choose by it.  A model of the
    user's own that cannot be used counts as a small one: its worker will tell why.  Raises `BoardError`, and
    `ModelError` where there is no language model at all.
    """
    board = board or recognise()
    folder = models_folder(config)
    catalogue = current(folder)
    offered: dict[Kind, tuple[Candidate, ...]] = {}
    for kind in KINDS:
        try:
            offered[kind] = candidates(kind, config, catalogue, folder, only_on_disk)
        except ModelError:
            offered[kind] = stand_in(kind) if only_on_disk else ()
            if not offered[kind]:
                raise
    if not offered["llm"]:
        raise ModelError(
            f'There is no language model for the language "{config.stt.language}" on disk; fetch what fits '
            "this board with `assistant models pull`, or name one in llm.model."
        )
    if speed is None and max(len(offered["stt"]), len(offered["llm"])) > 1:
        try:
            speed = kept(state_folder(), board)
        except BoardError as error:
            log.warning("%s Models are chosen by their memory alone.", error)
    wanted = config.llm
    # The system prompt may take half of what an answer leaves; a token mostly stands for two bytes or more.
    least = wanted.max_tokens + 2 * (len(wanted.system_prompt.encode()) // 2 + 20)
    return Facts(
        budget_bytes=budget,
        cores=board.cores,
        repacked=repacked_types(board.machine, board.features),
        stt=offered["stt"],
        llm=offered["llm"],
        tts=offered["tts"],
        language=config.stt.language,
        prefer=config.plan.prefer,
        speed=speed,
        context_tokens=wanted.context_tokens,
        least_context_tokens=max(LEAST_CONTEXT_TOKENS, 2 * wanted.max_tokens, least),
        vad=vad_need(config.wake),
        kv_types=("f16", "q8_0") if wanted.kv_type == "auto" else (wanted.kv_type,),
        second_opinion=config.vad.second_opinion,
    )


def apply(config: Config, facts: Facts, plan: Plan) -> Config:
    """`config` with the plan's models, context and precision where it left them open.

    A plan without a voice still names the least recogniser and voice, for whoever asks for one of them alone.
    """
    pairs: tuple[tuple[Kind, Candidate | None, tuple[Candidate, ...]], ...] = (
        ("stt", plan.stt, facts.stt),
        ("tts", plan.tts, facts.tts),
    )
    for kind, planned, offered in pairs:
        if getattr(config, kind).model == "auto" and offered:
            config = _replaced(config, kind, model=(planned or offered[-1]).wanted)
    if config.llm.model == "auto":
        config = _replaced(config, "llm", model=plan.llm.wanted)
    config = _replaced(config, "llm", context_tokens=plan.context_tokens, kv_type=plan.kv_type)
    config = _replaced(config, "vad", second_opinion=plan.has_second_opinion)
    for kind in KINDS:
        config = _replaced(config, kind, threads=getattr(config, kind).threads or threads(kind, facts.cores))
    return config


def _replaced(config: Config, kind: Kind | Literal["vad"], **values: object) -> Config:
    replace = msgspec.structs.replace
    return replace(config, **{kind: replace(getattr(config, kind), **values)})
