"""A peer's end of the embedded transport: one blocking Unix stream socket."""

from __future__ import annotations

import select
import socket
from pathlib import Path

from assistant.errors import DaemonError
from assistant.queues import wire
from assistant.queues.link import Disconnected, Link

SOCKET_BUFFER_BYTES = 1024 * 1024
"""Asked of the kernel, which may give less: an utterance of some seconds then travels in one call."""

GONE = "The daemon went away; start it again."


class SocketChannel:
    """Whole frames over a Unix socket; writes block, reads wait as long as they are told."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER_BYTES)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BUFFER_BYTES)
        self._buffer = bytearray(SOCKET_BUFFER_BYTES)  # kept: fresh pages would cost more than the reading
        self._filled = 0
        try:
            self._socket.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            self._socket.close()
            raise DaemonError(f"No daemon listens on {path}; start one with `assistant`.") from None
        except PermissionError:
            self._socket.close()
            raise DaemonError(
                f"You may not use the daemon on {path}; "
                "add yourself to its group: sudo usermod -aG assistant $USER."
            ) from None
        except OSError as error:
            self._socket.close()
            raise DaemonError(f"The daemon on {path} cannot be reached: {error.strerror or error}.") from None

    def write(self, frame: bytes) -> None:
        try:
            self._socket.sendall(frame)
        except OSError:
            raise Disconnected(GONE) from None

    def wait(self, timeout_s: float | None) -> bool:
        poll = select.poll()  # one of its own for each call: a poll object serves one thread at a time
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(None if timeout_s is None else max(0, round(timeout_s * 1000))))

    def read(self) -> list[wire.FromDaemon]:
        try:
            with memoryview(self._buffer) as view:
                count = self._socket.recv_into(view[self._filled :], 0, socket.MSG_DONTWAIT)
        except BlockingIOError:  # another thread has read it meanwhile
            return []
        except OSError:
            count = 0
        if not count:
            raise Disconnected(GONE)
        self._filled += count
        return self._whole_frames()

    def close(self) -> None:
        self._socket.close()

    def _whole_frames(self) -> list[wire.FromDaemon]:
        frames: list[wire.FromDaemon] = []
        start = 0
        needed = wire.HEADER_BYTES
        with memoryview(self._buffer) as view:
            while self._filled - start >= wire.HEADER_BYTES:
                body = start + wire.HEADER_BYTES
                size = wire.body_bytes(view[start:body])
                if self._filled < body + size:
                    needed += size
                    break
                frames.append(wire.decode_from_daemon(view[body : body + size]))
                start = body + size
            view[: self._filled - start] = view[start : self._filled]
            self._filled -= start
        if len(self._buffer) <= needed:
            self._buffer.extend(bytes(needed + 1 - len(self._buffer)))
        return frames


def connect(path: Path, role: wire.Role) -> Link:
    """Join the daemon that listens on `path`.  Raises `DaemonError`."""
    channel = SocketChannel(path)
    try:
        return Link(channel, role)
    except BaseException:
        channel.close()
        raise


def reconnect(link: Link, path: Path, role: wire.Role) -> None:
    """Join the daemon that listens on `path` now, with the same link.  Raises `DaemonError`."""
    link.rejoin(SocketChannel(path), role)
