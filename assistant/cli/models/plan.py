"""`assistant models plan`: what runs on this board, or on one of another size, and why."""

from __future__ import annotations

import argparse
import json
import re

import msgspec

from assistant.board.memory import FREE, MemoryGauge
from assistant.board.recognise import Board, recognise
from assistant.board.threads import threads
from assistant.catalogue.read import KINDS
from assistant.cli.models.progress import megabytes
from assistant.config import Config
from assistant.daemon.memory_watch import held_bytes, own_pids
from assistant.errors import ModelError
from assistant.plan import planner
from assistant.plan.boards import BOARDS
from assistant.plan.reasons import mib
from assistant.plan.selection import Plan, select, summary
from assistant.plan.sets import Facts, written_per_s

UNITS = {"M": 2**20, "G": 2**30}


def memory_size(text: str) -> int:
    """ "4G", "512M", "1.5GB" as bytes; boards are sold in binary units."""
    found = re.fullmatch(r"(\d{1,6}(?:\.\d{1,3})?) ?([MG])i?B?", text.strip(), re.IGNORECASE)
    if found is None or not float(found[1]):
        raise argparse.ArgumentTypeError(f'"{text}" is no size of memory; write it like 4G or 512M')
    return int(float(found[1]) * UNITS[found[2].upper()])


def board_name(text: str) -> str:
    """One of `BOARDS`, "Pi 4" as well."""
    name = text.replace(" ", "").lower()
    if name not in BOARDS:
        raise argparse.ArgumentTypeError(f'"{text}" is not a board that was measured: {", ".join(BOARDS)}')
    return name


def facts_here(
    config: Config, memory_bytes: int | None = None, name: str | None = None, *, only_on_disk: bool = False
) -> Facts:
    """What a plan rests on: for this board as it is now, or for one that is sold with `memory_bytes`.

    The latter is as fast as this board, or is the one in `BOARDS` of that `name`.  What a running assistant
    of the same user holds already is counted as free.
    """
    if memory_bytes is None:
        budget = planner.budget_bytes(MemoryGauge(), sum(map(held_bytes, own_pids())))
    else:
        budget = planner.budget_of_board(memory_bytes)
    board, speed = BOARDS[name] if name else (None, None)
    return planner.gather(config, budget, only_on_disk=only_on_disk, board=board, speed=speed)


def facts_anyway(config: Config) -> tuple[Facts, str]:
    """The facts of this board and ""; where config.toml names what cannot be, those of "auto" and why."""
    try:
        return facts_here(config), ""
    except ModelError as error:
        replace = msgspec.structs.replace
        auto = {kind: replace(getattr(config, kind), model="auto") for kind in KINDS}
        return facts_here(replace(config, **auto)), str(error)


def show(config: Config, memory_bytes: int | None, name: str | None, as_json: bool) -> int:
    """Print the plan; exit code 1 if nothing fits.  The arguments are those of `facts_here`."""
    board = BOARDS[name][0] if name else recognise()
    facts = facts_here(config, memory_bytes, name)
    plan = select(facts)
    if as_json:
        print(json.dumps(as_tree(config, board, facts, plan, memory_bytes), indent=1))
    else:
        _print(config, board, facts, plan, _where(board, memory_bytes, name), memory_bytes)
        if plan.fits and memory_bytes is None:
            print(_on_disk(config, plan))
    return 0 if plan.fits else 1


def as_tree(
    config: Config, board: Board, facts: Facts, plan: Plan, memory_bytes: int | None
) -> dict[str, object]:
    """The plan for programs.

    `board` (`name`, `memory_bytes`, `cores`), `budget_bytes` (what the assistant may take), `fits`, `voice`
    (false: questions are typed), `models` by kind (`name`, `on_disk`, `download_bytes`), `context_tokens`,
    `kv_type`, `threads` by kind, `processes` by name (`resting_bytes`, `peak_bytes`), `total_bytes` (one of
    them at its peak, the others at rest), `left_bytes` (negative where nothing fits), `tokens_per_s` (null
    where the speed does not matter), `reasons` (sentences).
    """
    models = {
        kind: {"name": model.name, "on_disk": model.on_disk, "download_bytes": model.download_bytes}
        for kind in KINDS
        if (model := getattr(plan, kind)) is not None
    }
    return {
        "board": {
            "name": board.name,
            "memory_bytes": memory_bytes or board.memory_bytes,
            "cores": board.cores,
        },
        "budget_bytes": plan.budget_bytes,
        "fits": plan.fits,
        "voice": plan.has_voice,
        "models": models,
        "context_tokens": plan.context_tokens,
        "kv_type": plan.kv_type,
        "threads": _threads(config, board.cores, plan),
        "processes": {
            name: {"resting_bytes": need.resting_bytes, "peak_bytes": need.peak_bytes}
            for name, need in plan.processes.items()
        },
        "total_bytes": plan.total_bytes,
        "left_bytes": plan.budget_bytes - plan.total_bytes,
        "tokens_per_s": written_per_s(facts, plan.llm),
        "reasons": list(plan.reasons),
    }


def _where(board: Board, memory_bytes: int | None, name: str | None) -> str:
    cores = f"{board.cores} core{'s' if board.cores > 1 else ''}"
    if memory_bytes is None:
        return f"{board.name}, {cores}"
    if name:
        return f"{board.name} with {_sold(memory_bytes)}, {cores}"
    return f"A board with {_sold(memory_bytes)} and the speed of this one ({board.name}, {cores})"


def _print(
    config: Config, board: Board, facts: Facts, plan: Plan, where: str, memory_bytes: int | None
) -> None:
    limit = MemoryGauge().available().limited_by
    within = f", because of {limit}" if memory_bytes is None and limit != FREE else ""
    print(f"{where}: the assistant may take {mib(plan.budget_bytes)} MiB{within}.\n")
    if not plan.fits:
        print(f"{plan.reasons[0]}\n")
    _print_processes(plan)
    if not plan.fits:
        close = "Close other programs, take" if memory_bytes is None else "Take"
        print(f"\n{close} a board with more memory, or ask for smaller models in config.toml.")
        return
    left = mib(plan.budget_bytes - plan.total_bytes)
    print(f"\n{left} MiB are left, as only one process at a time takes its most.")
    pace = written_per_s(facts, plan.llm)
    speed = "" if pace is None else f" and writes about {pace:.{0 if pace >= 10 else 1}f} tokens a second"
    context = f"a context of {plan.context_tokens} tokens (kv_type {plan.kv_type})"
    print(f"The language model has {context}{speed}.")
    shares = ", ".join(f"{kind} {count}" for kind, count in _threads(config, board.cores, plan).items())
    print(f"Threads: {shares}.")
    if plan.reasons:
        print("\nWhy not more:")
        for reason in plan.reasons:
            print(f"  {reason}")


def _print_processes(plan: Plan) -> None:
    rows = [("PROCESS", "MODEL", "ON DISK", "MiB", "AT MOST")]
    for name, need in plan.processes.items():
        model = getattr(plan, name, None)
        disk = "" if model is None else "yes" if model.on_disk else "no"
        rows.append((name, model.name if model else "", disk, mib(need.resting_bytes), mib(need.peak_bytes)))
    rows.append(("in all", "", "", "", mib(plan.total_bytes)))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    for process, model_name, disk, resting, peak in rows:
        print(
            f"{process:<{widths[0]}}  {model_name:<{widths[1]}}  {disk:<{widths[2]}}  "
            f"{resting:>{widths[3]}}  {peak:>{widths[4]}}"
        )


def _on_disk(config: Config, plan: Plan) -> str:
    """What is to be fetched for the plan, and what runs until then."""
    missing = sum(model.download_bytes for model in (plan.stt, plan.llm, plan.tts) if model is not None)
    if not missing:
        return "\nAll of it is on disk."
    try:
        now = select(facts_here(config, only_on_disk=True))
    except ModelError:
        running = "Until then nothing can run."
    else:
        models = (now.stt, now.llm, now.tts)
        lacking = [model.name for model in models if model is not None and not model.on_disk]
        if lacking:
            running = f"Until then {' and '.join(lacking)} cannot run: not on disk, or damaged."
        else:
            running = f"Until then: {summary(now)}." if now.fits else "Until then nothing fits."
    return f"\n`assistant models pull --plan` fetches what is missing, {megabytes(missing)}. {running}"


def _threads(config: Config, cores: int, plan: Plan) -> dict[str, int]:
    """How many threads each engine gets."""
    return {
        kind: getattr(config, kind).threads or threads(kind, cores)
        for kind in KINDS
        if getattr(plan, kind) is not None
    }


def _sold(memory_bytes: int) -> str:
    gb = memory_bytes / UNITS["G"]
    return f"{gb:g} GB" if gb >= 1 else f"{memory_bytes / UNITS['M']:g} MB"
