"""The volume: who sets it, what is kept, and which counts."""

from __future__ import annotations

import math
import os
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.config import Config, Sounds, Tts
from assistant.daemon.daemon import Daemon
from assistant.daemon.volume import KeptVolume, VolumeControl, in_force
from assistant.errors import AnswerError
from assistant.messages import AnyMessage, SetVolume, Volume
from assistant.queues import memory
from assistant.queues.link import Link
from assistant.queues.wire import Role

FULL = Volume(1.0, 1.0)


def config(answers: float = 1.0, earcons: float = 1.0) -> Config:
    return Config(tts=Tts(volume=answers), sounds=Sounds(volume=earcons))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Its folder is not there yet."""
    return tmp_path / "state" / "volume.json"


# ---------------------------------------------------------------- what is kept


def test_without_a_word_it_is_as_the_settings_say(file: Path) -> None:
    assert VolumeControl(config(0.7, 0.3), file).now == Volume(0.7, 0.3)
    assert not file.parent.exists(), "to look makes nothing"


@pytest.mark.parametrize(
    ("wanted", "now"),
    [
        (SetVolume(), FULL),
        (SetVolume(answers=0.6), Volume(0.6, 1.0)),
        (SetVolume(earcons=0.0), Volume(1.0, 0.0)),
        (SetVolume(0.2, 0.3), Volume(0.2, 0.3)),
    ],
)
def test_what_was_set_is_there_after_a_restart(file: Path, wanted: SetVolume, now: Volume) -> None:
    control = VolumeControl(config(), file)
    assert control.set(wanted) is (now != FULL)
    control.keep()
    assert control.now == now
    assert VolumeControl(config(), file).now == now
    assert os.listdir(file.parent) == [file.name]


def test_a_setting_that_was_changed_since_counts(file: Path) -> None:
    control = VolumeControl(config(1.0, 1.0), file)
    control.set(SetVolume(0.2, 0.3))
    control.keep()
    later = VolumeControl(config(0.9, 1.0), file)
    assert later.now == Volume(0.9, 0.3)
    later.set(SetVolume(earcons=0.4))
    later.keep()
    assert VolumeControl(config(0.9, 1.0), file).now == Volume(0.9, 0.4)
    assert VolumeControl(config(1.0, 1.0), file).now == Volume(1.0, 0.4), "the other was set over 0.9"


LOUD = st.floats(0, 1)
VOLUMES = st.builds(Volume, LOUD, LOUD)


@given(VOLUMES, VOLUMES, VOLUMES)
def test_each_is_what_was_set_or_the_newer_setting(settings: Volume, volume: Volume, then: Volume) -> None:
    now = in_force(settings, KeptVolume(volume, then))
    assert now.answers == (volume if settings.answers == then.answers else settings).answers
    assert now.earcons == (volume if settings.earcons == then.earcons else settings).earcons


@pytest.mark.parametrize("wanted", [-0.1, 1.1, math.nan, math.inf, 60.0])
def test_what_is_no_volume_changes_nothing(wanted: float) -> None:
    control = VolumeControl(config(), None)
    with pytest.raises(AnswerError, match="from 0, silent, to 1"):
        control.set(SetVolume(answers=wanted))
    assert control.now == FULL


GOOD = msgspec.json.encode(KeptVolume(Volume(0.2, 0.3), FULL))


@pytest.mark.parametrize(
    "content",
    [b"", GOOD[:-1], GOOD + GOOD, bytes(len(GOOD)), b"null", b"\xff", GOOD.replace(b"0.2", b"20")],
)
def test_what_makes_no_sense_is_as_good_as_none(file: Path, content: bytes) -> None:
    file.parent.mkdir()
    file.write_bytes(content)
    control = VolumeControl(config(0.5), file)
    assert control.now == Volume(0.5, 1.0)
    control.keep()
    assert VolumeControl(config(0.5), file).now == Volume(0.5, 1.0)


def test_where_nothing_can_be_written_it_holds_until_the_end(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file.parent.write_bytes(b"not a folder")
    control = VolumeControl(config(), file)
    control.set(SetVolume(answers=0.5))
    control.keep()
    assert control.now == Volume(0.5, 1.0)
    assert "cannot be kept" in caplog.text


# ---------------------------------------------------------------- in the daemon


class World:
    def __init__(self, file: Path) -> None:
        self.daemon = Daemon(config(0.8), Path("unused.sock"), None, volume_file=file)
        self.client = memory.connect(self.daemon.broker, "client")
        self.tts = memory.connect(self.daemon.broker, "tts")


@pytest.fixture
def world(file: Path) -> World:
    return World(file)


def volumes(link: Link) -> list[Volume]:
    told: list[AnyMessage] = []
    while (message := link.notice(0)) is not None:
        told.append(message)
    return [message for message in told if isinstance(message, Volume)]


def test_the_voice_is_told_when_it_joins_and_when_it_changes(world: World) -> None:
    assert volumes(world.tts) == [Volume(0.8, 1.0)]
    world.client.post(SetVolume(answers=0.5))
    world.client.post(SetVolume(earcons=0.1))
    assert volumes(world.tts) == [Volume(0.5, 1.0), Volume(0.5, 0.1)]
    assert volumes(world.client) == [Volume(0.5, 1.0), Volume(0.5, 0.1)]
    world.tts.close()
    successor = memory.connect(world.daemon.broker, "tts")
    assert volumes(successor) == [Volume(0.5, 0.1)]


def test_who_asks_is_told_and_nobody_else(world: World, file: Path) -> None:
    volumes(world.tts)
    world.client.post(SetVolume())
    assert volumes(world.client) == [Volume(0.8, 1.0)]
    assert volumes(world.tts) == []
    assert not file.exists(), "nothing has changed"


def test_the_next_daemon_has_it(world: World, file: Path) -> None:
    world.client.post(SetVolume(answers=0.5))
    assert volumes(World(file).tts) == [Volume(0.5, 1.0)]


def test_only_clients_set_it(world: World) -> None:
    roles: tuple[Role, ...] = ("watcher", "vad")
    for role in roles:
        memory.connect(world.daemon.broker, role).post(SetVolume(answers=0.0))
    assert volumes(world.tts) == [Volume(0.8, 1.0)]
