"""What a virtual sound card and the workers say to each other over its two Unix sockets.

Sequenced packets, so that one packet is one record and no framing is needed.

    microphone, card to worker   POSITION: where the sound begins; then SOUND + PCM, at the end SOUND alone
    microphone, worker to card   POSITION: everything before it is dealt with
    speaker, card to worker      CLOCK; then HEARD as sound is played, and as the answer to each STOP
    speaker, worker to card      PLAY + PCM; STOP

PCM is mono, 16 bit little-endian; positions count samples; times are seconds of CLOCK_MONOTONIC.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path

from assistant.errors import AudioError

MICROPHONE_SOCKET = "microphone.sock"
SPEAKER_SOCKET = "speaker.sock"
CARD_PREFIX = "card:"
"""A microphone or speaker named so is the socket of a virtual card, not a device."""

POSITION = struct.Struct("<q")
SOUND = struct.Struct("<qd")
"""Position of the first sample; when the last one was captured."""
CLOCK = struct.Struct("<Id")
"""The speaker's rate in Hz; how many times faster than real time it plays."""
HEARD = struct.Struct("<cqid")
"""PLAYED or STOPPED; samples heard before these; how many these are; when the first of them is heard."""
PLAYED, STOPPED = b"p", b"s"
PLAY, STOP = b"p", b"s"

LARGEST_PACKET_BYTES = 65_536
CONNECT_S = 5.0


def is_card(name: str) -> bool:
    """Whether the microphone or speaker `name` is a virtual card's."""
    return name.startswith(CARD_PREFIX)


def microphone_name(folder: Path) -> str:
    """What workers call the microphone of the card that has its sockets in `folder`."""
    return f"{CARD_PREFIX}{folder / MICROPHONE_SOCKET}"


def speaker_name(folder: Path) -> str:
    """What workers call its speaker."""
    return f"{CARD_PREFIX}{folder / SPEAKER_SOCKET}"


def connect(path: str) -> socket.socket:
    """The worker's end of the card's socket at `path`.  Raises `AudioError`."""
    link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        link.settimeout(CONNECT_S)
        link.connect(path)
    except OSError as error:
        link.close()
        raise AudioError(
            f"The sound card {path} cannot be reached ({error}); was its command ended?"
        ) from None
    return link


class Door:
    """A listening socket of the card.  One worker at a time: a newer one replaces the older.

    `serve(link)` runs in a thread of its own for each worker, and returns soon after `link` is shut down.
    """

    def __init__(self, path: Path, serve: Callable[[socket.socket], None]) -> None:
        self._path = path
        self._serve = serve
        self._link: socket.socket | None = None
        self._serving: threading.Thread | None = None
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._listener.bind(os.fspath(path))
        except OSError as error:
            self._listener.close()
            raise AudioError(
                f"The sound card cannot listen at {path} ({error}); use a short path that allows sockets."
            ) from None
        path.chmod(0o600)
        self._listener.listen(1)
        self._accepting = threading.Thread(target=self._accept, name=path.name, daemon=True)
        self._accepting.start()

    def close(self) -> None:
        """Send the worker away and take no other."""
        # unlike close, shutdown wakes the thread that waits in accept
        self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        self._listener.close()
        self._send_away()
        self._path.unlink(missing_ok=True)

    def _accept(self) -> None:
        while True:
            try:
                link, _ = self._listener.accept()
            except OSError:
                return
            self._send_away()
            self._link = link
            self._serving = threading.Thread(target=self._serve_and_close, args=(link,), daemon=True)
            self._serving.start()

    def _serve_and_close(self, link: socket.socket) -> None:
        with link:
            self._serve(link)

    def _send_away(self) -> None:
        if self._link and self._serving:
            with contextlib.suppress(OSError):
                self._link.shutdown(socket.SHUT_RDWR)
            self._serving.join()
