"""The models that a plan may choose from: of the catalogue, of the user's own, or the small test models."""

from __future__ import annotations

from pathlib import Path

import msgspec

from assistant.catalogue import ct2, gguf, onnx
from assistant.catalogue.locate import TEST_NAMES, absent, check, is_complete, test_model
from assistant.catalogue.read import Catalogue, Entry, Kind
from assistant.catalogue.shapes import LlmShape, SttShape, TtsShape
from assistant.config import Config, is_path
from assistant.plan.prediction import LlmWeights, stt_weights


class Candidate(msgspec.Struct, frozen=True):
    """A model and what its memory and speed follow from.

    `wanted` is what config.toml would say: a name of the catalogue or a path.  `weights_bytes` are the
    weights in memory; those of the embedding matter where it must be held twice.
    """

    kind: Kind
    name: str
    wanted: str
    shape: LlmShape | SttShape | TtsShape
    weights_bytes: int
    embedding_bytes: int = 0
    embedding_type: str = ""
    download_bytes: int = 0
    on_disk: bool = True
    test_model: bool = False

    @property
    def llm_weights(self) -> LlmWeights:
        return LlmWeights(self.weights_bytes, self.embedding_bytes, self.embedding_type)


def of_entry(catalogue: Catalogue, entry: Entry, folder: Path) -> Candidate:
    """A model of the catalogue, whether it is on disk or not."""
    shape = catalogue.shape(entry)
    weights_bytes, embedding_bytes, embedding_type = entry.files[0].size_bytes, 0, ""
    if isinstance(shape, LlmShape):
        weights_bytes -= shape.vocabulary_bytes
        # What is both embedding and output, llama.cpp's quantiser keeps in 6 bits or more.
        embedding_type = "Q8_0" if shape.embedding % 256 or entry.quantisation == "Q8_0" else "Q6_K"
        block, block_bytes = (32, 34) if embedding_type == "Q8_0" else (256, 210)
        embedding_bytes = min(shape.vocabulary * shape.embedding // block * block_bytes, weights_bytes)
    elif isinstance(shape, SttShape):
        weights_bytes = stt_weights(shape)
    on_disk = is_complete(entry, folder)
    return Candidate(
        entry.kind,
        entry.name,
        entry.name,
        shape,
        weights_bytes,
        embedding_bytes,
        embedding_type,
        0 if on_disk else entry.size_bytes,
        on_disk,
    )


def of_path(kind: Kind, path: Path, name: str = "", test_model: bool = False) -> Candidate:
    """A model by its path, from its headers.  Raises `ModelError` where it cannot be one of that kind."""
    check(kind, path)
    name = name or path.name
    if kind == "llm":
        header = gguf.read_header(path)
        return Candidate(
            kind,
            name,
            str(path),
            gguf.shape(header),
            header.weights_bytes,
            header.embedding_bytes,
            header.embedding_type,
            test_model=test_model,
        )
    if kind == "stt":
        shape = ct2.shape(ct2.read_header(path))
        return Candidate(kind, name, str(path), shape, stt_weights(shape), test_model=test_model)
    voice = onnx.read_header(path)
    return Candidate(kind, name, str(path), onnx.shape(voice), voice.weights_bytes, test_model=test_model)


def candidates(
    kind: Kind, config: Config, catalogue: Catalogue, folder: Path, only_on_disk: bool
) -> tuple[Candidate, ...]:
    """What `kind` may be, from the best to the least.

    A model that config.toml names is the only one; "auto" means the catalogue's list for the language, and a
    small test model where nothing of it is on disk and nothing else may be.  Raises `ModelError`.
    """
    wanted: str = getattr(config, kind).model
    if is_path(wanted):
        return (of_path(kind, Path(wanted)),)
    if wanted != "auto":
        return (of_entry(catalogue, catalogue.entry(wanted, kind), folder),)
    entries = catalogue.preferred(kind, config.stt.language)
    found = [of_entry(catalogue, entry, folder) for entry in entries]
    if not only_on_disk:
        return tuple(found)
    there = tuple(candidate for candidate in found if candidate.on_disk)
    # One that is damaged is no reason to fall back silently: its worker will say so.
    damaged = tuple(
        candidate for entry, candidate in zip(entries, found, strict=True) if not absent(entry, folder)
    )
    return there or damaged or (stand_in(kind) if entries else ())


def stand_in(kind: Kind) -> tuple[Candidate, ...]:
    """The small test model, where it is shipped."""
    path = test_model(kind)
    return () if path is None else (of_path(kind, path, TEST_NAMES[kind], test_model=True),)
