"""A room with a speaker, a microphone and people in it, for a computer that has none.  Pure.

What the speaker plays is bent a little, as small speakers do, comes to the microphone directly and from the
walls (noise that decays exponentially, by 60 dB in `RT60_S`: Moorer, "About this reverberation business",
1979), and there is some noise.  Everything is made from a seed.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from assistant.audio.formats import FRAME_SAMPLES, RATE_HZ
from assistant.config import Vad
from assistant.engines.voice import VoiceDetector
from assistant.engines.webrtc import WebrtcVad
from assistant.stages.own_voice import OwnVoice

RT60_S = 0.3
WALLS = 0.3
"""How loud the walls are beside the direct sound: with the speaker beside the microphone."""

BENT = 1.5
"""tanh(1.5 x) / 1.5: a full-scale sine has 6 % of distortion."""

NOISE_DBFS = -60.0
SPEECH_DBFS = -26.0
"""Of people, where they speak (ITU-T P.56's active level, usual for speech material)."""

PAUSE_DB = 30.0
"""Below the loudest frame, that nobody speaks in."""

Pcm = npt.NDArray[np.int16]
Floats = npt.NDArray[np.float64]


class Room:
    """The microphone hears the speaker `echo_db` less loud than it plays, and `delay_ms` later."""

    def __init__(
        self,
        echo_db: float,
        delay_ms: float,
        seed: int,
        noise_dbfs: float = NOISE_DBFS,
        walls: float = WALLS,
    ) -> None:
        self._noise = decibels(noise_dbfs)
        self._random = np.random.default_rng(seed)
        samples = int(RT60_S * RATE_HZ)
        reflected = self._random.standard_normal(samples) * 10 ** (-3 * np.arange(samples) / samples)
        response = walls * reflected / np.linalg.norm(reflected)
        response[0] += 1
        response *= decibels(echo_db) / np.linalg.norm(response)
        self._response = np.concatenate([np.zeros(int(delay_ms * RATE_HZ / 1000)), response])
        self._past = np.zeros(len(self._response) - 1)

    def hear(self, played: Pcm, people: Pcm) -> Pcm:
        """The microphone's next samples, while the speaker plays `played` and people say `people`."""
        sound = np.concatenate([self._past, np.tanh(BENT * played / 32_768) / BENT])
        self._past = sound[len(played) :]
        size = len(sound) + len(self._response)
        spectrum = np.fft.rfft(sound, size) * np.fft.rfft(self._response, size)
        echo = np.fft.irfft(spectrum, size)[len(self._response) - 1 :][: len(played)]
        noise = self._random.standard_normal(len(played)) * self._noise
        return to_pcm(echo + noise + people / 32_768)


class Ear:
    """What vad does with the microphone's frames, in this process; time is the frames' own."""

    def __init__(self, seed: int, jitter_s: float) -> None:
        """Frames are told to have come up to some `jitter_s` late."""
        self._random = np.random.default_rng(seed)
        self._jitter_s = jitter_s
        self._voice = VoiceDetector(Vad())
        self._frames = 0
        self.own_voice = OwnVoice()

    @property
    def now_s(self) -> float:
        return self._frames * FRAME_SAMPLES / RATE_HZ

    def hear(self, frame: Pcm, speaking: bool) -> bool:
        """Whether with this frame a person has broken in."""
        self._frames += 1
        came_s = self.now_s + abs(self._random.normal(scale=self._jitter_s))
        heard = self.own_voice.cancel(frame.tobytes(), self._frames * FRAME_SAMPLES, came_s)
        self.own_voice.is_person(heard, self._voice.hear(heard).voiced, speaking, is_open=False)
        return self.own_voice.person_begins


def at_normal_level(pcm: Pcm) -> Pcm:
    """Speech, as loud as people are at the microphone."""
    frames = pcm[: len(pcm) // FRAME_SAMPLES * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES) / 32_768
    energies = (frames**2).mean(axis=1)
    active = energies[energies > energies.max() * decibels(-PAUSE_DB) ** 2]
    return to_pcm(pcm / 32_768 * decibels(SPEECH_DBFS) / np.sqrt(active.mean()))


def first_voiced(pcm: Pcm) -> int:
    """The sample at which the first voiced frame of speech begins."""
    voice = WebrtcVad(Vad().aggressiveness)
    for start in range(0, len(pcm) - FRAME_SAMPLES, FRAME_SAMPLES):
        if voice.voiced(pcm[start : start + FRAME_SAMPLES].tobytes()):
            return start
    raise ValueError("there is no speech in it")


def decibels(level_db: float) -> float:
    """As an amplitude."""
    return float(10 ** (level_db / 20))


def to_pcm(sound: Floats) -> Pcm:
    """From -1 to 1, as 16 bit."""
    rounded: Pcm = np.clip(np.rint(sound * 32_768), -32_768, 32_767).astype(np.int16)
    return rounded
