"""The project's own catalogue holds together and agrees with what is published; a broken one is refused."""

from __future__ import annotations

import re
import string
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.catalogue.download import url
from assistant.catalogue.read import KINDS, MOST_BYTES, OTHER, PATH, Entry, ModelFile, parse, read
from assistant.catalogue.shapes import LlmShape, SttShape, TtsShape
from assistant.errors import ModelError

CATALOGUE = read()
LLMS = [entry for entry in CATALOGUE.models if entry.kind == "llm"]

# Of each language model: the weights that its file holds, as the converters log them, and the bytes that its
# memory of a conversation takes for a token at 16 bits.
PUBLISHED = {
    "tinyllama-1.1b": (1_100_048_384, 22_528),
    "llama-2-7b": (6_738_415_616, 524_288),
    "smollm2-135m": (134_515_008, 23_040),
    "smollm2-360m": (361_821_120, 40_960),
    "qwen2.5-0.5b": (494_032_768, 12_288),
    "qwen2.5-1.5b": (1_777_088_000, 28_672),
    "qwen3-0.6b": (596_049_920, 114_688),
    "llama-3.2-1b": (1_235_814_400, 32_768),
    "gemma-3-270m": (268_098_176, 18_432),
    "gemma-3-1b": (999_885_952, 26_624),
    "lfm2.5-230m": (229_693_184, 12_288),
    "lfm2.5-350m": (354_483_968, 12_288),
    "lfm2.5-1.2b": (1_170_340_608, 12_288),
    "orca-mini-3b": (3_426_473_600, 332_800),
    "gpt2": (163_037_184, 36_864),
}
# Bits for a weight of the type that a quantisation is named after; some tensors get a finer one.
BITS = {
    "Q2_K": 2.625,
    "Q3_K_M": 3.4375,
    "Q4_0": 4.5,
    "Q4_K_M": 4.5,
    "Q5_K_M": 5.5,
    "Q6_K": 6.5625,
    "Q8_0": 8.5,
}


def llm_shape(entry: Entry) -> LlmShape:
    shape = CATALOGUE.shape(entry)
    assert isinstance(shape, LlmShape)
    return shape


def matrix_weights(shape: LlmShape) -> int:
    """The weights of all matrices; norms, biases and positions are left out."""
    width, queries = shape.embedding, shape.heads * shape.head_dim
    total = shape.vocabulary * width * (1 if shape.tied else 2)
    for kv_heads in shape.kv_heads_by_layer():
        attention = 2 * width * queries + 2 * width * kv_heads * shape.head_dim
        total += attention if kv_heads else 4 * width * width  # a short convolution: in 3 x width, out 1 x
        total += (2 if shape.architecture == "gpt2" else 3) * width * shape.feed_forward
    return total


def whisper_weights(shape: SttShape) -> int:
    """The weights of all matrices and position tables (Radford et al. 2022; 4 matrices in an attention)."""
    square, wide = shape.state**2, shape.state * shape.feed_forward
    encoder = shape.encoder_layers * (4 * square + 2 * wide)
    decoder = shape.decoder_layers * (8 * square + 2 * wide)
    convolutions = 3 * shape.state * (shape.mels + shape.state)
    tables = shape.state * (shape.vocabulary + shape.audio_context + shape.text_context)
    return encoder + decoder + convolutions + tables


@pytest.mark.parametrize("entry", CATALOGUE.models, ids=lambda entry: entry.name)
def test_every_entry_is_whole(entry: Entry, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {file.name for file in entry.files}
    if entry.kind == "llm":
        assert len(names) == 1
        assert entry.files[0].name.endswith(".gguf")
        assert entry.name.endswith("-" + entry.quantisation.lower())
        assert entry.quantisation.lower() in entry.files[0].name.lower()
    elif entry.kind == "stt":
        assert entry.files[0].name == "model.bin"
        assert {"config.json", "tokenizer.json"} < names
        assert names & {"vocabulary.txt", "vocabulary.json"}
    else:
        assert [file.name for file in entry.files] == [f"{entry.name}.onnx", f"{entry.name}.onnx.json"]
        assert entry.name.startswith(entry.languages[0] + "_")
    assert entry.licence
    assert not (entry.commercial and re.search("-NC-|research|unknown$", entry.licence.split(";")[0]))
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    for file in entry.files:
        parts = urlsplit(url(entry, file))
        assert (parts.scheme, bool(parts.netloc)) == ("https", True)
        assert parts.path.endswith(f"/{file.path}")


def test_a_hash_is_that_of_one_file() -> None:
    files: dict[str, set[tuple[str, int]]] = {}
    for file in (file for entry in CATALOGUE.models for file in entry.files if file.sha256 != "missing"):
        files.setdefault(file.sha256, set()).add((file.name, file.size_bytes))
    assert [same for same in files.values() if len(same) > 1] == []


def test_every_shape_is_that_of_a_model() -> None:
    for kind in KINDS:
        used = {entry.shape for entry in CATALOGUE.models if entry.kind == kind}
        assert used == set(getattr(CATALOGUE.shapes, kind))


@pytest.mark.parametrize(("name", "published"), PUBLISHED.items())
def test_the_shapes_have_the_published_weights_and_memory(name: str, published: tuple[int, int]) -> None:
    shape = CATALOGUE.shapes.llm[name]
    weights, kv_bytes = published
    assert 0.994 * weights < matrix_weights(shape) < weights
    assert 4 * sum(shape.kv_heads_by_layer()) * shape.head_dim == kv_bytes


def test_layers_without_attention_remember_something() -> None:
    for shape in CATALOGUE.shapes.llm.values():
        assert (0 in shape.kv_heads_by_layer()) == (shape.state_floats > 0)
        assert (shape.window > 0) == (shape.window_period > 0)
        assert shape.merges < 2.2 * shape.vocabulary


@pytest.mark.parametrize("entry", LLMS, ids=lambda entry: entry.name)
def test_a_language_model_is_as_large_as_its_quantisation_makes_it(entry: Entry) -> None:
    weights, _ = PUBLISHED[entry.shape]
    vocabulary_bytes = 64 * llm_shape(entry).vocabulary
    assert weights * BITS[entry.quantisation] / 8 < entry.size_bytes
    # Only norms and positions are stored finer than in the 8.5 bits of Q8_0.
    assert entry.size_bytes < weights * 8.6 / 8 + vocabulary_bytes


def test_finer_quantisations_are_larger() -> None:
    for shape in CATALOGUE.shapes.llm:
        ladder = sorted(
            (entry.size_bytes, BITS[entry.quantisation]) for entry in LLMS if entry.shape == shape
        )
        assert [bits for _, bits in ladder] == sorted(bits for _, bits in ladder)


def test_a_recogniser_is_as_large_as_its_shape_makes_it() -> None:
    for entry in (entry for entry in CATALOGUE.models if entry.kind == "stt"):
        shape = CATALOGUE.shape(entry)
        assert isinstance(shape, SttShape)
        assert entry.files[0].size_bytes == pytest.approx(2 * whisper_weights(shape), rel=0.005)
        assert shape.multilingual == (len(entry.languages) > 1) == (not entry.name.endswith(".en"))


def test_a_voice_has_the_rate_of_its_quality() -> None:
    for entry in (entry for entry in CATALOGUE.models if entry.kind == "tts"):
        assert entry.name.endswith(f"-{entry.shape}")
        shape = CATALOGUE.shape(entry)
        assert isinstance(shape, TtsShape)
        assert shape.rate_hz == (22_050 if entry.shape == "medium" else 16_000)


def test_auto_prefers_the_models_own_language() -> None:
    assert CATALOGUE.preferred("tts", "de")[0].name == "de_DE-thorsten-medium"
    assert CATALOGUE.preferred("llm", "sw") == CATALOGUE.preferred("llm", OTHER)
    assert [entry.name for entry in CATALOGUE.preferred("stt", "fr")] == ["whisper-base", "whisper-tiny"]
    assert CATALOGUE.preferred("tts", "sw") == ()


def test_between_the_large_model_and_tinyllama_stands_nothing() -> None:
    shapes = [entry.shape for entry in CATALOGUE.preferred("llm", "en")]
    assert list(dict.fromkeys(shapes)) == ["llama-2-7b", "tinyllama-1.1b", "smollm2-360m", "smollm2-135m"]
    sizes = [entry.size_bytes for entry in CATALOGUE.preferred("llm", "en")]
    assert sizes == sorted(sizes, reverse=True)


HASH = "a" * 64
FILE = f'files = [{{ path = "m.gguf", size_bytes = 9000, sha256 = "{HASH}" }}]'
REPO = f'repo = "o/r"\nrevision = "{"1" * 40}"'
TOP = """format = 1
updated = "2026-11-21"
[auto]
stt = { en = ["s"], other = [] }
llm = { en = ["l"] }
tts = { en = ["t"] }
[shapes.stt.s]
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
[shapes.llm.l]
architecture = "llama"
layers = 2
embedding = 8
heads = 2
kv_heads = [1, 0]
head_dim = 4
feed_forward = 16
vocabulary = 99
merges = 0
trained_context = 64
tied = true
[shapes.tts.t]
rate_hz = 16000
"""


def model(name: str, kind: str, more: str = REPO) -> str:
    quantisation = 'quantisation = "Q8_0"\n' if kind == "llm" else ""
    return (
        f'[[models]]\nname = "{name}"\nkind = "{kind}"\nshape = "{kind[0]}"\nlicence = "MIT"\n'
        f'commercial = true\nlanguages = ["en"]\n{quantisation}{more}\n{FILE}\n'
    )


S, L, T = model("s", "stt"), model("l", "llm"), model("t", "tts")
WHOLE = TOP + S + L + T
UNFIT_NAMES = ("auto", "AUTO", "x.part", "x.Part", "catalogue.toml", "catalogue.updated.toml", "README.md")
ENDINGS = (".gguf", ".GGUF", ".onnx")


def test_a_whole_catalogue_is_read(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.toml"
    path.write_text(WHOLE)
    catalogue = read(path)
    assert [entry.name for entry in catalogue.models] == ["s", "l", "t"]
    assert catalogue.entry("l").files == (ModelFile("m.gguf", 9000, HASH),)
    assert f"{catalogue.updated}" == "2026-11-21"
    assert catalogue.shape(catalogue.entry("t")) == TtsShape(16_000)
    assert catalogue.preferred("llm", "en") == (catalogue.entry("l"),)
    assert catalogue.preferred("llm", "de") == ()
    place = catalogue.entry("l").place(ModelFile("deep/er/m.gguf", 9000, HASH), tmp_path)
    assert place == tmp_path / "l" / "m.gguf"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[auto", "is not valid TOML"),
        ("a = " + "[" * 100_000, "is not valid TOML: it is nested too deep."),
        ("a = " + "9" * 5_000, "is not valid TOML"),
        ("format = 1", "missing required field `updated`"),
        (
            WHOLE.replace("format = 1", "format = 2"),
            "is for another version of the assistant (format 2, not 1)",
        ),
        (WHOLE.replace("format = 1", ""), "(format not stated, not 1); update the assistant."),
        (WHOLE.replace("11-21", "11-31"), "updated"),
        (WHOLE.replace("size_bytes = 9000", "size_bytes = 0"), "size_bytes"),
        (WHOLE.replace(HASH, "b" * 63), "sha256"),
        (WHOLE.replace(HASH, HASH + "\\n"), "sha256"),
        (WHOLE.replace("m.gguf", "../m.gguf"), "path"),
        (WHOLE.replace("m.gguf", "/etc/m.gguf"), "path"),
        (WHOLE.replace('name = "l"', 'name = "../l"'), "name"),
        (WHOLE.replace('"o/r"', '"o/../r"'), "repo"),
        (WHOLE.replace("1" * 40, "main"), "revision"),
        (WHOLE.replace("licence", "license"), "licen"),
        (WHOLE.replace('kind = "llm"', 'kind = "asr"'), "kind"),
        (WHOLE.replace('languages = ["en"]', "languages = []"), "languages"),
        (WHOLE.replace('["l"] }', '["l"], English = [] }'), "auto.llm"),
        (WHOLE.replace("layers = 2", "layers = 0"), "layers"),
        (WHOLE.replace("\nlayers = 2", "\nlayers = 513").replace("[1, 0]", "1"), "<= 512"),
        (WHOLE.replace("size_bytes = 9000", f"size_bytes = {2**40 + 1}"), "size_bytes"),
        (WHOLE.replace("merges = 0", "merges = 500"), "l is smaller than its vocabulary."),
        (WHOLE.replace('["l"]', '["l", "l"]'), "auto.llm.en names a model twice."),
        (WHOLE.replace('"MIT"', r'"MIT\u001b[2J"'), "licence"),
        (WHOLE.replace('"llama"', r'"\u009b2J"'), "architecture"),
        (WHOLE.replace("format = 1", r'format = "\u001b[2J"'), "format ?[2J, not 1"),
        (WHOLE + r'"\u001b[2J" = 1', "unknown field `?[2J`"),
        *((WHOLE + model(name, "stt"), f"no model can be called {name}.") for name in UNFIT_NAMES),
        *(
            (WHOLE + model(f"x{end}", "tts"), f"the name x{end} would be taken for a path.")
            for end in ENDINGS
        ),
        (WHOLE.replace("layers = 2", "layers = 3"), "its shape l gives kv_heads of 2 layers, but has 3"),
        (WHOLE + L, "it lists l twice"),
        (WHOLE + model("n", "llm", ""), "must give n a repo and a revision, or a url"),
        (WHOLE + model("n", "llm", 'repo = "o/r"'), "must give n a repo and a revision, or a url"),
        (WHOLE + model("n", "llm", REPO + '\nurl = "https://x"'), "must give n a repo and a revision"),
        (WHOLE + model("n", "llm", 'url = "http://x"'), "url"),
        (WHOLE + model("n", "llm", 'url = "https://x/?a"'), "url"),
        (
            TOP + S + T + L.replace("}]", '}, { path = "b/m.gguf", size_bytes = 1, sha256 = "missing" }]'),
            "two",
        ),
        (TOP + S + T + L.replace('shape = "l"', 'shape = "t"'), 'the shape "t", which is not in shapes.llm'),
        (TOP + S + T + L.replace('shape = "l"\n', ""), 'l is of the shape ""'),
        (TOP + S + T + L.replace("quantisation", "#"), "l must give a quantisation"),
        (TOP + L + T + S + 'quantisation = "Q8_0"', "s must give a quantisation if and only if"),
        (WHOLE.replace('["t"]', '["l"]'), "auto.tts.en names l, but there is no tts model of that name."),
        (WHOLE.replace('["t"]', '["x"]'), "auto.tts.en names x, but there is no tts model of that name."),
        (
            WHOLE.replace("commercial = true\n", ""),
            "auto.stt.en names s, but its licence bars commercial use.",
        ),
        (WHOLE.replace(HASH, "missing"), "auto.stt.en names s, but the hash of a file is missing."),
        (WHOLE.replace('{ en = ["l"] }', '{ de = ["l"] }'), "auto.llm.de names l, but it does not serve de."),
        (WHOLE.replace("other = []", 'other = ["s"]'), "auto.stt.other names s, but it serves en alone."),
    ],
)
def test_a_broken_catalogue_is_refused(text: str, said: str) -> None:
    with pytest.raises(ModelError, match=re.escape(said)) as caught:
        parse(text.encode(), "of x.org")
    assert str(caught.value).startswith("The model catalogue of x.org ")


@given(st.data())
def test_what_is_not_refused_can_be_used(data: st.DataObject) -> None:
    text = WHOLE.encode()
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 20)))
    alphabet = st.sampled_from(string.printable + "é\0")
    put = data.draw(st.one_of(st.binary(max_size=8), st.text(alphabet, max_size=8).map(str.encode)))
    try:
        catalogue = parse(text[:start] + put + text[end:], "x")
    except ModelError:
        return
    for entry in catalogue.models:
        catalogue.shape(entry)
    for kind in KINDS:
        assert all(entry.kind == kind for entry in catalogue.preferred(kind, "en"))


def test_a_catalogue_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.toml"
    path.write_bytes(b"\xff" + WHOLE.encode())
    with pytest.raises(ModelError, match="is not valid TOML"):
        read(path)


def test_a_catalogue_without_end_is_refused() -> None:
    room = MOST_BYTES - len(WHOLE)
    assert parse((WHOLE + "#" * room).encode(), "x").models
    with pytest.raises(ModelError, match="more than 4194304 bytes"):
        parse((WHOLE + "#" * (room + 1)).encode(), "x")
    with pytest.raises(ModelError, match="more than 4194304 bytes"):
        read(Path("/dev/zero"))


def test_a_missing_catalogue_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read: No such file"):
        read(tmp_path / "nothing.toml")


def test_every_key_is_explained_at_the_head_of_the_file() -> None:
    head = PATH.read_text().split("\nformat =")[0]
    fields = {*Entry.__struct_fields__, *SttShape.__struct_fields__, *LlmShape.__struct_fields__, "rate_hz"}
    plain = {"encoder_layers", "decoder_layers", "mels", "multilingual", "audio_context", "text_context"}
    assert {field for field in fields - plain if not re.search(rf"\b{field}\b", head)} == set()


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
