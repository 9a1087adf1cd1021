"""`assistant models` and `assistant models verify`: what there is, and whether it is what it should be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from assistant.catalogue.disk import damage, part_bytes, size_bytes
from assistant.catalogue.locate import locate, test_model
from assistant.catalogue.read import KINDS, MISSING, Catalogue, Entry, Kind
from assistant.cli.models.plan import facts_anyway, facts_here
from assistant.cli.models.progress import megabytes
from assistant.config import Config, is_path
from assistant.errors import ModelError
from assistant.plan import planner
from assistant.plan.candidates import of_entry
from assistant.plan.prediction import MIB
from assistant.plan.selection import select, summary, verdict
from assistant.plan.sets import Facts, part_of

SHORT_LICENCE = 10
"""Characters of a licence that stand in its row: the table is to fit a terminal of 80 columns."""


def show(catalogue: Catalogue, config: Config, folder: Path) -> int:
    """Print every model: its memory, whether this board can run it, its state on disk; and the plan."""
    facts, flaw = facts_anyway(config)
    plan = select(facts)
    planned = [] if flaw else [model for model in (plan.stt, plan.llm, plan.tts) if model is not None]
    for line in table(catalogue, facts, {model.wanted for model in planned}, folder):
        print(line)
    print("\nSIZE is the download in MB, RAM what the model's process takes at most in MiB.")
    print("FITS: slow runs, but slower than plan.prefer asks for; text runs, but not with speech.")
    if flaw:
        print(f"There is no plan: {flaw}")
    elif plan.fits:
        print(f"* what the plan takes ({summary(plan)}); `assistant models plan` says why.")
    else:
        print("* the least that config.toml allows; it does not fit: `assistant models plan` says why.")
    own = [model.name for model in planned if is_path(model.wanted)]
    if own:
        print(f"Of your own: {', '.join(own)}.")
    print(f"Models live in {folder}; `assistant models pull NAME` fetches one. In use now:")
    try:
        now = planner.apply(config, on_disk := facts_here(config, only_on_disk=True), select(on_disk))
    except ModelError:
        now = config
    for kind in KINDS:
        print(f"  {kind}  {_in_use(kind, now, folder)}")
    return 0


def table(catalogue: Catalogue, facts: Facts, planned: set[str], folder: Path) -> Iterator[str]:
    """A line for each model, those `planned` with a star; below it what is long of their licences."""
    rows = [("", "NAME", "SIZE", "RAM", "FITS", "ON DISK", "LANGUAGE", "LICENCE")]
    notes: dict[str, int] = {}
    for entry in catalogue.models:
        candidate = of_entry(catalogue, entry, folder)
        more = len(entry.languages) - 1
        licence = entry.licence if entry.commercial else f"{entry.licence}; never taken by auto"
        if len(licence) > SHORT_LICENCE:
            licence = f"[{notes.setdefault(licence, len(notes) + 1)}]"
        rows.append(
            (
                "*" if entry.name in planned else "",
                entry.name,
                f"{entry.size_bytes / 1e6:.0f}",
                f"{part_of(facts, candidate).need.peak_bytes / MIB:.0f}",
                verdict(facts, candidate),
                _state(entry, folder),
                f"{entry.languages[0]} +{more}" if more else entry.languages[0],
                licence,
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for mark, *row in rows:
        cells = [
            cell.rjust(width) if column in (1, 2) else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths[1:], strict=True))
        ]
        yield f"{mark:1} {'  '.join(cells)}".rstrip()
    yield ""
    for licence, number in notes.items():
        yield f"[{number}] {licence}"


def _in_use(kind: Kind, config: Config, folder: Path) -> str:
    """What the model of that kind is at this moment, or why it is none."""
    try:
        located = locate(kind, getattr(config, kind).model, folder)
    except ModelError as error:
        return str(error)
    if located.path == test_model(kind):
        return f"{located.name} (a small test model, which knows little)"
    return located.name


def _state(entry: Entry, folder: Path) -> str:
    """What a look at names and sizes tells."""
    places = [entry.place(file, folder) for file in entry.files]
    sizes = [(size_bytes(place), file.size_bytes) for place, file in zip(places, entry.files, strict=True)]
    there = [size == right for size, right in sizes if size is not None]
    if not all(there):
        return "damaged"
    if len(there) == len(places):
        return "yes"
    begun = there or any(part_bytes(place) for place in places)
    return "partly" if begun else "no"


def verify(catalogue: Catalogue, folder: Path) -> int:
    """Read every model on disk; exit code 1 if one is not what it should be."""
    found, damaged = 0, 0
    for entry in catalogue.models:
        if _state(entry, folder) == "no":
            continue
        found += 1
        reasons = {
            file.name: reason for file in entry.files if (reason := damage(file, entry.place(file, folder)))
        }
        came_bytes = _interrupted_at(entry, folder)
        if came_bytes and set(reasons.values()) == {"is missing"}:
            damaged += 1
            print(
                f"{entry.name}: its download was interrupted at {megabytes(came_bytes)} of "
                f"{megabytes(entry.size_bytes)}; `assistant models pull {entry.name}` goes on with it."
            )
        elif reasons:
            damaged += 1
            what = ", ".join(f"{name} {reason}" for name, reason in reasons.items())
            print(f"{entry.name}: {what}; fetch it again with `assistant models pull {entry.name}`.")
        elif any(file.sha256 == MISSING for file in entry.files):
            print(f"{entry.name}: the size is right; no hash is known to compare it with.", flush=True)
        else:
            print(f"{entry.name}: right", flush=True)
    if not found:
        print(f"There are no models in {folder}: the small test models serve.")
        print("`assistant models pull` fetches others.")
    return 1 if damaged else 0


def _interrupted_at(entry: Entry, folder: Path) -> int:
    """How many bytes of `entry` came before a download of it broke off within a file; 0 if none did."""
    places = [entry.place(file, folder) for file in entry.files]
    begun_bytes = sum(part_bytes(place) for place in places)
    whole_bytes = sum(size_bytes(place) or 0 for place in places)
    return begun_bytes and begun_bytes + whole_bytes
