"""The daemon's end of the embedded transport: one Unix stream socket, any number of peers, one asyncio loop.

End-of-file on a connection *is* the news that a worker died, so redelivery needs no heartbeats.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import grp
import logging
import os
import pwd
import socket
import stat
import struct
from pathlib import Path

import msgspec

from assistant.errors import DaemonError
from assistant.queues import wire
from assistant.queues.broker import Broker, Peer
from assistant.service import systemd

log = logging.getLogger(__name__)

FIRST_BUFFER_BYTES = 4096
"""What a connection begins with; a peer that sends sound gets as much as its longest frame."""

SOCKET_BUFFER_BYTES = 1024 * 1024
"""Asked of the kernel, which may give less: an utterance of some seconds then leaves in one call."""

MAX_PATH_BYTES = 107
"""`sun_path` of unix(7) is 108 bytes with its final zero."""

HELLO_WITHIN_S = 5.0

GOODBYE_WITHIN_S = 1.0
"""How long a peer that is let go has to read what was still on its way to it."""


class Connection(asyncio.BufferedProtocol):
    """One peer: reads each frame straight into a buffer that is kept, so that sound is copied once."""

    def __init__(self, broker: Broker, group: int | None, hello_within_s: float) -> None:
        self._broker = broker
        self._group = group
        self._hello_within_s = hello_within_s
        self._peer: Peer | None = None
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray(FIRST_BUFFER_BYTES)
        self._filled = 0
        self._expected = wire.HEADER_BYTES
        self._in_header = True
        self._patience: asyncio.TimerHandle | None = None

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=2**40)  # the broker looks at backlog_bytes itself
        sock = transport.get_extra_info("socket")
        if not _is_allowed(sock, self._group):
            log.warning("a process of another user tried to connect and was turned away")
            transport.abort()
            return
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER_BYTES)
        self._patience = asyncio.get_running_loop().call_later(self._hello_within_s, transport.abort)

    def get_buffer(self, _sizehint: int) -> memoryview:
        return memoryview(self._buffer)[self._filled : self._expected]

    def buffer_updated(self, nbytes: int) -> None:
        self._filled += nbytes
        if self._filled < self._expected:
            return
        self._filled = 0
        try:
            if self._in_header and (size := wire.body_bytes(self._buffer)):
                self._in_header, self._expected = False, size
                if size > len(self._buffer):
                    self._buffer = bytearray(size)
                return
            body = memoryview(self._buffer)[: 0 if self._in_header else self._expected]
            self._in_header, self._expected = True, wire.HEADER_BYTES
            self._receive(wire.decode_from_peer(body))
        except wire.ProtocolError as error:
            log.warning("a peer was dropped: %s", error)
            self.send(wire.encode(wire.Goodbye(str(error))))
            self.close()

    def connection_lost(self, _error: Exception | None) -> None:
        if self._patience is not None:
            self._patience.cancel()
        if self._peer is not None:
            self._broker.leave(self._peer)

    def eof_received(self) -> bool:
        return False

    # the broker's side (`Port`)

    def send(self, frame: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(frame)

    def close(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.close()
            if self.backlog_bytes():  # else a peer that does not read would keep it for ever
                asyncio.get_running_loop().call_later(GOODBYE_WITHIN_S, self._transport.abort)

    def backlog_bytes(self) -> int:
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def _receive(self, frame: wire.FromPeer) -> None:
        if self._peer is not None:
            self._broker.received(self._peer, frame)
        elif isinstance(frame, wire.Hello):
            if self._patience is not None:
                self._patience.cancel()
            # what the kernel says, for it may be killed; 0 is a process that we do not see
            assert self._transport is not None
            pid, _, _ = _credentials(self._transport.get_extra_info("socket"))
            self._peer = self._broker.join(msgspec.structs.replace(frame, pid=pid or frame.pid), self)
        else:
            raise wire.ProtocolError("The peer did not say hello first.")


class SocketServer:
    """Listens on `path`: on the socket that systemd passed for it, else on one of its own."""

    def __init__(self, path: Path, broker: Broker, hello_within_s: float = HELLO_WITHIN_S) -> None:
        self._path = path
        self._broker = broker
        self._hello_within_s = hello_within_s
        self._servers: list[asyncio.AbstractServer] = []
        self._is_passed = False
        self._lock: int | None = None
        self._group = _assistant_group()

    async def start(self) -> None:
        """Bind and listen.  Raises `DaemonError` where the path cannot be used."""
        check_path(self._path)
        self._lock = _lock_beside(self._path)
        for passed in systemd.sockets():
            if passed.getsockname() != str(self._path):
                passed.close()
                continue
            loop = asyncio.get_running_loop()
            self._servers.append(await loop.create_server(self._connection, sock=passed))
            # somebody may have removed it, and a daemon before us made one that nobody serves now
            self._is_passed = _leads_somewhere(self._path)
        try:
            if not self._is_passed:
                await self._listen()
        except DaemonError:
            await self.stop()
            raise

    async def look(self) -> None:
        """Listen anew if somebody has removed the socket: whoever is connected stays so."""
        if self._servers and not self._path.exists():
            log.warning("the socket %s was removed; it is made again", self._path)
            self._is_passed = False
            await self._listen()

    def _connection(self) -> Connection:
        return Connection(self._broker, self._group, self._hello_within_s)

    async def _listen(self) -> None:
        old_mask = os.umask(0o117)
        try:
            _remove_stale(self._path)
            loop = asyncio.get_running_loop()
            self._servers.append(await loop.create_unix_server(self._connection, str(self._path)))
        except OSError as error:
            raise DaemonError(
                f"The daemon cannot listen on {self._path}: {error.strerror}; "
                "set another daemon.socket in config.toml."
            ) from None
        finally:
            os.umask(old_mask)
        if self._group is not None:
            with contextlib.suppress(PermissionError):  # only root or a member may give it to the group
                os.chown(self._path, -1, self._group)

    async def stop(self) -> None:
        """Stop listening, end all connections, remove the socket if it is not systemd's."""
        if self._servers:
            for server in self._servers:
                server.close()
            for peer in self._broker.peers():
                self._broker.dismiss(peer, "The daemon stops.")
            if not self._is_passed:
                self._path.unlink(missing_ok=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def check_path(path: Path) -> None:
    """Raises `DaemonError` where the kernel could not bind `path`."""
    length = len(os.fsencode(path))
    if length > MAX_PATH_BYTES:
        raise DaemonError(
            f"The socket path {path} is {length} bytes long, and Linux allows {MAX_PATH_BYTES}; "
            "set a shorter one as daemon.socket in config.toml."
        )


def _leads_somewhere(path: Path) -> bool:
    """Whether anybody listens behind the socket file."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except BlockingIOError:
            return True  # more wait for an answer than may
        except OSError:
            return False
    return True


def _remove_stale(path: Path) -> None:
    """Remove what a daemon that was killed left behind (the lock says that none lives), but nothing else."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise DaemonError(f"{path} exists and is not a socket; set another daemon.socket in config.toml.")
    path.unlink()


def _lock_beside(path: Path) -> int:
    """Hold `path`.lock for as long as the daemon lives: the kernel lets go of it whatever becomes of us."""
    lock_path = path.with_name(path.name + ".lock")
    try:
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        lock = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise DaemonError(
            f"The daemon cannot use {path.parent} for its socket: {error.strerror}; "
            "set another daemon.socket in config.toml."
        ) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        pid = os.pread(lock, 32, 0).decode(errors="replace").strip()
        os.close(lock)
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise DaemonError(f"{lock_path} cannot be locked: {error.strerror}.") from None
        raise DaemonError(
            f"Another daemon (process {pid or 'unknown'}) already listens on {path}; "
            "use it with `assistant --text`, or stop it first."
        ) from None
    with contextlib.suppress(OSError):  # a full disk: the number is only for the sentence above
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
    return lock


def _assistant_group() -> int | None:
    with contextlib.suppress(KeyError):
        return grp.getgrnam("assistant").gr_gid
    return None


def _is_allowed(sock: socket.socket, group: int | None) -> bool:
    """Our own user, root, and members of the group `assistant` (`SO_PEERCRED` of unix(7))."""
    _pid, user, peer_group = _credentials(sock)
    if user in (0, os.getuid()) or (group is not None and peer_group == group):
        return True
    with contextlib.suppress(KeyError):
        return group is not None and group in os.getgrouplist(pwd.getpwuid(user).pw_name, peer_group)
    return False


def _credentials(sock: socket.socket) -> tuple[int, int, int]:
    """Process, user and group at the other end."""
    size = struct.calcsize("3i")
    pid, user, group = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return pid, user, group
