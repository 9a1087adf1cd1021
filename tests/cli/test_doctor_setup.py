"""What the doctor says of the settings and the models."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
import pytest

from assistant.catalogue.locate import TEST_NAMES
from assistant.catalogue.read import read
from assistant.cli.doctor import setup
from assistant.cli.doctor.setup import Configuration, Used
from assistant.config import Config, Log, load
from assistant.config import Models as ModelsSection

WHISPER, LLAMA, VOICE = (
    Used("stt", "whisper-tiny.en", "", True),
    Used("llm", "tinyllama-q4", "", True),
    Used("tts", "alice.onnx"),
)
LOUD = msgspec.structs.replace(Config(), log=Log(words=True))


CONFIG, BOOT = Path("/home/alice/config.toml"), Path("/boot/firmware/assistant.toml")


@pytest.mark.parametrize(
    ("facts", "state", "said", "mend", "public"),
    [
        (Configuration(Config()), "ok", "the defaults serve", "", "the defaults serve"),
        (Configuration(Config(), (CONFIG,)), "ok", "alice/config.toml is right", "", "config.toml is right"),
        (Configuration(LOUD, (CONFIG,)), "ok", "log.words", "", "what is said is written"),
        (
            Configuration(Config(), (CONFIG,), "there is no llm.alice; did you mean …?", CONFIG),
            *("fault", "there is no llm.alice", "nano /home/alice/config.toml", "config.toml is refused"),
        ),
        (
            Configuration(Config(), (CONFIG, BOOT)),
            *("ok", "/boot/firmware/assistant.toml overrides it", "", "boot partition overrides it"),
        ),
        (
            Configuration(Config(), (CONFIG, BOOT), f"{BOOT}: alice is wrong.", BOOT),
            *("fault", "alice is wrong", f"nano {BOOT}", "boot partition is refused"),
        ),
    ],
)
def test_settings(facts: Configuration, state: str, said: str, mend: str, public: str) -> None:
    check = setup.check_configuration(facts)
    assert (check.state, said in check.what, mend in check.mend) == (state, True, True), check
    assert public in check.public
    assert "alice" not in check.public


def test_settings_of_the_boot_partition(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    boot = tmp_path / "assistant.toml"
    monkeypatch.setattr("assistant.config.BOOT_PLACES", (boot,))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert boot not in setup.gather_configuration(None).files
    boot.write_text("[vad]\nhangover = 500\n")
    facts = setup.gather_configuration(None)
    assert (facts.refused, facts.config) == (boot, load(facts.files[0]))
    assert "did you mean vad.hangover_ms" in facts.failure
    boot.write_text("[vad]\nhangover_ms = 987\n")
    facts = setup.gather_configuration(None)
    assert (facts.files[-1], facts.refused, facts.config.vad.hangover_ms) == (boot, None, 987)
    # Right for itself, but not over the other.
    boot.write_text("[llm]\nmax_tokens = 1024\ncontext_tokens = 1024\n")
    assert setup.gather_configuration(None).refused == boot


def test_settings_that_are_named(tmp_path: Path) -> None:
    own = tmp_path / "config.toml"
    own.write_text("[vad\n")
    facts = setup.gather_configuration(own)
    assert (facts.files, facts.refused, facts.config) == ((own,), own, Config())
    assert "not valid TOML" in facts.failure
    assert "There is no configuration file" in setup.gather_configuration(tmp_path / "none").failure


def models(*used: Used, **values: object) -> setup.Models:
    made = setup.Models(list(used), [], 2, False, True, False)
    return msgspec.structs.replace(made, **values)


@pytest.mark.parametrize(
    ("facts", "state", "said", "mend"),
    [
        (
            models(WHISPER, LLAMA, VOICE),
            "ok",
            "whisper-tiny.en, tinyllama-q4, alice.onnx; 2 models on disk, sizes",
            "",
        ),
        (models(WHISPER, is_hashed=True), "ok", "hashes are right", ""),
        (models(VOICE, on_disk=0), "ok", "alice.onnx", ""),
        (models(WHISPER, fits=False), "warning", "more memory", "assistant models plan"),
        (
            models(WHISPER, damaged=["tinyllama-q4"]),
            "warning",
            "damaged",
            "assistant models pull tinyllama-q4",
        ),
        (models(LLAMA, damaged=["tinyllama-q4"]), "fault", "damaged", "assistant models pull tinyllama-q4"),
        (
            models(LLAMA, damaged=["tinyllama-q4"], needs_root=True),
            *("fault", "damaged", "sudo assistant models pull tinyllama-q4"),
        ),
        (
            models(Used("llm", "x.gguf", is_test=True), WHISPER),
            "warning",
            "for llm only a small test",
            "models pull",
        ),
        (
            models(Used("llm", "tinyllama-q4", "The model lacks alice; complete it.", True)),
            *("fault", "The model lacks alice", "assistant models pull tinyllama-q4"),
        ),
        (
            models(Used("llm", "/home/alice/x.gguf", "There is no model alice; look.")),
            *("fault", "There is no model alice", "config.toml: [llm] model"),
        ),
        (models(failure="The catalogue of alice is damaged."), "fault", "catalogue", "pull"),
    ],
)
def test_models(facts: setup.Models, state: str, said: str, mend: str) -> None:
    check = setup.check_models(facts)
    assert (check.state, said in check.what, mend in check.mend) == (state, True, True), check
    assert "alice" not in check.public


def test_models_on_disk_are_weighed_or_read(tmp_path: Path) -> None:
    """A file of the right size that holds something else is found by reading it, and only by that."""
    entry = min(read().models, key=lambda entry: entry.size_bytes)
    for file in entry.files:
        place = entry.place(file, tmp_path)
        place.parent.mkdir(exist_ok=True)
        with place.open("wb") as out:
            out.truncate(file.size_bytes)
    config = msgspec.structs.replace(Config(), models=ModelsSection(str(tmp_path)))
    for kind in ("stt", "llm", "tts"):  # whose models nobody has to choose
        section = msgspec.structs.replace(getattr(config, kind), model=f"/not/there/{TEST_NAMES[kind]}")
        config = msgspec.structs.replace(config, **{kind: section})
    quick = setup.gather_models(config, None, False)
    assert (quick.on_disk, quick.damaged, quick.is_hashed) == (1, [], False)
    full = setup.gather_models(config, None, True)
    assert (full.on_disk, full.damaged, full.is_hashed) == (1, [entry.name], True)
    assert (
        hashlib.sha256(entry.place(entry.files[0], tmp_path).read_bytes()).hexdigest()
        != entry.files[0].sha256
    )
    with entry.place(entry.files[0], tmp_path).open("ab") as out:
        out.write(b"x")
    assert setup.gather_models(config, None, False).damaged == [entry.name]


def test_models_that_are_not_there(tmp_path: Path) -> None:
    config = msgspec.structs.replace(Config(), models=ModelsSection(str(tmp_path)))
    wanted = msgspec.structs.replace(config.llm, model=str(tmp_path / "none.gguf"))
    facts = setup.gather_models(msgspec.structs.replace(config, llm=wanted), None, False)
    failed = [used for used in facts.used if used.failure]
    assert [used.kind for used in failed] == ["llm"]
    assert "none.gguf" in failed[0].failure
