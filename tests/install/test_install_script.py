"""install.sh as far as it can be run without installing anything."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
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


@pytest.mark.parametrize(
    ("words", "mistake"),
    [
        (("",), "there is no ''; say try, test or uninstall, or nothing to install the appliance."),
        (("tri",), "there is no 'tri'; say try, test or uninstall, or nothing to install the appliance."),
        (
            ("--kiosk", "try"),
            "there is no 'try'; say try, test or uninstall, or nothing to install the appliance.",
        ),
        (("--models",), "--models needs a folder that is there, and '' is none."),
        (("--models", "/nowhere"), "--models needs a folder that is there, and '/nowhere' is none."),
        (("uninstall", "--kiosk"), "uninstall knows no '--kiosk'; there is only --purge."),
    ],
)
def test_what_it_does_not_know_is_named_before_the_usage(
    words: tuple[str, ...], mistake: str, tmp_path: Path
) -> None:
    done = run(*words, folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"install.sh: {mistake}\nUsage: sudo ./install.sh [--models DIR]")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [(), ("--kiosk",), ("uninstall",), ("uninstall", "--purge")])
def test_the_appliance_is_a_matter_for_root(words: tuple[str, ...]) -> None:
    # Run by root this would do what it says: the user is changed, and the script alone is there.
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        script = shutil.copy(SCRIPT, folder)
        nobody = 65534 if os.geteuid() == 0 else None
        done = subprocess.run(
            [script, *words],
            user=nobody,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert (done.returncode, done.stdout) == (2, "")
    command = "sudo ./install.sh" + (" uninstall" if "uninstall" in words else "")
    assert done.stderr == (
        f"install.sh: only root can do this; run {command} (or ./install.sh try, which needs no root).\n"
    )


def test_help(tmp_path: Path) -> None:
    done = run("--help", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Usage: sudo ./install.sh")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("mypy", "      mypy         ok, 0 s: 7 passed in 1.00s\n"),
        ("pytest", "      pytest       ok, 0 s\n7 passed in 1.00s\n"),
    ],
)
def test_the_last_line_of_a_check_is_shown_that_of_pytest_as_it_is(
    name: str, shown: str, tmp_path: Path
) -> None:
    text = SCRIPT.read_text(encoding="utf-8")
    functions = [
        function
        for named in ("say", "clock", "progress", "check")
        for function in re.findall(rf"^{named}\(\) \{{(?:.*\}}|[\s\S]*?\n\}})$", text, re.MULTILINE)
    ]
    call = f"check {name} printf '%s\\n' '.. [100%]' '7 passed in 1.00s' ''"
    script = "\n".join(["set -Eeuo pipefail", "cache=$1 log=$1/log failed=()", *functions, call])
    done = subprocess.run(
        ["bash", "-c", script, "bash", tmp_path], capture_output=True, text=True, timeout=60, check=True
    )
    assert re.sub(r"ok, \d+ s", "ok, 0 s", done.stdout) == shown


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
