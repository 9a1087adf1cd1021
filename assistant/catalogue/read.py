"""models/catalogue.toml as structs: what every known model consists of and where it comes from."""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

import msgspec

from assistant.config import CHECKOUT
from assistant.errors import ModelError

Kind = Literal["stt", "llm", "tts"]
KINDS: tuple[Kind, ...] = ("stt", "llm", "tts")

PATH = CHECKOUT / "models" / "catalogue.toml"
MISSING = "missing"
"""Stands where no public source states a hash."""


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of what catalogue.toml holds."""


class ModelFile(Section, frozen=True):
    """One file of a model; `path` is relative to its repository, `sha256` is hexadecimal or `MISSING`."""

    path: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$")]
    size_bytes: Annotated[int, msgspec.Meta(gt=0)]
    sha256: Annotated[str, msgspec.Meta(pattern=f"^([0-9a-f]{{64}}|{MISSING})$")]

    @property
    def name(self) -> str:
        """What the file is called on disk."""
        return PurePosixPath(self.path).name


class Entry(Section, frozen=True):
    """A model; its files lie in `folder / name` once they are fetched.

    The first file is the model itself.  They come either from `repo` at commit `revision` of the model hub,
    or from the folder `url` of another server.
    """

    name: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    kind: Kind
    licence: str
    languages: tuple[str, ...]
    files: Annotated[tuple[ModelFile, ...], msgspec.Meta(min_length=1)]
    template: Literal["", "zephyr", "llama-2", "chatml", "orca", "plain"] = ""
    repo: str = ""
    revision: str = ""
    url: str = ""

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)

    def place(self, file: ModelFile, folder: Path) -> Path:
        """Where `file` belongs below the models' `folder`."""
        return folder / self.name / file.name


class Auto(Section, frozen=True):
    """Which entry "auto" means, by kind."""

    stt: str
    llm: str
    tts: str


class Catalogue(Section, frozen=True):
    """All of catalogue.toml."""

    auto: Auto
    models: tuple[Entry, ...]

    def entry(self, name: str, kind: Kind | None = None) -> Entry:
        """The model called `name`, of that `kind` if one is given.  Raises `ModelError`."""
        known = {entry.name: entry for entry in self.models if kind in (None, entry.kind)}
        if name in known:
            return known[name]
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else "`assistant models` lists those that there are."
        raise ModelError(f'There is no {kind + " " if kind else ""}model "{name}"; {hint}')

    def auto_entry(self, kind: Kind) -> Entry:
        """The entry that "auto" means."""
        name: str = getattr(self.auto, kind)
        return self.entry(name, kind)


def read(path: Path | None = None) -> Catalogue:
    """The catalogue in `path`, the project's own by default.  Raises `ModelError`."""
    path = path or PATH
    try:
        catalogue = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), Catalogue)
    except OSError as error:
        raise ModelError(f"The model catalogue {path} cannot be read: {error.strerror}.") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ModelError(f"The model catalogue {path} is not valid TOML: {error}.") from None
    except msgspec.ValidationError as error:
        raise ModelError(f"The model catalogue {path} cannot be used: {error}.") from None
    seen: set[str] = set()
    for entry in catalogue.models:
        if entry.name in seen:
            raise ModelError(f"The model catalogue {path} lists {entry.name} twice; remove one.")
        if bool(entry.url) == bool(entry.repo and entry.revision):
            raise ModelError(
                f"The model catalogue {path} must give {entry.name} a repo and a revision, or a url."
            )
        seen.add(entry.name)
    for kind in KINDS:
        catalogue.auto_entry(kind)
    return catalogue
