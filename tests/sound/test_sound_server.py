"""Whether a sound server answers, asked at real sockets."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

import pytest
from pulse_server import NEEDS_PULSE, Server

from assistant.audio.sound_server import is_silent, sockets
from assistant.cli.doctor.processes import Process
from assistant.cli.doctor.sound import gather_sound


@pytest.mark.parametrize(
    ("named", "places"),
    [
        ("unix:/run/a", ["/run/a"]),
        ("/run/a", ["/run/a"]),
        ("{0123abc}unix:/run/a /run/b", ["/run/a", "/run/b"]),
        ("tcp:speaker.local:4713", []),
        ("unix:/run/a tcp:speaker.local", []),
        ("speaker.local", []),
    ],
)
def test_a_server_that_is_named(named: str, places: list[str], tmp_path: Path) -> None:
    environment = {"PULSE_SERVER": named, "XDG_RUNTIME_DIR": str(tmp_path)}
    assert [str(place) for place in sockets(environment)] == places


@pytest.fixture
def runtime(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "pulse").mkdir()
    return {"XDG_RUNTIME_DIR": str(tmp_path)}


@pytest.mark.parametrize("name", ["pulse/native", "pipewire-0"])
def test_a_server_is_silent_when_nobody_listens_where_it_was(runtime: dict[str, str], name: str) -> None:
    assert not is_silent({})
    assert not is_silent(runtime), "there is none"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(Path(runtime["XDG_RUNTIME_DIR"]) / name))
        server.listen(0)
        with contextlib.ExitStack() as waiting:
            for _ in range(3):  # whom it does not take: it hangs
                assert not is_silent(runtime)
                link = waiting.enter_context(socket.socket(socket.AF_UNIX))
                link.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    link.connect(server.getsockname())
    assert is_silent(runtime), "it died"


FIND = """
from assistant.audio.devices import find
from assistant.errors import AudioError
for kind, name in (("microphone", "auto"), ("speaker", "auto"), ("speaker", "0d8c:0014")):
    try:
        find(kind, name)
    except AudioError as error:
        print(error)
"""


@NEEDS_PULSE[0]
@NEEDS_PULSE[1]
@NEEDS_PULSE[2]
def test_a_server_that_is_down_is_why_there_is_no_device(tmp_path: Path) -> None:
    """Nothing has to be plugged in then; but a sound card that is named is no server's."""
    server = Server(tmp_path)
    server.process.kill()
    server.process.wait()
    with server.python(FIND) as process:
        out, err = process.communicate(timeout=60)
    assert err == ""
    *servers, card = out.splitlines()
    for line, kind in zip(servers, ("microphone", "speaker"), strict=True):
        assert line.startswith(f"There is no {kind}, because the sound server does not answer; start it (`")
    assert "server" not in card


HEAR = """
from assistant.audio.microphone import open_microphone
microphone = open_microphone("auto")
microphone.read(10)
print("first", flush=True)
while microphone.read(10) is not None:
    pass
"""


@NEEDS_PULSE[0]
@NEEDS_PULSE[1]
@NEEDS_PULSE[2]
def test_whether_a_microphone_is_what_a_speaker_plays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server(tmp_path)
    monkeypatch.setenv("PULSE_SERVER", server.env["PULSE_SERVER"])
    with server.python(HEAR) as vad:
        try:
            assert vad.stdout
            assert vad.stdout.readline() == "first\n"
            hearing = [Process(vad.pid, "assistant", "vad", [])]
            assert not gather_sound(tmp_path, hearing).hears_itself
            server.tell("set-default-source", "spk.monitor")  # as when the microphone is pulled out
            assert gather_sound(tmp_path, hearing).hears_itself
            assert not gather_sound(tmp_path, []).hears_itself
        finally:
            vad.kill()
            server.process.kill()
            server.process.wait()
