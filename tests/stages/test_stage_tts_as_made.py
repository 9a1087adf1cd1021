"""Sentences that the tts stage has played while they are made."""

from __future__ import annotations

import time

import numpy as np
import pytest
from stage_hub import Int16, posted, until
from tts_studio import BERLIN, MONTHS, VOICE_HZ, Open, Studio, begun, spoken

from assistant.audio.clip import Sound, without_silent_start
from assistant.engines.piper import PiperEngine
from assistant.errors import ModelError
from assistant.messages import Cancel, Failure, Gap, PlaybackStarted, Sentence, SoundReady, Worked

PARTS = f"{BERLIN} {MONTHS}"
"""Made in two pieces at least."""


def test_a_sentence_is_heard_while_it_is_made(open_studio: Open, voice: PiperEngine) -> None:
    studio = open_studio()
    work = studio.begin(Sentence(1, 0, 0, PARTS, last=True))
    assert next(work) == SoundReady(1, 0), "though nothing may be heard yet"
    studio.end_turn(1)
    until(lambda: len(spoken(studio, 0)) >= 2)
    assert len(posted(studio.daemon, PlaybackStarted)) == 1
    made_s = time.monotonic()
    studio.go_on(work)
    studio.until_all_is_done()  # and the daemon knows what was said before that
    (worked,) = posted(studio.daemon, Worked)
    assert (worked.stage, worked.turn, worked.revision) == ("tts", 1, 0)
    assert worked.began_s < worked.first_s < made_s < worked.ended_s
    fractions = spoken(studio, 0)
    assert fractions == sorted(set(fractions))
    assert fractions[-1] == 1.0
    sound, _ = studio.recorded()
    whole = begun(voice, PARTS)
    assert np.array_equal(sound, whole[whole != 0])


def until_dry(studio: Studio, voice: PiperEngine, text: str) -> float:
    """Wait until the first piece of `text` has been heard for a while; the fraction that it is of all."""
    first = next(without_silent_start(voice.speak(text), VOICE_HZ))
    until(lambda: bool(posted(studio.daemon, PlaybackStarted)))
    over_s = posted(studio.daemon, PlaybackStarted)[0].at_s + len(first) / VOICE_HZ
    until(lambda: time.monotonic() > over_s + 0.1)
    return len(first) / len(begun(voice, text))


def test_what_is_heard_of_half_a_sentence_is_guessed_well(open_studio: Open, voice: PiperEngine) -> None:
    """Else the history of an answer that is interrupted then would hold words that nobody heard."""
    studio = open_studio()
    studio.end_turn(1)
    work = studio.begin(Sentence(1, 0, 0, PARTS, last=True))
    next(work)
    fraction = until_dry(studio, voice, PARTS)
    assert spoken(studio, 0)[-1] == pytest.approx(fraction, rel=0.5)
    studio.go_on(work)
    studio.until_all_is_done()


def test_only_the_beginning_of_an_answer_is_told(open_studio: Open) -> None:
    studio = open_studio(speed=4.0)
    studio.give(Sentence(1, 0, 0, BERLIN, last=False), Sentence(1, 0, 1, MONTHS, last=False))
    studio.give(Sentence(1, 0, 2, "***", last=True))
    studio.end_turn(1)
    studio.until_all_is_done()
    assert posted(studio.daemon, SoundReady) == [SoundReady(1, 0)]
    assert len(posted(studio.daemon, Worked)) == 3


def test_a_sentence_that_cannot_be_made_to_its_end_falls_silent(open_studio: Open) -> None:
    studio = open_studio()
    studio.end_turn(1)
    work = studio.begin(Sentence(1, 0, 0, PARTS, last=True))
    next(work)
    until(lambda: bool(posted(studio.daemon, PlaybackStarted)))
    with pytest.raises(ModelError, match="damaged"):
        work.throw(ModelError("The voice is damaged."))  # type: ignore[attr-defined]  # it is a generator
    studio.until_all_is_done()
    assert not posted(studio.daemon, Failure), "that is for whoever runs the stage"
    studio.end_turn(2)
    studio.give(Sentence(2, 0, 5, BERLIN, last=True))
    studio.until_all_is_done()
    assert 1.0 not in spoken(studio, 0)
    assert spoken(studio, 5)[-1] == 1.0
    assert [worked.turn for worked in posted(studio.daemon, Worked)] == [2]


@pytest.mark.parametrize(("work_share", "pieces"), [(0.1, 3), (0.9, 1)])
def test_a_slow_voice_makes_a_sentence_whole_before_it_is_heard(
    open_studio: Open, monkeypatch: pytest.MonkeyPatch, work_share: float, pieces: int
) -> None:
    studio = open_studio()
    added: list[int] = []
    add = Sound.add

    def noted(sound: Sound, pcm: Int16) -> None:
        added.append(len(pcm))
        add(sound, pcm)

    monkeypatch.setattr(Sound, "add", noted)
    monkeypatch.setattr(studio.stage._engine, "speak", lambda _text: iter([np.ones(4000, np.int16)] * 3))
    studio.stage._work_share = work_share
    studio.go_on(studio.begin(Sentence(1, 0, 1, "Some words.", last=True)))
    studio.daemon.notify("tts", Cancel(1, 0))
    studio.until_all_is_done()
    assert added == [12_000 // pieces] * pieces


def test_a_sentence_cancelled_in_the_middle_is_not_made_to_its_end(
    open_studio: Open, voice: PiperEngine
) -> None:
    studio = open_studio()
    studio.end_turn(1)
    work = studio.begin(Sentence(1, 0, 0, PARTS, last=True))
    next(work)
    studio.daemon.notify("tts", Cancel(1, 0))
    studio.until_all_is_done()
    studio.go_on(work)
    until(lambda: bool(posted(studio.daemon, Worked)))
    (worked,) = posted(studio.daemon, Worked)
    assert worked.ended_s > worked.first_s
    assert not posted(studio.daemon, Failure)
    assert 1.0 not in spoken(studio, 0)
    sound, _ = studio.recorded()
    assert len(sound) < len(next(voice.speak(PARTS)))


def test_silence_in_the_middle_of_an_answer_is_told(open_studio: Open, voice: PiperEngine) -> None:
    studio = open_studio()
    studio.end_turn(1)
    work = studio.begin(Sentence(1, 0, 0, PARTS, last=False))
    next(work)
    until_dry(studio, voice, PARTS)
    studio.go_on(work)
    until(lambda: spoken(studio, 0)[-1:] == [1.0])
    over_s = time.monotonic()
    until(lambda: time.monotonic() > over_s + 0.1)
    studio.give(Sentence(1, 0, 1, BERLIN, last=True), Sentence(1, 0, 2, MONTHS, last=True))
    studio.until_all_is_done()
    inside, before = posted(studio.daemon, Gap)
    assert (inside.turn, inside.revision) == (before.turn, before.revision) == (1, 0)
    assert inside.duration_ms >= 100
    assert before.duration_ms >= 100
