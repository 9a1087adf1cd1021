"""What the doctor says of microphones and speakers, and of who may use them."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from assistant.audio.devices import Device, Kind
from assistant.cli.doctor.monitors import none_of, on_monitor
from assistant.cli.doctor.processes import Process
from assistant.cli.doctor.sound import (
    Node,
    Rights,
    Sound,
    check_rights,
    check_sound,
    gather_sound,
    socket_is_usable,
)
from assistant.messages import MicrophoneLevel

USB = Device("Alice's Headset", "USB", 48_000, 1, "microphone", 3, usb=True)
DEFAULT = Device("default", "the system's choice", 48_000, 2, "microphone", 1)
BUILT_IN = Device("HDMI", "built in", 44_100, 2, "speaker", 0)
NODE = Node("pcmC1D0c", "audio", True)
ARECORD = Process(123, "arecord", "", ["/dev/snd/pcmC1D0c"])
VAD = Process(124, "assistant", "vad", ["/dev/snd/pcmC1D0c"])
NO_PORTAUDIO = (
    "Sound devices cannot be used because PortAudio is missing; run `sudo apt install libportaudio2`."
)


NO_MICROPHONE: frozenset[Kind] = frozenset(("microphone",))
NO_SPEAKER: frozenset[Kind] = frozenset(("speaker",))
SILENT = frozenset(("auto", "default", "pulse"))


def sound(
    *devices: Device,
    nodes: tuple[Node, ...] = (NODE,),
    held: tuple[Process, ...] = (),
    failure: str = "",
    silent: frozenset[str] = frozenset(),
    is_server_missing: bool = False,
    lacking: frozenset[Kind] = frozenset(),
) -> Sound:
    holders = [("pcmC1D0c", process) for process in held]
    return Sound(list(devices), failure, list(nodes), holders, silent, is_server_missing, lacking=lacking)


@pytest.mark.parametrize(
    ("facts", "kind", "wanted", "state", "said", "mend"),
    [
        (
            sound(USB),
            "microphone",
            "auto",
            "ok",
            '"Alice\'s Headset" (USB), 48000 Hz, resampled to 16000',
            "",
        ),
        (sound(USB), "microphone", "alice's headset", "ok", "as config.toml says", ""),
        (sound(BUILT_IN), "speaker", "auto", "ok", '"HDMI" (built in), 44100 Hz', ""),
        (sound(USB), "microphone", "Alices Headset", "fault", "no microphone called", "did you mean"),
        (sound(USB), "speaker", "auto", "fault", "none is connected", "plug in a USB speaker"),
        (sound(nodes=()), "microphone", "auto", "fault", "none is connected", "plug in"),
        (sound(held=(ARECORD,)), "microphone", "auto", "fault", "arecord (process 123) has it", "kill 123"),
        # The device that config.toml names is not in the list, because it is busy.
        (sound(USB, held=(ARECORD,)), "microphone", "Other", "fault", "arecord", "kill 123"),
        (sound(held=(ARECORD, VAD)), "microphone", "auto", "ok", "in use by the assistant itself", ""),
        # A program that records is no reason for silence.
        (sound(BUILT_IN, held=(ARECORD,)), "speaker", "auto", "ok", "HDMI", ""),
        (
            sound(nodes=(Node("pcmC1D0c", "audio", False),)),
            *("microphone", "auto", "fault", "may not use it", "sudo usermod -aG audio $USER"),
        ),
        (sound(), "microphone", "auto", "fault", "cannot be opened", "sudo assistant doctor"),
        (
            sound(failure=NO_PORTAUDIO),
            *("speaker", "auto", "fault", "PortAudio is missing", "sudo apt install libportaudio2"),
        ),
        (sound(), "microphone", "card:/tmp/alice", "ok", "a recording", ""),
        # Without its server's devices: that one does not answer is why, unless there are others to be used.
        *(
            (sound(*devices, nodes=nodes, silent=SILENT), "microphone", wanted, state, said, mend)
            for devices, nodes, wanted, state, said, mend in [
                ((), (), "auto", "fault", "sound server does not answer", "systemctl --user restart"),
                ((USB,), (NODE,), "Pulse", "fault", "sound server does not answer", "name a sound card"),
                ((USB,), (NODE,), "auto", "ok", "Headset", ""),
                ((USB,), (NODE,), "Alices Headset", "fault", "no microphone called", "did you mean"),
                ((DEFAULT,), (NODE,), "default", "ok", "default", ""),
                ((), (), "Alices Headset", "fault", "none is connected", "plug in"),
                ((USB,), (NODE,), "PipeWire", "fault", "no microphone called", "choose one"),
            ]
        ),
        # A sound server that lives, and has none.
        *(
            (sound(USB, DEFAULT, lacking=lacking), "microphone", wanted, state, said, mend)
            for lacking, wanted, state, said, mend in [
                (NO_MICROPHONE, "default", "fault", "the sound server has no microphone", "plug in a USB"),
                (NO_MICROPHONE, "auto", "ok", "Headset", ""),
                (NO_SPEAKER, "default", "ok", '"default"', ""),
            ]
        ),
        (
            sound(nodes=(), is_server_missing=True),
            *("microphone", "auto", "fault", "no sound server runs", "systemctl --user restart"),
        ),
        (
            sound(held=(ARECORD,), silent=SILENT),
            *("microphone", "auto", "fault", "arecord (process 123) has it", "kill 123"),
        ),
    ],
)
def test_devices(facts: Sound, kind: Kind, wanted: str, state: str, said: str, mend: str) -> None:
    check = check_sound(facts, kind, wanted)
    assert (check.name, check.state) == (kind, state)
    assert said in check.what
    assert mend in check.mend
    assert bool(check.mend) == (state == "fault")
    assert check.public
    assert "alice" not in check.public.lower()
    assert "arecord" not in check.public


def test_a_device_that_is_listed_may_be_gone() -> None:
    failure = 'The microphone "default" stopped working; is it still plugged in?'
    assert check_sound(sound(USB), "microphone", "auto").state == "ok"
    check = check_sound(sound(USB), "microphone", "auto", failure=failure)
    assert (check.state, check.what) == ("fault", 'The microphone "default" stopped working')
    assert check.mend == "is it still plugged in?"
    assert "default" not in check.public


DUMMY = '[{"index": 1, "monitor_source": "auto_null"}]'
SOURCES = """[{"index": 4, "name": "usb", "monitor_source": ""}, {"index": 5, "monitor_source": "hdmi"},
{"index": 6, "monitor_source": null}]"""


@pytest.mark.parametrize(
    ("source", "pid", "is_ours"), [(4, "124", False), (5, "124", True), (5, "99", False), (6, "124", False)]
)
def test_who_records_what_the_board_plays(source: int, pid: str, is_ours: bool) -> None:
    filters = '{"source": 5, "properties": {"media.role": "filter"}}'
    stream = f'{{"source": {source}, "properties": {{"application.process.id": "{pid}"}}}}'
    assert on_monitor(SOURCES, f"[{filters}, {stream}]", {123, 124}) == is_ours


@pytest.mark.parametrize(("sources", "streams"), [("", ""), ("[]", "no"), ("{}", "[]"), ("[{}]", "[]")])
def test_another_pactl_than_those_known_says_nothing(sources: str, streams: str) -> None:
    assert not on_monitor(sources, streams, {124})


@pytest.mark.parametrize(
    ("sources", "sinks", "lacking"),
    [
        ("[]", "[]", {"microphone", "speaker"}),
        (SOURCES, '[{"name": "hdmi", "monitor_source": "hdmi.monitor"}]', set()),
        (DUMMY, '[{"name": "auto_null"}]', {"microphone", "speaker"}),
        ("", "[]", set()),
        ("[]", "no", set()),
    ],
)
def test_what_a_sound_server_has_none_of(sources: str, sinks: str, lacking: set[str]) -> None:
    assert none_of(sources, sinks) == lacking


def test_an_assistant_that_hears_itself_has_nothing_to_unmute() -> None:
    facts = msgspec.structs.replace(sound(USB), hears_itself=True)
    check = check_sound(
        facts, "microphone", "auto", MicrophoneLevel(-100.0, -100.0, 50, 0, 1.0, 0.0, "silent")
    )
    assert (check.state, "what this board plays" in check.what) == ("fault", True)
    assert "pactl set-default-source" in check.mend
    assert check_sound(facts, "speaker", "auto").what != check.what


@pytest.mark.parametrize(
    ("level", "state", "said"),
    [
        (MicrophoneLevel(-45.0, -20.0, 50, 0, 1.0), "ok", "level -45 dBFS"),
        (MicrophoneLevel(-45.0, -20.0, 50, 0, 1.0, 8.6), "ok", "level -45 dBFS, amplified by 9 dB"),
        (MicrophoneLevel(-9.0, 0.0, 50, 0, 1.0), "ok", "level -9 dBFS"),
        (MicrophoneLevel(-9.0, 0.0, 50, 0, 1.0, 0.0, "clipping"), "warning", "distorts"),
        (MicrophoneLevel(-100.0, -100.0, 50, 0, 1.0, 0.0, "silent"), "warning", "not the faintest sound"),
        (MicrophoneLevel(-45.0, -40.0, 50, 0, 1.0, 0.0, "hum"), "warning", "hums with the mains"),
        (MicrophoneLevel(-45.0, -20.0, 40, 10, 1.0), "warning", "10 of 50 frames are lost"),
    ],
)
def test_what_the_assistant_hears(level: MicrophoneLevel, state: str, said: str) -> None:
    check = check_sound(sound(held=(VAD,)), "microphone", "auto", level)
    assert check.state == state
    assert said in check.what
    assert bool(check.mend) == (state == "warning")


@pytest.mark.parametrize(
    ("facts", "state", "mend"),
    [
        (Rights([NODE], True, True), "ok", ""),
        (Rights([], None, False), "skipped", ""),
        (Rights([NODE], False, True), "warning", "usermod -aG assistant"),
        (Rights([Node("pcmC0D0p", "audio", False)], None, False), "warning", "usermod -aG audio"),
        (Rights([Node("pcmC0D0p", "root", True)], True, True), "fault", "udevadm"),
        # Without services nobody needs the group.
        (Rights([Node("pcmC0D0p", "root", True)], None, False), "ok", ""),
    ],
)
def test_rights(facts: Rights, state: str, mend: str) -> None:
    check = check_rights(facts)
    assert check.state == state
    assert mend in check.mend


def test_device_files_and_who_holds_them(tmp_path: Path) -> None:
    (tmp_path / "dev/snd").mkdir(parents=True)
    for name in ("pcmC0D0p", "pcmC1D0c", "controlC0", "timer"):
        (tmp_path / "dev/snd" / name).touch()
    other = Process(9, "editor", "", ["/home/alice/letter"])
    facts = gather_sound(tmp_path, [ARECORD, other, Process(10, "hidden", "", None)])
    assert [node.name for node in facts.nodes] == ["pcmC0D0p", "pcmC1D0c"]
    assert all(node.is_usable for node in facts.nodes)
    assert facts.held == [("pcmC1D0c", ARECORD)]


def test_rights_to_a_socket(tmp_path: Path) -> None:
    assert socket_is_usable(tmp_path / "assistant.sock") is None
    (tmp_path / "assistant.sock").touch()
    assert socket_is_usable(tmp_path / "assistant.sock") is True


@pytest.mark.skipif(os.getuid() == 0, reason="root may look everywhere")
def test_a_socket_in_a_folder_that_is_closed(tmp_path: Path) -> None:
    tmp_path.chmod(0)
    try:
        assert socket_is_usable(tmp_path / "assistant.sock") is False
    finally:
        tmp_path.chmod(0o700)
