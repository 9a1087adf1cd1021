"""Whether the sound servers of this session answer."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping
from itertools import chain
from pathlib import Path

START = "systemctl --user restart pipewire pipewire-pulse pulseaudio"
"""One or two of them are not there, mostly; systemctl says so, and starts the others."""

PULSE, PIPEWIRE = "pulse", "pipewire"
"""What ALSA calls the devices of either server."""

SOCKETS = {PULSE: "pulse/native", PIPEWIRE: "pipewire-0"}
"""Where each usually listens, in $XDG_RUNTIME_DIR."""

SYSTEM_WIDE = Path("/run/pulse/native")
"""Where a PulseAudio of the whole system listens; its clients try that where this session's does not answer
(libpulse, `pa_context_connect`).
"""

USER_UNITS = Path("/usr/lib/systemd/user")
UNITS = ("pulseaudio.socket", "pipewire.socket", "pipewire-pulse.socket")


def is_silent(environment: Mapping[str, str], device: str, system_wide: Path = SYSTEM_WIDE) -> bool:
    """Whether the sound server that `device` is of does not answer: "pulse", "pipewire", or another name for
    what may be of either.

    One that is meant by its name may have ended and left no trace.  Else there is a socket at which nobody
    listens: whatever uses that server finds nothing, though another one may live.
    """
    if device != PIPEWIRE and (named := environment.get("PULSE_SERVER")):
        places = _places(named)
        return bool(places) and not any(map(_listens, places))
    if not environment.get("XDG_RUNTIME_DIR"):
        return False
    usual = _usual(environment, system_wide)
    if device in usual:
        return not any(map(_listens, usual[device]))
    return not all(any(map(_listens, places)) for places in usual.values() if _is_socket(places[0]))


def answers(environment: Mapping[str, str], system_wide: Path = SYSTEM_WIDE) -> bool:
    """Whether a sound server is known to run: at one of the sockets somebody listens."""
    usual = chain.from_iterable(_usual(environment, system_wide).values())
    return any(map(_listens, [*_places(environment.get("PULSE_SERVER", "")), *usual]))


def is_missing(
    environment: Mapping[str, str], units: Path = USER_UNITS, system_wide: Path = SYSTEM_WIDE
) -> bool:
    """Whether a sound server is installed for sessions such as this one, and none runs."""
    if environment.get("PULSE_SERVER") or not environment.get("XDG_RUNTIME_DIR"):
        return False
    is_installed = any((units / unit).exists() for unit in UNITS)
    places = chain.from_iterable(_usual(environment, system_wide).values())
    return is_installed and not any(map(_is_socket, places))


def _usual(environment: Mapping[str, str], system_wide: Path) -> dict[str, list[Path]]:
    """Where each server may listen unless PULSE_SERVER names another place, this session's first."""
    runtime = environment.get("XDG_RUNTIME_DIR")
    usual = {server: [Path(runtime) / place] if runtime else [] for server, place in SOCKETS.items()}
    usual[PULSE].append(system_wide)
    return usual


def _places(named: str) -> list[Path]:
    """The sockets that PULSE_SERVER names (pulse-client.conf(5)), of which one will do; none for a server
    elsewhere.
    """
    places = [place.rpartition("}")[2].removeprefix("unix:") for place in named.split()]
    return [Path(place) for place in places] if all(place.startswith("/") for place in places) else []


def _is_socket(place: Path) -> bool:
    """Whether there is one to be seen; behind `su` the session's folder is another user's."""
    with contextlib.suppress(OSError):
        return place.is_socket()
    return False


def _listens(place: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as link:
        link.setblocking(False)
        try:
            link.connect(str(place))
        except BlockingIOError:  # it is there, and hangs
            return True
        except OSError:
            return False
        return True
