"""`assistant models` on a folder that holds something whole, something half fetched and something damaged."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import pytest

from assistant.catalogue.read import ModelFile, read
from assistant.cli import models
from assistant.errors import DownloadError, ModelError

CATALOGUE = read()


def run(folder: Path, *words: str, stt: str = "auto", llm: str = "auto", tts: str = "auto") -> int:
    config = folder.parent / "config.toml"
    lines = [f'[{kind}]\nmodel = "{name}"' for kind, name in (("stt", stt), ("llm", llm), ("tts", tts))]
    config.write_text("\n".join([*lines, f'[models]\nfolder = "{folder}"']))
    parser = argparse.ArgumentParser()
    models.arguments(parser)
    return models.run(parser.parse_args(words, argparse.Namespace(config=config)))


def put(
    name: str, folder: Path, file_number: int = 0, size_bytes: int | None = None, suffix: str = ""
) -> None:
    """A file of the right (or another) size with nothing but zeros in it."""
    file = CATALOGUE.entry(name).files[file_number]
    place = folder / name / (file.name + suffix)
    place.parent.mkdir(exist_ok=True)
    place.touch()
    os.truncate(place, file.size_bytes if size_bytes is None else size_bytes)


def test_the_list_says_what_is_on_disk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put("gpt2-q8_0", tmp_path)
    put("llama-2-7b-chat-q4_k_m", tmp_path, size_bytes=7)
    put("en_US-amy-medium", tmp_path)
    put("en_US-ryan-low", tmp_path, size_bytes=7, suffix=".part")
    assert run(tmp_path) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split()[0]: line.replace(" * ", "   ").split() for line in lines[1:] if line[:1].isalpha()}
    assert rows["gpt2-q8_0"] == ["gpt2-q8_0", "llm", "178", "MB", "yes", "MIT"]
    assert rows["llama-2-7b-chat-q4_k_m"][4] == "damaged"
    assert rows["en_US-amy-medium"][4] == "partly"
    assert rows["en_US-ryan-low"][4] == "partly"
    assert rows["whisper-base.en"][4] == "no"
    assert {entry.name for entry in CATALOGUE.models} <= set(rows)
    assert sum(" * " in line for line in lines) == 3
    assert any(str(tmp_path) in line for line in lines)
    assert [line.split()[0] for line in lines[-3:]] == ["stt", "llm", "tts"]
    assert all("test model" in line for line in lines[-3:])


def test_verify_tells_the_right_size_from_the_right_bytes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put("en_US-amy-medium", tmp_path, file_number=1)
    assert run(tmp_path, "verify") == 1
    said = capsys.readouterr().out
    assert said.startswith(
        "en_US-amy-medium: en_US-amy-medium.onnx is missing, en_US-amy-medium.onnx.json is damaged"
    )
    assert "`assistant models pull en_US-amy-medium`" in said


def test_verify_names_an_interrupted_download(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put("en_US-ryan-low", tmp_path, size_bytes=7_000_000, suffix=".part")
    assert run(tmp_path, "verify") == 1
    assert capsys.readouterr().out == (
        "en_US-ryan-low: its download was interrupted at 7 MB of 63 MB; "
        "`assistant models pull en_US-ryan-low` goes on with it.\n"
    )


def test_an_empty_part_is_no_download(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put("en_US-ryan-low", tmp_path, size_bytes=0, suffix=".part")
    assert run(tmp_path, "verify") == 0
    assert "There are no models" in capsys.readouterr().out


def test_a_model_in_use_that_cannot_be_is_told_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, llm="/no/such.gguf", stt="whisper-base.en") == 0
    stt, llm, tts = capsys.readouterr().out.splitlines()[-3:]
    assert "The model whisper-base.en is not on disk" in stt
    assert "There is no language model /no/such.gguf" in llm
    assert "en_US-tiny-medium" in tts


def test_verify_of_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "verify") == 0
    assert "There are no models" in capsys.readouterr().out


def test_verify_of_a_file_whose_hash_nobody_states(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put("orca-mini-3b-q4_0", tmp_path)
    assert run(tmp_path, "verify") == 0
    assert (
        capsys.readouterr().out
        == "orca-mini-3b-q4_0: the size is right; no hash is known to compare it with.\n"
    )


def test_pull_without_names_takes_what_the_configuration_asks_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "no address")
    with pytest.raises(DownloadError, match="HF_ENDPOINT"):
        run(tmp_path, "pull", stt="whisper-base.en", llm="/my/own.gguf")
    # the smallest first: the voice
    assert capsys.readouterr().out.startswith(f"{CATALOGUE.auto.tts} (63 MB, licence: ")


def test_pull_of_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "pull", stt="/a/b", llm="/my/own.gguf", tts="/v.onnx") == 0
    assert "nothing to fetch" in capsys.readouterr().out


def test_pull_refuses_an_unknown_name_before_it_fetches_anything(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="did you mean whisper"):
        run(tmp_path, "pull", "gpt2-q8_0", "whisper-tiny")
    assert list(tmp_path.iterdir()) == []


def test_pull_refuses_a_file_whose_hash_nobody_states(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="--allow-unverified"):
        run(tmp_path, "pull", "orca-mini-3b-q4_0")


def test_progress_in_a_pipe_is_a_line_a_tenth(capsys: pytest.CaptureFixture[str]) -> None:
    file = ModelFile("a/m.gguf", 2_000_000, "missing")
    lines = models._Lines()
    for done_bytes in range(1, file.size_bytes + 1, 333):
        lines.reached(file, done_bytes)
    lines.reached(file, file.size_bytes)
    lines.note("m.gguf came damaged.")
    said = capsys.readouterr().out.splitlines()
    assert said == [f"  m.gguf: {n} % of 2 MB" for n in range(10, 101, 10)] + ["  m.gguf came damaged."]
