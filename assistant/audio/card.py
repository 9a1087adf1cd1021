"""A virtual sound card: recorded sound is the microphone, a file is the speaker.

It lives in the process of the command and outlives the workers that open it, so that no sound is lost when
one of them is killed.  Workers reach it as `card:PATH` (`microphone_name`, `speaker_name`).
"""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path

from assistant.audio.card_link import MICROPHONE_SOCKET, SPEAKER_SOCKET, Door, microphone_name, speaker_name
from assistant.audio.card_microphone import CardMicrophoneSide
from assistant.audio.card_speaker import CardSpeakerSide
from assistant.audio.pipes import is_pipe
from assistant.errors import AudioError


class SoundCard:
    """One card, with its two sockets in `folder`.

    `microphone` is a sound file, heard `speed` times faster than real time, or a FIFO or "-" (standard input)
    with a WAV stream, heard as it comes.  `speaker` is a WAV file, a FIFO, "-" (standard output) or ""
    (nowhere), at `rate_hz`.  `start` is the moment 0 of both: sample p of the speaker is heard, and of a
    microphone file is spoken, p / (its rate * speed) seconds later.

    Raises `AudioError` for a microphone that is missing or no sound and for a speaker that cannot be written.
    """

    def __init__(
        self, microphone: str, speaker: str, rate_hz: int, speed: float = 1.0, *, folder: Path
    ) -> None:
        if speaker and not is_pipe(microphone) and _is_same_file(microphone, speaker):
            raise AudioError(f"{speaker} is the microphone's file already; name another for the speaker.")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.microphone_name = microphone_name(folder)
        self.speaker_name = speaker_name(folder)
        self.started_at_s = 0.0
        """The moment 0, in seconds of CLOCK_MONOTONIC, once started."""
        with contextlib.ExitStack() as undo:
            self._microphone = CardMicrophoneSide(microphone, speed)
            undo.callback(self._microphone.close)
            self._speaker = CardSpeakerSide(speaker, rate_hz, speed)
            undo.callback(self._speaker.close)
            microphone_door = Door(folder / MICROPHONE_SOCKET, self._microphone.serve)
            undo.callback(microphone_door.close)
            speaker_door = Door(folder / SPEAKER_SOCKET, self._speaker.serve)
            undo.callback(speaker_door.close)
            self._undo = undo.pop_all()

    @property
    def microphone_ended(self) -> threading.Event:
        """Set when the microphone has no more sound; a worker may not have read all of it yet."""
        return self._microphone.ended

    @property
    def speaker_lost(self) -> bool:
        """Whether the reader of the speaker's FIFO went away, so that nobody hears the rest."""
        return self._speaker.lost

    @property
    def failure(self) -> AudioError | None:
        """What went wrong on the way: a microphone stream that is no sound, a full disk under the speaker."""
        return self._microphone.failure or self._speaker.failure

    def start(self) -> None:
        """Moment 0: the microphone hears, the speaker's clock runs."""
        self.started_at_s = time.monotonic()
        self._speaker.start(self.started_at_s)
        self._microphone.start(self.started_at_s)

    def close(self) -> None:
        """End it all; the speaker's file is complete afterwards.  Raises `failure`, if there was one."""
        self._undo.close()
        if self.failure:
            raise self.failure


def _is_same_file(one: str, other: str) -> bool:
    try:
        return Path(one).samefile(other)
    except OSError:
        return False
