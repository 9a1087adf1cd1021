"""Voice decisions with the real detectors: what is a voice in a room, and what is not."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import soxr

from assistant.audio.endpointing import Ended, Endpointer, Event, Paused
from assistant.audio.formats import FRAME_BYTES, RATE_HZ
from assistant.config import Vad
from assistant.engines.voice import VoiceDetector
from benchmarks.noises import noise

AUDIO = Path(__file__).parents[1] / "audio"
QUESTIONS = sorted(AUDIO.glob("q*.wav"))
PLAIN, BOTH = Vad(second_opinion=False), Vad()
FULL_SCALE = 32_768

Sound = npt.NDArray[np.float64]


def recorded(name: str) -> Sound:
    samples, rate_hz = soundfile.read(AUDIO / name, always_2d=True)
    sound: Sound = soxr.resample(samples.mean(axis=1), rate_hz, RATE_HZ)
    return sound


def at_level(sound: Sound, dbfs: float) -> Sound:
    """`sound` with its loud parts (within 20 dB of the peak) at `dbfs`."""
    loud = sound[np.abs(sound) > np.max(np.abs(sound)) / 10]
    return sound * (10 ** (dbfs / 20) / float(np.sqrt(np.mean(loud**2))))


def hiss(duration_s: float, dbfs: float, low_hz: float = 1e9) -> Sound:
    """Noise, which falls by 6 dB an octave from `low_hz` up."""
    spectrum = np.fft.rfft(np.random.default_rng(0).standard_normal(int(duration_s * RATE_HZ)))
    hz = np.arange(len(spectrum)) / duration_s
    sound = np.fft.irfft(spectrum / np.hypot(1, hz / low_hz), int(duration_s * RATE_HZ))
    return sound * (10 ** (dbfs / 20) / float(np.sqrt(np.mean(sound**2))))


def endpoint(sound: Sound, settings: Vad) -> list[Event]:
    pcm = np.clip(np.rint(sound * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16).tobytes()
    detector, endpointer = VoiceDetector(settings), Endpointer(settings)
    events: list[Event] = []
    for at in range(0, len(pcm) - FRAME_BYTES + 1, FRAME_BYTES):
        frame = pcm[at : at + FRAME_BYTES]
        events += endpointer.feed(frame, *detector.hear(frame))
    return events + endpointer.end()


def utterances(events: list[Event]) -> list[tuple[float, float, float]]:
    """When the sound of each begins, when its speech ends, and when its sound does; in seconds."""
    found = []
    for paused, ended in pairwise(events):
        if isinstance(ended, Ended):
            assert isinstance(paused, Paused)
            end = paused.start_sample + len(paused.pcm) // 2
            found.append((paused.start_sample, ended.speech_end_sample, end))
    return [(begin / RATE_HZ, speech / RATE_HZ, end / RATE_HZ) for begin, speech, end in found]


@pytest.mark.parametrize("settings", [PLAIN, BOTH], ids=["plain", "both"])
@pytest.mark.parametrize("path", QUESTIONS, ids=lambda path: path.stem)
def test_a_question_is_one_utterance_that_holds_all_of_its_sound(path: Path, settings: Vad) -> None:
    sound = np.concatenate([recorded(path.name), np.zeros(RATE_HZ)])
    loud_s = np.flatnonzero(np.abs(sound) > 0.02) / RATE_HZ
    ((begin_s, speech_end_s, end_s),) = utterances(endpoint(sound, settings))
    assert begin_s <= max(loud_s[0] - 0.2, 0)
    assert loud_s[-1] < end_s
    assert abs(speech_end_s - loud_s[-1]) < 0.1


@pytest.mark.parametrize(
    ("snr_db", "low_hz", "settings"),
    [(20, 1e9, PLAIN), (20, 300, PLAIN), (20, 1e9, BOTH), (20, 300, BOTH), (12, 300, BOTH)],
)
@pytest.mark.parametrize("name", ["q00.wav", "people/librivox-0880.wav", "people/cards-002.wav"])
def test_in_noise_the_first_and_the_last_word_are_in_it(
    name: str, snr_db: float, low_hz: float, settings: Vad
) -> None:
    speech = at_level(recorded(name), -26)
    loud_s = np.flatnonzero(np.abs(speech) > np.max(np.abs(speech)) / 10) / RATE_HZ
    sound = np.concatenate([np.zeros(6 * RATE_HZ), speech, np.zeros(2 * RATE_HZ)])
    sound += hiss(len(sound) / RATE_HZ, -26 - snr_db, low_hz)
    ((begin_s, _, end_s),) = [u for u in utterances(endpoint(sound, settings)) if u[2] > 6]
    assert begin_s < 6 + loud_s[0]
    assert 6 + loud_s[-1] < end_s


@pytest.mark.parametrize(
    ("snr_db", "low_hz", "settings"),
    [(60, 1e9, BOTH), (20, 1e9, BOTH), (20, 300, BOTH), (60, 1e9, PLAIN), (40, 300, PLAIN)],
)
@pytest.mark.parametrize("name", ["q00.wav", "q08.wav", "q10.wav"])
def test_where_a_voice_is_clear_of_the_noise_its_pause_is_announced_at_once(
    name: str, snr_db: float, low_hz: float, settings: Vad
) -> None:
    """Work begins there; a voice that may be left is waited for where one can be."""
    speech = at_level(recorded(name), -26)
    sound = np.concatenate([np.zeros(6 * RATE_HZ), speech, np.zeros(2 * RATE_HZ)])
    sound += hiss(len(sound) / RATE_HZ, -26 - snr_db, low_hz)
    *_, (_, speech_end_s, end_s) = utterances(endpoint(sound, settings))
    assert end_s - speech_end_s < 0.09


@pytest.mark.parametrize("snr_db", [26, 23])
@pytest.mark.parametrize("low_hz", [1e9, 300])
def test_a_short_last_word_behind_a_pause_is_heard(snr_db: float, low_hz: float) -> None:
    """Silero is sure of a voice when this one is nearly over."""
    words = json.loads((AUDIO / "people" / "librivox-0870.json").read_text())["w"]
    last = [word for word in words if word["t"] != "<sil>"][-1]
    cut, end_s = round(last["b"] * RATE_HZ), 3 + 0.3 + last["b"] + last["d"]
    said = recorded("people/librivox-0870.wav")
    said *= 10 ** (-26 / 20) / float(np.sqrt(np.mean(said[:cut] ** 2)))
    breath = min(
        (said[at : at + 1600] for at in range(0, cut, 160)), key=lambda tenth: float(np.sum(tenth**2))
    )
    pause = hiss(0.3, 20 * np.log10(float(np.std(breath))))
    sound = np.concatenate([np.zeros(3 * RATE_HZ), said[:cut], pause, said[cut:], np.zeros(2 * RATE_HZ)])
    sound += hiss(len(sound) / RATE_HZ, -26 - snr_db, low_hz)
    *_, (_, _, heard_s) = utterances(endpoint(sound, BOTH))
    assert end_s <= heard_s


@pytest.mark.parametrize("settings", [PLAIN, BOTH], ids=["plain", "both"])
@pytest.mark.parametrize("low_hz", [1e9, 300])
@pytest.mark.parametrize(("silent_s", "within_s"), [(0, 1.5), (6, 7)])
def test_steady_noise_is_no_voice_for_long_however_loud(
    silent_s: int, within_s: float, low_hz: float, settings: Vad
) -> None:
    """What is there from the beginning for a second, what is switched on for five."""
    noise = np.concatenate([hiss(silent_s, -70) if silent_s else [], hiss(20, -25, low_hz)])
    found = utterances(endpoint(noise, settings))
    assert all(end_s < silent_s + within_s for _, _, end_s in found)


@pytest.mark.parametrize("settings", [PLAIN, BOTH], ids=["plain", "both"])
@pytest.mark.parametrize("low_hz", [1e9, 300])
@pytest.mark.parametrize("name", ["q00.wav", "people/librivox-0880.wav", "people/cards-002.wav"])
def test_who_speaks_when_a_noise_has_stopped_is_heard_whole(name: str, low_hz: float, settings: Vad) -> None:
    """Neither the floor nor Silero may go by the noise any longer."""
    speech = at_level(recorded(name), -38)
    loud_s = np.flatnonzero(np.abs(speech) > np.max(np.abs(speech)) / 10) / RATE_HZ
    sound = np.concatenate([hiss(15, -25, low_hz), np.zeros(RATE_HZ * 2 // 5), speech, np.zeros(RATE_HZ)])
    sound += hiss(len(sound) / RATE_HZ, -66)
    ((begin_s, _, end_s),) = [u for u in utterances(endpoint(sound, settings)) if u[2] > 15]
    assert begin_s < 15.4 + loud_s[0]
    assert 15.4 + loud_s[-1] < end_s


@pytest.mark.parametrize(
    ("name", "snr_db"), [("q00.wav", 15), ("people/librivox-0880.wav", 10), ("people/cards-002.wav", 10)]
)
def test_without_a_second_opinion_the_last_syllable_is_in_it(name: str, snr_db: float) -> None:
    speech = at_level(recorded(name), -26)
    ends_s = np.flatnonzero(np.abs(speech) > np.max(np.abs(speech)) / 10)[-1] / RATE_HZ
    sound = np.concatenate([np.zeros(6 * RATE_HZ), speech, np.zeros(2 * RATE_HZ)])
    sound += hiss(len(sound) / RATE_HZ, -26 - snr_db, 300)
    *_, (_, _, end_s) = utterances(endpoint(sound, PLAIN))
    assert 6 + ends_s < end_s


@pytest.mark.parametrize("dbfs", [-40, -20])
@pytest.mark.parametrize("path", sorted((AUDIO / "nonspeech").glob("*.wav")), ids=lambda path: path.stem)
def test_noises_are_no_utterances(path: Path, dbfs: float) -> None:
    noise = np.tile(recorded(f"nonspeech/{path.name}"), 3)
    if np.any(noise):
        noise = at_level(noise, dbfs)
    most = path.stem == "music"  # a chord of it passes for an "ah"
    assert len(utterances(endpoint(noise, BOTH))) <= most
    # what a second opinion is for: webrtcvad takes each burst of loud clicks for a voice, and noise from the
    # first frame on until its floor is known
    most_plain = {"silence": 0, "clicks": 3}.get(path.stem, 1)
    assert len(utterances(endpoint(noise, PLAIN))) <= most_plain


@pytest.mark.parametrize("seed", [4, 6])
def test_many_voices_are_one_for_a_moment_at_most(seed: int) -> None:
    """When they begin; they are in the room then, however long they last."""
    found = utterances(endpoint(noise("babble", 60, seed) * 10 ** (-35 / 20), BOTH))
    assert all(begin_s < 2 and end_s < 12 for begin_s, _, end_s in found)


@pytest.mark.parametrize("settings", [PLAIN, BOTH], ids=["plain", "both"])
@pytest.mark.parametrize("length", [0, 320, 638, 642])
def test_a_frame_of_another_length_is_refused(length: int, settings: Vad) -> None:
    with pytest.raises(ValueError, match="320 samples"):
        VoiceDetector(settings).hear(bytes(length))


def test_a_plain_detector_imports_neither_numpy_nor_onnxruntime() -> None:
    code = (
        "import sys; from assistant.config import Vad; from assistant.engines.voice import VoiceDetector;"
        "VoiceDetector(Vad(second_opinion=False)).hear(bytes(640));"
        "assert not {'numpy', 'onnxruntime'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def decisions(detector: VoiceDetector, sound: Sound, gain_db: float = 0.0) -> list[bool]:
    pcm = np.clip(np.rint(sound * 10 ** (gain_db / 20) * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1)
    frames = [pcm[at : at + 320].astype(np.int16).tobytes() for at in range(0, len(pcm) - 319, 320)]
    return [detector.hear(frame, gain_db).voiced for frame in frames]


@pytest.mark.parametrize("settings", [PLAIN, BOTH], ids=["plain", "both"])
def test_a_gain_that_changes_is_no_noise_that_does(settings: Vad) -> None:
    detector = VoiceDetector(settings)
    decisions(detector, hiss(10, -60))
    known_dbfs = detector.noise_dbfs
    assert known_dbfs == pytest.approx(-60, abs=2)
    louder = decisions(detector, hiss(3, -60), gain_db=12)
    assert not any(louder)
    assert detector.noise_dbfs == pytest.approx(known_dbfs, abs=1)


def test_what_was_heard_before_a_gap_does_not_count_behind_it() -> None:
    """Who speaks goes on with less than it takes to begin; behind a gap nobody speaks any more."""
    question = recorded("q00.wav")
    loud = at_level(question, -30)[: int(1.2 * RATE_HZ)] + hiss(1.2, -50, 300)
    weak = at_level(question, -43)[RATE_HZ // 2 : RATE_HZ] + hiss(0.5, -50, 300)
    heard = {}
    for forgets in (False, True):
        detector = VoiceDetector(BOTH)
        decisions(detector, hiss(10, -50, 300))
        assert any(decisions(detector, loud))
        known_dbfs = detector.noise_dbfs
        if forgets:
            detector.forget()
        assert detector.noise_dbfs == known_dbfs, "the room is the same"
        heard[forgets] = decisions(detector, weak)
    assert sum(heard[False]) > 5
    assert not any(heard[True])
