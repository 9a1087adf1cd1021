"""The support bundle: what may help others to help, and nothing that says who somebody is or what they said.

Everything in it is on a list: numbers, dates, words of our own, and names that systemd, the catalogue or our
list of packages gave.  Whatever else there is, is left out rather than looked through for secrets.
"""

from __future__ import annotations

import datetime
import gzip
import io
import json
import os
import re
import tarfile
from collections import Counter
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import msgspec
from msgspec.structs import FieldInfo

from assistant import __version__
from assistant.board.recognise import Board
from assistant.cli.doctor.check import Check, asked
from assistant.cli.doctor.services import UNITS, Unit
from assistant.config import Config
from assistant.errors import AssistantError
from assistant.messages import Status
from assistant.state import write_whole

FORMAT = 1
LEFT_OUT = "(left out)"
PACKAGES = [
    "ctranslate2",
    "faster-whisper",
    "jinja2",
    "llama-cpp-python",
    "msgspec",
    "numpy",
    "onnxruntime",
    "piper-tts",
    "rich",
    "sounddevice",
    "soundfile",
    "soxr",
    "webrtcvad-wheels",
]
PRIORITIES = ("emergency", "alert", "critical", "error", "warning", "notice", "information", "debug")
"""What the numbers 0 to 7 mean that systemd gives lines of its journal (syslog(3))."""
JOURNAL = ["journalctl", "--since=-7 days", "--output=json", "--output-fields=PRIORITY,_SYSTEMD_UNIT"]
README = """\
What `assistant doctor` found, for somebody who is to help.

doctor.json    the checks, without names
versions.json  of the assistant and of the packages it uses
board.json     the board
status.json    what the running assistant says of its stages, plan and last turns, without words
units.json     the state of its systemd units
journal.json   how many lines of each priority each unit wrote on each day of a week; not the lines
config.json    the settings; paths, names and prompts of your own are left out

There is no sound, nothing that was said, and no name of a person, computer or network in it.
"""


def contents(
    checks: Iterable[Check],
    config: Config,
    known_models: Iterable[str],
    board: Board | None,
    units: Mapping[str, Unit],
    status: Status | None,
    journal: Iterable[str],
) -> dict[str, bytes]:
    """The files of the bundle.  `journal` are lines of `journalctl --output=json`."""
    known = frozenset(known_models)
    files = {
        "doctor.json": [{"name": check.name, "state": check.state, "what": check.public} for check in checks],
        "versions.json": {"format": FORMAT, "assistant": __version__, **_packages()},
        "board.json": None if board is None else msgspec.to_builtins(board),
        "status.json": None if status is None else shown(status, known | {__version__}),
        "units.json": {name: _unit(unit) for name, unit in units.items() if name in UNITS},
        "journal.json": count_lines(journal),
        "config.json": shown(config, known),
    }
    packed = {name: json.dumps(content, indent=1).encode() for name, content in files.items()}
    return {"README.txt": README.encode(), **packed}


def gather_journal() -> list[str]:
    """A week of the assistant's journal, without the text of its lines; nothing where it may not be read."""
    said = asked([*JOURNAL, *(f"--unit={name}" for name in UNITS)])
    return (said or "").splitlines()


def count_lines(lines: Iterable[str]) -> dict[str, dict[str, dict[str, int]]]:
    """Lines by day (in UTC), unit and priority.  What is not understood is not counted."""
    found: Counter[tuple[str, str, str]] = Counter()
    for line in lines:
        try:
            entry = json.loads(line)
            unit, level = entry["_SYSTEMD_UNIT"], int(entry["PRIORITY"])
            day = _day(int(entry["__REALTIME_TIMESTAMP"]))
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            continue
        if unit in UNITS and 0 <= level < len(PRIORITIES):
            found[day, unit, PRIORITIES[level]] += 1
    counted: dict[str, dict[str, dict[str, int]]] = {}
    for (day, unit, priority), number in sorted(found.items()):
        counted.setdefault(day, {}).setdefault(unit, {})[priority] = number
    return counted


def _day(timestamp_us: int) -> str:
    return datetime.datetime.fromtimestamp(timestamp_us / 1e6, datetime.UTC).date().isoformat()


def shown(value: Any, known: frozenset[str], field: FieldInfo | None = None) -> Any:
    """A struct as a tree of numbers, choices, defaults and names in `known`; other text is left out."""
    if isinstance(value, msgspec.Struct):
        fields = msgspec.structs.fields(value)
        return {field.name: shown(getattr(value, field.name), known, field) for field in fields}
    if isinstance(value, tuple):
        return [shown(part, known) for part in value]
    if not isinstance(value, str) or not value or value in known:
        return value
    is_ours = field is not None and (value == field.default or value in _choices(field.type))
    return value if is_ours else LEFT_OUT


def _choices(kind: Any) -> set[str]:
    """The texts that a type allows where it allows no others."""
    if get_origin(kind) is Literal:
        return set(get_args(kind))
    return {choice for part in get_args(kind) for choice in _choices(part)}


def _unit(unit: Unit) -> dict[str, str]:
    return {name: value for name, value in unit.items() if re.fullmatch(r"[a-z-]{1,20}|[0-9]{1,9}", value)}


def _packages() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "missing"
    return found


def write(path: Path, files: Mapping[str, bytes]) -> None:
    """Write `files` as a .tar.gz to `path`: all of it or nothing, and never over what is there.

    Raises `AssistantError`.
    """
    if os.path.lexists(path):
        raise AssistantError(f"{path} is there already; delete it, or give the bundle another name.")
    try:
        write_whole(path, _packed(files))
        path.chmod(0o644)  # somebody else is to read it
    except OSError as error:
        raise AssistantError(
            f"The bundle {path} cannot be written: {error.strerror}; choose another folder."
        ) from None


def _packed(files: Mapping[str, bytes]) -> bytes:
    """No owner, and no name of the file, which tar and gzip would both note."""
    packed = io.BytesIO()
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=0) as squeezed,
        tarfile.open(fileobj=squeezed, mode="w") as archive,
    ):
        for name, content in files.items():
            entry = tarfile.TarInfo(f"assistant-support/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()
