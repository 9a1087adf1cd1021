"""A machine that boots real systemd: a Debian tree under an overlay, run by systemd-nspawn.

Nothing outlives it: the overlay is mounted in a mount namespace of its own, the container dies with this
process, and the control groups that it needs are removed when it is off.  What it writes lands in `folder`.

Real here: units, sockets, watchdogs, restarts, sandboxes, users, the journal.  Not real: memory and processor
limits where the host's control groups do not give them, the clock (it is the host's), and disks (a power cut
ends every process between two instructions, but the kernel keeps what it has not written yet).
"""

from __future__ import annotations

import itertools
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BOOT_WITHIN_S = 60.0
OFF_WITHIN_S = 60.0
RUN_WITHIN_S = 60.0
LOOK_EVERY_S = 0.05
MEMORY_GROUPS = Path("/sys/fs/cgroup/memory")
NUMBERS = itertools.count(1)


def wait_until(true: Callable[[], T], within_s: float, what: str) -> T:
    """What `true` returns as soon as it is something; `AssertionError` if it is not within `within_s`."""
    deadline = time.monotonic() + within_s
    while True:
        found = true()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {what}"
        time.sleep(LOOK_EVERY_S)


class Container:
    """`layers` are read-only trees, uppermost first; `folder` takes what the machine writes, and its console.

    `shared` are folders of the host that the machine sees: path in the machine → folder, read-only.
    """

    def __init__(
        self, layers: Sequence[Path], folder: Path, shared: Mapping[str, Path] | None = None
    ) -> None:
        self.folder = folder
        self.shared = dict(shared or {})
        self.name = f"assistant-test-{os.getpid()}-{next(NUMBERS)}"
        self.upper, self.root = folder / "upper", folder / "root"
        for path in (self.upper, self.root, folder / "work"):
            path.mkdir(parents=True, exist_ok=True)
        self.options: list[str] = []
        """Further ones of systemd-nspawn."""
        options = f"lowerdir={':'.join(map(str, layers))},upperdir={self.upper},workdir={folder / 'work'}"
        self._mount = shlex.join(["mount", "-t", "overlay", "overlay", "-o", options, str(self.root)])
        self._process: subprocess.Popen[bytes] | None = None
        self._leader = 0
        self._groups: list[Path] = []

    # ------------------------------------------------------------ on and off

    def boot(self, within_s: float = BOOT_WITHIN_S) -> None:
        """Power on, and return when systemd has started what it starts (or some unit of it failed)."""
        assert self._process is None, "it is on"
        groups = [*own_groups(), *([own_memory_group()] if MEMORY_GROUPS.exists() else [])]
        self._groups = [group / self.name for group in groups]
        for group in self._groups:
            group.mkdir()
        join = [f"echo 0 > {shlex.quote(str(group))}/cgroup.procs" for group in self._groups]
        with (self.folder / "console").open("ab") as console:
            # The container would outlive systemd-nspawn; a process namespace outlives neither it nor us.
            mortal = ["setpriv", "--pdeathsig", "KILL", "unshare", "--pid", "--fork", "--kill-child"]
            script = " && ".join([*join, self._mount, f"exec {shlex.join(self._nspawn())}"])
            self._process = subprocess.Popen(
                [*mortal, "--mount", "--mount-proc", "sh", "-c", script],
                # Control groups as a Pi has them, whatever the host mixes.
                env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
            )
        self._leader = wait_until(self._find_leader, within_s, "the container has started")
        wait_until(lambda: self.is_booted(), within_s, f"systemd is up; see {self.folder / 'console'}")

    def use_small_disk(self, free_mib: int) -> None:
        """Its disk has so much room from now on, and forgets what is written to it when it is off."""
        disk, held_mib = self.folder / "work", 1 + sum(map(_size_bytes, self.upper.rglob("*"))) // 2**20
        small = self._mount.replace(f"workdir={disk}", f"workdir={disk}/work")
        small = small.replace(f"upperdir={self.upper}", f"upperdir={disk}/upper")
        fill = f"mkdir {disk}/upper {disk}/work && cp -a {self.upper}/. {disk}/upper"
        self._mount = f"mount -t tmpfs -o size={held_mib + free_mib}m tmpfs {disk} && {fill} && {small}"

    def power_off(self, within_s: float = OFF_WITHIN_S) -> None:
        """An orderly end: every unit is stopped."""
        self.run("systemctl", "poweroff", "--no-block")
        self._ended(within_s)

    def cut_power(self) -> None:
        """Everything in it ends between two instructions."""
        os.kill(self._leader, signal.SIGKILL)
        self._ended(OFF_WITHIN_S)

    def reboot(self) -> None:
        self.power_off()
        self.boot()

    def close(self) -> None:
        """Whatever state it is in: off, and nothing of it left but `folder`."""
        if self._process is not None:
            self._process.kill()
            self._ended(OFF_WITHIN_S)

    def is_on(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def is_booted(self) -> bool:
        state = self.run("systemctl", "is-system-running", check=False).stdout.strip()
        return state in ("running", "degraded")

    def path(self, path: str) -> Path:
        """Where the host sees a path of the machine (on): files, and sockets to connect to."""
        return Path(f"/proc/{self._leader}/root{path}")

    # ------------------------------------------------------------ in the machine

    def start(self, *words: str, env: Mapping[str, str] | None = None, **how: Any) -> subprocess.Popen[Any]:
        """A command in the machine as root, outside of any unit, for `stop` to end; `how` goes to `Popen`."""
        return subprocess.Popen(
            self._enter(words, env), stdin=subprocess.DEVNULL, start_new_session=True, **how
        )

    @staticmethod
    def stop(process: subprocess.Popen[Any]) -> None:
        """End what `start` started; its own children too, which nsenter would leave running."""
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(10)

    def run(
        self,
        *words: str,
        check: bool = True,
        within_s: float = RUN_WITHIN_S,
        env: Mapping[str, str] | None = None,
        input: str | None = None,  # noqa: A002 # as subprocess calls it
    ) -> subprocess.CompletedProcess[str]:
        """The finished command, output as text; with `check`, an exit code other than 0 fails the test."""
        done = subprocess.run(
            self._enter(words, env),
            input=input,
            stdin=None if input is not None else subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
        )
        if check:
            assert done.returncode == 0, f"{shlex.join(words)}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def shell(self, script: str, **how: Any) -> str:
        """What a shell script in the machine prints."""
        return self.run("sh", "-euc", script, **how).stdout

    def write(self, path: str, text: str) -> None:
        """A file of the machine, on or off, its folders made."""
        if self.is_on():
            self.run("sh", "-euc", 'mkdir -p "$(dirname "$1")"; cat > "$1"', "sh", path, input=text)
        else:
            file = self.upper / path.lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            if file.is_char_device():  # overlayfs's mark that a file was removed
                file.unlink()
            file.write_text(text, encoding="utf-8")

    def off_run(self, *words: str) -> str:
        """A command in the machine's tree while it is off, as with the SD card in a PC."""
        assert self._process is None, "it is on"
        command = f"{self._mount} && exec {shlex.join(['chroot', str(self.root), *words])}"
        unshare = ["unshare", "--mount", "--propagation", "private", "sh", "-c", command]
        done = subprocess.run(unshare, capture_output=True, text=True, timeout=RUN_WITHIN_S, check=False)
        assert done.returncode == 0, f"{shlex.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout

    # ------------------------------------------------------------ units

    def show(self, unit: str, name: str) -> str:
        """A property of a unit, as `systemctl show` gives it."""
        return self.run("systemctl", "show", "--value", "-p", name, unit).stdout.strip()

    def main_pid(self, unit: str) -> int:
        """The unit's main process by its number in the machine; 0 if there is none."""
        return int(self.show(unit, "MainPID"))

    def kill(self, unit: str, signal_name: str = "KILL") -> None:
        """A signal to the unit's main process alone."""
        self.run("kill", "-s", signal_name, str(self.main_pid(unit)))

    def wait_active(self, *units: str, within_s: float = 60.0) -> None:
        """All of them started and said READY."""
        for unit in units:
            wait_until(
                lambda unit=unit: self.show(unit, "ActiveState") == "active",  # type: ignore[misc] # a default is how a loop's value is kept
                within_s,
                f"{unit} is active",
            )

    def memory_bytes(self) -> int:
        """What the machine's processes hold now, page cache left out; see `NEEDS_MEMORY_LIMIT`."""
        stat = (self._memory_group() / "memory.stat").read_text().split()
        return int(stat[stat.index("total_rss") + 1])

    def limit_memory(self, limit_bytes: int) -> None:
        """The machine has so much memory from now on, -1 for the host's; more is the kernel's to kill for.

        What `run` and `start` begin is not counted, what `systemd-run` begins is.
        """
        (self._memory_group() / "memory.limit_in_bytes").write_text(str(limit_bytes))

    def _memory_group(self) -> Path:
        return next(group for group in self._groups if group.is_relative_to(MEMORY_GROUPS))

    def journal(
        self, *units: str, lines: int | None = None, after: str = "", output: str = "short-monotonic"
    ) -> str:
        """What the journal says of these units, or of all: the last `lines`, since boot or a `cursor()`."""
        words = [word for unit in units for word in ("-u", unit)]
        words += ["-n", str(lines)] if lines is not None else []
        # With units, --after-cursor would leave out their first entry as well.
        words += ["--cursor" if units else "--after-cursor", after] if after else ["-b"]
        self.run("journalctl", "--sync", check=False)
        return self.run("journalctl", "--no-pager", "-q", "-o", output, *words, check=False).stdout

    def cursor(self) -> str:
        """The journal's present end, for `journal(after=…)`: an entry of no unit."""
        self.run("systemd-cat", "-t", "test", "echo", "a cursor")
        self.run("journalctl", "--sync")
        shown = self.run("journalctl", "--no-pager", "-q", "-t", "test", "-n", "1", "--show-cursor").stdout
        return shown.rpartition("-- cursor: ")[2].strip()

    # ------------------------------------------------------------ machinery

    def _nspawn(self) -> list[str]:
        command = ["systemd-nspawn", "-q", "--register=no", "--private-network", "--console=pipe"]
        if not Path("/run/systemd/system").exists():
            command.append("--keep-unit")  # there is no systemd on the host that could give it a scope
        command += [f"--bind-ro={folder}:{path}" for path, folder in self.shared.items()]
        command += self.options
        return [*command, f"--machine={self.name}", "--hostname=appliance", "-D", str(self.root), "--boot"]

    def _find_leader(self) -> int:
        """The host's number of the container's PID 1; 0 if it is not there yet."""
        assert self._process is not None
        assert self._process.poll() is None, f"it did not start: {(self.folder / 'console').read_text()}"
        below = [str(self._process.pid)]
        for pid in below:
            try:
                below += Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
                if os.readlink(f"/proc/{pid}/exe").endswith("/systemd"):
                    return int(pid)
            except OSError:
                continue
        return 0

    def _enter(self, words: Sequence[str], env: Mapping[str, str] | None) -> list[str]:
        assert self.is_on(), f"the machine is off; see {self.folder / 'console'}"
        variables = {"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8", **(env or {})}
        spaces = ["--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd"]
        settings = [f"{name}={value}" for name, value in variables.items()]
        return ["nsenter", "--target", str(self._leader), *spaces, "--", "env", "-i", *settings, *words]

    def _ended(self, within_s: float) -> None:
        assert self._process is not None
        self._process.wait(within_s)
        self._process = None
        for left in Path("/run/systemd/nspawn/propagate").glob(self.name):
            left.rmdir()
        for group in self._groups:
            wait_until(lambda group=group: remove_group(group), within_s, f"{group} is empty")  # type: ignore[misc] # as above


def _size_bytes(path: Path) -> int:
    """Of a file on disk, in whole pages, as a small one takes it."""
    return -(-path.lstat().st_size // 4096) * 4096


def own_groups() -> list[Path]:
    """This process's control groups where systemd keeps its own; none if systemd runs the host."""
    if Path("/run/systemd/system").exists():
        return []
    found = []
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "name=systemd":
            found.append(Path(f"/sys/fs/cgroup/systemd{path}"))
        elif not controllers:
            mixed = Path("/sys/fs/cgroup/unified")
            found.append(Path(f"{mixed if mixed.exists() else mixed.parent}{path}"))
    return found


def own_memory_group() -> Path:
    """This process's control group of the memory controller (version 1)."""
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    own = next(line.split(":", 2)[2] for line in lines if ":memory:" in line)
    return MEMORY_GROUPS / own.lstrip("/")


def clear_groups() -> None:
    """Remove what tests that were killed have left."""
    for above in [*own_groups(), *([own_memory_group()] if MEMORY_GROUPS.exists() else [])]:
        for group in above.glob("assistant-test-*"):
            if not Path("/proc", group.name.split("-")[2]).exists():
                remove_group(group)


def remove_group(group: Path) -> bool:
    """Whether the control group and those below it are gone; False as long as something runs there."""
    try:
        for below in sorted(group.glob("**/"), reverse=True):
            below.rmdir()
    except FileNotFoundError:
        return not group.exists()
    except OSError:
        return False
    return True
