"""models/catalogue.toml as structs: what is known of every model, and which ones "auto" chooses from."""

from __future__ import annotations

import datetime
import difflib
import logging
import stat
import tomllib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

import msgspec

from assistant.catalogue.shapes import LlmShape, SttShape, TtsShape, Word
from assistant.config import CHECKOUT, is_path
from assistant.errors import ModelError, one_line

log = logging.getLogger(__name__)

Kind = Literal["stt", "llm", "tts"]
KINDS: tuple[Kind, ...] = ("stt", "llm", "tts")

PATH = CHECKOUT / "models" / "catalogue.toml"
UPDATED_NAME = "catalogue.updated.toml"
"""What an update leaves in the models' folder, which in a checkout is that of `PATH`."""
MISSING = "missing"
"""Stands where no public source states a hash."""
OTHER = "other"
"""Stands for every language that has no list of its own."""

FORMAT = 1
MOST_BYTES = 4 * 1024 * 1024
RESERVED = ("auto", PATH.name, UPDATED_NAME, "readme.md")
"""What no model may be called, whatever the case: config.toml or the models' folder means something else."""

_WORD = "[A-Za-z0-9][A-Za-z0-9._-]*"
Language = Annotated[str, msgspec.Meta(pattern=r"^[a-z]{2,3}\Z")]
Lists = dict[Annotated[str, msgspec.Meta(pattern=rf"^([a-z]{{2,3}}|{OTHER})\Z")], tuple[str, ...]]


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of the tables in catalogue.toml; an unknown key is an error."""


class ModelFile(Table, frozen=True):
    """One file of a model; `path` is relative to its repository, `sha256` is hexadecimal or `MISSING`."""

    path: Annotated[str, msgspec.Meta(pattern=rf"^{_WORD}(/{_WORD})*\Z")]
    size_bytes: Annotated[int, msgspec.Meta(gt=0, le=2**40)]
    sha256: Annotated[str, msgspec.Meta(pattern=rf"^([0-9a-f]{{64}}|{MISSING})\Z")]

    @property
    def name(self) -> str:
        """What the file is called on disk."""
        return PurePosixPath(self.path).name


class Entry(Table, frozen=True):
    """A model; its files lie in `folder / name` once they are fetched.

    The first file is the model itself.  They come either from `repo` at commit `revision` of the model hub,
    or from the folder `url` of another server.  `template` is "" where the file has its own, `quantisation`
    for all but language models.  Unless `commercial`, the licence bars some from using it.
    """

    name: Annotated[str, msgspec.Meta(pattern=rf"^{_WORD}\Z")]
    kind: Kind
    licence: Word
    languages: Annotated[tuple[Language, ...], msgspec.Meta(min_length=1)]
    files: Annotated[tuple[ModelFile, ...], msgspec.Meta(min_length=1)]
    template: Literal["", "zephyr", "llama-2", "chatml", "orca", "plain"] = ""
    repo: Annotated[str, msgspec.Meta(pattern=rf"^({_WORD}/{_WORD})?\Z")] = ""
    revision: Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{40})?\Z")] = ""
    url: Annotated[str, msgspec.Meta(pattern=rf"^(https://{_WORD}(:[0-9]+)?(/{_WORD})*)?\Z")] = ""
    shape: Word = ""
    quantisation: Annotated[str, msgspec.Meta(pattern=r"^[A-Z0-9_]*\Z")] = ""
    commercial: bool = False

    @property
    def size_bytes(self) -> int:
        """Of all its files."""
        return sum(file.size_bytes for file in self.files)

    @property
    def verifiable(self) -> bool:
        """Whether a hash is known of every file."""
        return all(file.sha256 != MISSING for file in self.files)

    def place(self, file: ModelFile, folder: Path) -> Path:
        """Where `file` belongs below the models' `folder`."""
        return folder / self.name / file.name


class Auto(Table, frozen=True):
    """The names that "auto" chooses from: by kind and language (or `OTHER`), from the best to the least."""

    stt: Lists
    llm: Lists
    tts: Lists


class Shapes(Table, frozen=True):
    """The shapes by kind and name."""

    stt: dict[Word, SttShape]
    llm: dict[Word, LlmShape]
    tts: dict[Word, TtsShape]


class Catalogue(Table, frozen=True):
    """All of catalogue.toml."""

    format: int
    updated: datetime.date
    auto: Auto
    shapes: Shapes
    models: tuple[Entry, ...]

    def entry(self, name: str, kind: Kind | None = None) -> Entry:
        """The model called `name`, of that `kind` if one is given.  Raises `ModelError`."""
        known = {entry.name: entry for entry in self.models if kind in (None, entry.kind)}
        if name in known:
            return known[name]
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else "`assistant models` lists those that there are."
        raise ModelError(f'There is no {kind + " " if kind else ""}model "{name}"; {hint}')

    def shape(self, entry: Entry) -> LlmShape | SttShape | TtsShape:
        """How `entry` is built: the shape of its kind."""
        shape: LlmShape | SttShape | TtsShape = getattr(self.shapes, entry.kind)[entry.shape]
        return shape

    def preferred(self, kind: Kind, language: str) -> tuple[Entry, ...]:
        """What "auto" chooses from for that language (ISO 639), from the best to the least; may be empty."""
        lists: Lists = getattr(self.auto, kind)
        return tuple(self.entry(name, kind) for name in lists.get(language, lists.get(OTHER, ())))


def read(path: Path | None = None) -> Catalogue:
    """The catalogue in `path`, the project's own by default.  Raises `ModelError`."""
    path = path or PATH
    try:
        with path.open("rb") as file:
            text = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ModelError(f"The model catalogue {path} cannot be read: {error.strerror}.") from None
    return parse(text, str(path))


def current(folder: Path) -> Catalogue:
    """The project's own catalogue, or the one that an update left in the models' `folder` if no older.

    One that is damaged or unreadable must not stop the assistant: it counts as absent, with a warning.
    Raises `ModelError` if the own one is damaged.
    """
    own, path = read(), folder / UPDATED_NAME
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # to open a pipe would wait for ever
            return own
        updated = read(path)
    except (FileNotFoundError, NotADirectoryError):
        return own
    except OSError as error:
        log.warning(
            "The model catalogue %s cannot be read: %s. The assistant's own serves instead.",
            path,
            error.strerror,
        )
        return own
    except ModelError as error:
        log.warning("%s The assistant's own serves instead.", error)
        return own
    return updated if updated.updated >= own.updated else own


def parse(text: bytes, source: str) -> Catalogue:
    """The catalogue that `text` is; `source` is what a sentence calls the place it came from.

    Whoever wrote it, a text that is returned holds together.  Raises `ModelError`.
    """
    if len(text) > MOST_BYTES:
        raise ModelError(
            f"The model catalogue {source} has more than {MOST_BYTES} bytes, so it cannot be one."
        )
    try:
        tree = tomllib.loads(text.decode())
    except RecursionError:
        raise ModelError(f"The model catalogue {source} is not valid TOML: it is nested too deep.") from None
    except ValueError as error:  # besides TOMLDecodeError: no UTF-8, or a number of thousands of digits
        raise ModelError(f"The model catalogue {source} is not valid TOML: {error}.") from None
    if tree.get("format") != FORMAT:
        stated = one_line(str(tree.get("format", "not stated")))
        raise ModelError(
            f"The model catalogue {source} is for another version of the assistant "
            f"(format {stated}, not {FORMAT}); update the assistant."
        )
    try:
        catalogue = msgspec.convert(tree, Catalogue)
    except msgspec.ValidationError as error:
        raise ModelError(f"The model catalogue {source} cannot be used: {one_line(str(error))}.") from None
    for flaw in _flaws(catalogue):
        raise ModelError(f"The model catalogue {source} cannot be used: {flaw}.")
    return catalogue


def _flaws(catalogue: Catalogue) -> Iterator[str]:
    """What does not hold together, each as the end of a sentence."""
    for name, llm in catalogue.shapes.llm.items():
        if isinstance(llm.kv_heads, tuple) and len(llm.kv_heads) != llm.layers:
            yield f"its shape {name} gives kv_heads of {len(llm.kv_heads)} layers, but has {llm.layers}"
    by_name: dict[str, Entry] = {}
    for entry in catalogue.models:
        if entry.name in by_name:
            yield f"it lists {entry.name} twice"
        by_name[entry.name] = entry
        if bool(entry.url) == bool(entry.repo and entry.revision):
            yield f"it must give {entry.name} a repo and a revision, or a url"
        if len({file.name for file in entry.files}) < len(entry.files):
            yield f"two files of {entry.name} have the same name"
        if entry.name.lower() in RESERVED or entry.name.lower().endswith(".part"):
            yield f"no model can be called {entry.name}"
        if is_path(entry.name.lower()):
            yield f"the name {entry.name} would be taken for a path"
        shapes: dict[str, LlmShape | SttShape | TtsShape] = getattr(catalogue.shapes, entry.kind)
        shape = shapes.get(entry.shape)
        if isinstance(shape, LlmShape) and entry.files[0].size_bytes <= shape.vocabulary_bytes:
            yield f"{entry.name} is smaller than its vocabulary"
        if shape is None:
            yield f'{entry.name} is of the shape "{entry.shape}", which is not in shapes.{entry.kind}'
        if bool(entry.quantisation) != (entry.kind == "llm"):
            yield f"{entry.name} must give a quantisation if and only if it is a language model"
    for kind in KINDS:
        for language, names in getattr(catalogue.auto, kind).items():
            if len(set(names)) < len(names):
                yield f"auto.{kind}.{language} names a model twice"
            for name in names:
                reason = _unfit(by_name.get(name), kind, language)
                if reason:
                    yield f"auto.{kind}.{language} names {name}, but {reason}"


def _unfit(entry: Entry | None, kind: Kind, language: str) -> str:
    """Why "auto" must not choose `entry` for somebody who speaks `language`; "" if it may."""
    if entry is None or entry.kind != kind:
        return f"there is no {kind} model of that name"
    if not entry.commercial:
        return "its licence bars commercial use"
    if not entry.verifiable:
        return "the hash of a file is missing"
    if language == OTHER:
        return "" if len(entry.languages) > 1 else f"it serves {entry.languages[0]} alone"
    return "" if language in entry.languages else f"it does not serve {language}"
