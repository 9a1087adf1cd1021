"""`assistant sounds`: who speaks, and what is said when nobody can."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from command_line import MODELS, assistant, said, toml

from assistant.messages import Fault

LOW = f'[tts]\nmodel = "{MODELS / "en_US-tiny-low.onnx"}"\n'


@pytest.mark.parametrize(
    ("settings", "voice"),
    [
        ("", "en_US-tiny-medium"),
        (LOW, "en_US-tiny-low"),
        (LOW + "volume = 0.0\n", "en_US-tiny-low"),
        (LOW + '[stt]\nlanguage = "de"\n', "en_US-tiny-medium"),  # English needs an English voice
    ],
)
def test_the_voice_of_the_answers_speaks_if_it_is_english(tmp_path: Path, settings: str, voice: str) -> None:
    config = toml(tmp_path, f'{settings}[models]\nfolder = "{tmp_path / "models"}"\n')
    done = assistant("sounds", "--folder", tmp_path / "sounds", config=config)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"7 sounds are in {tmp_path / 'sounds'}, spoken by {voice}.\n"
    files = {path.stem: path.stat().st_size for path in (tmp_path / "sounds").iterdir()}
    assert set(files) == set(get_args(Fault))
    assert len(set(files.values())) == len(files)


def test_a_voice_that_is_not_there_is_said(tmp_path: Path) -> None:
    config = toml(tmp_path, f'[tts]\nmodel = "{tmp_path / "none.onnx"}"\n')
    sentence = said(assistant("sounds", "--folder", tmp_path / "sounds", config=config))
    assert "none.onnx" in sentence
    assert not (tmp_path / "sounds").exists()
