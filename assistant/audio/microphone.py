"""Microphones, as the vad stage hears them: a device, or the microphone of a virtual sound card."""

from __future__ import annotations

from typing import Protocol

from assistant.audio.card_link import CARD_PREFIX


class Microphone(Protocol):
    """Sound as it is captured, frame by frame: 16 kHz, mono, signed 16 bit little-endian."""

    can_wait: bool
    """Whether sound that is not read yet is kept, however long; a device's is lost after some seconds."""

    @property
    def position(self) -> int:
        """Samples given out (or dropped) so far since the stream began; after a resume, where that begins."""

    @property
    def captured_at_s(self) -> float:
        """When the last sample given out was captured, in seconds of CLOCK_MONOTONIC; 0 before the first
        frame.
        """

    def read(self, timeout_s: float) -> bytes | None:
        """The next frame; b"" when a recorded microphone has ended; None when nothing came within
        `timeout_s`.

        Raises `AudioError` when the microphone is gone.
        """

    def settled(self, samples: int) -> None:
        """All before this `position` is dealt with: a successor need not hear it again."""

    def close(self) -> bool:
        """Let it go; False if it does not let go of us, so that only the end of the process will help."""


def open_microphone(name: str, look_again: bool = False, channel: int = 0) -> Microphone:
    """The microphone `name`: "auto", a name that `assistant devices` shows, or "card:" and a card's socket.

    Of a device `channel` is heard, from 1, or for 0 all of them.  `look_again` finds what was plugged in
    since this process first looked; only while no device is open.  Raises `AudioError`.
    """
    if name.startswith(CARD_PREFIX):
        from assistant.audio.card_worker import CardMicrophone

        return CardMicrophone(name.removeprefix(CARD_PREFIX))
    # with numpy and PortAudio, which a recorded microphone does not need
    from assistant.audio import devices
    from assistant.audio.device_microphone import DeviceMicrophone

    if look_again:
        devices.look_again()
    return DeviceMicrophone(name, channel)
