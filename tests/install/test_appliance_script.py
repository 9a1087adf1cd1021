"""The parts of systemd/appliance.sh that need neither root nor systemd: versions, and the boot partition."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from assistant.config import CHECKOUT

SCRIPT = CHECKOUT / "systemd" / "appliance.sh"
PARTS = 11  # what swap_versions moves, each there and back
FILES = (
    "assistant/cli/main.py",
    "systemd/assistant.service",
    "tests/models/voice.onnx",
    "models/catalogue.toml",
    "models/README.md",
    "install.sh",
    "config.toml",
    "pyproject.toml",
    "README.md",
    "LICENSE",
)


def bash(commands: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs `commands` with the functions of the script; $1, $2 … are `words`."""
    prologue = f'set -euo pipefail; source {SCRIPT}; say() {{ echo "$*"; }}; log=/dev/null; '
    return subprocess.run(
        ["bash", "-c", prologue + commands, "bash", *words], capture_output=True, text=True, timeout=60
    )


def tree(folder: Path) -> dict[str, str]:
    """Every file and link below `folder`, with its contents."""
    return {
        str(path.relative_to(folder)): os.readlink(path) if path.is_symlink() else path.read_text("utf-8")
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def write_version(folder: Path, name: str) -> None:
    for part in ("assistant/cli", "systemd", "tests/models", "models"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for file in FILES:
        (folder / file).write_text(f"{file} of the {name} version", "utf-8")
    (folder / "assistant" / f"only_{name}.py").touch()
    (folder / "venv").symlink_to(f"venv-{name}")


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    """An installed version with a model that was downloaded, and the next version beside it."""
    write_version(tmp_path, "old")
    (tmp_path / "models" / "large.gguf").write_text("a downloaded model", "utf-8")
    write_version(tmp_path / ".new", "new")
    return tmp_path


def test_the_new_version_takes_the_place_of_the_old_and_can_be_taken_back(prefix: Path) -> None:
    new = tree(prefix / ".new")
    model = {"models/large.gguf": "a downloaded model"}
    old = {name: text for name, text in tree(prefix).items() if not name.startswith(".new/")}

    assert bash("prefix=$1; swap_versions", prefix).returncode == 0
    assert {k: v for k, v in tree(prefix).items() if not k.startswith(".old/")} == new | model

    assert bash("prefix=$1; bring_back", prefix).returncode == 0
    assert tree(prefix) == old
    assert not (prefix / ".old").exists()


@pytest.mark.parametrize("moves", range(2 * PARTS))
def test_a_swap_that_breaks_off_anywhere_can_be_taken_back(prefix: Path, moves: int) -> None:
    old = {name: text for name, text in tree(prefix).items() if not name.startswith(".new/")}
    broken_off = (
        f'prefix=$1 left={moves}; mv() {{ ((left-- > 0)) || exit 9; command mv "$@"; }}; swap_versions'
    )
    assert bash(broken_off, prefix).returncode == 9
    assert (prefix / ".new").is_dir()
    assert (prefix / ".old").is_dir()  # the two by which install.sh knows
    assert bash("prefix=$1; bring_back", prefix).returncode == 0
    assert tree(prefix) == old


def test_a_first_version_takes_an_empty_place(prefix: Path) -> None:
    new = tree(prefix / ".new")
    empty = prefix / "empty"
    empty.mkdir()
    (prefix / ".new").rename(empty / ".new")
    (empty / "models").mkdir()
    assert bash("prefix=$1; swap_versions", empty).returncode == 0
    assert tree(empty) == new


@pytest.mark.parametrize(
    ("change", "is_the_same"),
    [
        ("touch assistant/cli/main.py", True),
        ("chmod 600 assistant/cli/main.py", True),
        ("mkdir assistant/__pycache__ && touch assistant/__pycache__/x.pyc", True),
        ("mkdir tests/models/recipes && touch tests/models/recipes/big", True),
        ("touch tests/test_x.py models/large.gguf notes.txt", True),
        ("echo >>assistant/cli/main.py", False),
        ("mv assistant/cli/main.py assistant/cli/other.py", False),
        ("touch systemd/assistant-new.service", False),
        ("rm LICENSE", False),
    ],
)
def test_a_digest_changes_with_what_is_installed_alone(
    change: str, is_the_same: bool, tmp_path: Path
) -> None:
    write_version(tmp_path, "one")
    done = bash(f"digest $1; (cd $1; {change}); digest $1 || true", tmp_path)
    before, after = done.stdout.split("-\n")[:2]
    assert len(before.strip()) == 64
    assert (before == after) is is_the_same


@pytest.mark.parametrize(
    ("controllers", "cmdline", "becomes"),
    [
        ("cpuset cpu io pids\n", "root=/dev/sda rootwait\n", "root=/dev/sda rootwait cgroup_enable=memory\n"),
        ("cpuset cpu io pids\n", "root=/dev/sda rootwait", "root=/dev/sda rootwait cgroup_enable=memory"),
        ("cpuset cpu io pids\n", "rootwait  \r\n", "rootwait cgroup_enable=memory\n"),
        ("", "cgroup_disable=memory quiet\n", "cgroup_disable=memory quiet cgroup_enable=memory\n"),
        ("cpu\n", "cgroup_enable=memory quiet\n", "cgroup_enable=memory quiet\n"),
        ("cpu memory pids\n", "root=/dev/sda\n", "root=/dev/sda\n"),
        (None, "root=/dev/sda\n", "root=/dev/sda\n"),
    ],
)
def test_the_memory_controller_is_asked_for_once_and_taken_back(
    controllers: str | None, cmdline: str, becomes: str, tmp_path: Path
) -> None:
    (tmp_path / "cmdline.txt").write_bytes(cmdline.encode())
    if controllers is not None:
        (tmp_path / "controllers").write_text(controllers, "utf-8")
    ask = 'memory_controller "$1/controllers" "$1/cmdline.txt"'
    first, second = bash(ask, tmp_path), bash(ask, tmp_path)
    assert (first.returncode, second.returncode) == (0, 0)
    assert (tmp_path / "cmdline.txt").read_bytes().decode() == becomes
    needs_restart = controllers is not None and "memory" not in controllers
    assert ("reboot" in first.stdout, "reboot" in second.stdout) == (needs_restart, needs_restart)

    # What a person has added since stays.
    (tmp_path / "cmdline.txt").write_bytes(becomes.replace("root", "quiet root").encode())
    assert bash('undo_memory_controller "$1/cmdline.txt"', tmp_path).returncode == 0
    undone = (tmp_path / "cmdline.txt").read_bytes().decode()
    added = becomes != cmdline
    expected = becomes.replace(" cgroup_enable=memory", "") if added else becomes
    assert undone == expected.replace("root", "quiet root")
    assert {path.name for path in tmp_path.iterdir()} <= {"cmdline.txt", "controllers"}


@pytest.mark.parametrize("has_pins", [True, False])
def test_vad_gets_the_pins_where_there_are_any(has_pins: bool, tmp_path: Path) -> None:
    """A group that is not there would keep the unit from starting."""
    folder = tmp_path / "assistant-vad.service.d"
    for now in (True, has_pins):  # the second time, the pins may have gone
        group = f"getent() {{ [[ $* == 'group gpio' ]] && {str(now).lower()}; }}; "
        assert bash(group + 'gpio_pins "$1"', folder).returncode == 0
    assert folder.exists() is has_pins
    if has_pins:
        text = (folder / "20-gpio.conf").read_text("utf-8")
        assert "\nSupplementaryGroups=gpio\nDeviceAllow=char-gpiochip rw\n" in text
