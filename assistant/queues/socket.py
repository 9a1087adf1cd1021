"""A peer's end of the embedded transport: one blocking Unix stream socket."""

from __future__ import annotations

import select
import socket
from pathlib import Path

from assistant.errors import DaemonError
from assistant.queues import wire
from assistant.queues.link import Disconnected, Link

READ_BYTES = 1024 * 1024
GONE = "The daemon went away; start it again."


class SocketChannel:
    """Whole frames over a Unix socket; writes block, reads wait as long as they are told."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._buffer = bytearray()
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
            piece = self._socket.recv(READ_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:  # another thread has read it meanwhile
            return []
        except OSError:
            piece = b""
        if not piece:
            raise Disconnected(GONE)
        self._buffer += piece
        return self._whole_frames()

    def close(self) -> None:
        self._socket.close()

    def _whole_frames(self) -> list[wire.FromDaemon]:
        frames: list[wire.FromDaemon] = []
        start = 0
        with memoryview(self._buffer) as view:
            while len(view) - start >= wire.HEADER_BYTES:
                body = start + wire.HEADER_BYTES
                end = body + wire.body_bytes(view[start:body])
                if len(view) < end:
                    break
                frames.append(wire.decode_from_daemon(view[body:end]))
                start = end
        del self._buffer[:start]
        return frames


def connect(path: Path, role: wire.Role) -> Link:
    """Join the daemon that listens on `path`.  Raises `DaemonError`."""
    channel = SocketChannel(path)
    try:
        return Link(channel, role)
    except BaseException:
        channel.close()
        raise
