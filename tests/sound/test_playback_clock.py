from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.audio.playback_clock import PlaybackClock


def test_nothing_was_heard_at_first() -> None:
    clock = PlaybackClock(1_024, jitter_s=0.02)
    assert clock.played(5.0) == 0
    with pytest.raises(ValueError, match="sample 0"):
        clock.at_s(0)


def test_sound_is_heard_as_time_goes_by() -> None:
    clock = PlaybackClock(1_024, jitter_s=0.02)
    clock.add(0, 128, 10.0)
    clock.add(128, 128, 10.125)
    assert [clock.played(now) for now in (9.5, 10.0, 10.0625, 10.1875, 10.25, 99.0)] == [
        0,
        0,
        64,
        192,
        256,
        256,
    ]
    assert clock.at_s(192) == 10.1875


def test_a_pause_between_two_sentences_is_no_sound() -> None:
    clock = PlaybackClock(1_024, jitter_s=0.02)
    clock.add(0, 128, 10.0)
    clock.add(128, 128, 20.0)
    assert [clock.played(now) for now in (10.125, 15.0, 20.0, 20.0625)] == [128, 128, 128, 192]
    assert clock.at_s(64) == 10.0625
    assert clock.at_s(128) == 20.0


def test_what_lies_in_the_devices_buffer_is_not_heard_yet() -> None:
    clock = PlaybackClock(1_024, jitter_s=0.02)
    clock.add(0, 128, 10.0)
    clock.add(128, 128, 12.0)
    assert clock.played(11.0) == 128


def test_a_stop_gives_numbers_back() -> None:
    clock = PlaybackClock(1_024, jitter_s=0.02)
    clock.add(0, 128, 10.0)
    clock.add(128, 128, 20.0)
    clock.cut(32)
    assert clock.played(99.0) == 32
    clock.add(32, 64, 30.0)
    assert clock.at_s(32) == 30.0
    assert clock.played(30.03125) == 64


@given(st.lists(st.tuples(st.integers(1, 500), st.floats(0, 2)), max_size=40), st.floats(0, 60))
def test_what_was_heard_only_grows_and_agrees_with_when(
    stretches: list[tuple[int, float]], now_s: float
) -> None:
    clock = PlaybackClock(1_024, jitter_s=0.02)
    start, at_s = 0, 1.0
    for count, pause_s in stretches:
        at_s += pause_s
        clock.add(start, count, at_s)
        start += count
        at_s += count / 1_024
    played = clock.played(now_s)
    assert 0 <= played <= start
    assert played <= clock.played(now_s + 0.5)
    if played:
        # neighbours that are less than 20 ms apart are one stretch
        assert clock.at_s(played - 1) <= now_s + 0.02
    if played < start:
        assert clock.at_s(played) > now_s - 0.02 * (len(stretches) + 1)


def test_when_a_sample_will_be_heard() -> None:
    """Behind those that are on their way, or as soon as a new one can be."""
    clock = PlaybackClock(1_024, jitter_s=0.02)
    assert clock.due_s(0, earliest_s=7.5) == 7.5
    clock.add(0, 256, 10.0)
    assert clock.due_s(128, earliest_s=10.0) == 10.125
    assert clock.due_s(256, earliest_s=10.1) == 10.25
    assert clock.due_s(256 + 512, earliest_s=10.1) == 10.75
    assert clock.due_s(256, earliest_s=20.0) == 20.0
    clock.cut(128)
    assert clock.due_s(128, earliest_s=10.1) == 10.125
