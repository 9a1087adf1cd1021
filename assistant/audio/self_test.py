"""Playing a chirp and a sentence while listening.  What is heard stays in memory."""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt

from assistant.audio.chirp import CHIRP_S, LEAD_S, LONGEST_DELAY_S, TAIL_S, Figures, chirp, measure
from assistant.audio.formats import FRAME_MS, RATE_HZ, SAMPLE_BYTES
from assistant.audio.level import FULL_SCALE
from assistant.audio.microphone import Microphone
from assistant.audio.resampling import Resampler
from assistant.audio.speaker import Speaker
from assistant.errors import AudioError

SETTLE_S = 0.5
"""How long a microphone's first sound is not measured: its amplifier finds its level."""
PAUSE_S = LONGEST_DELAY_S + TAIL_S
"""Behind the chirp, so that the latest echo of it is not the sentence's."""
PIECE_S = 0.1
"""How much is played between two looks at the microphone, which keeps seconds for us."""
MARGIN_S = 0.3
"""What is cut out around the sentence: a time that is a little wrong costs no syllable."""
VOICE_PEAK = 0.5
"""Of full scale, whatever the volume of answers is: that is not what is tested."""
SECOND_FRAMES = 1000 // FRAME_MS

Int16 = npt.NDArray[np.int16]


class Measurement(msgspec.Struct, frozen=True):
    """What was measured of the chirp (`figures`), and the stretch of the recording that has the sentence.

    `sentence` has shape (n,) at `RATE_HZ`.  `lost_ms` are missing of all: so much less came than time passed.
    """

    figures: Figures
    sentence: Int16
    lost_ms: float


class Recording:
    """Frames as they come, and when; pure."""

    def __init__(self) -> None:
        self._frames: list[bytes] = []
        self._samples = 0
        self._began_s: list[float] = []
        """When the first sample was captured by each frame's account."""

    def add(self, frame: bytes, captured_at_s: float) -> None:
        """`frame`, whose last sample was captured at that second of CLOCK_MONOTONIC."""
        self._frames.append(frame)
        self._samples += len(frame) // SAMPLE_BYTES
        self._began_s.append(captured_at_s - self._samples / RATE_HZ)

    @property
    def sound(self) -> Int16:
        """All of it, shape (n,) at `RATE_HZ`."""
        return np.frombuffer(b"".join(self._frames), np.int16)

    @property
    def ended_s(self) -> float:
        """When the last sample was captured."""
        return self.began_s + self._samples / RATE_HZ

    @property
    def began_s(self) -> float:
        """When the first sample was captured: a frame may be late, and none comes early."""
        return min(self._began_s)

    @property
    def lost_ms(self) -> float:
        """How much later the last second came than the first one promised."""
        first, last = self._began_s[:SECOND_FRAMES], self._began_s[-SECOND_FRAMES:]
        return max(0.0, 1000 * (min(last) - min(first)))

    def sample(self, at_s: float) -> int:
        """The sample that was captured at `at_s`, which may lie outside."""
        return round((at_s - self.began_s) * RATE_HZ)


def duration_s(sentence_s: float) -> float:
    """How long `hear` takes, but for the devices' own start."""
    return SETTLE_S + LEAD_S + CHIRP_S + PAUSE_S + sentence_s + LONGEST_DELAY_S


def hear(microphone: Microphone, speaker: Speaker, sentence: Int16, rate_hz: int) -> Measurement:
    """Play a chirp and `sentence`, shape (n,) at `rate_hz`, which may be empty; listen all the time.

    Raises `AudioError`.
    """
    before = _silence(SETTLE_S + LEAD_S, speaker.rate_hz)
    sweep = _at_rate(chirp(), RATE_HZ, speaker.rate_hz)
    between = _silence(PAUSE_S, speaker.rate_hz)
    voice = _at_rate(_scaled(sentence), rate_hz, speaker.rate_hz)
    sound = np.concatenate([before, sweep, between, voice])
    while microphone.read(0):  # what it heard since it was opened
        pass
    recording = Recording()
    while not _listen(microphone, recording, PIECE_S):  # a sound server may take more than a second to start
        pass
    piece = int(PIECE_S * speaker.rate_hz)
    for at in range(0, len(sound), piece):
        speaker.write(sound[at : at + piece])
        while _listen(microphone, recording, 0):
            pass
    while speaker.pending():
        _listen(microphone, recording, PIECE_S)
    end_s = speaker.heard_at_s(len(sound) - 1)
    while recording.ended_s < end_s + LONGEST_DELAY_S:
        _listen(microphone, recording, PIECE_S)
    figures = measure(recording.sound, recording.sample(speaker.heard_at_s(len(before))))
    late_s = figures.echo.delay_ms / 1000 if figures.echo else 0.0
    begin_s = end_s - len(voice) / speaker.rate_hz + late_s
    begin = recording.sample(begin_s - MARGIN_S)
    return Measurement(
        figures, recording.sound[begin : recording.sample(end_s + late_s + MARGIN_S)], recording.lost_ms
    )


def _listen(microphone: Microphone, recording: Recording, timeout_s: float) -> bool:
    """Whether a frame came."""
    frame = microphone.read(timeout_s)
    if frame == b"":
        raise AudioError("The microphone is a recording that has ended; test a real one.")
    if frame is not None:
        recording.add(frame, microphone.captured_at_s)
    return frame is not None


def _silence(duration_s: float, rate_hz: int) -> Int16:
    return np.zeros(round(duration_s * rate_hz), np.int16)


def _scaled(sentence: Int16) -> Int16:
    peak = float(np.abs(sentence.astype(np.float64)).max(initial=0))
    return np.rint(sentence * (VOICE_PEAK * FULL_SCALE / peak)).astype(np.int16) if peak else sentence


def _at_rate(pcm: Int16, from_hz: int, to_hz: int) -> Int16:
    resampler = Resampler(from_hz, to_hz)
    return np.concatenate([resampler.feed(pcm), resampler.end()])
