"""What is kept from one run to the next, on real disks: full ones, read-only ones, ones without power."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from assistant.config import Audio, Config, Llm, Log, Models, Plan, Prefer, Template
from assistant.state import GOOD, keep_good, last_good, write_whole

OLD = b"old " * 1000
NEW = b"new! " * 2000


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for the state; it is not there yet."""
    folder = tmp_path / "state"
    monkeypatch.setenv("STATE_DIRECTORY", str(folder))
    return folder


# ---------------------------------------------------------------- old or new


@pytest.mark.parametrize("before", [None, OLD, b""])
@pytest.mark.parametrize("content", [NEW, b""])
def test_all_of_it_is_written(tmp_path: Path, before: bytes | None, content: bytes) -> None:
    path = tmp_path / "file"
    if before is not None:
        path.write_bytes(before)
    write_whole(path, content)
    assert path.read_bytes() == content
    assert os.listdir(tmp_path) == ["file"]
    assert path.stat().st_mode & 0o077 == 0, "it is nobody else's"


def test_what_a_link_leads_to_is_not_written_over(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(OLD)
    (tmp_path / "file").symlink_to(other)
    write_whole(tmp_path / "file", NEW)
    assert other.read_bytes() == OLD
    assert (tmp_path / "file").read_bytes() == NEW


@pytest.fixture
def room_for() -> Iterator[int]:
    """Files of this process may grow up to so many bytes: the disk is as good as full."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then a write fails with EFBIG
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(OLD), limits[1]))
    yield len(OLD)
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("before", [None, OLD])
def test_on_a_full_disk_the_old_one_stays(tmp_path: Path, room_for: int, before: bytes | None) -> None:
    path = tmp_path / "file"
    if before is not None:
        path.write_bytes(before)
    with pytest.raises(OSError, match="File too large"):
        write_whole(path, NEW)
    assert os.listdir(tmp_path) == ([] if before is None else ["file"])
    assert before is None or path.read_bytes() == before
    write_whole(path, NEW[:room_for])
    assert path.read_bytes() == NEW[:room_for]


def test_what_cannot_be_put_in_its_place_leaves_nothing_behind(tmp_path: Path) -> None:
    """The place is taken by a folder: all is written, and the last step fails."""
    (tmp_path / "file").mkdir()
    with pytest.raises(IsADirectoryError):
        write_whole(tmp_path / "file", NEW)
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("name", ["missing/file", "file/file"])
def test_without_a_folder_nothing_is_written(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_bytes(OLD)
    with pytest.raises(OSError, match=r"No such file|Not a directory"):
        write_whole(tmp_path / name, NEW)
    assert (tmp_path / "file").read_bytes() == OLD


KILLED = """
import sys
from pathlib import Path
from assistant.state import write_whole
print(flush=True)
while True:
    for letter in b"ab":
        write_whole(Path(sys.argv[1]), bytes([letter]) * 300_000)
"""


def test_whenever_it_is_killed_one_of_both_is_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a" * 300_000)
    found = set()
    for _ in range(8):
        with subprocess.Popen([sys.executable, "-c", KILLED, path], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"\n"
            before, give_up_s = path.stat().st_ino, time.monotonic() + 30.0
            while path.stat().st_ino == before:
                assert time.monotonic() < give_up_s
            writer.kill()
        found.add(path.read_bytes())
    assert found <= {b"a" * 300_000, b"b" * 300_000}


# ---------------------------------------------------------------- the last good configuration


def test_without_any_there_is_none(state: Path) -> None:
    assert last_good() is None
    assert not state.exists(), "to ask makes nothing"


def test_what_was_good_is_there_again(state: Path) -> None:
    config = Config(llm=Llm(seed=7), log=Log(level="debug"))
    keep_good(config)
    assert last_good() == config
    assert os.listdir(state) == [GOOD]
    keep_good(Config())
    assert last_good() == Config()


def test_what_another_version_kept_counts_as_far_as_it_is_known(state: Path) -> None:
    """An update must not lose the microphone's name, because a key of long ago stands beside it."""
    state.mkdir()
    audio = {"microphone": "USB Audio", "half_duplex": False, "colour": 3}
    (state / GOOD).write_text(json.dumps({"audio": audio, "radio": {"on": True}, "llm": {"seed": 7}}))
    assert last_good() == Config(audio=Audio(microphone="USB Audio", barge_in="voice"), llm=Llm(seed=7))


def test_the_card_is_written_to_only_where_something_differs(state: Path) -> None:
    """Memory cards wear out."""

    def written() -> tuple[int, int]:
        stat = (state / GOOD).stat()
        return stat.st_ino, stat.st_mtime_ns

    keep_good(Config())
    first = written()
    keep_good(Config())
    assert written() == first
    keep_good(Config(llm=Llm(seed=7)))
    assert written() != first


def test_where_nothing_can_be_written_the_one_before_stays(state: Path, room_for: int) -> None:
    keep_good(Config(llm=Llm(seed=7)))
    keep_good(Config(llm=Llm(system_prompt="x" * room_for)))
    assert last_good() == Config(llm=Llm(seed=7))
    assert os.listdir(state) == [GOOD]


def test_a_state_folder_that_cannot_be_made_is_no_reason_to_stop(state: Path) -> None:
    state.write_bytes(b"not a folder")
    keep_good(Config())
    assert last_good() is None


def test_without_a_home_nothing_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("STATE_DIRECTORY")
    monkeypatch.setenv("XDG_STATE_HOME", "~")
    monkeypatch.chdir(tmp_path)
    keep_good(Config())
    assert last_good() is None
    assert os.listdir(tmp_path) == []


KEPT = msgspec.json.encode(Config())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        KEPT[:-1],  # torn off
        KEPT + KEPT,
        bytes(len(KEPT)),  # a block that never reached the card
        b"null",
        b"[]",
        b'{"llm": 3}',
        b'{"llm": {"seed": "7"}}',
        b'{"llm": {"max_tokens": -1}}',
        b'{"llm": {"model": "\xff"}}',
        b'{"llm": {"model": "\\ud800"}}',
        b'{"x":' * 100_000,
        b"[" * 100_000,
    ],
)
def test_what_makes_no_sense_is_as_good_as_none(state: Path, content: bytes) -> None:
    state.mkdir()
    (state / GOOD).write_bytes(content)
    assert last_good() is None
    keep_good(Config())
    assert last_good() == Config()


def test_the_defaults_of_its_time_are_kept(state: Path) -> None:
    """A later version may have others; what ran, ran with these."""
    keep_good(Config())
    document = json.loads((state / GOOD).read_bytes())
    assert document["vad"]["hangover_ms"] == Config().vad.hangover_ms
    assert set(document) == set(Config.__struct_fields__)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
@example(b"{}")
def test_no_content_is_too_strange(content: bytes) -> None:
    path = Path(os.environ["STATE_DIRECTORY"]) / GOOD
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    assert isinstance(last_good(), Config | None)


TEXT = st.text(max_size=30)
CONFIGS = st.builds(
    Config,
    audio=st.builds(Audio, microphone=TEXT, speaker=TEXT, auto_gain=st.booleans()),
    llm=st.builds(
        Llm,
        model=TEXT,
        template=st.sampled_from(get_args(Template)),
        system_prompt=TEXT,
        temperature=st.floats(0, 2),
        seed=st.integers(-1, 2**31 - 1),
    ),
    plan=st.builds(Plan, prefer=st.sampled_from(get_args(Prefer))),
    models=st.builds(Models, folder=TEXT),
    log=st.builds(Log, words=st.booleans()),
)


@settings(max_examples=100, deadline=None)
@given(CONFIGS)
def test_any_configuration_comes_back_as_it_was(config: Config) -> None:
    keep_good(config)
    assert last_good() == config
