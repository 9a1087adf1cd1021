"""What a plan may choose from: of the catalogue by its numbers, of the user's own by its header."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from boards import TINY, TINY_CHAT, in_folder, put

from assistant.catalogue import locate
from assistant.catalogue.read import KINDS, Entry, Kind, read
from assistant.catalogue.shapes import LlmShape, TtsShape
from assistant.config import Config, Llm, Stt, Tts
from assistant.errors import ModelError
from assistant.plan.candidates import Candidate, candidates, of_entry, of_path
from assistant.plan.prediction import LlmWeights, llm_need, repacked_types

CATALOGUE = read()
INFLATED = TINY / "recipes" / "build" / "inflated"


def choose(
    kind: Kind, folder: Path, config: Config | None = None, only_on_disk: bool = True
) -> tuple[Candidate, ...]:
    return candidates(kind, in_folder(config or Config(), folder), CATALOGUE, folder, only_on_disk)


def names(found: tuple[Candidate, ...]) -> list[str]:
    return [candidate.name for candidate in found]


@pytest.mark.parametrize(
    ("kind", "file", "weights_bytes"),
    [
        ("llm", "tiny-chat-q8_0.gguf", 3_978_240),
        ("llm", "tiny-chat-q4_k_m.gguf", 2_437_120),
        ("llm", "tiny-gpt2-f16.gguf", 1_593_856),
        ("stt", "whisper-tiny-test", 2_187_520),
        ("tts", "en_US-tiny-medium.onnx", 1_199_544),
    ],
)
def test_a_model_of_the_users_own(kind: Kind, file: str, weights_bytes: int) -> None:
    found = of_path(kind, TINY / file)
    assert (found.kind, found.name, found.wanted) == (kind, file, str(TINY / file))
    assert found.weights_bytes == weights_bytes
    assert (found.on_disk, found.download_bytes, found.test_model) == (True, 0, False)


def test_what_the_header_says_of_the_tiny_chat_model() -> None:
    found = of_path("llm", TINY_CHAT)
    assert found.shape == LlmShape("llama", 4, 256, 4, 4, 64, 704, 1024, 0, 2048, tied=False)
    assert found.llm_weights == LlmWeights(3_978_240, 1024 * 256 // 32 * 34, "Q8_0")
    assert of_path("tts", TINY / "en_US-tiny-medium.onnx").shape == TtsShape(22_050)


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("tiny-chat-1.1b-q4_0.gguf", "tinyllama-1.1b-chat-q4_0"),
        ("tiny-chat-1.1b-q4_k_m.gguf", "tinyllama-1.1b-chat-q4_k_m"),
        ("tiny-chat-1.1b-q8_0.gguf", "tinyllama-1.1b-chat-q8_0"),
        ("random-smollm2-135m-q8_0.gguf", "smollm2-135m-instruct-q8_0"),
        ("random-smollm2-360m-q4_k_m.gguf", "smollm2-360m-instruct-q4_k_m"),
        ("random-smollm2-360m-q8_0.gguf", "smollm2-360m-instruct-q8_0"),
        ("random-qwen2.5-0.5b-q4_k_m.gguf", "qwen2.5-0.5b-instruct-q4_k_m"),
        ("random-qwen3-0.6b-q8_0.gguf", "qwen3-0.6b-q8_0"),
        ("random-llama-3.2-1b-q4_k_m.gguf", "llama-3.2-1b-instruct-q4_k_m"),
        ("random-gemma-3-270m-q8_0.gguf", "gemma-3-270m-it-q8_0"),
        ("random-gemma-3-1b-q4_k_m.gguf", "gemma-3-1b-it-q4_k_m"),
        ("random-lfm2.5-350m-q4_k_m.gguf", "lfm2.5-350m-q4_k_m"),
        ("random-gpt2-q8_0.gguf", "gpt2-q8_0"),
        ("whisper-inflated-tiny.en", "whisper-tiny.en"),
        ("whisper-inflated-base.en", "whisper-base.en"),
        ("whisper-inflated-small.en", "whisper-small.en"),
    ],
)
def test_the_catalogue_and_a_file_of_that_shape_say_the_same(file: str, name: str, tmp_path: Path) -> None:
    path = INFLATED / file
    if not path.exists():
        pytest.skip(f"{file} is not built: see tests/models/recipes")
    entry = CATALOGUE.entry(name)
    stated, found = of_entry(CATALOGUE, entry, tmp_path), of_path(entry.kind, path)
    assert stated.weights_bytes == pytest.approx(found.weights_bytes, rel=0.02)
    if not isinstance(stated.shape, LlmShape) or not isinstance(found.shape, LlmShape):
        assert stated.shape == found.shape
        return
    # What a model was trained for is the publisher's word, not a size.
    trained = stated.shape.trained_context
    assert stated.shape == msgspec.structs.replace(found.shape, trained_context=trained)
    if stated.shape.tied:
        assert (stated.embedding_type, stated.embedding_bytes) == (
            found.embedding_type,
            found.embedding_bytes,
        )
    for repacked in (repacked_types("aarch64", frozenset(f)) for f in ((), ("asimddp",))):
        needs = [
            llm_need(shape, candidate.llm_weights, 2048, "f16", repacked).peak_bytes
            for shape, candidate in ((stated.shape, stated), (found.shape, found))
        ]
        assert needs[0] == pytest.approx(needs[1], rel=0.02)


@pytest.mark.parametrize("entry", CATALOGUE.models, ids=lambda entry: entry.name)
def test_every_entry_is_a_plausible_candidate(entry: Entry, tmp_path: Path) -> None:
    found = of_entry(CATALOGUE, entry, tmp_path)
    assert (found.name, found.wanted, found.shape) == (entry.name, entry.name, CATALOGUE.shape(entry))
    assert (found.on_disk, found.download_bytes) == (False, entry.size_bytes)
    size_bytes = entry.files[0].size_bytes / (2 if entry.kind == "stt" else 1)
    # Of a small model with many tokens, up to a tenth of the file is vocabulary.
    assert 0.9 * size_bytes <= found.weights_bytes <= size_bytes
    assert 0 <= found.embedding_bytes < found.weights_bytes
    assert bool(found.embedding_bytes) == bool(found.embedding_type) == (entry.kind == "llm")


@pytest.mark.parametrize("kind", KINDS)
def test_with_nothing_on_disk_the_test_model_serves(kind: Kind, tmp_path: Path) -> None:
    (found,) = choose(kind, tmp_path)
    assert (found.kind, found.name) == (kind, locate.TEST_NAMES[kind])
    assert found.wanted == str(locate.test_model(kind))
    assert found.test_model


@pytest.mark.parametrize("kind", KINDS)
def test_without_it_there_is_nothing(kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locate, "TEST_MODELS", tmp_path)
    assert choose(kind, tmp_path) == ()


@pytest.mark.parametrize("language", ["en", "de", "fr", "es", "zh", "it"])
@pytest.mark.parametrize("kind", KINDS)
def test_auto_is_the_list_of_the_language(kind: Kind, language: str, tmp_path: Path) -> None:
    found = choose(kind, tmp_path, Config(stt=Stt(language=language)), only_on_disk=False)
    assert names(found) == [entry.name for entry in CATALOGUE.preferred(kind, language)]
    assert not any(candidate.on_disk or candidate.test_model for candidate in found)


def test_of_what_is_on_disk_the_order_stays(tmp_path: Path) -> None:
    for name in ("tinyllama-1.1b-chat-q4_k_m", "smollm2-135m-instruct-q8_0", "tinyllama-1.1b-chat-q8_0"):
        put(CATALOGUE, name, tmp_path)
    put(CATALOGUE, "llama-2-7b-chat-q4_k_m", tmp_path, lacking_bytes=1)
    put(CATALOGUE, "qwen3-0.6b-q8_0", tmp_path)  # not on the list
    found = choose("llm", tmp_path)
    assert names(found) == [
        "tinyllama-1.1b-chat-q8_0",
        "tinyllama-1.1b-chat-q4_k_m",
        "smollm2-135m-instruct-q8_0",
    ]
    assert all(candidate.on_disk and candidate.download_bytes == 0 for candidate in found)


def test_a_model_without_one_of_its_files_is_not_on_disk(tmp_path: Path) -> None:
    put(CATALOGUE, "whisper-tiny.en", tmp_path)
    put(CATALOGUE, "whisper-base.en", tmp_path)
    (tmp_path / "whisper-base.en" / "tokenizer.json").unlink()
    assert names(choose("stt", tmp_path)) == ["whisper-tiny.en"]


def test_one_that_is_damaged_is_not_passed_over_silently(tmp_path: Path) -> None:
    put(CATALOGUE, "tinyllama-1.1b-chat-q4_k_m", tmp_path, lacking_bytes=1)
    (found,) = choose("llm", tmp_path)
    assert (found.name, found.on_disk, found.test_model) == ("tinyllama-1.1b-chat-q4_k_m", False, False)


def test_a_language_that_has_no_voice_gets_none_from_the_disk_either(tmp_path: Path) -> None:
    assert choose("tts", tmp_path, Config(stt=Stt(language="zh"))) == ()


def test_a_model_that_is_named_is_the_only_one(tmp_path: Path) -> None:
    config = Config(llm=Llm(model="orca-mini-3b-q4_0"))
    for only_on_disk in (False, True):
        (found,) = choose("llm", tmp_path, config, only_on_disk)
        assert (found.name, found.on_disk) == ("orca-mini-3b-q4_0", False)
    put(CATALOGUE, "orca-mini-3b-q4_0", tmp_path)
    (found,) = choose("llm", tmp_path, config)
    assert (found.on_disk, found.download_bytes) == (True, 0)


def test_a_path_is_the_only_one(tmp_path: Path) -> None:
    put(CATALOGUE, "tinyllama-1.1b-chat-q4_k_m", tmp_path)
    assert choose("llm", tmp_path, Config(llm=Llm(model=str(TINY_CHAT)))) == (of_path("llm", TINY_CHAT),)


@pytest.mark.parametrize(
    ("kind", "config", "words"),
    [
        ("llm", Config(llm=Llm(model="tinylama-1.1b-chat-q4_0")), "did you mean tinyllama-1.1b-chat-q4_0?"),
        ("llm", Config(llm=Llm(model="whisper-tiny.en")), 'There is no llm model "whisper-tiny.en"'),
        ("llm", Config(llm=Llm(model="/none/there.gguf")), "There is no language model /none/there.gguf"),
        ("stt", Config(stt=Stt(model="/none/there")), "There is no speech recogniser /none/there"),
        ("tts", Config(tts=Tts(model="/none/there.onnx")), "There is no voice /none/there.onnx"),
        ("stt", Config(stt=Stt(model=str(TINY_CHAT))), "cannot be used as a speech recogniser"),
        ("llm", Config(llm=Llm(model=str(TINY / "whisper-tiny-test"))), "cannot be used as a language model"),
    ],
)
def test_what_cannot_be_is_one_sentence(kind: Kind, config: Config, words: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        choose(kind, tmp_path, config)
    assert words in str(caught.value)
    assert str(caught.value)[-1] in ".?"
