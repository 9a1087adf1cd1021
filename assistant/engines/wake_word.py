"""Whether somebody said the wake word: microWakeWord's models.  The one file that imports pymicro_wakeword.

The models, and the thresholds beside them, come with the package (Apache-2.0).
"""

from __future__ import annotations

from pymicro_wakeword import MicroWakeWord, MicroWakeWordFeatures, Model

DELAY_MS = {"okay_nabu": 140, "hey_jarvis": 200, "hey_mycroft": 140, "alexa": 230}
"""From the end of the word's sound until it is noticed: the median over seven of espeak-ng's voices at 120 to
180 words a minute.  Four of five are noticed within 100 ms of it."""

ONCE_IN_FRAMES = 50
"""A word stays noticed for some steps of the model, and it takes most of a second (50 frames) to say it."""


class WakeWord:
    """Feed it frames of one microphone, without gaps: the model remembers the second before."""

    def __init__(self, word: str) -> None:
        """`word` is one of `DELAY_MS`."""
        self.delay_ms = DELAY_MS[word]
        self._features = MicroWakeWordFeatures()
        self._model = MicroWakeWord.from_builtin(Model(word))
        self._again_in = 0

    def forget(self) -> None:
        """What was heard is void, half a word, too: the sound that comes does not join on to it."""
        self._features = MicroWakeWordFeatures()
        self._model.reset()
        self._again_in = 0

    def hears(self, frame: bytes) -> bool:
        """Whether the word has just ended, 20 ms of sound later; once for each time that it is said."""
        is_first = self._again_in == 0
        self._again_in = max(0, self._again_in - 1)
        heard = [self._model.process_streaming(window) for window in self._features.process_streaming(frame)]
        if not any(heard):
            return False
        self._again_in = ONCE_IN_FRAMES
        return is_first
