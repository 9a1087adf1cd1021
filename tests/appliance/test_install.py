"""install.sh where the assistant is: again, an update, a bad one, one that breaks off, away with it."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from container import Container
from installed import ANSWERS, APPLIANCE, OFFLINE, PROJECT, UNITS, Board

if TYPE_CHECKING:  # pytest loads it itself, as a plugin
    from appliance_fixtures import Boards

pytest_plugins = ["appliance_fixtures"]
pytestmark = APPLIANCE

SCRIPT = f"{PROJECT}/install.sh"
SETTINGS = "/etc/assistant/config.toml"
VOICE = f"{PROJECT}/assistant/stages/tts.py"
DAEMON = f"{PROJECT}/assistant/cli/daemon.py"
INSTALLED = "/opt/assistant/assistant"
KIOSK_FILES = (
    "/etc/systemd/system.conf.d/50-assistant-kiosk.conf",
    "/etc/systemd/journald.conf.d/50-assistant-kiosk.conf",
    "/etc/sysctl.d/50-assistant-kiosk.conf",
)
KIOSK_LINES = ("RuntimeWatchdogSec=10s", "Storage=volatile", "kernel.panic = 10")
OTHERS_FILES = (
    *("/dev", "/proc", "/sys", "/run", "/tmp", "/root", "/test"),
    *("/var/log", "/var/tmp", "/var/lib/systemd", "/var/lib/private", "/var/cache/private"),
    *("/etc/machine-id", "/etc/.updated", "/var/.updated", "/etc/.pwd.lock"),
)
"""What the machine itself writes while it runs, and what is not its own."""


def processes(machine: Container) -> dict[str, int]:
    return {unit: machine.main_pid(unit) for unit in UNITS}


def append(machine: Container, path: str, text: str) -> None:
    machine.run("sh", "-c", 'cat >> "$1"', "sh", path, input=text)


def is_current(machine: Container) -> bool:
    """Whether what is installed is what the clone holds."""
    same = machine.run("diff", "-r", "-x", "__pycache__", f"{PROJECT}/assistant", INSTALLED, check=False)
    return same.returncode == 0


def break_off(machine: Container, at: str, *words: str) -> None:
    """Run install.sh, and kill it, with all that it has started, as soon as it prints `at`."""
    command = ["setsid", "--wait", SCRIPT, *words]
    with machine.start(
        *command, env=OFFLINE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as running:
        assert running.stdout is not None
        printed: list[str] = []
        while not printed or not printed[-1].startswith(at):
            printed.append(running.stdout.readline())
            assert printed[-1], f"it ended without {at}: {printed}"
        group = machine.run("pgrep", "-o", "-f", f"^bash {SCRIPT}").stdout.strip()
        machine.run("kill", "-KILL", "--", f"-{group}")
    assert running.returncode != 0


def files(machine: Container) -> set[str]:
    """Every path of the machine's own disk that nothing but an installation would make."""
    pruned = " -o ".join(f"-path {path}" for path in OTHERS_FILES)
    return set(machine.shell(f"find / -xdev \\( {pruned} \\) -prune -o -print").splitlines())


# ---------------------------------------------------------------- again, and an update


def test_again_without_a_change_restarts_nothing(board: Board) -> None:
    """A second run finds everything there, takes seconds, and lets the conversation go on."""
    before = processes(board.machine)
    assert "nothing has changed, nothing was restarted" in board.install(within_s=60)
    assert processes(board.machine) == before


def test_an_update_runs_the_new_version_with_the_settings_of_before(fresh_board: Board) -> None:
    """One changed source file: everything restarted, the edited configuration kept and in force."""
    machine = fresh_board.machine
    edited = "[llm]\ncontext_tokens = 1024\n"
    machine.write(SETTINGS, edited)
    fresh_board.boot()
    before = processes(machine)
    append(machine, VOICE, "# a change\n")
    cursor = machine.cursor()
    assert "it listens" in fresh_board.install()
    after = processes(machine)
    assert all(after[unit] not in (0, before[unit]) for unit in UNITS)
    assert is_current(machine)
    assert machine.shell(f"cat {SETTINGS}") == edited
    assert "with 1024 tokens" in machine.journal("assistant.service", after=cursor)
    assert fresh_board.ask("q00") == ANSWERS["q00"]


@pytest.mark.parametrize(
    ("file", "text", "step", "is_undisturbed"),
    [
        (VOICE, "def (\n", "The new version, beside the old one", True),
        # It has all it needs, and breaks down only when it is to serve.
        (DAEMON, "\n\nasync def _serve(*_: object) -> None:\n    raise SystemExit(9)\n", "Start", False),
    ],
    ids=["does not even begin", "breaks down"],
)
def test_a_bad_update_leaves_the_old_version_running(
    file: str, text: str, step: str, is_undisturbed: bool, fresh_board: Board
) -> None:
    """Fault 50: the old version runs, and the step that failed is named."""
    machine = fresh_board.machine
    fresh_board.boot()
    before = processes(machine)
    old = machine.shell(f"cat {file.replace(PROJECT, '/opt/assistant')}")
    append(machine, file, text)
    done = machine.run(SCRIPT, env=OFFLINE, within_s=300, check=False)
    assert done.returncode == 1
    assert f"({step}) failed because" in done.stderr
    assert ("the version before is in its place again" in done.stderr) is not is_undisturbed
    fresh_board.wait_ready()
    assert (processes(machine) == before) is is_undisturbed
    assert machine.shell(f"cat {file.replace(PROJECT, '/opt/assistant')}") == old
    if not is_undisturbed:
        assert fresh_board.ask("q12") == ANSWERS["q12"]


def test_an_update_that_breaks_off_is_repaired(fresh_board: Board) -> None:
    """kill -9 in each step, then the plug: the board boots and answers, and the next run finishes."""
    machine = fresh_board.machine
    fresh_board.boot()
    append(machine, VOICE, "# a change\n")
    for step in (5, 6, 7, 8, 10):
        break_off(machine, f"[{step}/10]")
    machine.cut_power()
    fresh_board.boot()
    assert fresh_board.ask("q00") == ANSWERS["q00"]
    fresh_board.install()
    assert is_current(machine)
    assert machine.shell("ls -A /opt/assistant | grep -E '^[.](new|old)' || true") == ""
    fresh_board.wait_ready()


# ---------------------------------------------------------------- kiosk, and away with it


def test_a_kiosk_has_a_hardware_watchdog(fresh_board: Board) -> None:
    """Fault 43: systemd feeds the hardware's watchdog, so that a hanging PID 1 ends in a restart after 10 s.

    That it does restart needs the hardware: here systemd has taken the setting.
    """
    machine = fresh_board.machine
    fresh_board.boot()
    before = processes(machine)
    assert machine.run("systemctl", "show", "--value", "-p", "RuntimeWatchdogUSec").stdout.strip() == "0"
    without = files(machine)
    fresh_board.install("--kiosk")
    assert machine.run("systemctl", "show", "--value", "-p", "RuntimeWatchdogUSec").stdout.strip() == "10s"
    for file, text in zip(KIOSK_FILES, KIOSK_LINES, strict=True):
        assert text in machine.shell(f"cat {file}").splitlines()
    assert processes(machine) == before
    fresh_board.install("uninstall")
    assert machine.run("systemctl", "show", "--value", "-p", "RuntimeWatchdogUSec").stdout.strip() == "0"
    assert files(machine) <= without


def test_a_kernel_that_does_not_limit_memory_is_told_of_and_asked_to(fresh_board: Board) -> None:
    """Fault 16: said once at boot, and by doctor with the line for cmdline.txt, where install.sh puts it."""
    machine, cmdline = fresh_board.machine, "/boot/firmware/cmdline.txt"
    machine.write(cmdline, "root=/dev/mmcblk0p2 rootwait\n")
    fresh_board.boot()
    assert "memory" not in machine.shell("cat /sys/fs/cgroup/cgroup.controllers").split()
    assert machine.journal("assistant.service").count("the kernel does not limit memory") == 1

    def doctor() -> str:
        shown = machine.run("assistant", "doctor", check=False).stdout
        return shown[shown.index("! memory") :].split("→ ", 1)[1].splitlines()[0]

    assert doctor() == f"sudo sed -i '1s/$/ cgroup_enable=memory/' {cmdline} && sudo reboot"
    fresh_board.install()
    assert machine.shell(f"cat {cmdline}") == "root=/dev/mmcblk0p2 rootwait cgroup_enable=memory\n"
    assert doctor() == "sudo reboot"


def test_nothing_is_left_of_what_was_installed(boards: Boards, fresh_board: Board) -> None:
    """Without --purge settings, models and user stay; with it nothing.  Then a first run that breaks off."""
    bare = boards.bare()
    bare.machine.boot()
    never = files(bare.machine)
    boards.drop(bare)
    machine = fresh_board.machine
    fresh_board.boot()
    machine.write("/opt/assistant/models/own/model.gguf", "a model that took a night to fetch")
    edited = machine.shell(f"cat {SETTINGS}") + "# edited\n"
    machine.write(SETTINGS, edited)

    assert "The assistant is gone." in fresh_board.install("uninstall")
    kept = {
        *("/opt/assistant", "/opt/assistant/models", "/opt/assistant/models/own"),
        *("/opt/assistant/models/own/model.gguf", "/etc/assistant", SETTINGS),
    }
    assert {path for path in files(machine) if "assistant" in path} == kept
    assert machine.shell(f"cat {SETTINGS}") == edited
    machine.run("id", "assistant")
    assert machine.shell("systemctl list-units --all --no-legend 'assistant*'") == ""
    assert "assistant" not in machine.shell("ps -A -o args= | grep -v test")

    fresh_board.install("uninstall", "--purge")
    assert files(machine) - never == set()
    assert never - files(machine) == set()
    assert "assistant" not in machine.shell("cat /etc/passwd /etc/group /etc/shadow /etc/gshadow")

    break_off(machine, "[3/10]")
    break_off(machine, "[5/10]")
    assert "it listens" in fresh_board.install()
    assert fresh_board.ask("q12") == ANSWERS["q12"]
