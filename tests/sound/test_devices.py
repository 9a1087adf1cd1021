from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from assistant.audio.alsa_cards import Card
from assistant.audio.devices import Device, Kind, Listed, choose, named, why_none
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


def test_a_name_is_found_and_a_wrong_one_explained() -> None:
    devices = named([USB, BUILT_IN], "microphone")
    assert choose(devices, "microphone", "mic: audio").index == 1
    with pytest.raises(AudioError, match='no microphone called "Mic: Adio"; did you mean "Mic: Audio"'):
        choose(devices, "microphone", "Mic: Adio")
    with pytest.raises(AudioError, match=r"there are Mic: Audio, Codec: -\.$"):
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
