"""The project's own catalogue holds together, and a broken one is refused with a sentence."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from assistant.catalogue.read import KINDS, MISSING, Entry, ModelFile, read
from assistant.errors import ModelError

CATALOGUE = read()

HASH = "a" * 64
FILE = f'files = [{{ path = "m.gguf", size_bytes = 9, sha256 = "{HASH}" }}]'
AUTO = '[auto]\nstt = "s"\nllm = "l"\ntts = "t"\n'


def model(name: str, kind: str, more: str = 'repo = "o/r"\nrevision = "1"') -> str:
    return (
        f'[[models]]\nname = "{name}"\nkind = "{kind}"\nlicence = "MIT"\nlanguages = ["en"]\n{more}\n{FILE}\n'
    )


WHOLE = AUTO + model("s", "stt") + model("l", "llm") + model("t", "tts")


@pytest.mark.parametrize("entry", CATALOGUE.models, ids=lambda entry: entry.name)
def test_every_entry_is_whole(entry: Entry) -> None:
    names = [file.name for file in entry.files]
    if entry.kind == "llm":
        assert len(names) == 1
        assert names[0].endswith(".gguf")
        assert entry.template
    elif entry.kind == "stt":
        assert names == ["model.bin", "config.json", "tokenizer.json", "vocabulary.txt"]
    else:
        assert names == [f"{entry.name}.onnx", f"{entry.name}.onnx.json"]
    assert entry.licence
    assert entry.languages == ("en",)
    assert bool(entry.url) or re.fullmatch("[0-9a-f]{40}", entry.revision)


def test_auto_has_every_hash() -> None:
    for kind in KINDS:
        entry = CATALOGUE.auto_entry(kind)
        assert entry.kind == kind
        assert MISSING not in [file.sha256 for file in entry.files]


def test_a_whole_catalogue_is_read(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.toml"
    path.write_text(WHOLE)
    catalogue = read(path)
    assert [entry.name for entry in catalogue.models] == ["s", "l", "t"]
    assert catalogue.entry("l").files == (ModelFile("m.gguf", 9, HASH),)
    assert (
        catalogue.entry("l").place(ModelFile("deep/er/m.gguf", 9, HASH), tmp_path)
        == tmp_path / "l" / "m.gguf"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[auto", "not valid TOML"),
        (AUTO, "missing required field `models`"),
        (WHOLE.replace("size_bytes = 9", "size_bytes = 0"), "size_bytes"),
        (WHOLE.replace(HASH, "b" * 63), "sha256"),
        (WHOLE.replace("m.gguf", "../m.gguf"), "path"),
        (WHOLE.replace("m.gguf", "/etc/m.gguf"), "path"),
        (WHOLE.replace('name = "l"', 'name = "../l"'), "name"),
        (WHOLE.replace("licence", "license"), "licen"),
        (WHOLE.replace('kind = "llm"', 'kind = "asr"'), "kind"),
        (WHOLE + model("l", "llm"), "lists l twice"),
        (WHOLE + model("n", "llm", ""), "must give n a repo and a revision, or a url"),
        (WHOLE + model("n", "llm", 'repo = "o/r"'), "must give n a repo and a revision, or a url"),
        (WHOLE + model("n", "llm", 'repo = "o/r"\nrevision = "1"\nurl = "https://x"'), "must give n a repo"),
        (WHOLE.replace('tts = "t"', 'tts = "l"'), 'no tts model "l"'),
    ],
)
def test_a_broken_catalogue_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "catalogue.toml"
    path.write_text(text)
    with pytest.raises(ModelError, match=re.escape(said)):
        read(path)


def test_a_missing_catalogue_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read: No such file"):
        read(tmp_path / "nothing.toml")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("tinyllama-1.1b-chat-q4_k", "did you mean tinyllama-1.1b-chat-q4_k_m?"),
        ("whisper-tiny.en", 'no llm model "whisper-tiny.en"'),
        ("", "`assistant models` lists"),
    ],
)
def test_an_unknown_name_gets_a_hint(name: str, said: str) -> None:
    with pytest.raises(ModelError, match=re.escape(said)):
        CATALOGUE.entry(name, "llm")
