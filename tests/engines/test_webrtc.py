"""Voice activity with the real detector: what it takes for a voice, and what endpointing makes of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import soxr

from assistant.audio.endpointing import Dropped, Ended, Endpointer, Event, Paused
from assistant.audio.formats import FRAME_MS, FRAME_SAMPLES, RATE_HZ
from assistant.config import Vad
from assistant.engines.webrtc import FULL_SCALE, GATE_DBFS, WebrtcVad

AUDIO = Path(__file__).parents[1] / "audio"
QUESTIONS = sorted(AUDIO.glob("q*.wav"))


def sound(path: Path) -> npt.NDArray[np.int16]:
    """A recording as the program has it inside, with a second of silence behind it."""
    samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    mono = soxr.resample(samples.mean(axis=1), rate_hz, RATE_HZ)
    pcm: npt.NDArray[np.int16] = np.clip(np.rint(mono * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype(
        np.int16
    )
    return np.concatenate([pcm, np.zeros(RATE_HZ, dtype=np.int16)])


def frames(pcm: npt.NDArray[np.int16]) -> list[bytes]:
    whole = len(pcm) // FRAME_SAMPLES * FRAME_SAMPLES
    return [row.tobytes() for row in pcm[:whole].reshape(-1, FRAME_SAMPLES)]


def voiced_ms(pcm: npt.NDArray[np.int16], aggressiveness: int = 2) -> int:
    vad = WebrtcVad(aggressiveness)
    return FRAME_MS * sum(vad.voiced(frame) for frame in frames(pcm))


def endpoint(pcm: npt.NDArray[np.int16]) -> list[Event]:
    vad, endpointer = WebrtcVad(Vad().aggressiveness), Endpointer(Vad())
    events = [event for frame in frames(pcm) for event in endpointer.feed(frame, vad.voiced(frame))]
    return events + endpointer.end()


def at_level(pcm: npt.NDArray[np.int16], dbfs: float) -> npt.NDArray[np.int16]:
    """`pcm` with its loud parts at `dbfs`."""
    loud = pcm[np.abs(pcm) > 300].astype(np.float64)
    gain = FULL_SCALE * 10 ** (dbfs / 20) / np.sqrt(np.mean(loud**2))
    scaled: npt.NDArray[np.int16] = np.rint(pcm * gain).astype(np.int16)
    return scaled


def test_there_are_questions() -> None:
    assert len(QUESTIONS) == 24


@pytest.mark.parametrize("path", QUESTIONS, ids=lambda path: path.stem)
def test_a_question_is_one_utterance_that_holds_all_of_its_sound(path: Path) -> None:
    pcm = sound(path)
    events = endpoint(pcm)
    assert sum(isinstance(event, Ended) for event in events) == 1
    assert not any(isinstance(event, Dropped) for event in events)

    utterance = [event for event in events if isinstance(event, Paused)][-1]
    loud = np.flatnonzero(np.abs(pcm) > FULL_SCALE // 100)
    assert utterance.start_sample <= max(loud[0] - RATE_HZ // 5, 0)  # 200 ms of pre-roll at least
    assert loud[-1] < utterance.start_sample + len(utterance.pcm) // 2
    # the silence is measured from here: too late is latency, too early a person cut off
    assert abs(utterance.speech_end_sample - loud[-1]) < RATE_HZ // 20


@pytest.mark.parametrize("name", ["librivox-0870", "librivox-0880"])
def test_every_word_that_a_person_reads_is_in_an_utterance(name: str) -> None:
    words = json.loads((AUDIO / "people" / f"{name}.json").read_text())["w"]
    inside: set[int] = set()
    last: Event | None = None
    for event in endpoint(sound(AUDIO / "people" / f"{name}.wav")):
        if isinstance(event, Ended):
            assert isinstance(last, Paused)
            inside |= set(range(last.start_sample, last.start_sample + len(last.pcm) // 2))
        last = event
    for word in words:
        if word["t"] != "<sil>":
            middle = round((word["b"] + word["d"] / 2) * RATE_HZ)
            assert middle in inside, word


def test_silence_is_no_voice() -> None:
    assert voiced_ms(np.zeros(3 * RATE_HZ, dtype=np.int16), aggressiveness=0) == 0


@pytest.mark.parametrize("dbfs", [-80, -70, GATE_DBFS - 3])
def test_hiss_below_the_gate_is_no_voice(dbfs: float) -> None:
    hiss = np.random.default_rng(0).standard_normal(3 * RATE_HZ) * FULL_SCALE * 10 ** (dbfs / 20)
    assert voiced_ms(np.rint(hiss).astype(np.int16), aggressiveness=0) == 0


@pytest.mark.parametrize(
    ("dbfs", "least_ms", "most_ms"), [(-75, 0, 0), (-50, 900, 1600), (-40, 1200, 1800), (-20, 1400, 1800)]
)
def test_a_voice_is_heard_from_the_gate_upwards(dbfs: float, least_ms: int, most_ms: int) -> None:
    assert least_ms <= voiced_ms(at_level(sound(AUDIO / "q00.wav"), dbfs)) <= most_ms


def test_steady_noise_is_no_utterance() -> None:
    assert not any(isinstance(event, Paused) for event in endpoint(sound(AUDIO / "nonspeech" / "white.wav")))


@pytest.mark.parametrize("length", [0, 320, 638, 642, 960])
def test_a_frame_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="320 samples"):
        WebrtcVad(2).voiced(bytes(length))
