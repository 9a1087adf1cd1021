"""vad's part of [wake]: what of the microphone's sound is listened to, and who has called."""

from __future__ import annotations

from collections import deque
from math import inf
from typing import TYPE_CHECKING, Literal, NamedTuple

from assistant.audio.endpointing import ONSET_WINDOW
from assistant.audio.formats import FRAME_MS, FRAME_SAMPLES
from assistant.audio.waking import end_of_word
from assistant.config import Wake
from assistant.errors import ButtonError

if TYPE_CHECKING:  # each is imported where it is wanted
    from assistant.engines.button import Button
    from assistant.engines.wake_word import WakeWord

Call = Literal["word", "button"]

KEPT_FRAMES = 75
"""Of a sleeper's sound (1.5 s): a wake word, so that a successor hears it again."""

EARLIER_FRAMES, LATER_FRAMES = 5, 2
"""How far (100 and 40 ms) from where a wake word usually ends its end is looked for.  The sound of its last
vowel does a transcript less harm than a lost first word, in which a T is as quiet as a pause."""

BEFORE_PRESS_FRAMES = 15
"""People begin to speak (300 ms) before they have let go of a button."""


HEARD_OUT_S = 1.0
"""Who has just called is listened to for so long without the daemon's word for it, which is on its way."""


class HeardFrame(NamedTuple):
    """A frame (`FRAME_SAMPLES` of PCM), whether it is voiced, and the microphone's sample behind it.

    It was captured at `at_s`, in seconds of CLOCK_MONOTONIC.  `faint`: a voice may go on in it that sinks
    into the noise.  `own`: the assistant's own earcon is in it.
    """

    frame: bytes
    voiced: bool
    position: int
    at_s: float
    faint: bool = False
    own: bool = False


class Waker:
    """Awake as long as the daemon says (`awake_until_s`), and at once when somebody calls.

    Times are when sound was captured, so that sound that waited is judged as it would have been then.
    """

    def __init__(self, wake: Wake, word: WakeWord | None) -> None:
        self.awake_until_s = inf if wake.mode in ("open", "phrase") else -inf
        self._word = word
        self._called_s = -inf
        self._onset_frames = 0  # for which a first voiced frame may yet turn out to be speech
        self._kept: deque[HeardFrame] = deque(maxlen=KEPT_FRAMES)

    def hear(self, heard: HeardFrame, pressed: bool, speaks: bool) -> tuple[Call | None, list[HeardFrame]]:
        """The next frame: who called with it, and what is to be listened to now, of earlier frames, too.

        Who `speaks` already is heard out.  More than this frame is given to who slept, and behind a wake
        word: there everything begins anew.
        """
        self._kept.append(heard)
        was_open = self._listens(heard) or speaks
        called: Call | None = "button" if pressed else None
        if self._word is not None and self._word.hears(heard.frame):
            called = "word"
        if called:
            self._called_s = heard.at_s
        if called == "word" or (called and not was_open):
            return called, list(self._kept)[self._begin(called) :]
        return called, [heard] if was_open else []

    def needed_from(self) -> int:
        """The microphone's position from which on a sleeper's successor should hear again."""
        return self._kept[0].position - FRAME_SAMPLES if self._kept else 0

    def forget(self) -> None:
        """What was heard is not to be listened to any more, nor does what comes join on to it."""
        self._called_s = -inf
        self._onset_frames = 0
        if self._kept:
            self._kept.clear()
            if self._word is not None:
                self._word.forget()

    def _listens(self, heard: HeardFrame) -> bool:
        """Whether it is awake, or may be in the first word of somebody who began while it was."""
        if heard.at_s < max(self.awake_until_s, self._called_s + HEARD_OUT_S):
            self._onset_frames = ONSET_WINDOW - 1 if heard.voiced else max(0, self._onset_frames - 1)
            return True
        is_onset = self._onset_frames > 0
        self._onset_frames = max(0, self._onset_frames - 1)
        return is_onset

    def _begin(self, called: Call) -> int:
        """With which of the kept frames a question may begin."""
        end = len(self._kept)
        if called == "button" or self._word is None:
            return max(0, end - BEFORE_PRESS_FRAMES)
        usual = end - self._word.delay_ms // FRAME_MS
        frames = [heard.frame for heard in self._kept]
        return end_of_word(frames, usual - EARLIER_FRAMES, usual + LATER_FRAMES)


def spotter(wake: Wake) -> WakeWord | None:
    """The wake word's model, where one is wanted: with numpy, which a plain setup does without."""
    if wake.mode != "word":
        return None
    from assistant.engines.wake_word import WakeWord

    return WakeWord(wake.word)


def presses(wake: Wake) -> tuple[Button | None, str]:
    """The button, where one is wanted; without one, why not, or "".

    Raises `ButtonError` where nothing else could wake the assistant.
    """
    if wake.button_gpio < 0:
        return None, ""
    from assistant.engines.button import Button

    try:
        return Button(wake.button_gpio), ""
    except ButtonError as error:
        if wake.mode == "button":
            raise
        return None, str(error)
