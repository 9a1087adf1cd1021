"""`assistant models pull`: fetching models."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from assistant.catalogue import download
from assistant.catalogue.locate import check, is_complete
from assistant.catalogue.read import Catalogue, Entry
from assistant.cli.models.progress import megabytes, shown
from assistant.config import is_path
from assistant.errors import NoRoomError
from assistant.plan.candidates import of_entry
from assistant.plan.reasons import mib
from assistant.plan.selection import select, verdict
from assistant.plan.sets import Facts, part_of


def wanted_by_plan(facts: Facts, catalogue: Catalogue) -> list[Entry]:
    """The models of the best plan for this board, smallest first; a user's own files are none of them.

    Raises `NoRoomError` where nothing fits.
    """
    plan = select(facts)
    if not plan.fits:
        raise NoRoomError(
            f"{plan.reasons[0].removesuffix('.')}; close other programs, or name what is to be fetched."
        )
    models = [model for model in (plan.stt, plan.llm, plan.tts) if model is not None]
    entries = [catalogue.entry(model.name, model.kind) for model in models if not is_path(model.wanted)]
    return sorted(entries, key=lambda entry: entry.size_bytes)


def misfit(facts: Facts, catalogue: Catalogue, folder: Path, entry: Entry) -> str:
    """Why this board cannot run `entry`; "" if it can."""
    candidate = of_entry(catalogue, entry, folder)
    if verdict(facts, candidate) != "no":
        return ""
    need = part_of(facts, candidate).need
    return f"it takes {mib(need.peak_bytes)} MiB beside the rest, of {mib(facts.budget_bytes)} in all"


def pull(
    entries: list[Entry], folder: Path, allow_unverified: bool, fits: Callable[[Entry], str] = lambda _: ""
) -> int:
    """Fetch `entries`; `fits` gives the reason why this board cannot run one, or ""."""
    if not entries:
        print("The plan takes files of your own alone; there is nothing to fetch.")
    download.check_beforehand(entries, folder, allow_unverified=allow_unverified)
    for entry in entries:
        if reason := fits(entry):
            print(
                f"Warning: this board cannot run {entry.name} ({reason}); it is fetched all the same.",
                file=sys.stderr,
            )
    missing = sum(entry.size_bytes for entry in entries if not is_complete(entry, folder))
    if missing and len(entries) > 1:
        print(f"{len(entries)} models, {megabytes(missing)} to fetch", flush=True)
    for entry in entries:
        there = " is on disk; checking it" if is_complete(entry, folder) else ""
        print(f"{entry.name} ({megabytes(entry.size_bytes)}, licence: {entry.licence}){there}", flush=True)
        with shown() as progress:
            download.pull(entry, folder, progress, allow_unverified=allow_unverified)
        path = folder / entry.name if entry.kind == "stt" else entry.place(entry.files[0], folder)
        # A file without a known hash may have the right size and still be something else.
        check(entry.kind, path)
        print(f"  in {path}")
    return 0
