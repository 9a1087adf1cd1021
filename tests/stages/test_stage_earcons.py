"""Earcons of the tts stage, those that say that it listens among them."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from stage_hub import posted, until
from tts_studio import BERLIN, VOICE_HZ, Open, begun, spoken

from assistant.audio.clip import Verdict
from assistant.audio.earcons import duration_ms, earcon
from assistant.engines.piper import PiperEngine
from assistant.messages import EarconStarted, Failure, PlaybackStarted, PlayEarcon, Sentence, SpeechStarted
from assistant.stages.tts import PlayedEarcon


def test_an_earcon_is_heard_at_once_and_told(open_studio: Open) -> None:
    studio = open_studio()
    before_s = time.monotonic()
    studio.beep("listening")
    until(lambda: bool(posted(studio.daemon, EarconStarted)))
    (started,) = posted(studio.daemon, EarconStarted)
    assert started.duration_ms == duration_ms("listening")
    until(lambda: time.monotonic() > started.at_s + 0.2)
    sound, times = studio.recorded()
    whole = earcon("listening", VOICE_HZ)
    assert np.array_equal(sound, whole[whole != 0])
    assert times[0] == pytest.approx(started.at_s, abs=0.01)
    assert before_s < times[0]
    assert not posted(studio.daemon, PlaybackStarted), "it is no answer"


def test_a_beep_never_comes_into_an_answer(open_studio: Open, voice: PiperEngine) -> None:
    """What is still true after the answer waits for its end; the rest is not heard."""
    studio = open_studio()
    studio.give(Sentence(1, 0, 0, BERLIN, last=False))
    studio.beep("thinking", "error")  # the answer waits to be released
    studio.end_turn(1)
    until(lambda: bool(posted(studio.daemon, PlaybackStarted)))
    studio.beep("listening")
    until(lambda: spoken(studio, 0)[-1:] == [1.0])
    until(lambda: bool(posted(studio.daemon, EarconStarted)))
    (started,) = posted(studio.daemon, EarconStarted)
    assert started.duration_ms == duration_ms("error")
    until(lambda: time.monotonic() > started.at_s + 0.5)
    sound, _ = studio.recorded()
    whole = np.concatenate([begun(voice, BERLIN), earcon("error", VOICE_HZ)])
    assert np.array_equal(sound, whole[whole != 0])


def test_an_answer_is_whole_behind_a_beep(open_studio: Open, voice: PiperEngine) -> None:
    studio = open_studio()
    studio.end_turn(1)
    studio.beep("ready")
    studio.give(Sentence(1, 0, 0, BERLIN, last=True))
    studio.until_all_is_done()
    sound, _ = studio.recorded()
    whole = np.concatenate([earcon("ready", VOICE_HZ), begun(voice, BERLIN)])
    assert np.array_equal(sound, whole[whole != 0])


def test_earcons_can_be_turned_off(open_studio: Open, voice: PiperEngine) -> None:
    studio = open_studio(earcons=False)
    studio.end_turn(1)
    studio.beep("ready", "error")
    studio.give(Sentence(1, 0, 0, BERLIN, last=True))
    studio.until_all_is_done()
    sound, _ = studio.recorded()
    whole = begun(voice, BERLIN)
    assert np.array_equal(sound, whole[whole != 0])
    assert not posted(studio.daemon, EarconStarted)


def test_a_beep_without_a_speaker_harms_nothing(
    open_studio: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    studio = open_studio(speaker=f"card:{tmp_path / 'nowhere.sock'}")
    studio.beep("ready")
    until(lambda: "the earcon ready was not heard" in caplog.text)
    assert not posted(studio.daemon, Failure)


# ---------------------------------------------------------------- signs


def test_a_sign_that_comes_too_late_is_not_heard(open_studio: Open) -> None:
    studio = open_studio()
    studio.daemon.notify("tts", PlayEarcon("listening", time.monotonic() - 0.01))
    studio.beep("ready")
    until(lambda: bool(posted(studio.daemon, EarconStarted)))
    (started,) = posted(studio.daemon, EarconStarted)
    assert started.duration_ms == duration_ms("ready")


def test_a_sign_is_late_once_the_speaker_is_open_not_when_it_has_begun() -> None:
    now_s = [10.0]
    sign = PlayedEarcon(
        None,  # type: ignore[arg-type] # nobody is told
        PlayEarcon("listening", 10.3),
        np.ones(100, np.int16),
        lambda: 1.0,
        clock=lambda: now_s[0],
    )
    assert sign.verdict() is Verdict.PLAY
    now_s[0] = 10.4
    assert sign.verdict() is Verdict.DROP
    now_s[0] = 10.2
    sign.sound.take(0.0)
    now_s[0] = 10.4
    assert sign.verdict() is Verdict.PLAY, "it is not cut off"


def test_a_sign_falls_silent_when_somebody_speaks(open_studio: Open) -> None:
    studio = open_studio()
    studio.daemon.notify("tts", PlayEarcon("listening"))
    studio.daemon.notify("tts", SpeechStarted(2, 0.0))
    studio.beep("ready")
    until(lambda: any(m.duration_ms == duration_ms("ready") for m in posted(studio.daemon, EarconStarted)))
    until_s = time.monotonic() + 0.3
    until(lambda: time.monotonic() > until_s)
    sound, _ = studio.recorded()
    both = sum(np.count_nonzero(earcon(name, VOICE_HZ)) for name in ("listening", "ready"))
    assert np.count_nonzero(sound) < both - 0.05 * VOICE_HZ
