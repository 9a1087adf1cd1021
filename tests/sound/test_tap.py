"""What is written to a speaker, told on: whole, in order, and with the time at which it is heard."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.audio.formats import FRAME_BYTES, RATE_HZ, SAMPLE_BYTES
from assistant.audio.tap import JITTER_S, Tap
from assistant.messages import Played


def tone(seconds: float, rate_hz: int) -> npt.NDArray[np.int16]:
    phase = 2 * np.pi * 440 * np.arange(round(seconds * rate_hz)) / rate_hz
    pcm: npt.NDArray[np.int16] = np.rint(8_000 * np.sin(phase)).astype(np.int16)
    return pcm


def laid_out(posts: list[Played], begins_s: float) -> npt.NDArray[np.int16]:
    """The sound on one axis from `begins_s` on; no two pieces may overlap."""
    pieces = [(round((post.at_s - begins_s) * RATE_HZ), np.frombuffer(post.pcm, np.int16)) for post in posts]
    axis = np.zeros(max(at + len(pcm) for at, pcm in pieces), np.int16)
    end = 0
    for at, pcm in pieces:
        assert at >= end
        axis[at : at + len(pcm)] = pcm
        end = at + len(pcm)
    return axis


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 22_050, 48_000])
def test_sound_of_any_rate_is_told_on_at_the_programs_own(rate_hz: int) -> None:
    posts: list[Played] = []
    tap = Tap(posts.append)
    written = tone(0.5, rate_hz)
    step = rate_hz // 50
    for at in range(0, len(written), step):
        tap.feed(written[at : at + step], rate_hz, 7.0 + at / rate_hz)
    tap.end()
    assert {post.rate_hz for post in posts} == {RATE_HZ}
    assert all(0 < len(post.pcm) <= FRAME_BYTES for post in posts)
    told = laid_out(posts, 7.0)
    wanted = tone(0.5, RATE_HZ)
    assert abs(len(told) - len(wanted)) <= 2
    middle = slice(800, 7_200)
    assert np.abs(told[middle].astype(int) - wanted[middle]).max() < 200


@given(st.lists(st.floats(-JITTER_S / 2, JITTER_S / 2), min_size=2, max_size=20))
def test_measured_times_that_are_near_do_not_tear_the_sound(errors_s: list[float]) -> None:
    posts: list[Played] = []
    tap = Tap(posts.append)
    for number, error_s in enumerate(errors_s):
        tap.feed(tone(0.02, RATE_HZ), RATE_HZ, 7.0 + number * 0.02 + error_s)
        if number % 3 == 2:
            tap.end()  # the next clip follows at once
    tap.end()
    begins_s = 7.0 + errors_s[0]
    assert [post.at_s for post in posts] == pytest.approx([begins_s + n * 0.02 for n in range(len(posts))])


def test_after_a_gap_the_time_is_measured_anew() -> None:
    posts: list[Played] = []
    tap = Tap(posts.append)
    for due_s in (7.0, 9.0):
        tap.feed(tone(0.03, RATE_HZ), RATE_HZ, due_s)
    tap.end()
    assert [post.at_s for post in posts] == pytest.approx([7.0, 7.02, 9.0, 9.02])
    assert sum(len(post.pcm) for post in posts) == 2 * 0.03 * RATE_HZ * SAMPLE_BYTES


def test_what_is_stopped_is_taken_back() -> None:
    posts: list[Played] = []
    tap = Tap(posts.append)
    tap.feed(tone(0.1, 22_050), 22_050, 7.0)
    tap.stopped(7.05)
    assert posts[-1] == Played(b"", RATE_HZ, 7.05)
    told = len(posts)
    tap.end()
    assert len(posts) == told
