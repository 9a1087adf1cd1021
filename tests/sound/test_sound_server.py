"""Whether a sound server answers, asked at real sockets."""

from __future__ import annotations

import contextlib
import errno
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pulse_server import NEEDS_PULSE, Server

from assistant.audio.devices import Device, _failed
from assistant.audio.sound_server import SOCKETS, is_missing, is_silent
from assistant.cli.doctor.monitors import lacking
from assistant.cli.doctor.processes import Process
from assistant.cli.doctor.sound import gather_sound


@pytest.mark.parametrize(
    ("named", "is_dead"),
    [
        ("unix:{}", True),
        ("{}", True),
        ("{{0123abc}}unix:{} /run/nowhere", True),
        ("tcp:speaker.local:4713", False),
        ("unix:{} tcp:speaker.local", False),
        ("speaker.local", False),
    ],
)
def test_a_server_that_is_named(named: str, is_dead: bool, tmp_path: Path) -> None:
    """Of one that is elsewhere nothing is known."""
    place = tmp_path / "native"
    environment = {"PULSE_SERVER": named.format(place), "XDG_RUNTIME_DIR": str(tmp_path)}
    assert is_silent(environment, "pulse") is is_dead
    with listening(place):
        assert not is_silent(environment, "auto")
    assert is_silent(environment, "auto") is is_dead


@contextlib.contextmanager
def listening(place: Path) -> Iterator[socket.socket]:
    """A server that takes nobody, and leaves its socket behind."""
    place.parent.mkdir(exist_ok=True)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(place))
        server.listen(0)
        yield server


@pytest.fixture
def runtime(tmp_path: Path) -> dict[str, str]:
    return {"XDG_RUNTIME_DIR": str(tmp_path)}


@pytest.mark.parametrize("name", ["pulse/native", "pipewire-0"])
def test_a_server_is_silent_when_nobody_listens_where_it_was(
    runtime: dict[str, str], tmp_path: Path, name: str
) -> None:
    assert not is_silent({}, "auto")
    assert not is_silent(runtime, "auto"), "there is none"
    with listening(tmp_path / name) as server, contextlib.ExitStack() as waiting:
        for _ in range(3):  # whom it does not take: it hangs
            assert not is_silent(runtime, "auto")
            link = waiting.enter_context(socket.socket(socket.AF_UNIX))
            link.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                link.connect(server.getsockname())
    assert is_silent(runtime, "auto"), "it died"


@pytest.mark.parametrize("folder", ["another's", "x" * 300], ids=["permission", "name"])
def test_a_folder_that_cannot_be_looked_into_has_no_server(tmp_path: Path, folder: str) -> None:
    """Who became another user by `su` still has the first one's; root may look all the same."""
    (tmp_path / "another's").mkdir(mode=0)
    environment = {"XDG_RUNTIME_DIR": str(tmp_path / folder)}
    (tmp_path / "pulseaudio.socket").touch()
    assert not is_silent(environment, "auto")
    assert is_silent(environment, "pulse")
    assert is_missing(environment, tmp_path)


@pytest.mark.parametrize(
    ("lives", "dead", "silent"),
    [
        ("pulse/native", "pipewire-0", {"auto", "default", "pipewire"}),
        ("pipewire-0", "pulse/native", {"auto", "default", "pulse"}),
    ],
)
def test_one_that_lives_hides_no_dead_one(
    runtime: dict[str, str], tmp_path: Path, lives: str, dead: str, silent: set[str]
) -> None:
    with listening(tmp_path / dead):
        pass
    with listening(tmp_path / lives):
        names = ("auto", "default", "pulse", "pipewire")
        assert {name for name in names if is_silent(runtime, name)} == silent


@pytest.mark.parametrize("name", ["pulse", "pipewire"])
def test_one_that_ended_and_took_its_socket_along_is_missed(
    runtime: dict[str, str], tmp_path: Path, name: str
) -> None:
    units, place = tmp_path / "units", tmp_path / SOCKETS[name]
    units.mkdir()
    assert not is_missing(runtime, units), "none is installed"
    (units / f"{name}audio.socket" if name == "pulse" else units / f"{name}.socket").touch()
    assert is_missing(runtime, units)
    assert not is_missing({}, units), "this is no session"
    with listening(place):
        assert not is_missing(runtime, units)
        assert not is_silent(runtime, name)
    place.unlink()
    assert is_missing(runtime, units)
    assert is_silent(runtime, name), "who names it has one"


def test_one_of_the_whole_system_does_where_the_session_has_none(
    runtime: dict[str, str], tmp_path: Path
) -> None:
    system_wide, units = tmp_path / "system" / "native", tmp_path / "units"
    units.mkdir()
    (units / "pulseaudio.socket").touch()
    assert is_silent(runtime, "pulse", system_wide)
    assert is_missing(runtime, units, system_wide)
    with listening(system_wide):
        assert not is_silent(runtime, "pulse", system_wide)
        assert not is_missing(runtime, units, system_wide)
        assert is_silent(runtime, "pipewire", system_wide)
        with listening(tmp_path / SOCKETS["pulse"]):
            pass
        assert not any(is_silent(runtime, name, system_wide) for name in ("pulse", "default", "auto"))
    assert all(is_silent(runtime, name, system_wide) for name in ("pulse", "default", "auto"))


@pytest.mark.parametrize(
    ("name", "runs", "is_blamed"),
    [("default", True, True), ("default", False, False), ("pulse", False, True), ("USB: Audio", True, False)],
)
@pytest.mark.parametrize("place", ["pulse/native", "pipewire-0", "named"])
def test_a_server_is_blamed_only_where_one_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, runs: bool, is_blamed: bool, place: str
) -> None:
    """What is called "default" may be a bare card."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("PULSE_SERVER", f"unix:{tmp_path / 'named'}")
    device = Device(name, "", 48_000, 2, "speaker", 0)
    refused = Exception("Error opening stream", -9999, (8, -errno.EIO, "Input/output error"))
    with listening(tmp_path / place) if runs else contextlib.nullcontext():
        said = str(_failed(device, refused))
    assert said == (
        "The sound server has no speaker; plug one in."
        if is_blamed
        else f'The speaker "{name}" cannot be opened: Input/output error; choose another in config.toml.'
    )


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


OPEN = """
from assistant.audio.microphone import open_microphone
from assistant.audio.speaker import open_speaker
from assistant.errors import AudioError
for open_device in (open_microphone, lambda name: open_speaker(name, 48_000)):
    try:
        open_device("auto")
    except AudioError as error:
        print(error)
"""


@NEEDS_PULSE[0]
@NEEDS_PULSE[1]
@NEEDS_PULSE[2]
def test_a_server_that_has_no_device_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ALSA lists what leads to it all the same, and nobody chose that by its name."""
    server = Server(tmp_path, with_devices=False)
    monkeypatch.setenv("PULSE_SERVER", server.env["PULSE_SERVER"])
    try:
        with server.python(OPEN) as process:
            out, err = process.communicate(timeout=60)
        assert lacking() == {"microphone", "speaker"}
        server.load("module-null-sink", "sink_name=hdmi")
        assert lacking() == {"microphone"}
        server.load("module-remap-source", "source_name=usb", "master=hdmi.monitor")
        assert not lacking()
    finally:
        server.process.kill()
        server.process.wait()
    assert err == ""
    assert out.splitlines() == [
        "The sound server has no microphone; plug one in.",
        "The sound server has no speaker; plug one in.",
    ]
    assert not lacking(), "nobody answers"


@NEEDS_PULSE[0]
@NEEDS_PULSE[1]
@NEEDS_PULSE[2]
@pytest.mark.parametrize("option", [(), ("--json",)])
def test_devices_are_not_there_because_the_server_is_down(tmp_path: Path, option: tuple[str, ...]) -> None:
    server = Server(tmp_path)
    command = [sys.executable, "-m", "assistant", "devices", *option]
    whole = subprocess.run(command, env=server.env, capture_output=True, text=True, timeout=60)
    assert whole.returncode == 0
    server.process.kill()
    server.process.wait()
    done = subprocess.run(command, env=server.env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    why = "because the sound server does not answer; start it (`"
    if option:
        json.loads(done.stdout)
        assert f"assistant: Some devices are missing, {why}" in done.stderr
    else:
        assert f"microphones: none, {why}" in done.stdout


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
