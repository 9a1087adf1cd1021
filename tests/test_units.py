"""The units of systemd/, without running them: what systemd makes of them, how they relate to each other."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

SYSTEMD = Path(__file__).parents[1] / "systemd"
SYSTEM_UNITS = Path("/usr/lib/systemd/system")
PROGRAM = "opt/assistant/venv/bin/assistant"

UNITS = sorted(
    path.name
    for kind in ("service", "socket", "path", "slice", "target")
    for path in SYSTEMD.glob(f"*.{kind}")
)
SERVICES = [name for name in UNITS if name.endswith(".service")]
SHARED = SYSTEMD / "assistant-.service.d" / "10-shared.conf"

ORDINARY = {"assistant.service", "assistant-stt.service", "assistant-llm.service"}
"""Those that have no device at all."""

NEEDS_SYSTEMD = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None or not SYSTEM_UNITS.is_dir(),
    reason="there is no systemd here",
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree of a machine that the units are installed on: these, systemd's own, a program to start."""
    root = tmp_path_factory.mktemp("root")
    shutil.copytree(SYSTEM_UNITS, root / "usr/lib/systemd/system", symlinks=True)
    folder = root / "etc/systemd/system"
    folder.mkdir(parents=True)
    for name in UNITS:
        shutil.copy(SYSTEMD / name, folder)
    for drop_ins in SYSTEMD.glob("*.d"):
        shutil.copytree(drop_ins, folder / drop_ins.name)
    program = root / PROGRAM
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return root


def settings(name: str) -> dict[str, list[str]]:
    """What is set in a unit and, for services, in what all of them share; a key may be set several times."""
    files = [SYSTEMD / name, *([SHARED] if name.endswith(".service") else [])]
    found: dict[str, list[str]] = {}
    for file in files:
        for key, value in re.findall(r"^(\w+)=(.*)$", file.read_text(), re.MULTILINE):
            found.setdefault(key, []).append(value)
    return found


def number(name: str, key: str) -> int:
    return int(settings(name)[key][-1])


def stage(name: str) -> str:
    return f"assistant-{name}.service"


@NEEDS_SYSTEMD
def test_systemd_understands_every_line(root: Path) -> None:
    """It would start a unit without the keys that it does not know."""
    command = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", f"--root={root}", *UNITS]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert [line for line in (done.stdout + done.stderr).splitlines() if "assistant" in line] == []
    assert done.returncode == 0, done.stderr


@NEEDS_SYSTEMD
def test_every_unit_that_one_names_is_there(root: Path) -> None:
    folders = [root / "etc/systemd/system", root / "usr/lib/systemd/system"]
    for name in UNITS:
        for key in ("Wants", "Requires", "After", "Before", "Conflicts", "PartOf", "WantedBy", "Slice"):
            for other in " ".join(settings(name).get(key, [])).split():
                file = re.sub("@[^.]*", "@", other)  # one of a template
                assert any((folder / file).exists() for folder in folders), f"{name}: {key}={other}"


@NEEDS_SYSTEMD
@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_exposed_to_little(name: str, root: Path) -> None:
    """0 is as safe as can be, 10 is not at all; sound devices and being root cost some tenths."""
    most = 0.6 if name in ORDINARY else 1.0
    command = ["systemd-analyze", "security", "--offline=yes", f"--root={root}", "--no-pager"]
    done = subprocess.run(
        [*command, f"--threshold={round(most * 10)}", name], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@NEEDS_SYSTEMD
def test_the_pins_of_a_button_expose_vad_hardly_more(root: Path) -> None:
    """What the installer writes where a board has pins, as systemd understands it."""
    folder = root / "etc/systemd/system/assistant-vad.service.d"
    script = f'source "$1/appliance.sh"; getent() {{ true; }}; gpio_pins "{folder}"'
    subprocess.run(["bash", "-c", script, "bash", SYSTEMD], check=True)
    try:
        command = ["systemd-analyze", "--no-pager", f"--root={root}"]
        verify = [*command, "verify", "--man=no", "--recursive-errors=no", stage("vad")]
        done = subprocess.run(verify, capture_output=True, text=True, check=False)
        assert "20-gpio.conf" not in done.stdout + done.stderr
        security = [*command, "security", "--offline=yes", "--threshold=10", stage("vad")]
        done = subprocess.run(security, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "char-gpiochip" in done.stdout, "it has read it"
    finally:
        shutil.rmtree(folder)


def test_every_service_has_what_all_share() -> None:
    """systemd gives it to names that begin with "assistant-"; the daemon's has a link to it."""
    assert (SYSTEMD / "assistant.service.d" / SHARED.name).resolve() == SHARED.resolve()
    assert all(name.startswith("assistant-") or name == "assistant.service" for name in SERVICES)


def test_every_group_of_the_sandbox_has_its_reason() -> None:
    paragraphs = SHARED.read_text().partition("[Service]\n")[2].split("\n\n")[1:]
    assert paragraphs
    for paragraph in paragraphs:
        assert paragraph.lstrip().startswith("# "), f"no reason is given for: {paragraph}"


def test_when_memory_runs_out_the_largest_goes_first_and_the_daemon_last() -> None:
    order = [stage("llm"), stage("stt"), stage("tts"), stage("vad"), "assistant.service"]
    scores = [number(name, "OOMScoreAdjust") for name in order]
    assert scores == sorted(set(scores), reverse=True)
    assert -1000 < number("assistant.service", "OOMScoreAdjust") < 0
    assert number(stage("alert"), "OOMScoreAdjust") < 0


@pytest.mark.parametrize("key", ["CPUWeight", "IOWeight"])
def test_sound_comes_before_thinking(key: str) -> None:
    """The microphone before the voice, the voice before recognition, that before the language model."""
    weights = [number(stage(name), key) for name in ("vad", "tts", "stt", "llm")]
    assert weights == sorted(set(weights), reverse=True)
    assert number("assistant.service", key) > number(stage("stt"), key)


def test_only_those_that_sound_have_a_device() -> None:
    with_sound = {name for name in SERVICES if "SupplementaryGroups" in settings(name)}
    assert with_sound == {stage("vad"), stage("tts"), stage("alert")}
    for name in SERVICES:
        assert ("PrivateDevices" in settings(name)) != (name in with_sound), name
        assert settings(name).get("DeviceAllow", []) == (["char-alsa rw"] if name in with_sound else []), name


def test_only_the_limits_are_set_by_root() -> None:
    users = {name: settings(name).get("User", ["root"]) for name in SERVICES}
    assert {name for name, user in users.items() if user != ["assistant"]} == {stage("limits")}


def test_none_is_given_up() -> None:
    """A kiosk has nobody who would start it again, and systemd counts starts unless told otherwise."""
    for name in SERVICES:
        assert settings(name)["StartLimitIntervalSec"] == ["0"], name
    for name in ("assistant.service", *map(stage, ("vad", "stt", "llm", "tts"))):
        assert settings(name)["Restart"] == ["always"], name
        assert settings(name)["Type"] == ["notify"], name
        assert number(name, "WatchdogSec") > 0, name
