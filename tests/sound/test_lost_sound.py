"""What a device lost without saying so, told from when its sound came."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.audio.device_microphone import LostSound

PERIOD_S = 0.04


def lost_s(delays_s: list[float], gaps_s: dict[int, float] | None = None, slow: float = 0.0) -> list[float]:
    """What is noticed of periods that come so late; `gaps_s` are missing before some of them, and the
    device's clock is slow by that share.
    """
    watch = LostSound()
    made_s = received_s = 0.0
    found = []
    for number, delay_s in enumerate(delays_s):
        made_s += PERIOD_S * (1 + slow) + (gaps_s or {}).get(number, 0.0)
        received_s += PERIOD_S
        if lost := watch.feed(received_s, 1_000 + made_s + delay_s):
            found.append(lost)
    return found


@given(
    st.lists(st.floats(0, 0.5), min_size=50, max_size=400),
    st.floats(-0.001, 0.001),
)
def test_sound_that_is_late_is_not_lost(delays_s: list[float], slow: float) -> None:
    # now and then some comes in time, and what is late comes all the same
    on_time = [delay_s * (number % 10 > 0) for number, delay_s in enumerate(delays_s)]
    assert lost_s(on_time, slow=slow) == []


@pytest.mark.parametrize("gap_s", [0.05, 0.5, 12.0])
@pytest.mark.parametrize("at", [60, 99, 100, 149])
def test_what_is_missing_is_noticed_within_some_seconds(gap_s: float, at: int) -> None:
    assert lost_s([0.0] * (at + 110), {at: gap_s}) == [pytest.approx(gap_s, abs=1e-6)]


def test_each_loss_counts_once() -> None:
    found = lost_s([0.01] * 1_000, {200: 0.1, 500: 0.2, 510: 0.3})
    assert sum(found) == pytest.approx(0.6, abs=1e-6)


def test_sound_that_was_made_before_it_began_is_none() -> None:
    assert lost_s([-2.0] * 10 + [-1.0] * 10 + [0.0] * 10 + [0.01] * 300) == []


def test_a_computer_that_is_busy_for_seconds_loses_nothing_each_time() -> None:
    """Then nothing comes in time; the first time that cannot be told from a loss."""
    busy_then_not = ([0.04] * 100 + [0.0] * 100) * 20
    assert lost_s(busy_then_not) in ([], [pytest.approx(0.04)])
    after = lost_s([*busy_then_not, *[0.0] * 300], {4_100: 0.5})
    assert sum(after) == pytest.approx(0.5, abs=0.041)
