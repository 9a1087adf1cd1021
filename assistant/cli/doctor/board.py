"""Checks of the board and its system: 64 bits, memory, power and heat, disk, clock."""

from __future__ import annotations

import datetime
import os
import platform
import re
import sys
from collections.abc import Iterable
from pathlib import Path

import msgspec

from assistant.board.cgroups import can_limit_memory, field, read
from assistant.board.health import THROTTLES_AT_CELSIUS, Health, Throttled, parse_throttled
from assistant.board.memory import BOARD, FREE, MemoryGauge
from assistant.board.recognise import Board, recognise
from assistant.cli.doctor.check import Check, State, asked, gib, plain
from assistant.errors import BoardError

DEBIANS = ("12", "13")
CMDLINES = ("boot/firmware/cmdline.txt", "boot/cmdline.txt")
CONTROLLER = "cgroup_enable=memory"
LITTLE_BYTES = 200 * 2**20
"""Free disk below this is soon none: the journal alone may grow by more."""
FULL_BYTES = 10 * 2**20
LITTLE_MEMORY_BYTES = 128 * 2**20

SUPPLY = (
    "use the power supply made for this Raspberry Pi (5 V; Pi 5: 5 A, Pi 4: 3 A) and a short, thick cable"
)
COOLING = "give the board a heat sink or a fan, and air"
MAKE_ROOM = "sudo apt clean && sudo journalctl --vacuum-size=50M"


class System(msgspec.Struct, frozen=True):
    """`os` and `version` as /etc/os-release has them: ID and VERSION_ID; `kernel` and `python` as 6.1.0."""

    machine: str
    is_64_bit: bool
    os: str
    version: str
    kernel: str
    python: str


def gather_system(root: Path) -> System:
    release = {
        key: value.strip().strip("\"'")
        for key, equals, value in (line.partition("=") for line in read(root / "etc/os-release").splitlines())
        if equals
    }
    return System(
        platform.machine(),
        sys.maxsize > 2**32,
        release.get("ID", ""),
        release.get("VERSION_ID", ""),
        _version(platform.release()),
        platform.python_version(),
    )


def _version(text: str) -> str:
    """The number that `text` begins with: what follows in a kernel's name may be anybody's word."""
    found = re.match(r"\d{1,3}(\.\d{1,5}){0,2}", text)
    return found[0] if found else "unknown"


def check_system(facts: System) -> Check:
    is_debian = facts.os in ("debian", "raspbian")
    name = "Debian" if is_debian else facts.os or "an unknown system"
    rest = f"{facts.machine}, kernel {facts.kernel}, Python {facts.python}"
    number = facts.version if re.fullmatch(r"[0-9.]{1,8}", facts.version) else ""
    shown = f"{name} {number or facts.version or 'without a number'}, {rest}"
    public = f"{'Debian' if is_debian else 'another system'} {number}, {rest}"
    if not facts.is_64_bit or re.fullmatch(r"arm.*|i[3-6]86", facts.machine):
        what, state = "32-bit: the assistant needs 64 bits; ", "fault"
    elif not is_debian or facts.version not in DEBIANS:
        what, state = "tried on Debian 12 and 13 only; this is ", "warning"
    else:
        return Check("system", "ok", shown, public=public)
    mend = "put the 64-bit Raspberry Pi OS on the SD card with Raspberry Pi Imager"
    if state == "fault":
        return Check("system", "fault", what + shown, mend, what + public)
    return Check("system", "warning", what + shown, f"if something does not work: {mend}", what + public)


def gather_board(root: Path) -> Board | BoardError:
    try:
        return recognise(root)
    except BoardError as error:
        return error


def check_board(facts: Board | BoardError) -> Check:
    if isinstance(facts, BoardError):
        what, _, mend = str(facts).partition("; ")
        return plain("board", "fault", what, mend.rstrip("."))
    sold = f"{facts.nominal_gb:g} GB" if facts.nominal_gb >= 1 else f"{facts.nominal_gb * 1024:.0f} MB"
    return plain("board", "ok", f"{facts.name}, {sold}, {facts.cores} core{'s' if facts.cores > 1 else ''}")


class Memory(msgspec.Struct, frozen=True):
    """`limited_by` says what keeps more from being taken.  `cmdline` is the kernel's command line on the boot
    partition of a Raspberry Pi, "" elsewhere; `is_asked_for`: the controller stands in it already.
    """

    total_bytes: int
    available_bytes: int
    limited_by: str
    swap_bytes: int
    has_zram: bool
    has_controller: bool
    cmdline: str = ""
    is_asked_for: bool = False


def gather_memory(root: Path) -> Memory:
    gauge = MemoryGauge(root)
    available = gauge.available()
    cmdline = next((path for path in CMDLINES if (root / path).exists()), "")
    return Memory(
        total_bytes=gauge.total().bytes,
        available_bytes=available.bytes,
        limited_by=available.limited_by if available.limited_by != FREE else gauge.total().limited_by,
        swap_bytes=(field(read(root / "proc/meminfo"), "SwapTotal") or 0) * 1024,
        has_zram="/dev/zram" in read(root / "proc/swaps"),
        has_controller=can_limit_memory(root),
        cmdline=f"/{cmdline}" if cmdline else "",
        is_asked_for=CONTROLLER in read(root / cmdline).split() if cmdline else False,
    )


def check_memory(facts: Memory, is_installed: bool) -> Check:
    swap = (
        f"{gib(facts.swap_bytes)} {'zram' if facts.has_zram else 'swap'}" if facts.swap_bytes else "no swap"
    )
    public = f"{gib(facts.available_bytes)} of {gib(facts.total_bytes)} available, {swap}"
    what = public if facts.limited_by in (FREE, BOARD) else f"{public} ({facts.limited_by})"
    if facts.available_bytes < LITTLE_MEMORY_BYTES:
        little = "hardly any memory is left: "
        mend = "close other programs; `ps aux --sort=-rss | head` shows the largest"
        return Check("memory", "warning", little + what, mend, little + public)
    if not facts.has_controller and (is_installed or facts.cmdline):
        missing = "; the kernel cannot limit memory, so one process may take it from all others"
        if facts.is_asked_for:
            mend = "sudo reboot"
        elif facts.cmdline:
            mend = f"sudo sed -i '1s/$/ {CONTROLLER}/' {facts.cmdline} && sudo reboot"
        else:
            mend = f"add {CONTROLLER} to the kernel's command line, and reboot"
        return Check("memory", "warning", what + missing, mend, public + missing)
    return Check("memory", "ok", what, public=public)


def gather_throttled(root: Path) -> Throttled | None:
    """What the firmware of a Raspberry Pi says itself, of all the time since start-up."""
    if not os.access(root / "dev/vcio", os.R_OK | os.W_OK):
        return None
    said = asked(["vcgencmd", "get_throttled"])
    return None if said is None else parse_throttled(said)


def check_power(facts: Health, throttled: Throttled | None) -> Check:
    now = throttled.now if throttled else frozenset()
    been = throttled.been if throttled else frozenset()
    heat = "" if facts.celsius is None else f"{facts.celsius:.0f} °C"
    clock = "" if facts.frequency_hz is None else f"{facts.frequency_hz / 1e6:.0f} MHz"
    measured = ", ".join(part for part in (heat, clock) if part)

    def found(state: State, what: str, mend: str) -> Check:
        return plain("power, heat", state, f"{what} ({measured})" if measured else what, mend)

    if facts.is_under_voltage or "under-voltage" in now:
        return found("fault", "the power supply is too weak at this moment", SUPPLY)
    if facts.is_hot:
        return found("fault", f"too hot: from {THROTTLES_AT_CELSIUS:.0f} °C on the board slows down", COOLING)
    if facts.is_throttled or "throttled" in now:
        return found("fault", "the firmware slows the board down at this moment", f"{COOLING}; {SUPPLY}")
    if "under-voltage" in been:
        return found("warning", "the power supply was too weak at least once since start-up", SUPPLY)
    if been & {"throttled", "frequency capped"}:
        return found("warning", "the board was slowed down by heat at least once since start-up", COOLING)
    knows = facts.is_under_voltage is not None or throttled is not None
    if not (measured or knows):
        return plain("power, heat", "skipped", "this board has no sensors that can be read")
    power = "power is sufficient" if knows else "nothing is known of the power supply"
    return plain("power, heat", "ok", ", ".join(part for part in (measured, power) if part))


class Place(msgspec.Struct, frozen=True):
    """A folder that the assistant needs, and the file system that it is on, or will be."""

    role: str
    path: str
    free_bytes: int
    free_files: int
    is_read_only: bool
    device: int


def gather_places(folders: Iterable[tuple[str, Path]]) -> list[Place]:
    """Of each role and folder; one that is missing counts as the folder that it would be made in."""
    places = []
    for role, folder in folders:
        for path in (folder, *folder.parents):
            try:
                found, device = os.statvfs(path), path.stat().st_dev
            except OSError:
                continue
            places.append(
                Place(
                    role,
                    str(folder),
                    found.f_bavail * found.f_frsize,
                    found.f_favail if found.f_files else 1,  # some file systems have no fixed number
                    bool(found.f_flag & os.ST_RDONLY),
                    device,
                )
            )
            break
    return places


def check_disk(places: list[Place]) -> Check:
    disks: dict[int, list[Place]] = {}
    for place in places:
        disks.setdefault(place.device, []).append(place)
    what = "; ".join(
        f"{_free(disk[0])} for {', '.join(place.role for place in disk)}" for disk in disks.values()
    )
    for place in places:
        if place.is_read_only and place.role == "state":  # the program may well be
            read_only = f"{what}: what is learnt cannot be kept"
            mend = f"sudo mount -t tmpfs tmpfs {place.path} (in memory, until the power goes)"
            return plain("disk", "warning", read_only, mend)
        if place.is_read_only:
            continue
        if place.free_bytes < FULL_BYTES or not place.free_files:
            return plain("disk", "fault", f"full: {what}", MAKE_ROOM)
        if place.free_bytes < LITTLE_BYTES:
            return plain("disk", "warning", f"nearly full: {what}", MAKE_ROOM)
    return plain("disk", "ok", what)


def _free(place: Place) -> str:
    return "read-only" if place.is_read_only else f"{gib(place.free_bytes)} free"


class Clock(msgspec.Struct, frozen=True):
    """`made` is the day this program is at least from; `is_synchronised` None: nobody tells."""

    today: datetime.date
    made: datetime.date
    is_synchronised: bool | None
    has_own: bool


def gather_clock(root: Path, today: datetime.date, made: datetime.date) -> Clock:
    said = asked(["timedatectl", "show", "--property=NTPSynchronized", "--value"])
    known = {"yes": True, "no": False}
    return Clock(today, made, known.get((said or "").strip()), (root / "sys/class/rtc/rtc0").exists())


def check_clock(facts: Clock) -> Check:
    set_by_hand = "sudo timedatectl set-time 'YEAR-MONTH-DAY HOUR:MINUTE'"
    if facts.today < facts.made:
        why = "" if facts.has_own else ", and the board has no clock that goes on without power"
        what = f"it says {facts.today}, but this program is of {facts.made}: the time is not set{why}"
        return plain("clock", "warning", what, f"connect the board to a network once, or {set_by_hand}")
    if facts.is_synchronised:
        return plain("clock", "ok", "set by the network")
    if facts.is_synchronised is None:
        return plain("clock", "skipped", "nobody tells whether it is set by the network")
    if facts.has_own:
        return plain("clock", "ok", "not set by the network; the board has a clock of its own")
    what = "not set by the network, and the board has no clock that goes on without power"
    return plain(
        "clock", "warning", what, f"sudo timedatectl set-ntp true, or without a network {set_by_hand}"
    )
