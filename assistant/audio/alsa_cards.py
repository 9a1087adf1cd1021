"""What the kernel says of the sound cards: what they are, where they are plugged in, and who uses them.

A card's number is what changes when it is plugged in again; everything else here stays.  Folders are found
below `root`, so that a test can build the tree.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import Literal

import msgspec

Direction = Literal["c", "p"]
"""Capture or playback, as the kernel's files are named."""

ROOT = Path("/")
LISTED = re.compile(r"^ *(\d+) \[(\S+) *\]: .*? - (.*)$", re.MULTILINE)
"""A card in /proc/asound/cards: " 1 [Device         ]: USB-Audio - USB PnP Sound Device"."""


class Card(msgspec.Struct, frozen=True):
    """A sound card.  `port` is the path in /sys of what it hangs on.

    Of a USB card `vendor_product` is as lsusb shows it ("0d8c:0014"), `serial` its own number where it has
    one, and `usb_port` where it is plugged in ("1-1.3"); else these are empty.
    """

    number: int
    id: str
    name: str
    port: str
    vendor_product: str = ""
    serial: str = ""
    usb_port: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """What it may be called in config.toml, the most particular first."""
        names = [f"{self.vendor_product}:{self.serial}"] if self.serial else []
        if self.vendor_product:
            names += [self.vendor_product, f"usb {self.usb_port}"]
        return (*names, f"CARD={self.id}")


class User(msgspec.Struct, frozen=True):
    """A process that has a device open; `program` is empty where it may not be seen."""

    pid: int
    program: str

    def __str__(self) -> str:
        return f"{self.program} (process {self.pid})" if self.program else f"process {self.pid}"


def read_cards(root: Path = ROOT) -> dict[int, Card]:
    """All cards, by number."""
    return {
        int(number): _card(root, int(number), id_, name)
        for number, id_, name in LISTED.findall(_text(root / "proc/asound/cards"))
    }


def user(card: int, direction: Direction, root: Path = ROOT) -> User | None:
    """Who has that side of the card open; None where nobody is known to."""
    for status in sorted((root / f"proc/asound/card{card}").glob(f"pcm*{direction}/sub*/status")):
        if owner := re.search(r"^owner_pid\s*: (\d+)$", _text(status), re.MULTILINE):
            # the kernel knows the thread that opened it
            process = re.search(r"^Tgid:\s*(\d+)$", _text(root / f"proc/{owner[1]}/status"), re.MULTILINE)
            pid = (process or owner)[1]
            return User(int(pid), _text(root / f"proc/{pid}/comm"))
    return None


def _card(root: Path, number: int, id_: str, name: str) -> Card:
    port = os.path.realpath(root / f"sys/class/sound/card{number}/device")
    for folder in (Path(port), *Path(port).parents):
        if vendor := _text(folder / "idVendor"):
            vendor_product = f"{vendor}:{_text(folder / 'idProduct')}"
            return Card(number, id_, name, port, vendor_product, _text(folder / "serial"), folder.name)
    return Card(number, id_, name, port)


def _text(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text(errors="replace").strip("\n")
    return ""
