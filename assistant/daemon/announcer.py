"""What people hear of the assistant's own state: spoken faults, and earcons.

Decides when; what plays it is the voice, or, where that is dead, the service behind `alert.sock`.
"""

from __future__ import annotations

import logging
import socket
from collections import deque
from collections.abc import Callable
from pathlib import Path

from assistant.audio.fault_sounds import FAULT_SENTENCES
from assistant.config import Sounds
from assistant.messages import Earcon, Fault

log = logging.getLogger(__name__)

VOICE_COMES_WITHIN_S = 15.0
"""How long a fault waits for the voice, which may be loading or being replaced, before it goes without."""

AGAIN_AFTER_S = 600.0
"""A fault that comes and goes is said once in so long."""

TELL_WITHIN_S = 60.0
"""How long a sentence that only the voice can say waits for it."""

THINKING_AFTER_S = 1.5
"""A silence longer than this after a question makes people think that they were not heard."""


class Announcer:
    """`say` speaks a sentence, if the voice can; `play` an earcon; `alert` a fault's sound without it."""

    def __init__(
        self,
        sounds: Sounds,
        say: Callable[[str], int | None],
        play: Callable[[Earcon], None],
        alert: Callable[[Fault], None],
    ) -> None:
        self._sounds = sounds
        self._say = say
        self._play = play
        self._alert = alert
        self._present: set[Fault] = set()
        self._said_s: dict[Fault, float] = {}
        self._waiting: dict[Fault, float] = {}  # to be said, since when
        self._sentences: deque[tuple[str, float]] = deque()
        self._thought: set[int] = set()
        self._was_ready = False
        self._was_able = True

    def set(self, fault: Fault, is_present: bool, now_s: float) -> None:
        """Whether the fault is there; it is said once, and need not be said any more when it is mended."""
        if not is_present:
            self._present.discard(fault)
            self._waiting.pop(fault, None)
        elif fault not in self._present:
            self._present.add(fault)
            self.happened(fault, now_s)

    def happened(self, fault: Fault, now_s: float) -> None:
        """A fault that is not a state."""
        log.warning("fault: %s", FAULT_SENTENCES[fault])
        if self._sounds.faults:
            self._waiting.setdefault(fault, now_s)

    def tell(self, text: str, now_s: float) -> None:
        """Say `text` when the voice is ready, if that is soon."""
        self._sentences.append((text, now_s))

    @property
    def is_telling(self) -> bool:
        """Whether a sentence still waits for the voice."""
        return bool(self._sentences)

    def look(self, now_s: float, voice_ready: bool) -> None:
        """Time passes: say what waits, with the voice or, when that takes too long, without."""
        while self._sentences and (voice_ready or now_s - self._sentences[0][1] > TELL_WITHIN_S):
            text, _ = self._sentences.popleft()
            if voice_ready:
                self._say(text)
        for fault, since_s in list(self._waiting.items()):
            if now_s - self._said_s.get(fault, float("-inf")) < AGAIN_AFTER_S:
                if fault not in self._present:
                    del self._waiting[fault]  # it is over, and was said not long ago
                continue
            if not (voice_ready and self._say(FAULT_SENTENCES[fault]) is not None):
                if now_s - since_s < VOICE_COMES_WITHIN_S:
                    continue
                self._alert(fault)
            del self._waiting[fault]
            self._said_s[fault] = now_s

    def stages(self, all_ready: bool, one_unusable: bool) -> None:
        """Whether all stages are ready now, and whether one cannot work."""
        if one_unusable:
            self._was_able = False
        elif all_ready:
            if not self._was_ready:
                self._earcon("ready")
            elif not self._was_able:
                self._earcon("listening")
            self._was_ready = self._was_able = True

    def silence(self, turn: int, seconds: float) -> None:
        """The turn's question ended so long ago, and nothing of its answer has been heard."""
        if seconds >= THINKING_AFTER_S and turn not in self._thought:
            self._thought = {number for number in self._thought if number > turn - 64} | {turn}
            self._earcon("thinking")

    def lost(self) -> None:
        """What somebody said or was to hear was dropped: it waited too long, or there was too much of it."""
        self._earcon("error")

    def _earcon(self, name: Earcon) -> None:
        if self._sounds.earcons:
            self._play(name)


def alert(path: Path, fault: Fault) -> None:
    """Have the fault's sound played by the service behind the socket at `path`, where there is one."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)  # one that hangs must not hold the daemon up
        try:
            sender.sendto(fault.encode(), str(path))
        except FileNotFoundError:
            log.debug("no service plays sounds here")
        except OSError as error:
            log.warning("the fault's sound cannot be played: %s", error.strerror)
