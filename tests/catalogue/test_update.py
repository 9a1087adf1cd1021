"""A newer catalogue is put in force whole and proved, or not at all."""

from __future__ import annotations

import datetime
import logging
import os
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest
from small_catalogue import text

from assistant.catalogue import update as updating
from assistant.catalogue.read import MOST_BYTES, PATH, Catalogue, current, parse, read
from assistant.errors import DownloadError, ModelError

NEWER = text("2099-01-01")


def update(source: str, folder: Path, today: datetime.date = datetime.date(2099, 1, 1)) -> Catalogue | None:
    return updating.update(source, folder, today)


class Reply(msgspec.Struct, frozen=True):
    """What the server answers; `length` None: it does not say how long that is."""

    body: bytes = NEWER.encode()
    status: int = 200
    length: int | None = -1
    location: str = ""
    endless: bool = False


class Server(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.reply = Reply()
        self.address = f"http://127.0.0.1:{self.server_address[1]}/catalogue.toml"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        reply = self.server.reply
        self.send_response(reply.status)
        if reply.location:
            self.send_header("Location", reply.location)
        if reply.length is not None:
            self.send_header("Content-Length", str(len(reply.body) if reply.length < 0 else reply.length))
        self.end_headers()
        try:
            self.wfile.write(reply.body)
            while reply.endless:
                self.wfile.write(b"#" * 4096)
        except ConnectionError:
            pass  # whoever has had enough goes

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that the base class gives it
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "models"


def file(tmp_path: Path, content: str | bytes = NEWER) -> str:
    path = tmp_path / "new.toml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


# ---------------------------------------------------------------- which one is in force


def test_without_an_update_the_projects_own_is_in_force(folder: Path) -> None:
    assert current(folder) == read()
    assert current(PATH.parent) == read()


@pytest.mark.parametrize(
    ("updated", "in_force"), [("2099-01-01", True), (f"{read().updated}", True), ("2020-01-01", False)]
)
def test_the_newer_one_is_in_force(tmp_path: Path, updated: str, in_force: bool) -> None:
    (tmp_path / "catalogue.updated.toml").write_text(text(updated))
    assert (current(tmp_path) == parse(text(updated).encode(), "x")) is in_force
    assert (current(tmp_path) == read()) is not in_force


@pytest.mark.parametrize("content", ["", "[auto", NEWER[:-30], NEWER.replace("format = 1", "format = 2")])
def test_a_damaged_one_does_not_stop_the_assistant(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str
) -> None:
    (tmp_path / "catalogue.updated.toml").write_text(content)
    assert current(tmp_path) == read()
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert str(tmp_path / "catalogue.updated.toml") in caplog.text
    assert "The assistant's own serves instead." in caplog.text


def test_a_damaged_one_is_mended_by_an_update(tmp_path: Path, folder: Path) -> None:
    folder.mkdir()
    (folder / "catalogue.updated.toml").write_text("[auto")
    update(file(tmp_path), folder)
    assert current(folder).entry("brain")


# ---------------------------------------------------------------- from a file


def test_a_newer_file_is_put_in_force(tmp_path: Path, folder: Path) -> None:
    assert update(file(tmp_path), folder) == current(folder) == parse(NEWER.encode(), "x")
    assert [path.name for path in folder.iterdir()] == ["catalogue.updated.toml"]
    assert (folder / "catalogue.updated.toml").read_text() == NEWER
    assert update(file(tmp_path), folder) is None


def test_in_a_checkout_the_own_one_stays(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.mkdir()
    own = folder / "catalogue.toml"
    own.write_text(text("2098-01-01"))
    monkeypatch.setattr("assistant.catalogue.read.PATH", own)
    assert update(file(tmp_path), folder) == current(folder)
    assert f"{current(folder).updated}" == "2099-01-01"
    assert own.read_text() == text("2098-01-01")


@pytest.mark.parametrize(("today", "taken"), [("2098-12-31", True), ("2098-12-30", False)])
def test_one_of_the_future_is_refused(tmp_path: Path, folder: Path, today: str, taken: bool) -> None:
    if taken:
        assert update(file(tmp_path), folder, datetime.date.fromisoformat(today))
        return
    with pytest.raises(
        ModelError, match="is of 2099-01-01, which is still to come; check this machine's date"
    ):
        update(file(tmp_path), folder, datetime.date.fromisoformat(today))
    assert not folder.exists()


def test_a_folder_that_cannot_be_looked_at_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    assert current(Path("/" + "x" * 300)) == read()
    assert "cannot be read: File name too long. The assistant's own serves instead." in caplog.text


def test_the_same_day_may_bring_another_one(tmp_path: Path, folder: Path) -> None:
    update(file(tmp_path), folder)
    assert update(file(tmp_path, text(without="voice").replace('"voice"', "")), folder)
    with pytest.raises(ModelError, match='no model "voice"'):
        current(folder).entry("voice")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            text("2020-01-01"),
            f"is of 2020-01-01, older than the present one of {read().updated}, which stays",
        ),
        (NEWER[:-30], "is not valid TOML"),
        (text(without="voice"), "auto.tts.en names voice, but there is no tts model of that name"),
        (b"\xff\xfe", "is not valid TOML"),
        (NEWER + "#" * MOST_BYTES, "more than 4194304 bytes"),
    ],
)
def test_what_is_refused_changes_nothing(
    tmp_path: Path, folder: Path, content: str | bytes, said: str
) -> None:
    with pytest.raises(ModelError, match=re.escape(said)):
        update(file(tmp_path, content), folder)
    assert not folder.exists()


def test_a_file_that_is_none(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(ModelError, match="none cannot be read: No such file or directory; check the path"):
        update(str(tmp_path / "none"), folder)
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(ModelError, match=rf"{path} is not a file; give"):
            update(str(path), folder)


def test_a_folder_that_takes_nothing(tmp_path: Path, folder: Path) -> None:
    folder.write_text("in the way")
    with pytest.raises(DownloadError, match=r"catalogue\.updated\.toml cannot be written: File exists"):
        update(file(tmp_path), folder)


# ---------------------------------------------------------------- from an address


def test_a_newer_one_comes_from_an_address(server: Server, folder: Path) -> None:
    assert update(server.address, folder) == current(folder) == parse(NEWER.encode(), "x")


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply(status=404), "the server answered 404; check the address"),
        (Reply(status=500), "the server answered 500"),
        (Reply(length=len(NEWER) + 9), "the connection broke off"),
        (Reply(status=302, location="http://mirror.example/c.toml"), "only https can be trusted with it"),
        (Reply(status=302, location="ftp://mirror.example/c.toml"), "only https can be trusted with it"),
        (Reply(status=302, location="file:///etc/passwd"), "the server answered 302"),
        (Reply(b"<html></html>"), "is not valid TOML"),
        (Reply(length=None, endless=True), "more than 4194304 bytes"),
        (Reply(b"#" * (MOST_BYTES + 1)), "more than 4194304 bytes"),
    ],
)
def test_a_server_that_does_not_give_one(server: Server, folder: Path, reply: Reply, said: str) -> None:
    server.reply = reply
    with pytest.raises((ModelError, DownloadError), match=re.escape(said)):
        update(server.address, folder)
    assert not folder.exists()


def test_a_server_that_takes_for_ever(server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(updating, "TIMEOUT_S", 0.0001)
    server.reply = Reply(length=None, endless=True)
    with pytest.raises(DownloadError, match=r"the connection failed \("):
        update(server.address, folder)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://models.example/c.toml", "only https can be trusted with it"),
        ("http://127.0.0.1.models.example/c.toml", "only https can be trusted with it"),
        ("http://localhost@models.example/c.toml", "only https can be trusted with it"),
        ("ftp://models.example/c.toml", "only https can be trusted with it"),
        ("file:///etc/passwd", "only https can be trusted with it"),
        ("https://[", "that is no address"),
        ("http://127.0.0.1:1/c.toml", "the connection failed (Connection refused)"),
        ("https://nobody.invalid/c.toml", "the connection failed ("),
    ],
)
def test_addresses_that_do_not_do(
    folder: Path, monkeypatch: pytest.MonkeyPatch, address: str, said: str
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(DownloadError, match=re.escape(said)):
        update(address, folder)
