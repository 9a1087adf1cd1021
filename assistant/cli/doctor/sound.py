"""Checks of the microphone and the speaker: found, at which rate, held by whom, and who may use them."""

from __future__ import annotations

import grp
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from assistant.audio.card_link import CARD_PREFIX
from assistant.audio.devices import (
    AUTO,
    DEFAULT,
    SOUND_SERVERS,
    Device,
    Kind,
    choose,
    is_servers,
    list_devices,
)
from assistant.audio.formats import RATE_HZ
from assistant.audio.level import TROUBLES
from assistant.audio.sound_server import START, is_missing, is_silent
from assistant.cli.doctor.check import Check, plain
from assistant.cli.doctor.monitors import HEARS_ITSELF, hears_itself, lacking
from assistant.cli.doctor.processes import Process, holders
from assistant.errors import AudioError, one_line
from assistant.messages import MicrophoneLevel

JOIN_AUDIO = "sudo usermod -aG audio $USER, then log in again"
JOIN_ASSISTANT = "sudo usermod -aG assistant $USER, then log in again"


class Node(msgspec.Struct, frozen=True):
    """A device file of ALSA's: `name` as in pcmC1D0c, `group` the name of its group."""

    name: str
    group: str
    is_usable: bool


class Sound(msgspec.Struct, frozen=True):
    """`devices` as PortAudio lists them; `failure` says why it cannot.  `held` are the device files that a
    process has open, with it.  `silent` are the names of devices that are not there because their sound
    server does not answer; `is_server_missing`: one is installed, and none runs.  `hears_itself`: the server
    has the assistant hear what this board plays.  `lacking` are the kinds of device that it has none of.
    """

    devices: list[Device]
    failure: str
    nodes: list[Node]
    held: list[tuple[str, Process]]
    silent: frozenset[str] = frozenset()
    is_server_missing: bool = False
    hears_itself: bool = False
    lacking: frozenset[Kind] = frozenset()


def gather_sound(root: Path, processes: Sequence[Process]) -> Sound:
    devices, failure = [], ""
    try:
        devices = list_devices()
    except AudioError as error:
        failure = str(error)
    nodes = []
    for path in sorted((root / "dev/snd").glob("pcm*")):
        try:
            group = path.stat().st_gid
        except OSError:  # just unplugged
            continue
        nodes.append(Node(path.name, _group(group), os.access(path, os.R_OK | os.W_OK)))
    held = [(Path(path).name, process) for path, process in holders(processes, "/dev/snd/pcm")]
    vads = {process.pid for process in processes if process.stage == "vad"}
    silent = frozenset(name for name in (AUTO, DEFAULT, *SOUND_SERVERS) if is_silent(os.environ, name))
    hears_us = bool(vads) and hears_itself(vads)
    lacks = lacking() if any(is_servers(device.name) for device in devices) else frozenset[Kind]()
    return Sound(devices, failure, nodes, held, silent, is_missing(os.environ), hears_us, lacks)


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def check_sound(
    facts: Sound, kind: Kind, wanted: str, level: MicrophoneLevel | None = None, failure: str = ""
) -> Check:
    """`wanted` is what config.toml says: a device's name, or "auto"; `level` what the assistant hears now,
    `failure` its sentence on why it cannot use the device: one that is listed may be gone.
    """
    if wanted.startswith(CARD_PREFIX):
        return plain(kind, "ok", "a recording, of `assistant run`")
    if kind == "microphone" and facts.hears_itself:
        return plain(kind, "fault", *HEARS_ITSELF)
    letter = "c" if kind == "microphone" else "p"  # capture, playback
    held = [process for node, process in facts.held if node.endswith(letter)]
    nodes = [node for node in facts.nodes if node.name.endswith(letter)]
    if any(process.stage for process in held):
        return _check_level(kind, level)
    if facts.failure:
        what, mend = facts.failure.split("; ", 1)
        return Check(kind, "fault", what, mend.removeprefix("run ").strip("`."), "PortAudio cannot be used")
    devices = [device for device in facts.devices if device.kind == kind]
    is_lost = is_servers(wanted) and all(device.name != wanted.casefold() for device in devices)
    if wanted.casefold() in facts.silent and not held and (is_lost or (wanted == AUTO and not devices)):
        mend = f"{START}, or name a sound card in config.toml: [audio] {kind} = …"
        return plain(kind, "fault", "the sound server does not answer", mend)
    if devices:
        try:
            device = choose(devices, kind, wanted)
            if is_servers(device.name) and kind in facts.lacking:
                mend = f"plug in a USB {kind}, then look again"
                return plain(kind, "fault", f"the sound server has no {kind}", mend)
            found = _check_device(device, wanted)
            if not failure:
                return found
            if not held:
                what, _, hint = failure.partition("; ")
                return Check(kind, "fault", what, hint.rstrip("."), f"the assistant cannot use its {kind}")
        except AudioError as error:
            if not held:
                what, hint = str(error).split("; ", 1)
                mend = f"plug it in, or change config.toml, [audio] {kind} = …: {hint.rstrip('.')}"
                return Check(kind, "fault", what, mend, f"the {kind} of config.toml is not there")
    if held:
        what = f"{one_line(held[0].name)} (process {held[0].pid}) has it open"
        return Check(kind, "fault", what, f"kill {held[0].pid}", "another program has it open")
    if nodes and not any(node.is_usable for node in nodes):
        return plain(kind, "fault", "there is one, but you may not use it", JOIN_AUDIO)
    if nodes:
        what = "there is one that cannot be opened; a program of another user may have it open"
        return plain(kind, "fault", what, "sudo assistant doctor (sees which)")
    if facts.is_server_missing:
        what = "none is connected, and no sound server runs, which might have one"
        return plain(kind, "fault", what, f"plug in a USB {kind}, or {START}")
    return plain(kind, "fault", "none is connected", f"plug in a USB {kind}, then look again")


def _check_device(device: Device, wanted: str) -> Check:
    how = f"{device.default_rate_hz} Hz"
    if device.kind == "microphone" and device.default_rate_hz != RATE_HZ:
        how += f", resampled to {RATE_HZ}"
    if wanted != AUTO:
        how += ", as config.toml says"
    what = f'"{one_line(device.name)}" ({device.description}), {how}'
    return Check(device.kind, "ok", what, public=f"{'USB' if device.usb else 'not USB'}, {how}")


def _check_level(kind: Kind, level: MicrophoneLevel | None) -> Check:
    what = "in use by the assistant itself"
    if level is None or kind != "microphone":
        return plain(kind, "ok", what)
    what += f", level {level.rms_dbfs:.0f} dBFS"
    if level.gain_db >= 1:
        what += f", amplified by {level.gain_db:.0f} dB"
    if level.trouble is not None:
        wrong, mend = TROUBLES[level.trouble]
        return plain(kind, "warning", f"{what}: {wrong}", mend)
    if level.lost_frames > level.frames // 10:
        what = f"{what}: {level.lost_frames} of {level.frames + level.lost_frames} frames are lost"
        return plain(kind, "warning", what, "plug it into another port, without a hub")
    return plain(kind, "ok", what)


class Rights(msgspec.Struct, frozen=True):
    """`socket_is_usable` None: there is none to be used."""

    nodes: list[Node]
    socket_is_usable: bool | None
    is_installed: bool


def socket_is_usable(socket: Path) -> bool | None:
    """Whether this user may use the daemon's `socket`; None where there is none."""
    try:
        socket.lstat()
    except PermissionError:  # its folder cannot be looked into
        return False
    except OSError:
        return None
    return os.access(socket, os.R_OK | os.W_OK)


def check_rights(facts: Rights) -> Check:
    name = "permissions"
    strange = next((node for node in facts.nodes if node.group != "audio"), None)
    if facts.is_installed and strange is not None:
        what = "sound devices do not belong to the group audio, which the services use them through"
        return plain(name, "fault", what, "sudo udevadm trigger --subsystem-match=sound")
    if facts.socket_is_usable is False:
        return plain(name, "warning", "you may not use the installed assistant", JOIN_ASSISTANT)
    if facts.nodes and not any(node.is_usable for node in facts.nodes):
        return plain(name, "warning", "you may not use the sound devices", JOIN_AUDIO)
    usable = ["the sound devices"] if facts.nodes else []
    if facts.socket_is_usable:
        usable.append("the installed assistant")
    if not usable:
        return plain(name, "skipped", "there is nothing here that needs any")
    return plain(name, "ok", f"you may use {' and '.join(usable)}")
