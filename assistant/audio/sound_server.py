"""Whether the sound server of this session answers."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path

START = "systemctl --user restart pipewire pipewire-pulse pulseaudio"
"""One or two of them are not there, mostly; systemctl says so, and starts the others."""


def is_silent(environment: Mapping[str, str]) -> bool:
    """Whether there should be a sound server, and nobody listens at any of its sockets."""
    places = sockets(environment)
    return bool(places) and not any(_listens(place) for place in places)


def sockets(environment: Mapping[str, str]) -> list[Path]:
    """Where a server of this computer is: what PULSE_SERVER names (pulse-client.conf(5)), else what there is
    of PulseAudio's and PipeWire's usual ones.  None for a server elsewhere.
    """
    if named := environment.get("PULSE_SERVER"):
        places = [place.rpartition("}")[2].removeprefix("unix:") for place in named.split()]
        return [Path(place) for place in places] if all(place.startswith("/") for place in places) else []
    if not (runtime := environment.get("XDG_RUNTIME_DIR")):
        return []
    return [place for name in ("pulse/native", "pipewire-0") if (place := Path(runtime) / name).is_socket()]


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
