"""Downloads from a server on the loopback that breaks off, lies, forgets, and sends the wrong thing."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assistant.catalogue import disk, transfer
from assistant.catalogue.disk import damage
from assistant.catalogue.download import check_beforehand, pull, url
from assistant.catalogue.read import MISSING, Entry, ModelFile
from assistant.catalogue.transfer import ATTEMPTS, ENOUGH_BYTES, LONGEST_WAIT_S
from assistant.errors import DownloadError

WEIGHTS = b"GGUF" + bytes(range(256)) * 5000
"""1.28 MB: more than an attempt needs in order to count as fruitful."""
OTHER = b"X" * len(WEIGHTS)


class Reply(msgspec.Struct, frozen=True):
    """What the server does with one request; `status` 0 is as asked, `sent` is how many bytes really come."""

    status: int = 0
    body: bytes = WEIGHTS
    sent: int | None = None
    length: str | None = "right"
    kind: str = "application/octet-stream"
    content_range: str = ""
    location: str = ""
    silent: bool = False
    endless: bool = False
    """It goes on in chunks, first `body`, then more, until nobody listens."""
    drips: bool = False
    """A byte at a time comes, and a while passes."""
    encoding: str = ""
    retry_after: str = ""


class Hub(ThreadingHTTPServer):
    """Answers the requests in turn with `replies`, and as it should when there are no more."""

    daemon_threads = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.replies: list[Reply] = []
        self.asked: list[tuple[str, str]] = []
        self.closing = threading.Event()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        hub = self.server
        asked_range = self.headers.get("Range", "")
        hub.asked.append((self.path, asked_range))
        reply = hub.replies.pop(0) if hub.replies else Reply()
        if reply.silent:
            hub.closing.wait(30)
            return
        start = int(asked_range.removeprefix("bytes=").removesuffix("-") or 0)
        status = reply.status or (206 if start else 200)
        body = reply.body[start:] if status == 206 else reply.body
        self.send_response(status)
        self.send_header("Content-Type", reply.kind)
        if reply.location:
            self.send_header(
                "Location", reply.location if "//" in reply.location else hub.address + reply.location
            )
        if reply.encoding:
            self.send_header("Content-Encoding", reply.encoding)
        if reply.retry_after:
            self.send_header("Retry-After", reply.retry_after)
        if status == 206:
            right = f"bytes {start}-{len(reply.body) - 1}/{len(reply.body)}"
            self.send_header("Content-Range", reply.content_range or right)
        if reply.endless:
            self.send_header("Transfer-Encoding", "chunked")
        elif reply.length is not None:
            self.send_header("Content-Length", str(len(body)) if reply.length == "right" else reply.length)
        self.end_headers()
        # Who has seen from the headers that it cannot be the file does not wait for the body.
        with contextlib.suppress(ConnectionError):
            while reply.drips and not hub.closing.wait(0.001):
                self.wfile.write(b"X")
            while reply.endless:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(body), body))
            self.wfile.write(body if reply.sent is None else body[: reply.sent])

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that the base class gives it
        pass


class Heard:
    """A `Progress` that remembers."""

    def __init__(self) -> None:
        self.reached_bytes: list[int] = []
        self.notes: list[str] = []
        self.waited_s: list[float] = []

    def reached(self, file: ModelFile, done_bytes: int) -> None:
        assert 0 < done_bytes <= file.size_bytes
        self.reached_bytes.append(done_bytes)

    def note(self, sentence: str) -> None:
        self.notes.append(sentence)


@contextlib.contextmanager
def serving() -> Iterator[Hub]:
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.address + "/")
        monkeypatch.setenv("no_proxy", "*")
        yield server


def entry(sha256: str = hashlib.sha256(WEIGHTS).hexdigest()) -> Entry:
    file = ModelFile("a/m.gguf", len(WEIGHTS), sha256)
    return Entry("m", "llm", "MIT", ("en",), (file,), "zephyr", "o/r", "c0ffee")


def fetch(folder: Path, wanted: Entry | None = None, **more: bool) -> Heard:
    heard = Heard()
    pull(wanted or entry(), folder, heard, wait=heard.waited_s.append, **more)
    return heard


def left(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "m").glob("*")}


def test_the_file_comes_from_its_pinned_revision(hub: Hub, tmp_path: Path) -> None:
    heard = fetch(tmp_path)
    assert left(tmp_path) == {"m.gguf": WEIGHTS}
    assert hub.asked == [("/o/r/resolve/c0ffee/a/m.gguf", "")]
    assert heard.reached_bytes == sorted(heard.reached_bytes)
    assert heard.reached_bytes[-1] == len(WEIGHTS)
    assert (heard.notes, heard.waited_s) == ([], [])


def test_what_is_there_is_not_fetched_again(hub: Hub, tmp_path: Path) -> None:
    fetch(tmp_path)
    hub.asked.clear()
    assert fetch(tmp_path).reached_bytes == [len(WEIGHTS)]
    assert hub.asked == []


@pytest.mark.parametrize("harmed", [WEIGHTS[:-1], b"Z" + WEIGHTS[1:], b""])
@pytest.mark.usefixtures("hub")
def test_a_damaged_file_is_named_and_fetched_again(tmp_path: Path, harmed: bytes) -> None:
    fetch(tmp_path)
    place = tmp_path / "m" / "m.gguf"
    place.write_bytes(harmed)
    heard = fetch(tmp_path)
    assert [str(place) in note and "fetching it again" in note for note in heard.notes] == [True]
    assert left(tmp_path) == {"m.gguf": WEIGHTS}


def test_all_files_of_a_model_come(hub: Hub, tmp_path: Path) -> None:
    whole = msgspec.structs.replace(
        entry(), files=(*entry().files, ModelFile("a/m.json", 3, hashlib.sha256(b"{ }").hexdigest()))
    )
    hub.replies = [Reply(), Reply(body=b"{ }")]
    fetch(tmp_path, whole)
    assert left(tmp_path) == {"m.gguf": WEIGHTS, "m.json": b"{ }"}


# ---------------------------------------------------------------- a server that misbehaves and recovers

HALF = len(WEIGHTS) // 2


@pytest.mark.parametrize(
    ("replies", "ranges"),
    [
        pytest.param([Reply(sent=HALF)], ["", f"bytes={HALF}-"], id="breaks off"),
        pytest.param(
            [Reply(sent=HALF, length=None)], ["", f"bytes={HALF}-"], id="breaks off, says no length"
        ),
        pytest.param([Reply(sent=0)], ["", ""], id="breaks off at once"),
        pytest.param([Reply(status=503)], ["", ""], id="is busy"),
        pytest.param([Reply(status=429)], ["", ""], id="wants us to slow down"),
        pytest.param([Reply(length=None)], [""], id="says no length"),
        pytest.param([Reply(body=WEIGHTS + b"more", length=None)], [""], id="sends more than the file"),
        pytest.param(
            [Reply(sent=HALF), Reply(status=200)], ["", f"bytes={HALF}-"], id="ignores Range and sends all"
        ),
        pytest.param(
            [Reply(sent=HALF), Reply(status=416)], ["", f"bytes={HALF}-", ""], id="knows no such range"
        ),
        pytest.param(
            [Reply(sent=HALF), Reply(content_range=f"bytes 0-{len(WEIGHTS) - 1}/{len(WEIGHTS)}")],
            ["", f"bytes={HALF}-", f"bytes={HALF}-"],
            id="sends another range",
        ),
        pytest.param(
            [Reply(sent=HALF), Reply(content_range="nonsense")],
            ["", f"bytes={HALF}-", f"bytes={HALF}-"],
            id="sends a range that is none",
        ),
        pytest.param(
            [Reply(sent=HALF), Reply(status=302, location="/elsewhere")],
            ["", f"bytes={HALF}-", f"bytes={HALF}-"],
            id="sends us elsewhere",
        ),
        pytest.param([Reply(endless=True)], [""], id="sends chunks without end"),
        pytest.param([Reply(body=OTHER, endless=True)], ["", ""], id="sends wrong chunks without end"),
        pytest.param(
            [Reply(sent=HALF), Reply(endless=True)], ["", f"bytes={HALF}-"], id="sends the rest without end"
        ),
        pytest.param([Reply(length="\xb2")], [""], id="says a length that is no number"),
        pytest.param([Reply(length="9" * 5000)], [""], id="says a length beyond all numbers"),
        pytest.param(
            [Reply(sent=HALF), Reply(content_range=f"bytes {'9' * 5000}-1/*")],
            ["", f"bytes={HALF}-", f"bytes={HALF}-"],
            id="sends a range beyond all numbers",
        ),
        pytest.param([Reply(body=OTHER)], ["", ""], id="sends wrong bytes once"),
        pytest.param(
            [Reply(body=OTHER, sent=HALF)], ["", f"bytes={HALF}-", ""], id="breaks off after wrong bytes"
        ),
    ],
)
def test_the_right_file_comes_all_the_same(
    hub: Hub, tmp_path: Path, replies: list[Reply], ranges: list[str]
) -> None:
    hub.replies = list(replies)
    fetch(tmp_path)
    assert left(tmp_path) == {"m.gguf": WEIGHTS}
    assert [asked for _, asked in hub.asked] == ranges


def test_a_silent_server_is_asked_again(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "TIMEOUT_S", 0.1)
    hub.replies = [Reply(silent=True)]
    assert fetch(tmp_path).waited_s == [2.0]
    assert left(tmp_path) == {"m.gguf": WEIGHTS}


def test_a_server_that_sends_hardly_anything_is_asked_again(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "TIMEOUT_S", 0.5)
    monkeypatch.setattr(transfer, "SLOWEST_BYTES_S", 10**5)
    hub.replies = [Reply(drips=True)]
    heard = fetch(tmp_path)
    assert heard.notes[0] == "m.gguf: the server sends hardly anything; trying again in 2 s."
    assert left(tmp_path) == {"m.gguf": WEIGHTS}


@pytest.mark.parametrize(
    ("retry_after", "waited_s"),
    [
        ("7", 7.0),
        ("0", 2.0),
        ("99999", LONGEST_WAIT_S),
        ("9" * 5000, 2.0),
        ("-5", 2.0),
        ("Fri, 31 Dec 1999 23:59:59 GMT", 2.0),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_says_when_to_come_again(
    hub: Hub, tmp_path: Path, status: int, retry_after: str, waited_s: float
) -> None:
    hub.replies = [Reply(status=status, retry_after=retry_after)]
    assert fetch(tmp_path).waited_s == [waited_s]


def test_another_host_may_have_it(hub: Hub, tmp_path: Path) -> None:
    with serving() as other:
        hub.replies = [Reply(sent=HALF), Reply(status=307, location=f"{other.address}/m")]
        fetch(tmp_path)
        assert other.asked == [("/m", f"bytes={HALF}-")]
    assert left(tmp_path) == {"m.gguf": WEIGHTS}


def test_an_interrupted_download_goes_on(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "m.gguf.part").write_bytes(WEIGHTS[:1000])
    fetch(tmp_path)
    assert left(tmp_path) == {"m.gguf": WEIGHTS}
    assert hub.asked[0][1] == "bytes=1000-"


@pytest.mark.parametrize("part", [WEIGHTS, OTHER, WEIGHTS + b"!"])
def test_a_part_of_full_length_is_judged_by_its_hash(hub: Hub, tmp_path: Path, part: bytes) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "m.gguf.part").write_bytes(part)
    fetch(tmp_path)
    assert left(tmp_path) == {"m.gguf": WEIGHTS}
    assert len(hub.asked) == (0 if part == WEIGHTS else 1)


def test_a_slow_line_that_keeps_breaking_gets_there(hub: Hub, tmp_path: Path) -> None:
    body = b"GGUF" + bytes(8 * ENOUGH_BYTES)
    file = ModelFile("a/m.gguf", len(body), hashlib.sha256(body).hexdigest())
    hub.replies = [Reply(body=body, sent=ENOUGH_BYTES)] * (ATTEMPTS + 2) + [Reply(body=body)]
    heard = fetch(tmp_path, msgspec.structs.replace(entry(), files=(file,)))
    assert left(tmp_path) == {"m.gguf": body}
    assert heard.waited_s == [1.0] * (ATTEMPTS + 2)


REPLIES = st.builds(
    Reply,
    status=st.sampled_from([0, 0, 0, 200, 416, 500]),
    body=st.sampled_from([WEIGHTS, WEIGHTS, WEIGHTS, OTHER]),
    sent=st.none() | st.integers(0, len(WEIGHTS)),
    length=st.sampled_from(["right", None]),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(replies=st.lists(REPLIES, max_size=8))
def test_whatever_the_server_does_only_the_right_file_gets_its_name(
    hub: Hub, tmp_path_factory: pytest.TempPathFactory, replies: list[Reply]
) -> None:
    folder = tmp_path_factory.mktemp("any")
    hub.replies = list(replies)
    try:
        fetch(folder)
    except DownloadError:
        assert set(left(folder)) <= {"m.gguf.part"}
        assert all(left(folder).values())  # a part has something in it
        hub.replies.clear()
        fetch(folder)
    assert left(folder) == {"m.gguf": WEIGHTS}


# ---------------------------------------------------------------- giving up


@pytest.mark.parametrize(
    ("replies", "said", "requests"),
    [
        ([Reply(status=404)], "the server answered 404 Not Found; try a mirror in HF_ENDPOINT", 1),
        ([Reply(status=403)], "the server answered 403 Forbidden", 1),
        (
            [Reply(status=503)] * 9,
            f"503 Service Unavailable ({ATTEMPTS} attempts); check the network",
            ATTEMPTS,
        ),
        ([Reply(sent=10)] * 9, f"the connection broke off ({ATTEMPTS} attempts)", ATTEMPTS),
        ([Reply(body=b"<html>", kind="text/html; charset=utf-8")], "a web page came instead of it", 1),
        ([Reply(body=b"{}")], f"the server has a file of 2 bytes instead of {len(WEIGHTS)}", 1),
        ([Reply(length="7000000")], "the server has a file of 7000000 bytes", 1),
        ([Reply(body=OTHER)] * 2, "a file whose SHA-256 is wrong, twice", 2),
        ([Reply(status=302, location="/again")] * 30, "the server answered 302 Found; try", 5),
        ([Reply(status=302, location="ftp://x/m")], "sent us on to an address without https; try", 1),
        ([Reply(status=302, location="file:///etc/passwd")], "the server answered 302 Found; try", 1),
        ([Reply(status=500)] * 9, f"500 Internal Server Error ({ATTEMPTS} attempts)", ATTEMPTS),
        ([Reply(encoding="gzip")], "it came compressed; try another mirror", 1),
    ],
)
def test_giving_up_says_why(hub: Hub, tmp_path: Path, replies: list[Reply], said: str, requests: int) -> None:
    hub.replies = list(replies)
    with pytest.raises(DownloadError, match=re.escape(said)) as caught:
        fetch(tmp_path)
    assert str(caught.value).startswith("m.gguf could not be fetched: ")
    assert len(hub.asked) == requests
    assert "m.gguf" not in left(tmp_path)


@pytest.mark.parametrize(
    ("source", "to", "safe"),
    [
        ("https://hub.example", "https://other.example/m", True),
        ("https://hub.example", "http://other.example/m", False),
        ("https://hub.example", "http://127.0.0.1/m", True),
        ("http://mirror.example", "http://other.example/m", True),
        ("http://mirror.example", "ftp://other.example/m", False),
    ],
)
def test_it_goes_only_to_where_it_is_safe(source: str, to: str, safe: bool) -> None:
    with contextlib.nullcontext() if safe else pytest.raises(transfer.UnsafeAddress):
        transfer.require_safe(to, http_too=source.startswith("http://"))


def test_what_a_server_says_cannot_steer_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            for _ in range(ATTEMPTS):
                connection, _ = listener.accept()
                with connection:
                    connection.recv(4096)
                    connection.sendall(b"\x1b[2J\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{listener.getsockname()[1]}")
        monkeypatch.setenv("no_proxy", "*")
        with pytest.raises(DownloadError, match=r"the connection failed \(BadStatusLine\)"):
            fetch(tmp_path)
        thread.join()


def test_what_came_before_giving_up_is_kept(hub: Hub, tmp_path: Path) -> None:
    hub.replies = [Reply(sent=HALF), Reply(status=404)]
    with pytest.raises(DownloadError, match="404"):
        fetch(tmp_path)
    assert left(tmp_path) == {"m.gguf.part": WEIGHTS[:HALF]}


def test_nobody_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(DownloadError, match=r"the connection failed \(Connection refused\); check"):
        fetch(tmp_path)
    assert not list(tmp_path.iterdir())  # not a byte came: no trace either


def test_a_name_that_nobody_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://nobody.invalid")  # RFC 6761: no such name exists
    monkeypatch.setenv("no_proxy", "*")
    heard = Heard()
    with pytest.raises(DownloadError, match=r"the connection failed \([^()]+\); check the network"):
        pull(entry(), tmp_path, heard, wait=heard.waited_s.append)
    assert (heard.notes, heard.waited_s) == ([], [])


def test_going_on_with_a_download_where_nobody_is_fails_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "*")
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "m.gguf.part").write_bytes(WEIGHTS[:HALF])
    heard = Heard()
    with pytest.raises(DownloadError, match="Connection refused"):
        pull(entry(), tmp_path, heard, wait=heard.waited_s.append)
    assert heard.waited_s == []
    assert left(tmp_path) == {"m.gguf.part": WEIGHTS[:HALF]}


def test_a_server_that_goes_away_in_the_middle_is_waited_for(hub: Hub, tmp_path: Path) -> None:
    hub.replies = [Reply(sent=HALF)]
    heard = Heard()

    def gone(seconds: float) -> None:
        heard.waited_s.append(seconds)
        hub.shutdown()
        hub.server_close()

    with pytest.raises(DownloadError, match=rf"Connection refused\) \({ATTEMPTS} attempts\)"):
        pull(entry(), tmp_path, heard, wait=gone)
    assert len(heard.notes) == len(heard.waited_s) == ATTEMPTS - 1
    assert heard.notes[0] == "m.gguf: the connection broke off; trying again in 2 s."
    assert left(tmp_path) == {"m.gguf.part": WEIGHTS[:HALF]}


def test_an_address_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "mirror.example")
    with pytest.raises(DownloadError, match=r'HF_ENDPOINT is "mirror\.example", which is no address'):
        url(entry(), entry().files[0])


def test_an_address_that_only_looks_like_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://[mirror")
    with pytest.raises(DownloadError, match=r"m\.gguf could not be fetched: its address, .* HF_ENDPOINT"):
        fetch(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_file_without_a_hash_needs_permission(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="`assistant models pull m --allow-unverified`"):
        fetch(tmp_path, entry(MISSING))
    assert hub.asked == []
    fetch(tmp_path, entry(MISSING), allow_unverified=True)
    assert left(tmp_path) == {"m.gguf": WEIGHTS}


def test_a_model_of_another_server(hub: Hub, tmp_path: Path) -> None:
    fetch(tmp_path, msgspec.structs.replace(entry(), repo="", revision="", url=hub.address + "/models"))
    assert hub.asked == [("/models/a/m.gguf", "")]


def test_two_at_once_do_not_mix(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    part = tmp_path / "m" / "m.gguf.part"
    with part.open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(DownloadError, match="another process is fetching it"):
            fetch(tmp_path)
    assert hub.asked == []


def test_a_full_disk_is_told_beforehand(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "SPARE_BYTES", 10**18)
    with pytest.raises(DownloadError, match=r"Fetching m takes \d+ MB in .* are free; make room"):
        fetch(tmp_path)
    assert hub.asked == []


def test_room_is_needed_for_all_models_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free_bytes = shutil.disk_usage(tmp_path).free
    spare_bytes = free_bytes * 5 // 8
    monkeypatch.setattr(disk, "SPARE_BYTES", spare_bytes)
    large = msgspec.structs.replace(
        entry(), name="large", files=(ModelFile("a/m.gguf", free_bytes // 4, "0" * 64),)
    )
    other = msgspec.structs.replace(large, name="other")
    folder = tmp_path / "not" / "yet"
    check_beforehand([large], folder)
    with pytest.raises(DownloadError, match="Fetching large, other takes"):
        check_beforehand([large, other], folder)
    assert list(tmp_path.iterdir()) == []
    # What is there needs no room, nor does what has come of the rest.
    (folder / "large").mkdir(parents=True)
    with (folder / "large" / "m.gguf.part").open("wb") as part:
        part.truncate(free_bytes // 4)
    check_beforehand([large, other], folder)
    (folder / "large" / "m.gguf.part").rename(folder / "large" / "m.gguf")
    check_beforehand([large, other], folder)


def test_one_model_that_cannot_be_fetched_stops_all_beforehand(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = msgspec.structs.replace(entry(MISSING), name="unknown")
    with pytest.raises(DownloadError, match="`assistant models pull unknown --allow-unverified`"):
        check_beforehand([entry(), unknown], tmp_path)
    check_beforehand([entry(), unknown], tmp_path, allow_unverified=True)
    monkeypatch.setenv("HF_ENDPOINT", "mirror.example")
    with pytest.raises(DownloadError, match="HF_ENDPOINT"):
        check_beforehand([entry()], tmp_path)
    assert hub.asked == []


LIMITED = """
import resource, sys
from pathlib import Path
sys.path.insert(0, {here!r})
from test_download import HALF, fetch
resource.setrlimit(resource.RLIMIT_FSIZE, (HALF, HALF))
fetch(Path({folder!r}))
"""


def test_a_disk_that_fills_up_in_the_middle_keeps_what_came(hub: Hub, tmp_path: Path) -> None:
    script = LIMITED.format(here=str(Path(__file__).parent), folder=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert "DownloadError: " in done.stderr
    assert "cannot be written: File too large; make room" in done.stderr
    assert left(tmp_path) == {"m.gguf.part": WEIGHTS[:HALF]}
    hub.asked.clear()
    fetch(tmp_path)
    assert left(tmp_path) == {"m.gguf": WEIGHTS}
    assert hub.asked == [("/o/r/resolve/c0ffee/a/m.gguf", f"bytes={HALF}-")]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux's ever-full file")
@pytest.mark.usefixtures("hub")
def test_a_disk_that_fills_up_is_no_network_trouble(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "m.gguf.part").symlink_to("/dev/full")
    with pytest.raises(DownloadError, match="cannot be written"):
        fetch(tmp_path)


@pytest.mark.usefixtures("hub")
def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "m").write_text("in the way")
    with pytest.raises(DownloadError, match="cannot be written: File exists"):
        fetch(tmp_path)


def test_damage_of_what_is_no_file(tmp_path: Path) -> None:
    assert damage(entry().files[0], tmp_path / "none") == "is missing"
    assert "bytes, not" in damage(entry().files[0], tmp_path)
