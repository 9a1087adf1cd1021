"""The microphones and speakers of this board, under names that survive replugging.

The only module that imports sounddevice.  A card's number is what changes when it is plugged in again, so it
is never part of a name; two cards of the same make are told apart by where they are plugged in.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import difflib
import errno
import itertools
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import msgspec

from assistant.audio import sound_server
from assistant.audio.alsa_cards import ROOT, Card, Direction, User, read_cards, user
from assistant.audio.formats import FRAME_MS
from assistant.errors import AudioError, DeviceBusy

Kind = Literal["microphone", "speaker"]
KINDS: tuple[Kind, ...] = ("microphone", "speaker")

AUTO = "auto"
DEFAULT = "default"
SOUND_SERVERS = (sound_server.PULSE, sound_server.PIPEWIRE)
CARD_NUMBER = re.compile(r" \(hw:(\d+),(\d+)\)$")
MICROPHONE_LATENCY_S = 0.08
"""PortAudio's own, 35 ms, wakes the process twice as often; so a frame comes 10 ms later on average."""

SPEAKER_LATENCY_S = 0.05
"""How far a speaker's buffer runs ahead: less breaks up while a language model has the processor."""
SPEAKER_RATES_HZ = (48_000, 44_100)
MICROPHONE_RATES_HZ = (
    *(16_000, 48_000, 32_000, 96_000, 44_100, 88_200, 22_050, 24_000),
    *(192_000, 176_400, 12_000, 11_025, 8_000),
)
"""What a microphone is asked for, one after the other: what we need, what is easily made into that, whatever
else holds all of it, and last what lacks some of it."""
SERVER_CHANNELS = 8
"""How many a sound server is asked for where one of them is wanted.  It fills them by the names that they
have in ALSA's order, of which those of a device with fewer are the first; asked for fewer than the device
has, it would mix them."""
SERVER_SILENT = f"because the sound server does not answer; start it (`{sound_server.START}`)"
BUSY_CODES = {-9985, -16}
"""PortAudio's "device unavailable"; EBUSY, as ALSA reports it through PortAudio."""
NONE_CODE = -errno.EIO
"""What ALSA reports of a sound server that has nothing to play to, or to record from."""
FORM_CODES = {-9997, -9998, -22}
"""PortAudio's "invalid sample rate" and "invalid number of channels"; EINVAL, where it is both together."""


class Device(msgspec.Struct, frozen=True):
    """One microphone or speaker.  `index` is PortAudio's number of it, good for opening it now and for
    nothing else; so is the number in `card`, None where a sound server or ALSA decides.
    """

    name: str
    description: str
    default_rate_hz: int
    channels: int
    kind: Kind
    index: int
    usb: bool = False
    default: bool = False
    card: Card | None = None

    @property
    def other_names(self) -> tuple[str, ...]:
        """What else config.toml may call it; two devices may share some, but never a port."""
        return self.card.names if self.card else ()


class Listed(msgspec.Struct, frozen=True):
    """One entry of PortAudio's list, and the card that it is of, if it is of one."""

    index: int
    name: str
    channels: int
    default_rate_hz: int
    card: Card | None
    default: bool

    @property
    def port(self) -> str:
        """Where the card is plugged in, a path in /sys, or ""."""
        return self.card.port if self.card else ""


def list_devices() -> list[Device]:
    """All microphones, then all speakers.  Raises `AudioError` if PortAudio is missing."""
    return [device for kind in KINDS for device in named(_listed(kind), kind)]


def find(kind: Kind, name: str) -> Device:
    """The device that `name` of config.toml means; "auto" chooses.  Raises `AudioError`."""
    devices = named(_listed(kind), kind)
    try:
        return choose(devices, kind, name)
    except AudioError:
        if busy := held(kind, name):
            raise busy from None
        is_meant = is_servers(name) or (name.casefold() == AUTO and not devices)
        if is_meant and sound_server.is_silent(os.environ, name.casefold()):
            raise AudioError(
                f"There is no {kind}, {SERVER_SILENT}, or name a sound card in config.toml."
            ) from None
        raise


def is_servers(name: str) -> bool:
    """Whether the device is a sound server's, or may be."""
    return name.casefold() in (DEFAULT, *SOUND_SERVERS)


def held(kind: Kind, name: str, root: Path = ROOT) -> DeviceBusy | None:
    """Why `name` is not in PortAudio's list, if that is because another program has it open."""
    wanted = name.casefold()
    for card in read_cards(root).values():
        names = [other.casefold() for other in card.names]
        is_meant = wanted in (AUTO, *names) or f"card={wanted}" in names
        is_meant = is_meant or wanted.startswith(f"{card.name}: ".casefold())
        if is_meant and (program := user(card.number, _direction(kind), root)):
            return _busy(kind, card.name if name == AUTO else name, program)
    return None


def named(listed: list[Listed], kind: Kind) -> list[Device]:
    """The entries that people want to see, with stable names.

    A sound card's name is PortAudio's without the card number.  Of several with one name, all but the one at
    the first port get " #2", " #3" and so on.
    """
    devices = []
    taken: dict[str, int] = {}
    shown = [entry for entry in listed if entry.channels > 0 and _is_shown(entry.name)]
    for entry in sorted(shown, key=lambda entry: (entry.port, entry.name)):
        name = CARD_NUMBER.sub("", entry.name)
        taken[name] = taken.get(name, 0) + 1
        usb = "/usb" in entry.port
        where = (
            "the system's choice"
            if name == DEFAULT
            else "sound server"
            if name in SOUND_SERVERS
            else "built in"
        )
        devices.append(
            Device(
                name=name if taken[name] == 1 else f"{name} #{taken[name]}",
                description="USB" if usb else where,
                default_rate_hz=entry.default_rate_hz,
                channels=entry.channels,
                kind=kind,
                index=entry.index,
                usb=usb,
                default=entry.default,
                card=entry.card,
            )
        )
    return devices


def choose(devices: list[Device], kind: Kind, name: str) -> Device:
    """The device called `name`, or the best one for "auto".  Raises `AudioError`.

    Of several that share a name, such as a make, it is the one at the first port.

    A sound server knows what the person chose on the desktop, so its default comes first; without one, the
    system's default is often an output that nothing is connected to, and a USB device was plugged in for a
    reason.
    """
    if not devices:
        raise AudioError(why_none(kind, Path("/dev/snd")))
    if name != AUTO:
        wanted = name.casefold()
        for device in devices:
            if device.name.casefold() == wanted:
                return device
        for device in devices:
            others = [other.casefold() for other in device.other_names]
            if wanted in others or f"card={wanted}" in others:
                return device
        names = [device.name for device in devices]
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        all_names = ", ".join(f'"{known}"' for known in names)
        hint = f'did you mean "{near[0]}"?' if near else f"choose one of {all_names}."
        raise AudioError(f'There is no {kind} called "{name}"; {hint}')
    server = any(device.name in SOUND_SERVERS for device in devices)
    order = [device for device in devices if device.default], [device for device in devices if device.usb]
    return next(device for group in (*(order if server else order[::-1]), devices) for device in group)


def why_none(kind: Kind, nodes: Path) -> str:
    """The sentence for a board without any `kind`; `nodes` is the folder of ALSA's device files."""
    files = [path for path in nodes.glob("pcm*") if path.name.endswith("c" if kind == "microphone" else "p")]
    if files and not any(os.access(path, os.R_OK | os.W_OK) for path in files):
        return (
            f"No {kind} was found, because this user may not open {nodes}; "
            "run `sudo usermod -aG audio $USER` and log in again."
        )
    if files:
        return f"No {kind} was found, because another program uses the one in {nodes}; close that program."
    return f"No {kind} was found, because none is connected; plug one in, or use `assistant --text`."


def channel_counts(microphone: Device, wanted: int) -> tuple[int, ...]:
    """How many channels the microphone is asked for, one after the other, where number `wanted` is to be
    heard, from 1; 0 is all of them, mixed.  Raises `AudioError` for one that it does not have.
    """
    has = microphone.channels
    if wanted > has:
        channels = f"{has} channel{'s' if has > 1 else ''}"
        raise AudioError(
            f'The microphone "{microphone.name}" has {channels}, not the {wanted} that audio.channel wants; '
            "choose another channel in config.toml."
        )
    if wanted:
        return (has,) if microphone.card else (min(has, SERVER_CHANNELS),)
    # one channel that the device itself makes is half the work of two, for the same sound
    counts = (1, 2, has) if microphone.card else (1,)
    return tuple(dict.fromkeys(min(count, has) for count in counts))


def open_stream(device: Device, rates_hz: Iterable[int], counts: tuple[int, ...]) -> tuple[Any, int, int]:
    """A started PortAudio stream of int16 for blocking reads or writes; its rate and its channels.

    They are the first of `rates_hz` and `counts` that the device has.  Raises `AudioError`.
    """
    portaudio = load_portaudio()
    microphone = device.kind == "microphone"
    stream_type = portaudio.RawInputStream if microphone else portaudio.RawOutputStream
    failure = None
    for rate, count in itertools.product(dict.fromkeys(rates_hz), counts):
        try:
            with _quiet():
                stream = stream_type(
                    samplerate=rate,
                    blocksize=rate * FRAME_MS // 1000 if microphone else 0,
                    device=device.index,
                    channels=count,
                    dtype="int16",
                    latency=MICROPHONE_LATENCY_S if microphone else SPEAKER_LATENCY_S,
                )
                try:
                    stream.start()
                except portaudio.PortAudioError:
                    stream.close()
                    raise
        except portaudio.PortAudioError as error:
            failure = failure or error
            # what fails for another reason may work a moment later, and must not be opened in a worse form
            if not _codes(error) & FORM_CODES:
                raise _failed(device, error) from None
        else:
            return stream, rate, count
    assert failure is not None
    raise _failed(device, failure)


def gone(device: Device) -> AudioError:
    """The error for a device that stopped working while it was open."""
    return AudioError(f'The {device.kind} "{device.name}" stopped working; is it still plugged in?')


def load_portaudio() -> ModuleType:
    """The sounddevice module, PortAudio initialised.  Raises `AudioError`."""
    try:
        with _quiet():
            import sounddevice
    except OSError:
        raise AudioError(
            "Sound devices cannot be used because PortAudio is missing; run `sudo apt install libportaudio2`."
        ) from None
    _hush_alsa()
    # closing what blocks would keep the process for ever; the system closes it all the same
    if hasattr(sounddevice, "_exit_handler"):
        atexit.unregister(sounddevice._exit_handler)
    module: ModuleType = sounddevice
    return module


def look_again() -> None:
    """Find devices that were plugged in, or let go by another program, since this process first looked.

    Only while none is open: PortAudio lists the devices once, when it begins, and closes all when it ends.
    """
    portaudio = load_portaudio()
    with _quiet():
        portaudio._terminate()
        portaudio._initialize()


def _listed(kind: Kind) -> list[Listed]:
    portaudio = load_portaudio()
    direction = "input" if kind == "microphone" else "output"
    cards = read_cards()
    return [
        Listed(
            index=entry["index"],
            name=entry["name"],
            channels=entry[f"max_{direction}_channels"],
            default_rate_hz=round(entry["default_samplerate"]),
            card=cards.get(int(number[1])) if (number := CARD_NUMBER.search(entry["name"])) else None,
            default=portaudio.query_hostapis(entry["hostapi"])[f"default_{direction}_device"]
            == entry["index"],
        )
        for entry in portaudio.query_devices()
    ]


def _is_shown(name: str) -> bool:
    """ALSA also lists plugins ("dmix", "sysdefault", "surround51"), which lead to the same cards."""
    return bool(CARD_NUMBER.search(name)) or name in (DEFAULT, *SOUND_SERVERS)


def _codes(error: Exception) -> set[int]:
    """PortAudio's, and that of ALSA behind it."""
    host_code = error.args[2][1] if len(error.args) > 2 else None
    return {*error.args[1:2], *([host_code] if host_code is not None else [])}


def _direction(kind: Kind) -> Direction:
    return "c" if kind == "microphone" else "p"


def _busy(kind: Kind, name: str, program: User | None) -> DeviceBusy:
    if program is None:
        return DeviceBusy(f'The {kind} "{name}" is busy; close the other program that uses it.')
    return DeviceBusy(f'The {kind} "{name}" is busy: {program} uses it; close that program.')


def _failed(device: Device, error: Exception) -> AudioError:
    if _codes(error) & BUSY_CODES:
        number = device.card.number if device.card else None
        program = user(number, _direction(device.kind)) if number is not None else None
        return _busy(device.kind, device.name, program)
    # what is called "default" may be a bare card
    is_servers_own = is_servers(device.name) and (device.name != DEFAULT or sound_server.answers(os.environ))
    if is_servers_own and NONE_CODE in _codes(error):
        return AudioError(f"The sound server has no {device.kind}; plug one in.")
    reason = error.args[2][2] if len(error.args) > 2 else error.args[0]
    return AudioError(
        f'The {device.kind} "{device.name}" cannot be opened: {reason}; choose another in config.toml.'
    )


def _hush_alsa() -> None:
    """Keep ALSA from printing each gap in the sound: that would go to the journal, and wear out the SD card.

    What prints is replaced by a function of the C library that does no harm whatever it is given: one of
    Python's could not be called under MemoryDenyWriteExecute=.
    """
    with contextlib.suppress(OSError):  # PortAudio may have been built without ALSA
        ctypes.CDLL("libasound.so.2").snd_lib_error_set_handler(ctypes.CDLL(None).getppid)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """ALSA and PortAudio write to the process's standard error whatever they try in vain: keep that from
    people.
    """
    with open(os.devnull, "wb") as nowhere:
        standard_error = os.dup(2)
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(standard_error, 2)
            os.close(standard_error)
