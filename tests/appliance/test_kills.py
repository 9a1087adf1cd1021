"""Workers, the daemon, the socket: killed, stopped, silent, abused.  Numbers are of the faults in README."""

from __future__ import annotations

import contextlib
import random
import socket
import time

import pytest
from container import wait_until
from installed import ANSWERS, APPLIANCE, UNITS, Board, Events
from known_speech import KnownSpeech
from virtual_sound import PULSE, Recording

from assistant.audio.fault_sounds import FAULT_SENTENCES
from assistant.daemon.answers import APOLOGY
from assistant.daemon.hanging import RESTING_S
from assistant.errors import DaemonError
from assistant.messages import (
    PlaybackStarted,
    Sentence,
    SpeechStarted,
    Spoken,
    Stage,
    StageStatus,
    Status,
    StatusWanted,
    Token,
    TurnEnded,
    TurnFinished,
)
from assistant.queues import wire
from assistant.queues.link import Disconnected
from assistant.queues.socket import connect

pytest_plugins = ["appliance_fixtures"]
pytestmark = APPLIANCE

DAEMON = "assistant.service"
VAD, STT, LLM, TTS = (unit for unit in UNITS if unit != DAEMON)
SOCKET = "/run/assistant/assistant.sock"
QUESTION = "q00"
ANSWER = ANSWERS[QUESTION]
ONCE = (0.7, 1.1)
"""How much of a sentence is heard that is said once: a card made of software may stumble in a piece of it."""


@pytest.fixture
def known(board: Board) -> KnownSpeech:
    return KnownSpeech(board, APOLOGY, ANSWER)


def status(board: Board) -> Status:
    link = connect(board.machine.path(SOCKET), "client")
    try:
        link.post(StatusWanted())
        while not isinstance(told := link.notice(10), Status):
            assert told is not None
        return told
    finally:
        link.close()


def stage_status(board: Board, stage: Stage) -> StageStatus:
    return next(found for found in status(board).stages if found.stage == stage)


def pids(board: Board) -> dict[str, int]:
    return {unit: board.machine.main_pid(unit) for unit in UNITS}


def all_joined(board: Board) -> bool:
    """Whether a daemon is there, all stages have joined it, and nobody speaks."""
    try:
        return status(board).state == "idle"
    except DaemonError:
        return False


def changed(board: Board, before: dict[str, int]) -> set[str]:
    """The units that run as another process than before."""
    return {unit for unit, pid in pids(board).items() if pid != before[unit]}


def wait_heard(known: KnownSpeech, recording: Recording, text: str, within_s: float = 60.0) -> None:
    """Until the sentence has been said, to its end, and once."""

    def heard() -> bool:
        if not recording.quiet_since():
            return False
        return known.heard(recording, text) > ONCE[0] and known.is_heard_to_its_end(recording, text)

    try:
        wait_until(heard, within_s, f"{text!r} is heard")
    except AssertionError as error:
        raise AssertionError(f"{error}, but {known.described(recording, text)}") from None
    assert known.heard(recording, text) < ONCE[1], f"{text!r} was said again"


def first_token(board: Board, events: Events) -> Token:
    """Let the stopped llm work for moments until it has begun to answer; it is stopped then."""
    step = 'kill -CONT "$1"; kill -STOP "$1"'  # some tenths of a millisecond: a token takes one
    for _ in range(500):
        board.machine.run("sh", "-c", step, "sh", str(board.machine.main_pid(LLM)))
        with contextlib.suppress(AssertionError):
            return events.wait_for(Token, within_s=0.05)
    raise AssertionError("llm does not begin to answer")


# ---------------------------------------------------------------- killed


def test_stt_is_killed_in_mid_job(board: Board, known: KnownSpeech) -> None:
    """1: the utterance is given to the successor; the answer is heard, once."""
    before = pids(board)
    with board.record() as recording:
        board.machine.kill(STT, "STOP")  # so that it has the utterance for as long as it takes to see that
        board.speak(QUESTION)
        wait_until(lambda: stage_status(board, "stt").in_work, 10, "stt has the utterance")
        board.machine.kill(STT)
        wait_heard(known, recording, ANSWER)
    assert changed(board, before) == {STT}


def test_llm_is_killed_in_mid_answer(board: Board, known: KnownSpeech) -> None:
    """2: the successor goes on behind the last token; each is made once, and nothing is spoken twice."""
    before = pids(board)
    with board.record() as recording, board.watching() as events:
        board.machine.kill(LLM, "STOP")
        board.speak(QUESTION)
        events.wait_for(TurnEnded)
        answer = first_token(board, events).text
        assert stage_status(board, "llm").in_work
        board.machine.kill(LLM)
        while answer.strip() != ANSWER:
            answer += events.wait_for(Token).text
            assert ANSWER.startswith(answer.strip())
        assert events.wait_for(Sentence).text == ANSWER
        assert events.wait_for(TurnFinished).outcome == "answered"
        wait_heard(known, recording, ANSWER)
    assert changed(board, before) == {LLM}


def test_tts_is_killed_while_it_plays(board: Board, known: KnownSpeech) -> None:
    """3: the successor goes on in the middle of the sentence."""
    before = pids(board)
    with board.record() as recording, board.watching() as events:
        board.speak(QUESTION)
        while events.wait_for(Spoken).fraction < 0.3:
            pass
        board.machine.kill(TTS)
        assert events.wait_for(TurnFinished).outcome == "answered"
        recording.wait_for_quiet()
        assert 0.6 < known.heard(recording, ANSWER) < 1.4  # the pieces at the gap are cut, or heard again
        assert len(recording.speech()) == 2
    assert changed(board, before) == {TTS}


def test_the_daemon_is_killed_while_idle(board: Board, known: KnownSpeech) -> None:
    """4: stt and llm keep their models and join the next one; nothing is said; a question is answered."""
    before = pids(board)
    with board.record() as recording:
        board.machine.kill(DAEMON)
        board.wait_new_process(DAEMON, before[DAEMON])
        board.wait_new_process(VAD, before[VAD])
        board.wait_new_process(TTS, before[TTS])
        assert recording.speech() == []
        board.speak(QUESTION)
        wait_heard(known, recording, ANSWER)
    assert changed(board, before) == {DAEMON, VAD, TTS}


@pytest.mark.parametrize("moment", [SpeechStarted, PlaybackStarted])
def test_the_daemon_is_killed_in_mid_turn(moment: type, board: Board, known: KnownSpeech) -> None:
    """4: it apologises, whether the person was speaking or listening; then the next question is answered."""
    before = pids(board)
    with board.record() as recording:
        with board.watching() as events:
            speaking = board.machine.start("paplay", "--device=micbus", "/test/audio/q00.wav", env=PULSE)
            events.wait_for(moment)
            board.machine.kill(DAEMON)
        speaking.wait(30)
        wait_heard(known, recording, APOLOGY)
    board.wait_ready()
    assert changed(board, before) == {DAEMON, VAD, TTS}
    assert board.ask("q12").endswith(ANSWERS["q12"])


def test_vad_is_killed_while_the_person_speaks(board: Board) -> None:
    """Half of the question is lost with it: apologised for, or what is left of it is answered."""
    before = pids(board)
    with board.record() as recording, board.watching() as events:
        speaking = board.machine.start("paplay", "--device=micbus", "/test/audio/q00.wav", env=PULSE)
        events.wait_for(SpeechStarted)
        board.machine.kill(VAD)
        speaking.wait(30)
        assert events.wait_for(TurnFinished).outcome in ("answered", "failed")
        recording.wait_for_quiet()
    assert changed(board, before) == {VAD}


# ---------------------------------------------------------------- stopped


def test_workers_that_are_stopped_are_replaced(board: Board) -> None:
    """5: SIGSTOP of all four while idle: the daemon replaces each after `RESTING_S`; then it answers."""
    before = pids(board)
    stopped_s = time.monotonic()
    for unit in (VAD, STT, LLM, TTS):
        board.machine.kill(unit, "STOP")
    for unit in (VAD, STT, LLM, TTS):
        board.wait_new_process(unit, before[unit])
    assert RESTING_S < time.monotonic() - stopped_s < RESTING_S + 20
    assert changed(board, before) == {VAD, STT, LLM, TTS}
    assert board.ask("q12") == ANSWERS["q12"]


def test_stages_that_are_stopped_in_mid_turn(board: Board, known: KnownSpeech) -> None:
    """5: stt and llm with the question in hand: its answer comes late, but it comes."""
    before = pids(board)
    with board.record() as recording:
        board.machine.kill(STT, "STOP")
        board.machine.kill(LLM, "STOP")
        board.speak(QUESTION)
        assert stage_status(board, "stt").in_work
        wait_heard(known, recording, ANSWER)
    assert changed(board, before) == {STT, LLM}


def test_the_voice_is_stopped_while_it_plays(board: Board, known: KnownSpeech) -> None:
    """5: its successor says the rest."""
    before = pids(board)
    with board.record() as recording, board.watching() as events:
        board.speak(QUESTION)
        while events.wait_for(Spoken).fraction < 0.3:
            pass
        board.machine.kill(TTS, "STOP")
        assert events.wait_for(TurnFinished).outcome == "answered"
        recording.wait_for_quiet()
        assert 0.6 < known.heard(recording, ANSWER) < 1.4
    assert changed(board, before) == {TTS}


def test_the_daemon_is_stopped_in_mid_answer(board: Board, known: KnownSpeech) -> None:
    """Watchdog of systemd: another daemon apologises, the loaded models join it."""
    before = pids(board)
    with board.record() as recording, board.watching() as events:
        board.speak(QUESTION)
        events.wait_for(PlaybackStarted)
        board.machine.kill(DAEMON, "STOP")
        wait_heard(known, recording, APOLOGY)
    assert {DAEMON} <= changed(board, before) <= {DAEMON, VAD, TTS}
    assert "watchdog timeout" in board.machine.journal(DAEMON, lines=40).lower()
    board.wait_ready()
    assert board.ask("q12") == ANSWERS["q12"]


def test_a_microphone_that_gives_nothing_is_opened_again(board: Board) -> None:
    """Deaf is a fault: a driver without frames is noticed and said; when they come again, it hears."""
    machine = board.machine
    try:
        machine.run("pactl", "suspend-source", "usbmic", "1", env=PULSE)
        wait_until(lambda: stage_status(board, "vad").fault == "microphone", 30, "it notices")
        wait_until(lambda: status(board).state == "deaf", 20, "it has said so, and is deaf")
    finally:
        machine.run("pactl", "suspend-source", "usbmic", "0", env=PULSE)
    wait_until(lambda: status(board).state == "idle", 60, "it listens again")
    board.wait_ready()
    assert board.ask("q12").endswith(ANSWERS["q12"])


def test_a_model_that_loads_slowly_is_waited_for(board: Board) -> None:
    """19: a load that takes longer than any other bound is not broken off, and not begun again."""
    machine = board.machine

    def stopped_while_it_loads() -> int:
        """The process, or 0 if it was ready before."""
        before = machine.main_pid(LLM)
        machine.kill(LLM)
        pid = wait_until(
            lambda: machine.main_pid(LLM) not in (0, before) and machine.main_pid(LLM), 10, "another"
        )
        wait_until(lambda: stage_status(board, "llm").pid == pid, 10, "it has joined")
        machine.kill(LLM, "STOP")
        if machine.show(LLM, "ActiveState") == "activating":
            return pid
        machine.kill(LLM, "CONT")
        return 0

    pid = wait_until(stopped_while_it_loads, 60, "it is stopped while it loads")
    time.sleep(RESTING_S + 3)
    machine.kill(LLM, "CONT")
    machine.wait_active(LLM)
    assert machine.main_pid(LLM) == pid
    assert machine.show(LLM, "TimeoutStartUSec") == "15min"


# ---------------------------------------------------------------- again and again


def test_a_stage_that_keeps_dying(fresh_board: Board) -> None:
    """18: it is said, once; systemd never gives the stage up; the others stay up."""
    fresh_board.boot()
    machine = fresh_board.machine
    crash = FAULT_SENTENCES["crash"]
    known = KnownSpeech(fresh_board, crash)
    others = {unit: machine.main_pid(unit) for unit in UNITS if unit != LLM}
    with fresh_board.record() as recording:
        for _ in range(5):
            wait_until(lambda: stage_status(fresh_board, "llm").state == "ready", 60, "llm is ready")
            machine.kill(LLM)
            machine.wait_active(LLM)
        wait_heard(known, recording, crash)
        wait_until(lambda: status(fresh_board).state == "idle", 60, "llm is back")
    assert {unit: machine.main_pid(unit) for unit in others} == others
    assert fresh_board.ask("q12") == ANSWERS["q12"]


# ---------------------------------------------------------------- the socket

GARBAGE = (
    b"\xff" * 64,
    bytes(4096),
    (wire.MAX_FRAME_BYTES + 1).to_bytes(wire.HEADER_BYTES, "big"),
    (8).to_bytes(wire.HEADER_BYTES, "big") + b"\xc1" * 8,
    wire.encode(wire.Beat()),  # without a hello
)


def test_a_hostile_peer(board: Board) -> None:
    """40, 41: another user reaches neither the socket nor the daemon; garbage costs a connection."""
    machine = board.machine
    before = pids(board)
    cursor = machine.cursor()
    knock = f"import socket; s = socket.socket(socket.AF_UNIX); s.connect({SOCKET!r}); print(s.recv(1))"
    as_nobody = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "python3", "-c", knock]
    assert "PermissionError" in machine.run(*as_nobody, check=False).stderr
    machine.shell(f"chmod o+x /run/assistant; chmod o+rw {SOCKET}")
    try:
        assert machine.run(*as_nobody).stdout.strip() == "b''", "it is let in, and turned away"
    finally:
        machine.shell(f"chmod o-rwx /run/assistant {SOCKET}")
    for garbage in GARBAGE:
        with socket.socket(socket.AF_UNIX) as peer:
            peer.settimeout(30)
            peer.connect(str(machine.path(SOCKET)))
            peer.sendall(garbage)
            with contextlib.suppress(ConnectionResetError):  # what it sent beyond that is not read
                while peer.recv(4096):  # a goodbye, and the end
                    pass
    journal = machine.journal(DAEMON, after=cursor)
    assert "a process of another user tried to connect and was turned away" in journal
    assert journal.count("a peer was dropped") == len(GARBAGE)
    assert status(board).state == "idle"
    assert changed(board, before) == set()


def test_the_socket_is_removed(board: Board) -> None:
    """It is made again; who was connected stays so, and others can connect: after a daemon's death too."""
    machine = board.machine
    before = pids(board)
    try:
        for _ in range(2):
            machine.shell(f"rm {SOCKET}")
            wait_until(lambda: machine.path(SOCKET).exists(), 30, "the socket is there again")
            assert "is idle" in machine.run("assistant", "status").stdout
            assert changed(board, before) == set()
            daemon = machine.main_pid(DAEMON)
            machine.kill(DAEMON)
            board.wait_new_process(DAEMON, daemon)
            wait_until(lambda: machine.path(SOCKET).exists(), 30, "the socket of the next daemon")
            wait_until(lambda: all_joined(board), 60, "all have joined it")
            before = pids(board)
        assert board.ask("q12") == ANSWERS["q12"]
        assert machine.shell(f"stat -c %a:%U:%G {SOCKET}").strip() == "660:assistant:assistant"
    finally:
        machine.run("systemctl", "restart", "assistant.socket", within_s=90)
        machine.run("systemctl", "start", "assistant.target")
        board.wait_ready()


# ---------------------------------------------------------------- starting and stopping


@pytest.mark.parametrize("with_socket", [True, False])
def test_started_in_any_order(with_socket: bool, board: Board) -> None:
    """47: workers first, in any order, also without the socket; the daemon last: all find each other."""
    machine = board.machine
    machine.run("systemctl", "stop", "assistant.target", "assistant.socket")
    order = random.Random(with_socket).sample([VAD, STT, LLM, TTS], 4)
    for unit in order:
        job = [] if with_socket else ["--job-mode=ignore-dependencies"]
        machine.run("systemctl", "start", "--no-block", *job, unit)
    wait_until(lambda: int(machine.show(order[-1], "NRestarts")) or with_socket, 30, "they find no daemon")
    machine.run("systemctl", "start", "assistant.target")
    wait_until(lambda: all_joined(board), 60, f"started in the order {order}, all are there")
    board.wait_ready()
    assert board.ask("q12").endswith(ANSWERS["q12"])


def test_it_is_stopped_in_mid_answer(board: Board, known: KnownSpeech) -> None:
    """48: silent within 10 s, and nothing of it is left running; started again, it apologises."""
    machine = board.machine
    try:
        with board.record() as recording, board.watching() as events:
            board.speak(QUESTION)
            while events.wait_for(Spoken).fraction < 0.3:
                pass
            stopped_s = time.monotonic()
            machine.run("systemctl", "stop", "assistant.target")
            assert time.monotonic() - stopped_s < 10
            with pytest.raises(Disconnected):
                events.wait_for(TurnFinished)
            stopped_s = recording.length_s()
            wait_until(lambda: recording.length_s() > stopped_s + 1, 30, "a second more is recorded")
            assert recording.sounds()[-1][1] < stopped_s + 0.5  # a recording lags behind
        assert machine.run("ps", "-u", "assistant", "-o", "pid=", check=False).stdout == ""
        assert {machine.show(unit, "Result") for unit in UNITS} == {"success"}
        with board.record() as recording:
            machine.run("systemctl", "start", "assistant.target")
            wait_heard(known, recording, APOLOGY)
    finally:
        machine.run("systemctl", "start", "assistant.target")
        board.wait_ready()
    assert board.ask("q12") == ANSWERS["q12"]
