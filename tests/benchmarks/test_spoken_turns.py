"""What the benchmark makes of events and recordings."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.turns import Turn, Work, by_turn, loud, nearest, speech_end_s, turn_of, uncovered_ms

MS = st.integers(0, 60)


@given(MS, MS, st.lists(st.tuples(MS, MS)))
def test_uncovered_is_what_no_interval_has(begin: int, length: int, intervals: list[tuple[int, int]]) -> None:
    covered = {at for since, until in intervals for at in range(since, until)}
    left = [at for at in range(begin, begin + length) if at not in covered]
    assert uncovered_ms(begin, begin + length, intervals) == len(left)


@pytest.mark.parametrize(
    ("handed", "tts", "end_of_turn", "sound", "expected"),
    [
        pytest.param(300, (305, 400), 250, 420, 10 + 1 + 5 + 20, id="the answer is waited for"),
        pytest.param(300, (305, 400), 500, 520, 10 + 1 + 5 + 20, id="the end of the turn is waited for"),
        pytest.param(300, (301, 400), 410, 400, 10 + 1 + 1, id="nothing lies between"),
        pytest.param(150, (250, 400), 250, 400, 10 + 1 + 100, id="a sentence lies about"),
    ],
)
def test_not_engine_time(
    handed: float, tts: tuple[float, float], end_of_turn: float, sound: float, expected: float
) -> None:
    works = (
        Work("stt", 0, 110, 120, 120),
        Work("llm", 0, 121, 130, 600),
        Work("tts", 0, *tts, 500),
        Work("tts", 0, 510, 520, 530),
    )
    turn = Turn("q", 5, 100, end_of_turn, handed, sound, 900, 0, works, ())
    assert turn.not_engine_ms == expected
    assert turn.wasted_ms == 0
    assert turn.decided_to_sound_ms == max(0, sound - end_of_turn)


def test_stale_work_is_wasted_but_no_pause() -> None:
    works = (
        Work("stt", 0, -50, 130, 130),
        Work("stt", 1, 131, 200, 200),
        Work("llm", 1, 200, 210, 400),
        Work("tts", 1, 300, 350, 360),
    )
    turn = Turn("q", 5, 100, 320, 300, 355, 900, 1, works, ())
    assert turn.wasted_ms == 180
    assert turn.not_engine_ms == 1 + 5


@given(
    st.integers(0, 500),
    st.lists(st.integers(-32_768, 32_767), min_size=1, max_size=50),
    st.integers(0, 500),
    st.integers(0, 20),
)
def test_the_ends_of_speech_are_found_in_faint_noise(
    before: int, speech: list[int], after: int, noise: int
) -> None:
    said = [32_767, *speech, -32_768]
    floor = noise * np.where(np.arange(before + after) % 2, 1, -1)
    pcm = np.concatenate([floor[:before], said, floor[before:]]).astype(np.int16)
    found = loud(pcm)
    assert (found[0], found[-1]) == (before, before + len(said) - 1)


def test_silence_has_no_loud_sample() -> None:
    assert not len(loud(np.zeros(100, np.int16)))
    assert not len(loud(np.zeros(0, np.int16)))


@pytest.mark.parametrize(
    ("ends", "wanted", "expected"),
    [([], 1.0, None), ([1.4, 5.0], 1.0, 0), ([1.4, 5.0], 5.3, 1), ([1.4, 5.0], 3.0, None)],
)
def test_a_recording_finds_its_turn(ends: list[float], wanted: float, expected: int | None) -> None:
    assert nearest(ends, wanted) == expected


def line(event: str, t: float, turn: int = 1, text: str = "", **more: float) -> str:
    return json.dumps({"event": event, "t": t, "turn": turn, "text": text, **more})


ANSWERED = [
    line("listening", 100.0, 0),
    line("speech_start", 101.0),
    line("pause", 102.11, revision=0),
    line("worked", 102.3, text="stt", revision=0, began=102.12, first=102.3),
    line("pause", 103.11, revision=1),
    line("worked", 103.3, text="stt", revision=1, began=103.12, first=103.3),
    line("end_of_turn", 103.51, speech_end=103.01),
    line("worked", 104.2, text="llm", revision=1, began=103.31, first=103.4),
    line("worked", 103.7, text="tts", revision=1, began=103.6, first=103.65),
    line("answer", 104.2, text="Yes. No."),
    line("worked", 104.5, text="tts", revision=1, began=104.4, first=104.45),
    line("first_sound", 103.66),
    line("gap", 104.4, ms=40),
    line("done", 105.0),
    line("speculation", 106.0, 0, hits=1, misses=1, wasted_s=0.18),
]


def test_a_turn_is_read_from_its_events() -> None:
    since_s, turns = by_turn([*ANSWERED, line("speech_start", 107.0, 2)])
    assert since_s == 100
    assert [speech_end_s(events) for events in turns] == [103.01]
    turn = turn_of("q00", turns[0], 103.0)
    assert turn is not None
    figures = (turn.speech_end_ms, turn.pause_ms, turn.end_of_turn_ms, turn.handed_ms, turn.first_sound_ms)
    assert figures == pytest.approx((10, 110, 510, 600, 660))
    assert turn.revision == 1
    assert list(turn.gaps_ms) == [40]
    assert turn.work("tts").began_ms == pytest.approx(600)
    assert turn.wasted_ms == pytest.approx(180)
    # 10 behind the pause, 10 behind the transcript, 10 before the sound
    assert turn.not_engine_ms == pytest.approx(30)


@pytest.mark.parametrize("missing", ["pause", "worked", "answer", "first_sound", "done"])
def test_a_turn_that_was_not_answered_aloud_is_none(missing: str) -> None:
    lines = [each for each in ANSWERED if json.loads(each)["event"] != missing]
    _, turns = by_turn(lines)
    assert turn_of("q00", turns[0], 103.0) is None


def test_an_apology_is_no_answer() -> None:
    lines = [each.replace('"revision": 1', '"revision": 2') if '"tts"' in each else each for each in ANSWERED]
    _, turns = by_turn(lines)
    assert turn_of("q00", turns[0], 103.0) is None
