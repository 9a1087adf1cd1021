"""Checks of what the assistant was given: its configuration, and the models."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from assistant.catalogue.disk import damage, size_bytes
from assistant.catalogue.locate import locate, test_model
from assistant.catalogue.read import KINDS, Entry, Kind, current
from assistant.cli.doctor.check import Check, count, plain
from assistant.cli.models.plan import facts_here
from assistant.config import BOOT_PLACES, Config, layers, load, models_folder
from assistant.errors import BoardError, ConfigError, ModelError
from assistant.messages import Status
from assistant.plan import planner
from assistant.plan.selection import select


class Configuration(msgspec.Struct, frozen=True):
    """What comes of `files`, of which a later one overrides; `failure` says why `refused`, one of them, is.

    Then `config` is what comes of the first that is right.
    """

    config: Config
    files: tuple[Path, ...] = ()
    failure: str = ""
    refused: Path | None = None


def gather_configuration(path: Path | None) -> Configuration:
    """`path` is that of --config."""
    files = layers() if path is None else (path,)
    try:
        return Configuration(load(path), files)
    except ConfigError as error:
        failure, refused = str(error), files[-1]  # or they are right each for itself, and not together
    right = []
    for file in reversed(files):
        try:
            right.append(load(file))
        except ConfigError as error:
            failure, refused = str(error), file
    return Configuration(right[-1] if right else Config(), files, failure, refused)


def check_configuration(facts: Configuration) -> Check:
    name = "settings"
    if facts.refused is not None:
        is_boot = facts.refused in BOOT_PLACES
        public = f"{'assistant.toml of the boot partition' if is_boot else 'config.toml'} is refused"
        sudo = "sudo " if not os.access(facts.refused, os.W_OK) else ""
        return Check(name, "fault", facts.failure, f"{sudo}nano {facts.refused}", public)
    if not facts.files:
        what = public = "there is no config.toml, the defaults serve"
    else:
        what, public = f"{facts.files[0]} is right", "config.toml is right"
    for file in facts.files[1:]:
        what += f"; {file} overrides it"
        public += "; assistant.toml of the boot partition overrides it"
    if facts.config.log.words:
        words = "; what is said is written to the log (log.words)"
        what, public = what + words, public + words
    return Check(name, "ok", what, public=public)


class Used(msgspec.Struct, frozen=True):
    """A model in use; `failure` is a sentence.  `is_known`: it has a name of the catalogue's."""

    kind: Kind
    name: str
    failure: str = ""
    is_known: bool = False
    is_test: bool = False


class Models(msgspec.Struct, frozen=True):
    """`damaged` are models of the catalogue on disk that are not what they should be, of `on_disk` in all.

    `is_hashed`: all of their bytes were read.  `failure`: why nothing can be said of them.
    """

    used: list[Used]
    damaged: list[str]
    on_disk: int
    is_hashed: bool
    fits: bool
    needs_root: bool
    failure: str = ""


def gather_models(config: Config, status: Status | None, full: bool) -> Models:
    """Of what the running assistant uses by its `status`, else of what it would use.

    `full` reads all of what is on disk, gigabytes perhaps, and compares hashes; else sizes and first bytes.
    """
    folder = models_folder(config)
    needs_root = folder.exists() and not os.access(folder, os.W_OK)
    try:
        catalogue = current(folder)
        config, fits = _in_force(config, status, {entry.name for entry in catalogue.models})
    except (ModelError, BoardError) as error:
        return Models([], [], 0, full, True, needs_root, str(error))
    names = {entry.name for entry in catalogue.models}
    used = []
    for kind in KINDS:
        wanted: str = getattr(config, kind).model
        try:
            located = locate(kind, wanted, folder)
            used.append(Used(kind, located.name, "", wanted in names, located.path == test_model(kind)))
        except ModelError as error:
            used.append(Used(kind, wanted, str(error), wanted in names))
    here = [entry for entry in catalogue.models if _is_here(entry, folder)]
    damaged = [entry.name for entry in here if _is_damaged(entry, folder, full)]
    return Models(used, damaged, len(here), full, fits, needs_root)


def _in_force(config: Config, status: Status | None, names: set[str]) -> tuple[Config, bool]:
    """The configuration with the models that the plan put into it, and whether that plan fits the memory."""
    if status is None:
        facts = facts_here(config, only_on_disk=True)
        plan = select(facts)
        return planner.apply(config, facts, plan), plan.fits
    for stage in status.stages:
        if stage.model in names:
            section = msgspec.structs.replace(getattr(config, stage.stage), model=stage.model)
            config = msgspec.structs.replace(config, **{stage.stage: section})
    return config, status.plan is None or status.plan.fits


def _is_here(entry: Entry, folder: Path) -> bool:
    return any(size_bytes(entry.place(file, folder)) is not None for file in entry.files)


def _is_damaged(entry: Entry, folder: Path, full: bool) -> bool:
    if full:
        return any(damage(file, entry.place(file, folder)) for file in entry.files)
    return any(size_bytes(entry.place(file, folder)) != file.size_bytes for file in entry.files)


def check_models(facts: Models) -> Check:
    name = "models"
    pull = "sudo assistant models pull" if facts.needs_root else "assistant models pull"
    if facts.failure:
        return Check(name, "fault", facts.failure, pull, "nothing can be said of them")
    for used in facts.used:
        if used.failure:
            mend = f"{pull} {used.name}"
            if not used.is_known:
                mend = f"name another in config.toml: [{used.kind}] model = …"
            what = used.failure.partition("; ")[0]
            return Check(name, "fault", what, mend, f"the {used.kind} model cannot be used")
    if facts.damaged:
        names = ", ".join(facts.damaged)
        is_used = any(used.name in facts.damaged for used in facts.used)
        what, mend = f"damaged or incomplete: {names}", f"{pull} {' '.join(facts.damaged)}"
        return Check(name, "fault" if is_used else "warning", what, mend, "one is damaged or incomplete")
    tests = [used.kind for used in facts.used if used.is_test]
    if tests:
        what = f"for {', '.join(tests)} only a small test model serves, which knows little"
        return plain(name, "warning", what, pull)
    what = ", ".join(used.name for used in facts.used)
    public = ", ".join(used.name if used.is_known else f"{used.kind}: one's own" for used in facts.used)
    if not facts.fits:
        more = ": they take more memory than there is"
        return Check(name, "warning", what + more, "assistant models plan (says why)", public + more)
    if facts.on_disk:
        how = "hashes are right" if facts.is_hashed else "sizes are right (--full compares hashes)"
        here = f"; {count(facts.on_disk, 'model')} on disk, {how}"
        what, public = what + here, public + here
    return Check(name, "ok", what, public=public)
