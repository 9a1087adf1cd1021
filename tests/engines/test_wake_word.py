"""The real models of wake words, on recordings."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from assistant.audio.formats import FRAME_BYTES, FRAME_MS, RATE_HZ
from assistant.engines.wake_word import DELAY_MS, WakeWord

AUDIO = Path(__file__).parents[1] / "audio"
Int16 = npt.NDArray[np.int16]


def recording(name: str) -> Int16:
    samples, rate_hz = soundfile.read(AUDIO / name, dtype="int16")
    assert rate_hz == RATE_HZ
    return np.asarray(samples, np.int16)


def silence(seconds: float) -> Int16:
    """As a microphone hears it: a little noise, without which the models' noise reduction is at a loss."""
    return np.random.default_rng(1).integers(-8, 9, round(seconds * RATE_HZ)).astype(np.int16)


def heard_ms(word: str, *sounds: Int16) -> list[int]:
    """When the word is noticed, in milliseconds of the sound."""
    pcm = np.concatenate(sounds).tobytes()
    model = WakeWord(word)
    frames = [pcm[at : at + FRAME_BYTES] for at in range(0, len(pcm) - FRAME_BYTES + 1, FRAME_BYTES)]
    return [FRAME_MS * (number + 1) for number, frame in enumerate(frames) if model.hears(frame)]


@pytest.mark.parametrize("word", DELAY_MS)
def test_a_wake_word_is_noticed_soon_and_once(word: str) -> None:
    call = recording(f"calls/{word}.wav")
    (at_ms,) = heard_ms(word, silence(1), call, silence(3))
    assert at_ms - 1000 - 1000 * len(call) // RATE_HZ == pytest.approx(DELAY_MS[word], abs=110)


def test_it_is_noticed_each_time() -> None:
    call = recording("calls/okay_nabu.wav")
    first, second = heard_ms("okay_nabu", silence(1), call, silence(2), call, silence(1))
    assert second - first == pytest.approx(2000 + 1000 * len(call) // RATE_HZ, abs=110)


@pytest.mark.parametrize("word", DELAY_MS)
def test_it_is_noticed_while_the_person_speaks_on(word: str) -> None:
    call = recording(f"calls/{word}.wav")
    (at_ms,) = heard_ms(word, silence(1), call, silence(0.1), recording("q00.wav"))
    assert at_ms - 1000 - 1000 * len(call) // RATE_HZ == pytest.approx(DELAY_MS[word], abs=110)


@pytest.mark.parametrize("word", DELAY_MS)
@pytest.mark.parametrize("name", ["people/librivox-0870.wav", "nonspeech/music.wav", "q00.wav"])
def test_other_sounds_are_no_wake_word(word: str, name: str) -> None:
    assert heard_ms(word, silence(1), recording(name), silence(1)) == []


def test_one_word_is_not_another() -> None:
    assert heard_ms("alexa", silence(1), recording("calls/okay_nabu.wav"), silence(1)) == []


def test_it_works_where_no_machine_code_may_be_made() -> None:
    """As vad's unit has it (MemoryDenyWriteExecute=); PR_SET_MDWE of prctl(2) forbids the same."""
    program = (
        "import ctypes, sys\n"
        "if ctypes.CDLL(None).prctl(65, 1, 0, 0, 0): sys.exit(77)\n"
        "from assistant.engines.wake_word import WakeWord\n"
        "word = WakeWord('okay_nabu')\n"
        "print(sum(word.hears(bytes(640)) for _ in range(50)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    if done.returncode == 77:
        pytest.skip("this kernel cannot forbid it")
    assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr
