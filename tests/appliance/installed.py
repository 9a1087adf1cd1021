"""A board that install.sh has set up: the machine, its sound, and the wheels that it is installed from."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import itertools
import os
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from container import LOOK_EVERY_S, MEMORY_GROUPS, Container, wait_until
from virtual_sound import Recording, Sound

from assistant import Assistant
from assistant.messages import Message
from assistant.queues.link import Link
from assistant.queues.socket import connect

Event = TypeVar("Event", bound=Message)

CHECKOUT = Path(__file__).parents[2]
HERE = Path(__file__).parent
AUDIO = CHECKOUT / "tests" / "audio"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "assistant"
WHEELS = CACHE / "wheels"
SUITE = os.environ.get("APPLIANCE_DEBIAN", "bookworm")
"""The Debian of the machines: "bookworm", whose Python is that of ./install.sh test, or "trixie"."""
COMPILED = WHEELS if SUITE == "bookworm" else CACHE / "appliance" / f"compiled-{SUITE}"
"""What install.sh need not compile again."""
PROJECT = "/root/raspberry-assistant"
OFFLINE = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/test/wheels"}
INSTALL_WITHIN_S, READY_WITHIN_S, ANSWER_WITHIN_S = 1800.0, 60.0, 60.0
UNITS = ("assistant.service", *(f"assistant-{stage}.service" for stage in ("vad", "stt", "llm", "tts")))

with (AUDIO / "answers.tsv").open(encoding="utf-8") as rows:
    ANSWERS = {Path(row["file"]).stem: row["answer"] for row in csv.DictReader(rows, delimiter="\t")}


def rootfs() -> Path:
    """The Debian tree, made if it is not in the cache."""
    made = subprocess.run([HERE / "rootfs.sh", SUITE], stdout=subprocess.PIPE, text=True, check=True)
    return Path(made.stdout.strip())


def wheelhouse() -> Path:
    """A folder with all that pip will ask for, fetched with this Python's pip if it is not in the cache.

    For Debian 13 that is what its Python needs, and what compiling takes.
    """
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = [need for need in project["project"]["dependencies"] if not need.startswith("llama-cpp-python")]
    engines = sorted(WHEELS.glob("*/llama_cpp_python-*.whl"), key=lambda path: path.stat().st_mtime)
    assert engines, f"There is no llama-cpp-python in {WHEELS}; ./install.sh test compiles it."
    wanted.append(str(engines[-1]))
    download = [sys.executable, "-m", "pip", "download", "-qq"]
    commands = [[*download, *wanted]]
    if SUITE == "trixie":
        platforms = [f"--platform=manylinux_2_{minor}_x86_64" for minor in (17, 27, 28)]
        other = ["--python-version=3.13", "--only-binary=:all:", *platforms, "--platform=linux_x86_64"]
        engine = next(
            need for need in project["project"]["dependencies"] if need.startswith("llama-cpp-python")
        )
        commands = [
            [*download, *other, *wanted, "scikit-build-core", "cmake", "ninja"],
            [*download, "--no-deps", "--no-binary=:all:", engine],
        ]
    key = hashlib.sha256("\n".join([sys.version, SUITE, *wanted]).encode()).hexdigest()[:12]
    folder = CACHE / "appliance" / f"wheels-{key}"
    if not folder.exists():
        making = folder.with_name(f"{folder.name}.{os.getpid()}")
        for command in commands:
            subprocess.run([*command, "--dest", str(making)], check=True)
        with contextlib.suppress(OSError):  # another run was faster
            making.rename(folder)
        shutil.rmtree(making, ignore_errors=True)
    return folder


class Events:
    """What a watcher of the daemon sees."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def wait_for(self, kind: type[Event], within_s: float = ANSWER_WITHIN_S) -> Event:
        """The next event of this kind; those before it are forgotten."""
        deadline = time.monotonic() + within_s
        while (left_s := deadline - time.monotonic()) > 0:
            event = self._link.notice(left_s)
            if isinstance(event, kind):
                return event
        raise AssertionError(f"there was no {kind.__name__} within {within_s:g} s")


class Board:
    """A machine with sound, over `layers`; `ear` reads what it has said.  Files land in `folder`."""

    spoiled = False
    """A test failed on it: nobody is to use it any more."""

    def __init__(self, layers: list[Path], folder: Path, ear: Assistant) -> None:
        COMPILED.mkdir(exist_ok=True)
        shared = {
            "/test/audio": AUDIO,
            "/test/wheels": wheelhouse(),
            "/root/.cache/assistant/wheels": COMPILED,
        }
        self.machine = Container(layers, folder, shared)
        self.sound = Sound(self.machine)
        self.folder = folder
        self._ear = ear
        self._recordings = itertools.count(1)

    def install(self, *words: str, within_s: float = INSTALL_WITHIN_S) -> str:
        """Runs install.sh with `words` in the clone, in the machine (on), without a network."""
        return self.machine.run(f"{PROJECT}/install.sh", *words, env=OFFLINE, within_s=within_s).stdout

    def put_checkout(self) -> None:
        """The clone that `install` runs in (the machine is off)."""
        for path in checkout_files():
            copy = self.machine.upper / PROJECT.removeprefix("/") / path
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(CHECKOUT / path, copy)

    def boot(self) -> None:
        """Power on, and wait until every unit has said READY."""
        self.machine.boot()
        self.wait_ready()

    def wait_ready(self, within_s: float = READY_WITHIN_S) -> None:
        self.machine.wait_active(*UNITS, within_s=within_s)

    def wait_new_process(self, unit: str, old_pid: int, within_s: float = READY_WITHIN_S) -> None:
        """Until the unit runs, READY, as another process than `old_pid`."""
        machine = self.machine
        wait_until(lambda: machine.main_pid(unit) not in (0, old_pid), within_s, f"{unit} is started again")
        machine.wait_active(unit, within_s=within_s)

    def record(self) -> Recording:
        """What the speaker plays while the context is open."""
        return self.sound.record(self.folder / f"speaker{next(self._recordings)}")

    def speak(self, name: str) -> None:
        """Ask the recorded question `name` (q00 … q23) aloud; returns when it has been asked."""
        self.sound.speak(f"/test/audio/{name}.wav")

    @contextlib.contextmanager
    def watching(self) -> Iterator[Events]:
        """The daemon's events from now on."""
        link = connect(self.machine.path("/run/assistant/assistant.sock"), "watcher")
        try:
            yield Events(link)
        finally:
            link.close()

    def said(self, recording: Recording) -> str:
        """The words in a recording so far."""
        return self._ear.transcribe(recording.save(recording.file.with_suffix(".wav")))

    def wait_for(self, recording: Recording, words: str, within_s: float = ANSWER_WITHIN_S) -> str:
        """Until these words have been said and it is quiet again.  Everything that was said till then."""
        deadline = time.monotonic() + within_s
        said, end_s = "", 0.0
        while words not in said:
            assert time.monotonic() < deadline, f"not said within {within_s:g} s: {words!r}, but {said!r}"
            later_s = recording.quiet_since(after_s=end_s)
            if later_s:
                said, end_s = self.said(recording), later_s
            else:
                time.sleep(LOOK_EVERY_S)
        return said

    def ask(self, name: str, within_s: float = ANSWER_WITHIN_S) -> str:
        """The spoken answer to the recorded question `name`, once the right one has been given."""
        with self.record() as recording:
            self.speak(name)
            return self.wait_for(recording, ANSWERS[name], within_s)


def why_not() -> str:
    """Why no machine can be booted here; "" if one can."""
    if os.geteuid() != 0:
        return "only root can boot a machine: run pytest as root"
    if not shutil.which("apt-get"):
        return "the machine is made of Debian packages, and this is no Debian"
    if "overlay" not in Path("/proc/filesystems").read_text() and not shutil.which("modprobe"):
        return "this kernel has no overlayfs"
    return ""


APPLIANCE = [
    pytest.mark.appliance,
    # The first test waits until a machine has been made and the assistant installed, perhaps compiled.
    pytest.mark.timeout(900 if SUITE == "bookworm" else 3600),
    pytest.mark.skipif(bool(why_not()), reason=why_not()),
]
"""What every test module here has as its `pytestmark`."""
NEEDS_MEMORY_LIMIT = pytest.mark.skipif(
    not (MEMORY_GROUPS / "memory.limit_in_bytes").exists(), reason="no memory controller of control groups v1"
)


def checkout_files() -> list[Path]:
    """What a clone of this checkout would hold, uncommitted changes included; relative paths."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=CHECKOUT, stdout=subprocess.PIPE, check=True).stdout
    paths = [Path(os.fsdecode(name)) for name in listed.split(b"\0") if name]
    return sorted(path for path in paths if (CHECKOUT / path).is_file())
