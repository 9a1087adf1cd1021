"""install.sh as far as it can be run without installing anything."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from assistant.config import CHECKOUT

SCRIPT = CHECKOUT / "install.sh"


def run(*words: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name != "SUDO_USER"}
    return subprocess.run(
        [SCRIPT, *words],
        env=clean | {"XDG_CACHE_HOME": str(folder)} | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("words", [(), ("install",), ("--try",)])
def test_what_it_does_not_know_is_answered_with_the_usage(words: tuple[str, ...], tmp_path: Path) -> None:
    done = run(*words, folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Usage: ./install.sh try")
    assert "not there yet" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_help(tmp_path: Path) -> None:
    done = run("--help", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Usage: ./install.sh try")


def test_a_cache_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "assistant").write_text("in the way")
    done = run("try", folder=tmp_path)
    assert done.returncode == 1
    assert "XDG_CACHE_HOME" in done.stderr.splitlines()[-1]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can have come through sudo")
def test_root_through_sudo_is_sent_back(tmp_path: Path) -> None:
    done = run("try", folder=tmp_path, SUDO_USER="pi")
    assert done.returncode == 2
    assert done.stderr == "install.sh: run ./install.sh try without sudo; it asks for it where it needs it.\n"
