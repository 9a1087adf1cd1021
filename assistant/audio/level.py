"""How loud a microphone is, second by second, and what is wrong with its sound.

Without numpy, which a recorded microphone does not need.
"""

from __future__ import annotations

import math
from array import array
from collections import deque

import msgspec

from assistant.audio.formats import FRAME_MS, FRAME_SAMPLES, RATE_HZ
from assistant.messages import InputTrouble, MicrophoneLevel

FULL_SCALE = 32_768
SILENCE_DBFS = -100.0
"""What stands for no sound at all, which has no logarithm; one step of 16 bits is at -90.3 dB."""

FRAMES = 1_000 // FRAME_MS
"""A level is of one second."""

TROUBLES: dict[InputTrouble, tuple[str, str]] = {
    "silent": (
        "not the faintest sound comes from it",
        "unmute it (a switch on it, or alsamixer, F4, then M), or choose another (`assistant devices`)",
    ),
    "offset": ("its sound is far off its centre (DC)", "use another port, or another microphone"),
    "clipping": ("it is too loud and distorts", "lower it with alsamixer (F4)"),
    "hum": (
        "it hums with the mains",
        "keep it and its cable away from power supplies, or give the board another one",
    ),
    "quiet": ("it is too quiet to be understood", "raise it with alsamixer (F4), or put it nearer"),
}
"""What can be wrong, the worst first, and what to do."""

WINDOW_S = 60
LASTING_S = 10
"""What comes and goes, as muting does, is no trouble before it has lasted so long."""

CLIPPING_DBFS = -0.1
CLIPPING_SECONDS = 3
"""One bang in a minute is none of the microphone's faults."""

OFFSET_DBFS = -30.0
"""A mean of 3 % of full scale; what is usual is below a tenth of that."""

HUM_DBFS, HUM_SHARE = -60.0, 0.5
"""Hum that is fainter is not heard in a pause.  It has to be half of all there is, and for ten seconds of the
minute: a voice passes through its frequencies, and stays at none."""

QUIET_DBFS = -45.0
"""Speech that is fainter, as amplified: a recogniser begins to err."""
ACTIVE_DB = 15.0
ACTIVE_SECONDS = 5
"""So far above the quietest, and for so many seconds of the minute, somebody seems to have spoken: without
that a quiet room is just a quiet room."""
DEAD_DBFS = -75.0
"""Without a single louder sample a microphone is as good as dead: even an empty room is louder, in any."""

HUM_HZ = ((50, 100, 150), (60, 120, 180))
DECIMATION = 20
"""For the hum, samples are taken together in twenties: at 800 Hz its harmonics are still there (150 Hz is
0.5 dB fainter), and a spectrum costs a twentieth."""


class Second(msgspec.Struct, frozen=True):
    """One second of sound: its effective value and peak, in dB below full scale; the distance of its mean
    from 0; without that its effective value, that of its loudest 100 ms, and that of its hum.
    """

    rms_dbfs: float
    peak_dbfs: float
    mean_dbfs: float
    swing_dbfs: float
    loudest_dbfs: float
    hum_dbfs: float
    is_constant: bool


class LevelMeter:
    """Measures a second at a time: about 7 ms of a Raspberry Pi 4's."""

    def __init__(self) -> None:
        self._frames: list[bytes] = []
        self._lost_samples = 0
        self._position: int | None = None
        self._listens = True
        self._seconds: deque[Second] = deque(maxlen=WINDOW_S)

    def feed(
        self, frame: bytes, position: int, at_s: float, gain_db: float = 0.0, listens: bool = True
    ) -> MicrophoneLevel | None:
        """The level, whenever a second is full.

        `position` is the sample of the stream behind the frame, `gain_db` what it is amplified by afterwards.
        Without `listens` what is heard is the assistant itself, which tells nothing of the microphone.
        """
        self._frames.append(frame)
        self._listens = self._listens and listens
        if self._position is not None:
            self._lost_samples += max(0, position - self._position - FRAME_SAMPLES)
        self._position = position
        if len(self._frames) < FRAMES:
            return None
        samples = array("h", b"".join(self._frames)).tolist()
        second = measure(samples)
        if self._listens:
            self._seconds.append(second)
        level = MicrophoneLevel(
            second.rms_dbfs,
            second.peak_dbfs,
            FRAMES,
            self._lost_samples // FRAME_SAMPLES,
            at_s,
            gain_db,
            trouble(list(self._seconds), gain_db),
        )
        self._frames, self._lost_samples, self._listens = [], 0, True
        return level


def measure(samples: list[int]) -> Second:
    """`samples` are a second of them."""
    mean = sum(samples) / len(samples)
    tenth = len(samples) // 10
    sizes = [math.hypot(*samples[at : at + tenth]) for at in range(0, len(samples), tenth)]
    highest, lowest = max(samples), min(samples)
    rms = math.hypot(*sizes) / math.sqrt(len(samples))
    return Second(
        rms_dbfs=dbfs(rms),
        peak_dbfs=dbfs(max(highest, -lowest)),
        mean_dbfs=dbfs(abs(mean)),
        swing_dbfs=_without(mean, rms),
        loudest_dbfs=_without(mean, max(sizes) / math.sqrt(tenth)),
        # in a room that quiet there is none to speak of, and this runs for ever
        hum_dbfs=dbfs(_hum(samples)) if dbfs(rms) >= HUM_DBFS else SILENCE_DBFS,
        is_constant=highest - lowest <= 1,
    )


def trouble(seconds: list[Second], gain_db: float) -> InputTrouble | None:
    """What was wrong with the microphone for long enough of the last `seconds`, a minute at most.  Pure."""
    last = seconds[-LASTING_S:]
    has_lasted = len(last) == LASTING_S
    if has_lasted and all(second.is_constant for second in last):
        return "silent"
    if has_lasted and all(second.mean_dbfs >= OFFSET_DBFS for second in last):
        return "offset"
    if sum(second.peak_dbfs >= CLIPPING_DBFS for second in seconds) >= CLIPPING_SECONDS:
        return "clipping"
    share_db = 10 * math.log10(HUM_SHARE)
    hums = [s.hum_dbfs >= max(HUM_DBFS, s.swing_dbfs + share_db) for s in seconds]
    if sum(hums) >= LASTING_S:
        return "hum"
    if len(seconds) == WINDOW_S and _is_quiet(seconds, gain_db):
        return "quiet"
    return None


def _is_quiet(seconds: list[Second], gain_db: float) -> bool:
    if max(second.peak_dbfs for second in seconds) < DEAD_DBFS:
        return True
    floor_dbfs = min(second.swing_dbfs for second in seconds)
    active = [s.loudest_dbfs for s in seconds if s.loudest_dbfs >= floor_dbfs + ACTIVE_DB]
    return len(active) >= ACTIVE_SECONDS and max(active) + gain_db < QUIET_DBFS


def _hum(samples: list[int]) -> float:
    """The effective value of the mains' hum, 50 or 60 Hz with two harmonics, whichever is louder."""
    sums = list(map(sum, zip(*[iter(samples)] * DECIMATION, strict=False)))
    rate_hz = RATE_HZ / DECIMATION
    return max(math.sqrt(sum(_power(sums, hz / rate_hz) for hz in mains)) for mains in HUM_HZ) / DECIMATION


def _power(samples: list[int], turns: float) -> float:
    """The mean square of what in `samples` makes so many turns a sample (Goertzel, 1958)."""
    twice_cosine = 2 * math.cos(2 * math.pi * turns)
    now = before = 0.0
    for sample in samples:
        now, before = sample + twice_cosine * now - before, now
    return max(0.0, 2 * (now * now + before * before - twice_cosine * now * before)) / len(samples) ** 2


def _without(mean: float, rms: float) -> float:
    return dbfs(math.sqrt(max(0.0, rms * rms - mean * mean)))


def dbfs(amplitude: float) -> float:
    """`amplitude`, from 0 to `FULL_SCALE`, in decibels below full scale."""
    return max(SILENCE_DBFS, 20 * math.log10(amplitude / FULL_SCALE)) if amplitude else SILENCE_DBFS
