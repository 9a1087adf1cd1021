"""Speakers, as the tts stage plays through them: a device, or the speaker of a virtual sound card."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from assistant.audio.card_link import CARD_PREFIX

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class Speaker(Protocol):
    """Plays mono int16 at `rate_hz`.

    Samples are numbered from 0 at opening; those that `stop` dropped give their numbers back, so the next
    sample to be written always has the number `played() + pending()`.  All but `heard_at_s` and
    `close` raise `AudioError` once the speaker is gone.
    """

    @property
    def rate_hz(self) -> int: ...

    def write(self, pcm: npt.NDArray[np.int16]) -> None:
        """Queue `pcm`, shape (n,); returns when about 100 ms of it are left to play, or after a `stop`."""

    def played(self) -> int:
        """Samples heard so far."""

    def pending(self) -> int:
        """Samples written but not heard yet."""

    def heard_at_s(self, sample: int) -> float:
        """When sample number `sample`, one of the `played()` ones, was heard, in seconds of CLOCK_MONOTONIC.

        Raises `ValueError` for a sample that was not heard, or so long ago that it is forgotten.
        """

    def due_s(self, sample: int) -> float:
        """When sample number `sample`, written but not heard yet, will be heard, as well as is known."""

    def stop(self) -> None:
        """Drop what has not been heard; it is silent, within 50 ms, when this returns.

        Another thread than the writing one may call it: the `write` then returns early.
        """

    def close(self) -> bool:
        """Drop what has not been heard, and let the speaker go.

        False if it does not let go of us, so that only the end of the process will help.
        """


def open_speaker(name: str, rate_hz: int, look_again: bool = False) -> Speaker:
    """The speaker `name`: "auto", a name that `assistant devices` shows, or "card:" and a card's socket.

    `rate_hz` is wished for; the speaker's own may differ.  `look_again` finds what was plugged in since this
    process first looked; only while no device is open.  Raises `AudioError`; after a
    `DeviceStuck` this process must not look again.
    """
    if name.startswith(CARD_PREFIX):
        from assistant.audio.card_worker import CardSpeaker

        return CardSpeaker(name.removeprefix(CARD_PREFIX))
    from assistant.audio import devices
    from assistant.audio.device_speaker import DeviceSpeaker

    if look_again:
        devices.look_again()
    return DeviceSpeaker(name, rate_hz)


def find_speaker(name: str, look_again: bool = False) -> None:
    """Raises `AudioError` where there is no speaker `name` now; `look_again` as in `open_speaker`.

    A card's is there when it is opened.
    """
    if not name.startswith(CARD_PREFIX):
        from assistant.audio import devices

        if look_again:
            devices.look_again()
        devices.find("speaker", name)
