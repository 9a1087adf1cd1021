"""vad's microphone: looked for until it is there and gives sound."""

from __future__ import annotations

import time
from collections.abc import Callable

from assistant.audio.microphone import Microphone, open_microphone
from assistant.config import Audio
from assistant.errors import AudioError
from assistant.messages import StageState
from assistant.queues.link import Link
from assistant.service import systemd

RETRY_EVERY_S = 0.7
"""How often a missing microphone is looked for; listing all devices anew takes hundredths of a second."""


def find(
    audio: Audio, link: Link, within_s: float, wait: Callable[[float], None], look_again: bool = False
) -> Microphone:
    """The microphone of the settings, as soon as it gives sound; why it does not, the daemon is told once.

    `wait` lets so many seconds pass.  Raises `AudioError` when a new process may do better.
    """
    give_up_s = time.monotonic() + within_s
    said = ""
    while True:
        microphone: Microphone | None = None
        try:
            microphone = open_microphone(audio.microphone, look_again, audio.channel)
            _await_frame(microphone, wait)
            return microphone
        except AudioError as error:
            is_free = microphone is None or microphone.close()
            if not is_free or time.monotonic() >= give_up_s:
                raise
            if str(error) != said:
                said = str(error)
                link.post(StageState("vad", "gone", said, "microphone"))
                systemd.status(said)
        look_again = True
        systemd.alive()  # to wait is its work now
        wait(RETRY_EVERY_S)


def _await_frame(microphone: Microphone, wait: Callable[[float], None]) -> None:
    """A device that opens and gives nothing hears nothing.  Raises `AudioError` if that lasts."""
    while not microphone.can_wait and microphone.read(timeout_s=0.5) is None:
        systemd.alive()
        wait(0.0)
