from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from assistant.audio.alsa_cards import Card, User, read_cards, user
from assistant.audio.devices import Device, Kind, Listed, channel_counts, choose, held, named, why_none
from assistant.errors import AudioError

PORTS = "/sys/devices/platform/scb/usb1"


def listed(name: str, port: str = "", channels: int = 1, default: bool = False, index: int = 0) -> Listed:
    card = Card(0, "Card", "Card", port) if port else None
    return Listed(index, name, channels, 44_100, card, default)


def names(entries: list[Listed], kind: Kind = "microphone") -> list[str]:
    return [device.name for device in named(entries, kind)]


def test_a_name_has_no_card_number() -> None:
    before = names([listed("USB PnP Sound Device: Audio (hw:1,0)", f"{PORTS}/1-1")])
    after = names([listed("USB PnP Sound Device: Audio (hw:3,0)", f"{PORTS}/1-1")])
    assert before == after == ["USB PnP Sound Device: Audio"]


def test_two_of_a_kind_are_told_apart_by_their_port() -> None:
    left = listed("Mic: Audio (hw:1,0)", f"{PORTS}/1-1.1", index=4)
    right = listed("Mic: Audio (hw:2,0)", f"{PORTS}/1-1.2", index=5)
    # plugged in the other way round, they have each other's number
    swapped = [
        listed("Mic: Audio (hw:2,0)", f"{PORTS}/1-1.1", index=5),
        listed("Mic: Audio (hw:1,0)", f"{PORTS}/1-1.2", index=4),
    ]
    assert [(d.name, d.index) for d in named([left, right], "microphone")] == [
        ("Mic: Audio", 4),
        ("Mic: Audio #2", 5),
    ]
    assert [(d.name, d.index) for d in named(swapped, "microphone")] == [
        ("Mic: Audio", 5),
        ("Mic: Audio #2", 4),
    ]


def test_plugins_and_the_other_direction_are_not_shown() -> None:
    entries = [
        listed("sysdefault"),
        listed("dmix"),
        listed("surround51"),
        listed("bcm2835 Headphones: - (hw:0,0)", channels=0),
        listed("default", default=True),
        listed("pulse"),
    ]
    assert names(entries) == ["default", "pulse"]


USB = listed("Mic: Audio (hw:1,0)", f"{PORTS}/1-1", index=1)
BUILT_IN = listed("Codec: - (hw:0,0)", "/sys/devices/platform/soc/sound", index=2)
DEFAULT = listed("default", default=True, index=3)
SERVER = listed("pulse", index=4)


@pytest.mark.parametrize(
    ("entries", "index"),
    [
        ([BUILT_IN, USB, DEFAULT], 1),
        ([BUILT_IN, USB, DEFAULT, SERVER], 3),
        ([BUILT_IN, DEFAULT], 3),
        ([BUILT_IN], 2),
    ],
)
def test_auto(entries: list[Listed], index: int) -> None:
    assert choose(named(entries, "microphone"), "microphone", "auto").index == index


MIC = "USB PnP Sound Device"


class Board:
    """A tree of the kernel's files, with sound cards in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._listed = ""

    def plug(
        self, number: int, port: str, id_: str = "Device", vendor: str = "0d8c:0014", serial: str = ""
    ) -> None:
        """A USB card at a port such as "1-1.3"; without one, it is built in."""
        self._listed += f" {number} [{id_:<15}]: USB-Audio - {MIC}\n{'C-Media at usb':>60}\n"
        write(self.root / "proc/asound/cards", self._listed)
        device = self.root / "sys/devices/platform/soc/sound"
        if port:
            usb = self.root / "sys/devices/platform/scb/usb1" / port
            write(usb / "idVendor", vendor[:4] + "\n")
            write(usb / "idProduct", vendor[5:] + "\n")
            if serial:
                write(usb / "serial", serial + "\n")
            device = usb / f"{port}:1.0"
        device.mkdir(parents=True, exist_ok=True)
        card = self.root / f"sys/class/sound/card{number}"
        card.mkdir(parents=True)
        (card / "device").symlink_to(device)

    def open(self, number: int, direction: str, thread: int) -> None:
        """Some process has the card open."""
        status = f"state: RUNNING\nowner_pid   : {thread}\ntrigger_time: 12.3\n"
        write(self.root / f"proc/asound/card{number}/pcm0{direction}/sub0/status", status)

    def devices(self, kind: Kind = "microphone") -> list[Device]:
        """As PortAudio lists them."""
        entries = [
            Listed(number, f"{MIC}: Audio (hw:{number},0)", 1, 44_100, card, False)
            for number, card in read_cards(self.root).items()
        ]
        return named(entries, kind)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path)


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("0d8c:0014", 2),
        ("0D8C:0014", 2),
        ("0d8c:0014:B7", 1),
        ("usb 1-1.3", 1),
        ("usb 1-1.2", 2),
        ("CARD=Device_1", 1),
        ("device", 2),
        ("046d:0825", 3),
        ("CARD=Headphones", 0),
        (MIC + ": Audio", 2),
        (MIC + ": Audio #2", 1),
    ],
)
def test_a_card_is_found_by_what_stays_when_its_number_changes(board: Board, name: str, index: int) -> None:
    board.plug(0, "", "Headphones")
    board.plug(1, "1-1.3", "Device_1", serial="B7")
    board.plug(2, "1-1.2", "Device", serial="A6")
    board.plug(3, "1-1.4", "U0x46d0x825", vendor="046d:0825")
    assert choose(board.devices(), "microphone", name).index == index


def test_two_of_a_kind_are_told_apart_in_whatever_order_they_are_found(tmp_path: Path) -> None:
    places = {}
    for boot, order in enumerate([("1-1.3", "1-1.2"), ("1-1.2", "1-1.3")]):
        board = Board(tmp_path / str(boot))
        for number, port in enumerate(order):
            board.plug(number, port, f"Device_{number}")
        found = choose(board.devices(), "microphone", "0d8c:0014")
        second = choose(board.devices(), "microphone", f"{MIC}: Audio #2")
        assert found.card
        assert second.card
        places[boot] = found.card.usb_port, second.card.usb_port
    assert places == dict.fromkeys((0, 1), ("1-1.2", "1-1.3"))


@pytest.mark.parametrize("name", ["1", "hw:1,0", "hw:1", "card1"])
def test_a_number_is_no_name(board: Board, name: str) -> None:
    board.plug(1, "1-1.3")
    with pytest.raises(AudioError, match=f'no microphone called "{name}"'):
        choose(board.devices(), "microphone", name)


def test_what_else_a_device_is_called_is_shown(board: Board) -> None:
    board.plug(0, "")
    board.plug(1, "1-1.3", serial="B7")
    assert [device.other_names for device in board.devices()] == [
        ("0d8c:0014:B7", "0d8c:0014", "usb 1-1.3", "CARD=Device"),
        ("CARD=Device",),
    ]


def test_who_has_a_card_open(board: Board) -> None:
    board.plug(1, "1-1.3")
    assert user(1, "c", board.root) is None
    write(board.root / "proc/asound/card1/pcm0c/sub0/status", "closed\n")
    assert user(1, "c", board.root) is None
    board.open(1, "c", 124)
    assert user(1, "c", board.root) == User(124, ""), "one that may not be seen"
    assert user(1, "p", board.root) is None
    write(board.root / "proc/124/status", "Name:\tloop\nTgid:\t123\n")
    write(board.root / "proc/123/comm", "arecord\n")
    assert user(1, "c", board.root) == User(123, "arecord")


@pytest.mark.parametrize("name", ["auto", "0d8c:0014", "usb 1-1.3", "device", MIC + ": Audio", "CARD=Device"])
def test_a_busy_card_says_who_has_it(board: Board, name: str) -> None:
    board.plug(1, "1-1.3")
    assert held("microphone", name, board.root) is None
    board.open(1, "c", 123)
    write(board.root / "proc/123/comm", "arecord\n")
    shown = MIC if name == "auto" else name
    sentence = f'The microphone "{shown}" is busy: arecord (process 123) uses it; close that program.'
    assert str(held("microphone", name, board.root)) == sentence
    assert held("speaker", name, board.root) is None
    assert held("microphone", "046d:0825", board.root) is None


@pytest.mark.parametrize(
    ("channels", "wanted", "of_card", "of_server"),
    [
        (1, 0, (1,), (1,)),
        (2, 0, (1, 2), (1,)),
        (6, 0, (1, 2, 6), (1,)),
        (32, 0, (1, 2, 32), (1,)),
        (1, 1, (1,), (1,)),
        (6, 1, (6,), (6,)),
        (6, 5, (6,), (6,)),
        (32, 3, (32,), (8,)),
    ],
)
def test_how_many_channels_are_asked_for(
    channels: int, wanted: int, of_card: tuple[int, ...], of_server: tuple[int, ...]
) -> None:
    (usb,) = named([listed("Mic: Audio (hw:1,0)", f"{PORTS}/1-1", channels)], "microphone")
    (server,) = named([listed("pulse", channels=channels)], "microphone")
    assert channel_counts(usb, wanted) == of_card
    assert channel_counts(server, wanted) == of_server


@pytest.mark.parametrize(("channels", "has"), [(1, "1 channel"), (2, "2 channels")])
def test_a_channel_that_is_not_there_is_one_sentence(channels: int, has: str) -> None:
    (usb,) = named([listed("Mic: Audio (hw:1,0)", f"{PORTS}/1-1", channels)], "microphone")
    sentence = f'The microphone "Mic: Audio" has {has}, not the 3 that audio.channel wants; '
    with pytest.raises(AudioError, match=sentence):
        channel_counts(usb, 3)


def test_a_name_is_found_and_a_wrong_one_explained() -> None:
    devices = named([USB, BUILT_IN], "microphone")
    assert choose(devices, "microphone", "mic: audio").index == 1
    with pytest.raises(AudioError, match='no microphone called "Mic: Adio"; did you mean "Mic: Audio"'):
        choose(devices, "microphone", "Mic: Adio")
    with pytest.raises(AudioError, match=r'; choose one of "Mic: Audio", "Codec: -"\.$'):
        choose(devices, "microphone", "zzz")


def test_descriptions() -> None:
    described = {
        device.name: device.description for device in named([USB, BUILT_IN, DEFAULT, SERVER], "speaker")
    }
    assert described == {
        "Mic: Audio": "USB",
        "Codec: -": "built in",
        "default": "the system's choice",
        "pulse": "sound server",
    }
    assert all(isinstance(device, Device) and device.kind == "speaker" for device in named([USB], "speaker"))


def test_why_there_is_none(tmp_path: Path) -> None:
    assert "plug one in" in why_none("microphone", tmp_path / "absent")
    (tmp_path / "pcmC0D0p").touch()
    assert "plug one in" in why_none("microphone", tmp_path), "a speaker is no microphone"
    (tmp_path / "pcmC1D0c").touch()
    assert "another program" in why_none("microphone", tmp_path)
    (tmp_path / "pcmC1D0c").chmod(0)
    if os.access(tmp_path / "pcmC1D0c", os.R_OK):
        pytest.skip("root may open every device")
    assert "usermod -aG audio" in why_none("microphone", tmp_path)


def test_without_any_the_reason_is_an_error() -> None:
    with pytest.raises(AudioError, match="No speaker was found"):
        choose([], "speaker", "auto")


FAILS = """
import ctypes
from assistant.audio import devices

if {quiet}:
    devices.load_portaudio()
alsa = ctypes.CDLL("libasound.so.2")
assert alsa.snd_pcm_open(ctypes.byref(ctypes.c_void_p()), b"no such device", 0, 0) < 0
"""


@pytest.mark.parametrize("quiet", [False, True])
def test_what_alsa_tries_in_vain_is_not_printed(quiet: bool) -> None:
    done = subprocess.run([sys.executable, "-c", FAILS.format(quiet=quiet)], capture_output=True, check=True)
    assert (done.stderr == b"") == quiet
