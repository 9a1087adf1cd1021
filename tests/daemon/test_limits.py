"""The memory limits that are written for systemd."""

from __future__ import annotations

import json
import os
import resource
import signal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistant.cli.limits import MOST_FILE_BYTES, read
from assistant.daemon.limits import MIB, NAME, limits, write_limits
from assistant.plan.candidates import of_path
from assistant.plan.selection import Plan, select
from assistant.plan.sets import Facts

TINY = Path(__file__).parents[1] / "models"


def plan(voice: bool, context_tokens: int = 2048) -> Plan:
    return select(
        Facts(
            1 << 50,
            2,
            frozenset(),
            (of_path("stt", TINY / "whisper-tiny-test"),) if voice else (),
            (of_path("llm", TINY / "tiny-chat-q8_0.gguf"),),
            (of_path("tts", TINY / "en_US-tiny-medium.onnx"),) if voice else (),
            context_tokens=context_tokens,
        )
    )


@pytest.mark.parametrize(("voice", "stages"), [(True, {"vad", "stt", "llm", "tts"}), (False, {"llm"})])
def test_each_stage_of_the_plan_has_limits_and_the_daemon_has_none(voice: bool, stages: set[str]) -> None:
    assert set(limits(plan(voice))) == stages


@settings(max_examples=30, deadline=None)
@given(st.booleans(), st.sampled_from([512, 1024, 2048]))
def test_what_was_predicted_is_always_admitted(voice: bool, context_tokens: int) -> None:
    """Slowed down before it is killed, and neither while it takes what a prediction may be off by."""
    chosen = plan(voice, context_tokens)
    for stage, found in limits(chosen).items():
        peak_bytes = chosen.processes[stage].peak_bytes
        assert peak_bytes * 1.06 + 32 * MIB <= found["MemoryHigh"] < found["MemoryMax"]
        assert found["MemoryMax"] <= 2 * peak_bytes + 64 * MIB


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    for chosen in (plan(True), plan(False), plan(True, 512)):
        write_limits(chosen, tmp_path)
        assert read(tmp_path / NAME) == limits(chosen)
        assert os.listdir(tmp_path) == [NAME]
    assert (tmp_path / NAME).stat().st_size < MOST_FILE_BYTES / 4


def test_they_are_put_in_place_at_once(tmp_path: Path) -> None:
    """systemd looks as soon as something happens: what it had open stays what it was."""
    write_limits(plan(True), tmp_path)
    with (tmp_path / NAME).open() as before:
        write_limits(plan(False), tmp_path)
        assert json.load(before) == limits(plan(True))
    assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o640


def test_where_they_cannot_be_written_it_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_limits(plan(True), tmp_path / "missing")
    (record,) = caplog.records
    assert record.message == "the plan's memory limits cannot be written: No such file or directory"


@pytest.mark.parametrize("room_for", [0, 20])
def test_on_a_full_disk_the_old_ones_stay_whole(tmp_path: Path, room_for: int) -> None:
    write_limits(plan(True), tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # as a full disk: an error, not a signal
    resource.setrlimit(resource.RLIMIT_FSIZE, (room_for, before[1]))
    try:
        write_limits(plan(False), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert read(tmp_path / NAME) == limits(plan(True))
    assert os.listdir(tmp_path) == [NAME]
