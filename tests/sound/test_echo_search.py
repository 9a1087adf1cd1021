"""Whether anything is heard of the speaker, and what vad makes of it in rooms where that changes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.audio.barge_in import TAIL
from assistant.audio.echo_search import (
    APART,
    EVERY,
    LIKE,
    LOOKED_AT,
    LOUD,
    PLAYED,
    SURE,
    UNTRAINED,
    EchoSearch,
    likeness,
)
from assistant.audio.files import blocks
from assistant.audio.formats import FRAME_SAMPLES, RATE_HZ
from assistant.stages.own_voice import OwnVoice
from benchmarks.barge_in import TESTS, interruptions
from benchmarks.room import Ear, Pcm, Room

LOOKED_AT_SAMPLES = LOOKED_AT * FRAME_SAMPLES
PLAYED_SAMPLES = PLAYED * FRAME_SAMPLES
KNOWN = TAIL + SURE + 1
"""Frames that are played until it is known."""


def spoken(*names: str) -> Pcm:
    return np.concatenate([piece for name in names for piece in blocks(TESTS / "audio" / f"{name}.wav")])


ANSWER = spoken("q00", "q02", "q07", "q11", "q04")
PERSON = spoken("people/librivox-0870")
WHOLE_FRAMES = len(ANSWER) // FRAME_SAMPLES


def sounding(played: Pcm, person: Pcm) -> list[int]:
    """Where, every 100 ms, somebody is to be heard in the microphone's and something in the speaker's end."""
    ends = range(PLAYED_SAMPLES, min(len(played), len(person)), RATE_HZ // 10)
    lasts = [(end, played[end - PLAYED_SAMPLES : end], person[end - LOOKED_AT_SAMPLES : end]) for end in ends]
    return [end for end, one, other in lasts if min(np.std(one), np.std(other)) > LOUD]


def likenesses(heard: Pcm, played: Pcm, ends: list[int]) -> list[float]:
    return [
        likeness(
            heard[end - LOOKED_AT_SAMPLES : end].astype(float),
            played[end - PLAYED_SAMPLES : end].astype(float),
        )[0]
        for end in ends
    ]


@pytest.mark.parametrize("delay_ms", [0, 20, 150, 300])
@pytest.mark.parametrize("echo_db", [-10, -20])
def test_an_echo_is_like_what_is_played_and_a_person_is_not(echo_db: float, delay_ms: float) -> None:
    nobody = np.zeros_like(ANSWER)
    ends = sounding(ANSWER, np.roll(ANSWER, int(delay_ms * RATE_HZ / 1000)))
    assert len(ends) > 40
    assert np.percentile(likenesses(Room(echo_db, delay_ms, 1).hear(ANSWER, nobody), ANSWER, ends), 10) > LIKE


def test_a_person_is_not_like_what_is_played() -> None:
    """But for chance: some sounds are alike for a moment."""
    ends = sounding(ANSWER, PERSON)
    assert len(ends) > 40
    found = likenesses(PERSON, ANSWER, ends)
    assert np.percentile(found, 95) < 0.8 * LIKE
    assert np.mean(np.array(found) >= LIKE) < 0.05


@given(st.integers(0, 2**32), st.floats(10, 30_000), st.sampled_from([0, 1, 4_000, 8_320]))
def test_likeness_does_not_depend_on_the_level_and_finds_every_delay(
    seed: int, level: float, delay: int
) -> None:
    random = np.random.default_rng(seed)
    played = random.standard_normal(PLAYED_SAMPLES) * 1_000
    end = PLAYED_SAMPLES - delay
    heard = played[end - LOOKED_AT_SAMPLES : end] * level / 1_000
    like, found = likeness(heard, played)
    assert 0.9 < like <= 1.0
    assert found == delay
    assert likeness(random.standard_normal(LOOKED_AT_SAMPLES) * level, played)[0] < 0.15
    assert likeness(np.zeros(LOOKED_AT_SAMPLES), played)[0] == 0
    assert likeness(heard, np.zeros(PLAYED_SAMPLES))[0] == 0


# ---------------------------------------------------------------- from frame to frame


def noise(frames: int, level: float, seed: int) -> Pcm:
    return (np.random.default_rng(seed).standard_normal(frames * FRAME_SAMPLES) * level).astype(np.int16)


def searched(heard: Pcm, played: Pcm, search: EchoSearch | None = None) -> list[bool]:
    """With which frames no canceller was needed."""
    search = search or EchoSearch()
    frames = zip(heard.reshape(-1, FRAME_SAMPLES), played.reshape(-1, FRAME_SAMPLES), strict=True)
    return [search.finds_none(one.tobytes(), other.tobytes()) for one, other in frames]


def test_where_nothing_is_heard_of_the_speaker_that_is_known_when_an_echo_would_have_come() -> None:
    heard, played = noise(100, 30, 1), noise(100, 3_000, 2)
    expected = [False] * (KNOWN - 1) + [True] * (101 - KNOWN)
    search = EchoSearch()
    assert searched(heard, played, search) == expected
    search.begin_anew()
    assert searched(heard, played, search) == expected, "a speaker may have been turned on"


def test_an_echo_that_was_found_once_is_there() -> None:
    played = noise(100, 3_000, 2)
    search = EchoSearch()
    assert not any(searched(np.roll(played // 10, 4_800), played, search))
    search.begin_anew()
    assert not any(searched(noise(100, 30, 1), played, search))


def test_an_echo_that_comes_late_is_found() -> None:
    played = noise(200, 3_000, 2)
    heard = noise(200, 30, 1)
    heard[100 * FRAME_SAMPLES :] += np.roll(played // 10, 4_800)[100 * FRAME_SAMPLES :]
    needless = searched(heard, played)
    assert needless[99]
    assert not any(needless[100 + 2 * EVERY :])


def test_what_is_alike_by_chance_is_an_echo_for_a_moment_only() -> None:
    """A person's vowels, which are like what was played 300 ms before, and then like something else."""
    played, heard = noise(200, 3_000, 2), noise(200, 300, 1)
    for begins, delay in ((80, 4_800), (100, 1_600)):
        part = slice(begins * FRAME_SAMPLES, (begins + 4) * FRAME_SAMPLES)
        heard[part] += np.roll(played // 10, delay)[part]
    needless = searched(heard, played)
    assert needless[80]
    assert not any(needless[80 + 2 * EVERY : 80 + LOOKED_AT])
    assert all(needless[100 + 3 * LOOKED_AT :])


@pytest.mark.parametrize(
    "played",
    [
        noise(200, LOUD * 0.9, 2),
        np.concatenate([noise(SURE - 1, 3_000, 2), noise(201 - SURE, 10, 3)]),  # an earcon
    ],
)
def test_what_is_too_soft_or_short_shows_nothing(played: Pcm) -> None:
    assert not any(searched(noise(200, 30, 1), played))


def test_a_trained_canceller_knows_itself() -> None:
    heard, played = noise(UNTRAINED + 1, 30, 1), noise(UNTRAINED + 1, 3_000, 2)
    needless = searched(heard, played)
    assert needless[-2:] == [True, False]


# ---------------------------------------------------------------- in a room


@pytest.mark.parametrize("echo_db", [-10, -15, -20])
def test_a_speaker_that_is_turned_on_after_the_first_answer_is_no_person(echo_db: float) -> None:
    ear = Ear(seed=1, jitter_s=0.004)
    assert interruptions(Room(-80, 100, 1), ear, spoken("q00", "q02")) == []
    assert interruptions(Room(echo_db, 100, 1), ear, ANSWER) == []


@pytest.mark.parametrize("swallowed_s", [1.0, 1.6, 2.5])
@pytest.mark.parametrize("echo_db", [-10, -15, -20])
def test_a_speaker_that_swallows_the_beginning_is_no_person(echo_db: float, swallowed_s: float) -> None:
    """As many a television does."""
    ear = Ear(seed=1, jitter_s=0.004)
    swallowed = int(swallowed_s * RATE_HZ)
    assert interruptions(Room(echo_db, 100, 1), ear, ANSWER, swallowed=swallowed) == []


def past_canceller(heard: Pcm, played: Pcm, lost: int = 0, person: range = range(0)) -> list[bool]:
    """Which frames went past the canceller; `lost` from the 100th on are lost, `person` are a person's."""
    own_voice, is_past = OwnVoice(), []
    own_voice.played(played.tobytes(), 0.0)
    for number in range(len(played) // FRAME_SAMPLES):
        if 100 <= number < 100 + lost:
            continue
        frame = heard[number * FRAME_SAMPLES :][:FRAME_SAMPLES].tobytes()
        until = (number + 1) * FRAME_SAMPLES
        kept = own_voice.cancel(frame, until, until / RATE_HZ)
        own_voice.is_person(kept, number in person, speaking=True, is_open=True)
        is_past.append(kept == frame)
    return is_past


FRAMES = 300
BEGUN = ANSWER[: FRAMES * FRAME_SAMPLES]
QUIET = noise(FRAMES, 30, 1)


def test_behind_a_gap_it_is_searched_anew() -> None:
    """Muted meanwhile, say: a speaker may have been turned on."""
    assert all(past_canceller(QUIET, BEGUN)[80:200])
    is_past = past_canceller(QUIET, BEGUN, lost=20)
    assert all(is_past[80:100])
    assert not any(is_past[100 : 100 + KNOWN - 1])
    assert all(is_past[200:])


def test_who_speaks_past_the_canceller_goes_on_so_until_an_echo_is_sure() -> None:
    """It would take the canceller a second to let them through again."""
    said, person = QUIET.copy(), range(70, 130)
    said[70 * FRAME_SAMPLES : 130 * FRAME_SAMPLES] += noise(60, 500, 3)
    by_chance = slice(85 * FRAME_SAMPLES, 90 * FRAME_SAMPLES)
    said[by_chance] += np.roll(BEGUN, 1_600)[by_chance]
    is_past = past_canceller(said, BEGUN, person=person)
    assert all(is_past[70:130])
    said[100 * FRAME_SAMPLES :] += np.roll(BEGUN, 1_600)[100 * FRAME_SAMPLES :]  # a speaker that wakes up
    is_past = past_canceller(said, BEGUN, person=person)
    assert all(is_past[70:100])
    assert not any(is_past[100 + 3 * APART :])
