"""The daemon's socket: hostile and broken peers, and who may listen where."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from queue_hub import MemoryHub, SocketHub, in_step

from assistant.errors import DaemonError
from assistant.messages import Ask, Question
from assistant.queues import socket as peer_socket
from assistant.queues import wire
from assistant.queues.link import Disconnected
from assistant.queues.server import MAX_PATH_BYTES, SocketServer, _leads_somewhere
from assistant.service import systemd

HELLO_WITHIN_S = 1.0


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[SocketHub]:
    with SocketHub(tmp_path / "hub.sock", HELLO_WITHIN_S) as opened:
        yield opened


@contextlib.contextmanager
def raw(hub: SocketHub) -> Iterator[socket.socket]:
    """A peer that speaks as it likes."""
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(str(hub.path))  # waits while the daemon is behind with accepting
        peer.settimeout(10.0)
        yield peer


def answer(peer: socket.socket) -> bytes:
    """All that the daemon says until it hangs up."""
    said = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := peer.recv(65536):
            said += piece
    return said


def frames(said: bytes) -> list[wire.FromDaemon]:
    decoded = []
    while said:
        end = wire.HEADER_BYTES + wire.body_bytes(said[: wire.HEADER_BYTES])
        decoded.append(wire.decode_from_daemon(said[wire.HEADER_BYTES : end]))
        said = said[end:]
    return decoded


def framed(body: bytes) -> bytes:
    return len(body).to_bytes(wire.HEADER_BYTES, "big") + body


HELLO = wire.encode(wire.Hello("client", os.getpid()))


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"\xff\xff\xff\xff", "announced a frame of 4294967295 bytes"),
        (b"GET / HTTP/1.1\r\n\r\n", "announced a frame of"),
        (framed(b""), "none of ours"),
        (framed(b"\xc1" * 50), "none of ours"),
        (framed(b"\x81\xa4type\xa5H\xffllo"), "none of ours"),
        (framed(b"\x91" * 50_000), "none of ours"),
        (wire.encode(wire.Beat()), "did not say hello first"),
        (wire.encode(wire.Post(Ask("Why?"))), "did not say hello first"),
        (HELLO + HELLO, "said hello twice"),
        (HELLO + framed(b"\x00"), "none of ours"),
        (
            wire.encode(wire.Hello("llm", 1, protocol=99)),
            "version 99 of the queue's protocol and the daemon 2",
        ),
    ],
)
def test_a_peer_that_does_not_speak_our_protocol_is_told_and_dropped(
    hub: SocketHub, said: bytes, why: str
) -> None:
    worker = hub.connect("llm")
    with raw(hub) as peer:
        peer.sendall(said)
        last = frames(answer(peer))[-1]
    assert isinstance(last, wire.Goodbye)
    assert why in last.reason
    hub.call(lambda: hub.broker.offer("llm", Question(1, 0, "Still there?"), 60.0))
    delivery = worker.receive(timeout_s=10.0)
    assert delivery is not None
    assert delivery.message == Question(1, 0, "Still there?")


@pytest.mark.parametrize("said", [b"", HELLO[:2], HELLO[:-1], (1000).to_bytes(4, "big")])
def test_silence_before_the_hello_ends_the_connection(hub: SocketHub, said: bytes) -> None:
    with raw(hub) as peer:
        begun_s = time.monotonic()
        peer.sendall(said)
        assert answer(peer) == b""
        assert HELLO_WITHIN_S / 2 < time.monotonic() - begun_s < 5.0
    assert hub.owner.peers == []


def test_silence_after_the_hello_is_allowed(hub: SocketHub) -> None:
    client = hub.connect("client")
    with raw(hub) as silent:
        assert answer(silent) == b""  # by now the client's time has passed, too
    in_step(client)


def test_a_frame_may_come_byte_by_byte_or_many_at_once(hub: SocketHub) -> None:
    questions = [Ask("x" * length) for length in (0, 1, 255, 70_000)]
    said = b"".join(wire.encode(wire.Post(each)) for each in questions)
    with raw(hub) as peer:
        for at in range(len(HELLO)):
            peer.sendall(HELLO[at : at + 1])
        peer.sendall(said)
        hub.until(lambda: len(hub.owner.posts) == len(questions))
    assert hub.owner.posts == questions


def test_a_peer_that_vanishes_in_mid_frame_has_left(hub: SocketHub) -> None:
    with raw(hub) as peer:
        peer.sendall(HELLO + wire.encode(wire.Post(Ask("x" * 10_000)))[:5_000])
        hub.until(lambda: len(hub.owner.peers) == 1)
    hub.until(lambda: hub.owner.gone == ["client"])
    assert hub.owner.posts == []


def test_a_defect_of_the_owner_ends_one_connection_only(hub: SocketHub) -> None:
    hub.owner.renew = None  # type: ignore[assignment] # the defect
    worker, client = hub.connect("llm"), hub.connect("client")
    hub.call(lambda: hub.broker.offer("llm", Question(1, 0, "Why?"), 60.0))
    assert worker.receive(timeout_s=10.0) is not None
    worker.close()
    in_step(client)
    hub.owner.gone.append("llm")  # it never got to say so


def test_thousands_of_connections_leave_nothing_behind(hub: SocketHub) -> None:
    def open_files() -> int:
        return len(os.listdir("/proc/self/fd"))

    client = hub.connect("client")
    in_step(client)
    before = open_files()
    for number in range(2000):
        with raw(hub) as peer:
            if number % 2:
                peer.sendall(HELLO if number % 4 == 1 else b"\xff\xff\xff\xff")
    peers = 1 + 500
    hub.until(lambda: len(hub.owner.gone) == peers - 1)
    with raw(hub) as last:
        assert answer(last) == b""  # nobody who came before has more patience left
    in_step(client)
    assert open_files() <= before
    assert len(hub.call(hub.broker.peers)) == 1


def test_the_socket_is_for_its_owner_and_group(hub: SocketHub) -> None:
    mode = hub.path.stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o660


def test_stopping_says_goodbye_and_removes_the_socket(tmp_path: Path) -> None:
    with SocketHub(tmp_path / "hub.sock") as hub:
        client = hub.connect("client")
        hub.stop()
        with pytest.raises(Disconnected, match="The daemon stops"):
            client.notice(timeout_s=10.0)
        assert not hub.path.exists()
        with pytest.raises(
            DaemonError, match=r"No daemon listens on .*hub\.sock; start one with `assistant`"
        ):
            peer_socket.connect(hub.path, "client")


def listen(path: Path) -> None:
    """Begin to listen on `path`, and stop again."""

    async def briefly() -> None:
        server = SocketServer(path, MemoryHub().broker)
        await server.start()
        await server.stop()

    asyncio.run(briefly())


def test_a_second_daemon_is_told_of_the_first(hub: SocketHub) -> None:
    with pytest.raises(DaemonError, match=f"Another daemon .process {os.getpid()}. already listens on"):
        listen(hub.path)
    hub.connect("client")  # and the first goes on


def test_what_a_killed_daemon_left_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "hub.sock"
    program = (
        "import asyncio, sys\nfrom pathlib import Path\n"
        "from assistant.config import Config\nfrom assistant.queues.broker import Broker\n"
        "from assistant.queues.server import SocketServer\n"
        "async def serve():\n"
        "    await SocketServer(Path(sys.argv[1]), Broker(Config(), None, None)).start()\n"
        "    print('listening', flush=True)\n    await asyncio.sleep(100)\n"
        "asyncio.run(serve())\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"listening\n"
        with pytest.raises(DaemonError, match=f"process {first.pid}"):
            listen(path)
        first.kill()
    assert path.is_socket()
    with pytest.raises(DaemonError, match="No daemon listens"):
        peer_socket.connect(path, "client")
    listen(path)


@pytest.mark.parametrize("extra", [0, 1, 500])
def test_the_length_of_the_path(tmp_path: Path, extra: int) -> None:
    folder = tmp_path / "ä"
    path = folder / ("x" * (MAX_PATH_BYTES - len(os.fsencode(folder)) - 1 + extra))
    if not extra:
        listen(path)
        return
    with pytest.raises(
        DaemonError, match=f"is {MAX_PATH_BYTES + extra} bytes long, and Linux allows 107; set a"
    ):
        listen(path)
    with pytest.raises(DaemonError, match="cannot be reached"):
        peer_socket.connect(path, "client")
    assert not folder.exists()


def test_what_is_not_a_socket_is_left_alone(tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("precious", encoding="utf-8")
    for path in (notes, tmp_path):
        with pytest.raises(DaemonError, match=r"exists and is not a socket; set another daemon\.socket"):
            listen(path)
    assert notes.read_text(encoding="utf-8") == "precious"
    with pytest.raises(DaemonError, match="for its socket: File exists; set another"):
        listen(notes / "hub.sock")


# ---------------------------------------------------------------- sockets that systemd passes


@pytest.fixture
def passed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where somebody listens for the daemon, whether there is one or not."""
    path = tmp_path / "hub.sock"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        monkeypatch.setattr(systemd, "sockets", lambda: [listening.dup()])
        yield path


def test_a_passed_socket_is_served_and_left(passed: Path) -> None:
    before = passed.stat().st_ino
    for _ in range(2):
        with SocketHub(passed) as hub:
            in_step(hub.connect("client"))
            hub.look()
            assert passed.stat().st_ino == before
    with socket.socket(socket.AF_UNIX) as early:
        early.connect(str(passed))  # between two daemons
        with SocketHub(passed) as hub:
            early.settimeout(10.0)
            early.sendall(HELLO)
            hub.until(lambda: len(hub.owner.peers) == 1)
            early.close()
    assert passed.stat().st_ino == before


def test_a_passed_socket_for_another_path_is_not_ours(passed: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.sock"
    with SocketHub(other) as hub:
        in_step(hub.connect("client"))
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(str(passed))  # nobody accepts it
    assert passed.exists()
    assert not other.exists()


def test_a_passed_socket_whose_file_is_gone_is_made_again(passed: Path) -> None:
    passed.unlink()
    with SocketHub(passed) as hub:
        in_step(hub.connect("client"))
    assert not passed.exists(), "it was the daemon's own"


def test_a_passed_socket_whose_file_is_a_dead_daemons_is_made_again(passed: Path) -> None:
    """A daemon before us made the socket anew when somebody had removed it, and was killed."""
    passed.unlink()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(passed))
    with pytest.raises(DaemonError, match="No daemon listens"):
        peer_socket.connect(passed, "client")
    with SocketHub(passed) as hub:
        in_step(hub.connect("client"))


def test_a_full_queue_of_peers_is_no_dead_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for the daemon shall be served by it, not be cut off by another socket."""
    path = tmp_path / "hub.sock"
    with contextlib.ExitStack() as peers, socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen(1)
        before = path.stat().st_ino
        with contextlib.suppress(BlockingIOError):
            while True:
                waiting = peers.enter_context(socket.socket(socket.AF_UNIX))
                waiting.setblocking(False)
                waiting.connect(str(path))
        assert _leads_somewhere(path)
        monkeypatch.setattr(systemd, "sockets", lambda: [listening.dup()])
        with SocketHub(path) as hub:
            peers.close()
            in_step(hub.connect("client"))
            in_step(hub.connect("client"))  # by now the daemon knows that they went
            assert path.stat().st_ino == before


@pytest.mark.parametrize("is_passed", [True, False])
def test_a_socket_that_was_removed_is_made_again(
    passed: Path, monkeypatch: pytest.MonkeyPatch, is_passed: bool
) -> None:
    if not is_passed:
        monkeypatch.setattr(systemd, "sockets", list)
        passed.unlink()
    with SocketHub(passed) as hub:
        before = hub.connect("llm")
        for _ in range(3):
            passed.unlink()
            with pytest.raises(DaemonError, match="No daemon listens"):
                peer_socket.connect(passed, "client")
            hub.look()
            assert stat.S_IMODE(passed.stat().st_mode) == 0o660
            in_step(hub.connect("client"))
        hub.call(lambda: hub.broker.offer("llm", Question(1, 0, "Still there?"), 60.0))
        delivery = before.receive(timeout_s=10.0)
        assert delivery is not None
        delivery.done()
        in_step(before)
    assert not passed.exists()


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(DaemonError, match=r"for its socket: Permission denied; set another daemon\.socket"):
        listen(tmp_path / "hub.sock")
    tmp_path.chmod(0o700)


def test_a_daemon_of_another_time_is_not_understood(tmp_path: Path) -> None:
    """The peer's side of it: whatever the daemon says that is none of ours ends in a sentence."""
    for said in (b"\xff\xff\xff\xff", framed(msgspec.msgpack.encode({"type": "Welcome", "config": 3})), b""):
        path = tmp_path / "other.sock"
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(path))
            other.listen()
            program = (
                "import sys; from pathlib import Path; from assistant.queues.socket import connect\n"
                "from assistant.errors import AssistantError\n"
                "try: connect(Path(sys.argv[1]), 'client')\n"
                "except AssistantError as error: print(error)\n"
            )
            command = [sys.executable, "-W", "error", "-c", program, str(path)]
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as peer:
                accepted, _ = other.accept()
                with accepted:
                    accepted.sendall(said)
                out, err = peer.communicate(timeout=20)
            assert err == b""
            assert out.endswith(b".\n")
        path.unlink()
