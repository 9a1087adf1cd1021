"""`assistant models remove`, `import` and `update`: what is on disk without a download of a model."""

from __future__ import annotations

import sys
from pathlib import Path

from assistant.catalogue import store
from assistant.catalogue.read import PATH, UPDATED_NAME, Catalogue, Entry
from assistant.catalogue.update import update as update_catalogue
from assistant.cli.models.progress import megabytes, shown
from assistant.config import Config
from assistant.errors import ConfigError


def remove(entries: list[Entry], folder: Path, config: Config) -> int:
    """Delete `entries`: all, or none if one of them must stay."""
    store.require_removable(entries, folder, config)
    for entry in entries:
        freed_bytes = store.remove(entry, folder)
        print(f"{entry.name}: removed, which frees {megabytes(freed_bytes)}", flush=True)
    return 0


def import_models(source: Path, catalogue: Catalogue, names: list[str], folder: Path) -> int:
    """Copy what `source` holds; exit code 1 if one of the models is flawed."""
    with shown() as progress:
        imported = store.import_models(source, catalogue, names, folder, progress)
    for entry in imported.came:
        print(f"{entry.name}: imported ({megabytes(entry.size_bytes)}, licence: {entry.licence})")
    for entry in imported.there:
        print(f"{entry.name}: was there already")
    for flaw in imported.flaws:
        print(flaw, file=sys.stderr)
    beside = next((path for name in (UPDATED_NAME, PATH.name) if (path := source / name).exists()), None)
    if beside:
        print(f"{beside} is left alone; `assistant models update {beside}` takes it.")
    return 1 if imported.flaws else 0


def update(source: str | None, catalogue: Catalogue, folder: Path) -> int:
    """Put the catalogue from `source` in force instead of `catalogue`."""
    if source is None:
        raise ConfigError(
            "`assistant models update` needs a file or an address, since there is no official address yet."
        )
    new = update_catalogue(source, folder)
    if new is None:
        print(f"The list of models is that of {catalogue.updated} already; there is nothing to do.")
        return 0
    before, after = ({entry.name for entry in each.models} for each in (catalogue, new))
    print(
        f"The list of models is now that of {new.updated}: {len(new.models)} models, "
        f"{len(after - before)} of them new, {len(before - after)} gone."
    )
    return 0
