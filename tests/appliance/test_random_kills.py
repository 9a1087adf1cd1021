"""Random kills: whatever dies and whenever, every question is answered or apologised for.

    RANDOM_KILL_TURNS=100 sudo --preserve-env=RANDOM_KILL_TURNS …/python -m pytest -m appliance \\
        --log-cli-level=INFO tests/appliance/test_random_kills.py

is the long run: 300 kills, a quarter of an hour.  RANDOM_KILL_SEED gives another one.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from container import wait_until
from installed import ANSWERS, APPLIANCE, UNITS, Board
from known_speech import KnownSpeech
from virtual_sound import Recording

from assistant.audio.fault_sounds import FAULT_SENTENCES
from assistant.daemon.answers import APOLOGY
from assistant.errors import DaemonError
from assistant.messages import Sentence, SpeechStarted, Status, StatusWanted, TurnFinished
from assistant.queues.link import Disconnected
from assistant.queues.socket import connect

pytest_plugins = ["appliance_fixtures"]
pytestmark = APPLIANCE

log = logging.getLogger(__name__)

TURNS = int(os.environ.get("RANDOM_KILL_TURNS", "6"))
SEED = int(os.environ.get("RANDOM_KILL_SEED", "0"))
KILLS_A_TURN = 3
EARS = ("assistant.service", "assistant-vad.service")
TURN_S = 6.0
"""From the first word of a question to the last of its answer, on a machine with nothing else to do."""

WHOLE, PATCHED = 0.75, 0.4
"""How much of a sentence must be recognised; less if its voice is known to have died in the middle of it."""
RIGHT, OTHER, SORRY = "answered", "answered what was left of the question", "apologised"
UNHEARD = "asked again: it was down, or spoke of a fault, while it was asked"
TALKED_OVER = FAULT_SENTENCES["crash"]
LOST = "lost"
QUIET_S, UNHEARD_AFTER_S, LOST_AFTER_S = 1.5, 20.0, 60.0
LOOK_EVERY_S = 0.3


class Witness:
    """What the daemon, whichever it is, tells its watchers."""

    def __init__(self, board: Board) -> None:
        self._socket = board.machine.path("/run/assistant/assistant.sock")
        self._ends = False
        self._thread = threading.Thread(target=self._watch)
        self.has_heard = False
        """Whether it has noticed that somebody speaks."""
        self.answered: list[str] = []
        """Answers that were heard to their end, as far as the daemon knows."""

    def __enter__(self) -> Witness:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends = True
        self._thread.join()

    def _watch(self) -> None:
        while not self._ends:
            try:
                link = connect(self._socket, "watcher")
            except DaemonError:
                continue
            said: dict[int, list[str]] = {}
            try:
                while not self._ends:
                    event = link.notice(0.2)
                    if isinstance(event, SpeechStarted):
                        self.has_heard = True
                    elif isinstance(event, Sentence):
                        said.setdefault(event.turn, []).append(event.text)
                    elif isinstance(event, TurnFinished) and event.outcome == "answered":
                        self.answered.append(" ".join(said.pop(event.turn, [])).strip())
            except Disconnected:
                pass
            finally:
                link.close()


def is_idle(board: Board) -> bool:
    """Whether all stages are ready, and nothing is heard, made or said."""
    try:
        link = connect(board.machine.path("/run/assistant/assistant.sock"), "client")
        try:
            link.post(StatusWanted())
            while not isinstance(status := link.notice(10), Status):
                assert status is not None
            return status.state == "idle"
        finally:
            link.close()
    except DaemonError:
        return False


@contextmanager
def killing(board: Board, moments: list[tuple[float, str]]) -> Iterator[list[tuple[float, str]]]:
    """Meanwhile the units' processes are killed at these moments; yields what was, in seconds from now.

    Who has no process at its moment is killed as soon as it has one.
    """
    done: list[tuple[float, str]] = []
    since_s = time.monotonic()

    def kill() -> None:
        for at_s, unit in moments:
            time.sleep(max(0.0, since_s + at_s - time.monotonic()))
            words = ["systemctl", "kill", "--signal=KILL", "--kill-whom=main", unit]
            wait_until(lambda: board.machine.run(*words, check=False).returncode == 0, 60, f"{unit} runs")  # noqa: B023 # called at once
            done.append((time.monotonic() - since_s, unit))

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield done
    finally:
        thread.join()


def outcome(known: KnownSpeech, recording: Recording, answer: str, answered: list[str], torn: bool) -> str:
    """What has become of the question as far as is heard; "" if nothing, or it is not quiet yet.

    `answered` is what the daemon says was heard to its end; `torn`: half of the question may not have been.
    """
    sounds = recording.sounds()  # the pieces of an answer that was cut may be as short as earcons
    if not sounds or recording.length_s() - sounds[-1][1] < QUIET_S:
        return ""
    heard = known.heard(recording, answer)
    assert heard < 1.5, "the answer was said twice"
    if heard > WHOLE or (answer in answered and heard > PATCHED):
        return RIGHT
    if known.heard(recording, APOLOGY) > WHOLE:
        return SORRY
    return OTHER if torn and any(answered) else ""


def one_turn(
    board: Board, known: KnownSpeech, name: str, moments: list[tuple[float, str]]
) -> tuple[str, list[tuple[float, str]], float]:
    """Ask a question while units are killed: what became of it, the kills, and the seconds that it took."""
    board.wait_ready()
    wait_until(lambda: is_idle(board), 90, "nothing is left of the turn before")
    with board.record() as recording, Witness(board) as witness:
        since_s = time.monotonic()
        with killing(board, moments) as killed:
            board.speak(name)
            asked_s = time.monotonic() - since_s
        torn = any(unit in EARS and at_s < asked_s for at_s, unit in killed)

        while True:
            found = outcome(known, recording, ANSWERS[name], witness.answered, torn)
            took_s = time.monotonic() - since_s
            is_over = took_s > UNHEARD_AFTER_S and not witness.has_heard and is_idle(board)
            if not found and is_over and (torn or known.heard(recording, TALKED_OVER) > WHOLE):
                found = UNHEARD
            if found or took_s > LOST_AFTER_S:
                return found or LOST, killed, took_s
            time.sleep(LOOK_EVERY_S)


@pytest.mark.timeout(120 * TURNS + 900)  # of two marks the nearer counts
def test_every_question_is_answered_or_apologised_for(board: Board) -> None:
    """Kills of all five processes at random moments of every turn: none is lost, and nothing is wedged.

    Where the microphone or the daemon died while the person spoke, perhaps only half of it was heard: an
    answer to that half counts.  Where they were down all the while, or it was just saying that a part of it
    keeps failing, nobody knows that there was a question: it is asked again, and then it is answered.
    """
    chance = random.Random(SEED)
    known = KnownSpeech(board, APOLOGY, TALKED_OVER, *filter(None, ANSWERS.values()))
    outcomes: Counter[str] = Counter()
    kills: Counter[str] = Counter()
    began_s = time.monotonic()
    for number in range(TURNS):
        name = chance.choice([name for name, answer in ANSWERS.items() if answer])
        moments = sorted((chance.uniform(0, TURN_S), chance.choice(UNITS)) for _ in range(KILLS_A_TURN))
        found, killed, took_s = one_turn(board, known, name, moments)
        shown = ", ".join(f"{unit} {at_s:.1f}" for at_s, unit in killed)
        log.info("turn %d (%s): %s, %.1f s; killed: %s", number, name, found, took_s, shown)
        outcomes[found] += 1
        kills.update(unit for _, unit in killed)
        if found == UNHEARD:
            assert one_turn(board, known, name, [])[0] == RIGHT
    log.info("%s; killed: %s; %.0f s", dict(outcomes), dict(kills), time.monotonic() - began_s)
    assert not outcomes[LOST]
    assert sum(kills.values()) == KILLS_A_TURN * TURNS
    assert one_turn(board, known, "q00", [])[0] == RIGHT
