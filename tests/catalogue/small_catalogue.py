"""A catalogue of small models whose bytes are known, for tests that fetch, import and remove them."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

from assistant.catalogue.read import MISSING

GGUF = b"GGUF" + struct.pack("<IQQ", 3, 1, 1)
MODELS = {
    "ear": {
        "model.bin": b"\x06\0\0\0\x0c\0WhisperSpec\0" + b"e" * 3000,
        "config.json": b'{"ear": 1}',
        "tokenizer.json": b'{"tokens": []}',
        "vocabulary.txt": b"the\nand\n",
    },
    "small-ear": {
        "model.bin": b"\x06\0\0\0\x0c\0WhisperSpec\0" + b"s" * 2000,
        "config.json": b'{"ear": 22}',
        "tokenizer.json": b'{"tokens": []}',
        "vocabulary.txt": b"the\nand\n",
    },
    "brain": {"brain.Q8_0.gguf": GGUF + b"b" * 4000},
    "nobody-knows": {"nobody.Q8_0.gguf": GGUF + b"n" * 5000},
    "voice": {"voice.onnx": b"\x08\x08" + b"v" * 1000, "voice.onnx.json": b'{"voice": 333}'},
}
"""The files of each, as they lie on disk; the ears share two, nobody states the hash of `nobody-knows`."""
KINDS = {"ear": "stt", "small-ear": "stt", "brain": "llm", "nobody-knows": "llm", "voice": "tts"}

TOP = """format = 1
updated = "{updated}"
[auto]
stt = {{ en = ["ear"] }}
llm = {{ en = ["brain"] }}
tts = {{ en = ["voice"] }}
[shapes.stt.stt]
state = 8
heads = 2
encoder_layers = 1
decoder_layers = 1
feed_forward = 32
vocabulary = 99
mels = 80
audio_context = 1500
text_context = 448
multilingual = false
[shapes.llm.llm]
architecture = "llama"
layers = 2
embedding = 8
heads = 2
kv_heads = 1
head_dim = 4
feed_forward = 16
vocabulary = 99
merges = 0
trained_context = 64
tied = true
[shapes.tts.tts]
rate_hz = 16000
"""


def text(updated: str = "2099-01-01", without: str = "") -> str:
    """catalogue.toml, newer than the project's own."""
    return TOP.format(updated=updated) + "".join(_model(name) for name in MODELS if name != without)


def put(name: str, folder: Path, without: str = "") -> Path:
    """The files of a model in `folder`/`name`."""
    for file, content in MODELS[name].items():
        if file != without:
            (folder / name).mkdir(parents=True, exist_ok=True)
            (folder / name / file).write_bytes(content)
    return folder / name


def held(folder: Path) -> dict[str, dict[str, bytes]]:
    """What lies in `folder`, as `MODELS` puts it."""
    folders = [path for path in folder.iterdir() if path.is_dir()]
    return {path.name: {file.name: file.read_bytes() for file in path.iterdir()} for path in folders}


def _model(name: str) -> str:
    def stated(file: str, content: bytes) -> str:
        sha256 = MISSING if name == "nobody-knows" else hashlib.sha256(content).hexdigest()
        return f'{{ path = "deep/{file}", size_bytes = {len(content)}, sha256 = "{sha256}" }}'

    files = ", ".join(stated(file, content) for file, content in MODELS[name].items())
    return (
        f'[[models]]\nname = "{name}"\nkind = "{KINDS[name]}"\nshape = "{KINDS[name]}"\nlicence = "MIT"\n'
        f'commercial = true\nlanguages = ["en"]\nrepo = "o/r"\nrevision = "{"1" * 40}"\nfiles = [{files}]\n'
        + ('quantisation = "Q8_0"\n' if KINDS[name] == "llm" else "")
    )
