"""What is played, on the microphone's time axis: by hand, and for any splits and delays."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.audio.formats import FRAME_SAMPLES, RATE_HZ
from assistant.audio.reference import ACTIVE, EARLY, KEPT, LACKED, SLIPS, Reference

BEGINS_S = 100.0
FRAME_S = FRAME_SAMPLES / RATE_HZ

Int16 = npt.NDArray[np.int16]


def sound(samples: int) -> Int16:
    """No two samples that are near each other are alike, and none is 0."""
    return (np.arange(samples) % 30_000 + 1).astype(np.int16)


def hear(reference: Reference, frames: int, late_s: float = 0.0, first: int = 0) -> list[bytes | None]:
    """What belongs to frames of a microphone of which the first sample was captured at `BEGINS_S`."""
    return [
        reference.heard_with((n + 1) * FRAME_SAMPLES, BEGINS_S + (n + 1) * FRAME_S + late_s)
        for n in range(first, first + frames)
    ]


def joined(frames: list[bytes | None]) -> Int16:
    return np.concatenate([np.frombuffer(frame, np.int16) for frame in frames if frame is not None])


def test_where_nothing_was_played_there_is_no_reference() -> None:
    assert hear(Reference(), 5) == [None] * 5


def test_what_is_played_comes_with_the_frames_of_its_time_but_a_little_early() -> None:
    reference = Reference()
    played = sound(10 * FRAME_SAMPLES)
    reference.played(played.tobytes(), BEGINS_S + 0.1)
    heard = joined(hear(reference, 20))
    at = RATE_HZ // 10 - EARLY
    assert not heard[:at].any()
    assert (heard[at : at + len(played)] == played).all()
    assert not heard[at + len(played) :].any()


@given(st.lists(st.integers(1, 700), min_size=1, max_size=30), st.integers(0, 3 * RATE_HZ))
def test_how_the_sound_is_cut_up_does_not_matter(sizes: list[int], after: int) -> None:
    played = sound(sum(sizes))
    whole, pieces = Reference(), Reference()
    whole.played(played.tobytes(), BEGINS_S + after / RATE_HZ)
    at = 0
    for size in sizes:
        # seconds are not exact
        pieces.played(played[at : at + size].tobytes(), BEGINS_S + (after + at) / RATE_HZ + 2e-5)
        at += size
    frames = (after + at) // FRAME_SAMPLES + 2
    assert hear(whole, frames) == hear(pieces, frames)


@given(st.lists(st.floats(0, 0.3), min_size=40, max_size=40))
def test_frames_that_come_late_are_captured_no_later(late_s: list[float]) -> None:
    """Half of them come at once; all are where they would be if all did."""
    reference, prompt = Reference(), Reference()
    played = sound(40 * FRAME_SAMPLES)
    for each in (reference, prompt):
        hear(each, 2)
        each.played(played.tobytes(), BEGINS_S + 0.06)
    heard = [hear(reference, 1, late * (n % 2), first=n)[0] for n, late in enumerate(late_s, 2)]
    assert heard == hear(prompt, 40, first=2)


def test_a_while_after_the_last_sound_there_is_no_echo_any_more() -> None:
    reference = Reference()
    reference.played(sound(FRAME_SAMPLES).tobytes(), BEGINS_S)
    heard = hear(reference, 60)
    active = (ACTIVE - EARLY) // FRAME_SAMPLES + 1
    assert all(frame is not None for frame in heard[:active])
    assert heard[active:] == [None] * (60 - active)


def test_what_was_stopped_is_not_heard() -> None:
    reference = Reference()
    played = sound(20 * FRAME_SAMPLES)
    reference.played(played.tobytes(), BEGINS_S + EARLY / RATE_HZ)
    reference.played(b"", BEGINS_S + EARLY / RATE_HZ + 5.5 * FRAME_S)
    heard = joined(hear(reference, 10))
    stop = 11 * FRAME_SAMPLES // 2
    assert (heard[:stop] == played[:stop]).all()
    assert not heard[stop:].any()
    again = sound(FRAME_SAMPLES)
    reference.played(again.tobytes(), BEGINS_S + EARLY / RATE_HZ + 12 * FRAME_S)
    assert (joined(hear(reference, 3, first=12))[:FRAME_SAMPLES] == again).all()


def test_what_comes_after_it_was_asked_for_is_lacking_for_a_while() -> None:
    reference = Reference()
    hear(reference, 10)
    seen = [reference.is_lacking]
    reference.played(sound(FRAME_SAMPLES).tobytes(), BEGINS_S + 8 * FRAME_S)
    seen.append(reference.is_lacking)
    hear(reference, LACKED // FRAME_SAMPLES, first=10)
    seen.append(reference.is_lacking)
    hear(reference, 1, first=10 + LACKED // FRAME_SAMPLES)
    seen.append(reference.is_lacking)
    reference.played(sound(FRAME_SAMPLES).tobytes(), BEGINS_S + 99)
    seen.append(reference.is_lacking)
    assert seen == [False, True, True, False, False]


@pytest.mark.parametrize(("slip", "follows"), [(SLIPS - 100, False), (SLIPS + 100, True)])
def test_while_something_is_played_the_clocks_are_set_anew_only_when_they_are_far_apart(
    slip: int, follows: bool
) -> None:
    reference = Reference()
    played = sound(500 * FRAME_SAMPLES)
    reference.played(played.tobytes(), BEGINS_S + EARLY / RATE_HZ)
    hear(reference, 10)
    heard = joined(hear(reference, 200, late_s=slip / RATE_HZ, first=10))
    begins = 209 * FRAME_SAMPLES + (slip if follows else 0)
    assert (heard[-FRAME_SAMPLES:] == played[begins : begins + FRAME_SAMPLES]).all()


def test_what_is_played_while_nobody_listens_is_not_kept_for_ever() -> None:
    """The microphone is muted, or gone."""
    reference = Reference()
    for n in range(3 * KEPT // FRAME_SAMPLES):
        reference.played(sound(FRAME_SAMPLES).tobytes(), BEGINS_S + n * FRAME_S)
    assert len(reference._played) <= KEPT // FRAME_SAMPLES + 1
