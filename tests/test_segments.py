"""Stretches of speech in a recording: they do not depend on how it is read."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from assistant.audio.endpointing import Ended, Endpointer, Event
from assistant.audio.formats import FRAME_BYTES, RATE_HZ
from assistant.config import Vad
from assistant.engines.voice import VoiceDetector
from assistant.segments import in_frames, speech_in

AUDIO = Path(__file__).parent / "audio"


def a_question_in_noise() -> bytes:
    samples, _ = soundfile.read(AUDIO / "q00.wav", dtype="int16")
    sound = np.concatenate([np.zeros(RATE_HZ // 2), samples, np.zeros(RATE_HZ)])
    sound += np.random.default_rng(0).normal(0, 200, len(sound))
    return bytes(sound.astype(np.int16).tobytes())


PCM = a_question_in_noise()


def events(reads: list[bytes]) -> list[Event]:
    endpointer, voice = Endpointer(Vad()), VoiceDetector(Vad())
    found = [event for frame in in_frames(reads) for event in endpointer.feed(frame, *voice.hear(frame))]
    return found + endpointer.end()


WHOLE = events([PCM])


def test_there_is_one_question() -> None:
    assert sum(isinstance(event, Ended) for event in WHOLE) == 1


@settings(deadline=None, max_examples=15)
@given(st.lists(st.integers(0, len(PCM) // 2), max_size=40))
def test_any_split_into_reads_gives_the_same_utterances(cuts: list[int]) -> None:
    places = [0, *sorted(2 * cut for cut in cuts), len(PCM)]
    assert events([PCM[begin:end] for begin, end in pairwise(places)]) == WHOLE


@given(st.lists(st.binary(max_size=3 * FRAME_BYTES), max_size=8))
def test_frames_hold_all_of_it(reads: list[bytes]) -> None:
    frames = list(in_frames(reads))
    assert all(len(frame) == FRAME_BYTES for frame in frames)
    sound = b"".join(reads)
    assert b"".join(frames)[: len(sound)] == sound
    assert len(frames) == -(-len(sound) // FRAME_BYTES)


@pytest.mark.parametrize("name", ["q00.wav", "q18.wav"])
def test_a_recording_with_one_question_has_one_stretch(name: str) -> None:
    (sound,) = speech_in(AUDIO / name, Vad())
    assert 0 <= sound.start_s < sound.end_s
    assert sound.request.voiced_ms > 500
