"""How loud the tts stage plays."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
from stage_hub import posted, until
from tts_studio import BERLIN, STORY, VOICE_HZ, Open, begun, said

from assistant.audio.earcons import duration_ms, earcon
from assistant.audio.volume import gain
from assistant.engines.piper import PiperEngine
from assistant.messages import EarconStarted, Sentence, Speech, Spoken, Volume


def test_the_volume_changes_in_mid_answer(open_studio: Open, voice: PiperEngine) -> None:
    studio = open_studio()
    studio.end_turn(1)
    studio.give(Sentence(1, 0, 0, f"{STORY}.", last=True))
    until(lambda: len(posted(studio.daemon, Spoken)) >= 3)
    studio.daemon.notify("tts", Volume(0.5, 1.0))
    studio.until_all_is_done()
    studio.card.close()
    whole = begun(voice, f"{STORY}.").astype(np.float64)
    heard = soundfile.read(studio.file, dtype="int16")[0]
    start = int(np.flatnonzero(heard)[0]) - int(np.flatnonzero(whole)[0])
    heard = heard[start : start + len(whole)]
    early, late = VOICE_HZ // 4, len(whole) // 2
    assert np.array_equal(heard[:early], whole[:early])
    assert np.abs(heard[late:] - gain(0.5) * whole[late:]).max() <= 1


@pytest.mark.parametrize(("volume", "answer", "beep"), [(Volume(0.5, 1.0), 0.5, 1), (Volume(1, 0.5), 1, 0.5)])
def test_answers_and_earcons_have_a_volume_each(
    open_studio: Open, voice: PiperEngine, volume: Volume, answer: float, beep: float
) -> None:
    studio = open_studio(speed=2.0)
    studio.daemon.notify("tts", volume)
    studio.beep("ready")
    until(lambda: bool(posted(studio.daemon, EarconStarted)))
    studio.end_turn(1)
    studio.give(Sentence(1, 0, 0, BERLIN, last=True))
    studio.until_all_is_done()
    sound, _ = studio.recorded()
    loud = [int(np.abs(part.astype(int)).max()) for part in (earcon("ready", VOICE_HZ), begun(voice, BERLIN))]
    start = duration_ms("ready") * VOICE_HZ // 1000
    assert np.abs(sound[: start // 2].astype(int)).max() == pytest.approx(loud[0] * gain(beep), abs=1)
    assert np.abs(sound[start:].astype(int)).max() == pytest.approx(loud[1] * gain(answer), abs=1)


def test_until_it_is_told_it_is_as_loud_as_the_settings_say(open_studio: Open, voice: PiperEngine) -> None:
    studio = open_studio(speed=2.0, volume=0.25)
    studio.end_turn(1)
    studio.give(Sentence(1, 0, 0, BERLIN, last=True))
    studio.give(Sentence(2, 0, 0, BERLIN, last=True, to_client=True))
    studio.until_all_is_done()
    (whole,) = [np.frombuffer(speech.pcm, np.int16) for speech in posted(studio.daemon, Speech)]
    assert np.array_equal(whole, said(voice, BERLIN)), "what a client gets is not played here"
    sound, _ = studio.recorded()
    assert np.abs(sound).max() == pytest.approx(gain(0.25) * np.abs(whole).max(), abs=1)
