"""What the daemon does where nobody sits at a screen: says what is wrong, holds the stages to the plan."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable
from pathlib import Path

from assistant.board.cgroups import can_limit_memory
from assistant.board.health import read_health
from assistant.daemon.announcer import Announcer
from assistant.daemon.answers import APOLOGY
from assistant.daemon.health import StagesHealth
from assistant.daemon.limits import write_limits
from assistant.daemon.turn import Kind, Turn
from assistant.messages import Fault, Stage
from assistant.plan.selection import Plan

log = logging.getLogger(__name__)

LOOK_AT_BOARD_EVERY_S = 10.0
"""How often it looks whether the board is too hot or too weakly supplied."""

STAGE_FAULTS: tuple[Fault, ...] = ("microphone", "model", "memory")
"""What a stage can lack that its person is told aloud."""


class Appliance:
    """`folder` is the assistant's in memory (/run); `root` that of the machine's files."""

    def __init__(
        self, folder: Path, announcer: Announcer, health: StagesHealth, root: Path = Path("/")
    ) -> None:
        self._folder = folder
        self._announcer = announcer
        self._health = health
        self._root = root
        self._interrupted = InterruptedTurn(folder / "turn")
        self._lacking: dict[Stage, Fault | None] = {}
        self._limited: Plan | None = None
        self._looked_at_board_s = float("-inf")

    def begin(self, faults: Iterable[Fault], now_s: float) -> None:
        """The daemon starts; `faults` are there already."""
        for fault in faults:
            self._announcer.set(fault, True, now_s)
        if not can_limit_memory(self._root):
            log.warning(
                "the kernel does not limit memory, so one stage may take it from all others; "
                "`sudo assistant doctor` says what to put into cmdline.txt"
            )
        if self._interrupted.was_there():
            self._announcer.tell(APOLOGY, now_s)

    def end(self) -> None:
        """The daemon was told to stop: nobody will wait for the next one."""
        self._interrupted.set(False)

    def look(self, turns: Iterable[Turn], plan: Plan | None, now_s: float) -> None:
        """Time passes: `turns` are not over, and `plan` is in force."""
        if now_s - self._looked_at_board_s >= LOOK_AT_BOARD_EVERY_S:
            self._looked_at_board_s = now_s
            board = read_health(self._root)
            self._announcer.set("hot", board.is_hot, now_s)
            self._announcer.set("power", bool(board.is_under_voltage), now_s)
        for state in self._health.states.values():
            if state.state != "starting":  # the next worker does not know yet whether it is mended
                self._lacking[state.stage] = state.fault
        for fault in STAGE_FAULTS:
            self._announcer.set(fault, fault in self._lacking.values(), now_s)
        self._announcer.set("crash", self._health.keeps_dying(now_s), now_s)
        self._announcer.look(now_s, self._health.states["tts"].state == "ready")
        self.note(turns)
        if plan is not None and plan is not self._limited:
            self._limited = plan
            write_limits(plan, self._folder)

    def note(self, turns: Iterable[Turn]) -> None:
        """Remember whether somebody waits: `turns` are not over.  Cheap; for every step of a turn."""
        self._interrupted.set(self._announcer.is_telling or any(map(_somebody_waits, turns)))


def _somebody_waits(turn: Turn) -> bool:
    """Whether to die now would leave somebody in silence: who asks, is answered, or is apologised to."""
    return (turn.kind is Kind.SPEECH and turn.is_meant) or " ".join(turn.sentences) == APOLOGY


class InterruptedTurn:
    """A mark for as long as somebody waits for an answer: who finds it has an apology to make.

    It is the file `path`, in memory: after a restart of the board nobody waits any more.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_set = False

    def was_there(self) -> bool:
        """Whether a daemon before this one went in mid-answer; the mark stays until the next `set`."""
        self._is_set = self._path.exists()
        return self._is_set

    def set(self, is_answering: bool) -> None:
        """Whether somebody waits for an answer now."""
        if is_answering == self._is_set:
            return
        self._is_set = is_answering
        with contextlib.suppress(OSError):  # without the mark there is no apology, and that is all
            if is_answering:
                self._path.touch()
            else:
                self._path.unlink(missing_ok=True)
