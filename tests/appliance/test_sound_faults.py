"""What happens when a microphone, a speaker or the voice fails, and what people hear and read of it."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import soundfile
import soxr
from container import wait_until
from installed import ANSWERS, APPLIANCE, UNITS, Board
from known_speech import pieces, times_heard
from virtual_sound import FILES, MODULES, PULSE, RATE_HZ, Recording

from assistant.audio.earcons import earcon
from assistant.messages import Earcon, Fault, Sentence, SpeechStarted, Transcript, TurnFinished

pytest_plugins = ["appliance_fixtures"]
pytestmark = APPLIANCE

SETTINGS = "/etc/assistant/config.toml"
VOICE = "/opt/assistant/tests/models/en_US-tiny-medium.onnx"
VAD, STT, TTS = (f"assistant-{stage}.service" for stage in ("vad", "stt", "tts"))
LEAD_S = 0.6
"""The earcon and the pause that the rendered sound of a fault begins with."""

ONCE = (0.5, 1.5)
"""A busy machine plays with gaps, and pieces of the sound are lost; of another sentence nothing is alike."""


def heard(board: Board, recording: Recording, fault: Fault) -> float:
    """How often the fault was said, by the voice or from its rendered sound; see `ONCE`."""
    path = board.machine.path(f"/opt/assistant/sounds/{fault}.wav")
    samples, rate_hz = soundfile.read(path, dtype="int16")
    sentence = soxr.resample(samples[int(LEAD_S * rate_hz) :], rate_hz, RATE_HZ)
    times = [times_heard(recording.samples().astype(np.float64), piece) for piece in pieces(sentence)]
    return sum(times) / len(times)


def heard_earcon(recording: Recording, name: Earcon) -> int:
    """How often the earcon was played."""
    return times_heard(recording.samples().astype(np.float64), earcon(name, RATE_HZ).astype(np.float64))


def wait_for_fault(board: Board, recording: Recording, fault: Fault, within_s: float = 60.0) -> None:
    """Until the fault has been said."""
    deadline_s, end_s = time.monotonic() + within_s, 0.0
    while heard(board, recording, fault) < ONCE[0]:
        end_s = recording.wait_for_quiet(max(0.0, deadline_s - time.monotonic()), after_s=end_s)


def is_active(board: Board, unit: str) -> bool:
    machine = board.machine
    return machine.is_on() and machine.run("systemctl", "is-active", unit, check=False).returncode == 0


def status(board: Board) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(board.machine.run("assistant", "status", "--json", check=False).stdout)
    return found


def doctor(board: Board) -> tuple[int, dict[str, dict[str, str]]]:
    """Its exit code, and its checks by name."""
    done = board.machine.run("assistant", "doctor", "--json", check=False)
    return done.returncode, {check["name"]: check for check in json.loads(done.stdout)}


def restart(board: Board) -> None:
    """All of it anew: nothing has been said yet."""
    board.machine.run("systemctl", "restart", "assistant.target")
    board.wait_ready()


@contextlib.contextmanager
def settings(board: Board, **changes: str) -> Iterator[None]:
    """The assistant runs with these keys changed, each of which has one place in the file."""
    text = changed = board.machine.run("cat", SETTINGS).stdout
    for key, value in changes.items():
        (line,) = [line for line in text.splitlines() if line.startswith(f"{key} = ")]
        changed = changed.replace(line, f"{key} = {value}")
    try:
        board.machine.write(SETTINGS, changed)
        restart(board)
        yield
    finally:
        board.machine.write(SETTINGS, text)
        restart(board)


def priorities(board: Board, after: str) -> dict[str, str]:
    """The priority of each message of the daemon since `after`."""
    entries = board.machine.journal("assistant.service", after=after, output="json").splitlines()
    return {entry["MESSAGE"]: entry["PRIORITY"] for entry in map(json.loads, entries)}


def cpu_s(board: Board, pid: int) -> float:
    ticks = board.machine.run("cat", f"/proc/{pid}/stat").stdout.rpartition(")")[2].split()
    return (int(ticks[11]) + int(ticks[12])) / 100


def test_a_healthy_board_has_nothing_to_report(board: Board) -> None:
    """`assistant status --json` agrees with systemd, and `assistant doctor` finds no fault."""
    found = status(board)
    assert (found["state"], found["ready"]) == ("idle", True)
    pids = {"assistant.service": found["pid"]}
    pids |= {f"assistant-{name}.service": stage["pid"] for name, stage in found["stages"].items()}
    assert pids == {unit: board.machine.main_pid(unit) for unit in UNITS}
    assert {stage["fault"] for stage in found["stages"].values()} == {None}
    assert found["plan"]["fits"]
    code, checks = doctor(board)
    assert code == 0
    assert [check for check in checks.values() if check["state"] == "fault"] == []
    assert {
        checks[name]["state"] for name in ("microphone", "speaker", "settings", "daemon", "no network")
    } == {"ok"}


def test_doctor_names_a_service_that_somebody_has_masked(board: Board) -> None:
    try:
        board.machine.run("systemctl", "mask", "--runtime", "--now", STT)
        code, checks = doctor(board)
    finally:
        board.machine.run("systemctl", "unmask", "--runtime", STT)
        board.machine.run("systemctl", "start", "--no-block", STT)
        board.wait_ready()
    assert code == 1
    assert checks["services"]["state"] == "fault"
    assert STT in checks["services"]["what"]


def test_an_unplugged_microphone_is_told_once(board: Board) -> None:
    """20, 22, 24: said once, however long it lasts; status and doctor name it; another rate is no matter."""
    restart(board)
    cursor = board.machine.cursor()
    with board.record() as recording:
        board.sound.unplug("microphone")
        wait_for_fault(board, recording, "microphone")
        found = status(board)
        assert (found["state"], found["ready"]) == ("deaf", False)
        assert found["stages"]["vad"]["fault"] == "microphone"
        assert "microphone" in found["stages"]["vad"]["detail"]
        code, checks = doctor(board)
        assert (code, checks["microphone"]["state"], checks["daemon"]["state"]) == (1, "fault", "fault")
        # the process begins anew meanwhile, and finds the same
        wait_until(lambda: int(board.machine.show(VAD, "NRestarts")) > 0, 60, "another process looks for one")
        wait_until(lambda: status(board)["stages"]["vad"]["fault"] == "microphone", 20, "it has looked")
        board.sound.plug_in("microphone", 44_100)
        board.machine.wait_active(VAD)
        wait_until(lambda: status(board)["state"] == "idle", 20, "it hears again")
        board.speak("q13")
        board.wait_for(recording, ANSWERS["q13"])
        assert ONCE[0] <= heard(board, recording, "microphone") < ONCE[1]
    said = {
        message: priority
        for message, priority in priorities(board, cursor).items()
        if "microphone" in message
    }
    assert set(said.values()) == {"4"}
    assert sum(message.startswith("fault: ") for message in said) == 1


def test_a_microphone_that_is_unplugged_in_mid_question(board: Board) -> None:
    """21: what was heard of it is discarded, nothing spins, and the next question is answered."""
    with board.watching() as events, board.record() as recording:
        speaking = board.machine.start("paplay", "--device=micbus", "/test/audio/q02.wav", env=PULSE)
        started = events.wait_for(SpeechStarted)
        board.sound.unplug("microphone")
        speaking.wait(20)
        wait_until(lambda: status(board)["state"] == "deaf", 20, "what was heard is discarded")
        pid = board.machine.main_pid(VAD)
        before_s = cpu_s(board, pid)
        time.sleep(3.0)
        assert cpu_s(board, pid) - before_s < 1.5
        board.sound.plug_in("microphone")
        wait_until(lambda: status(board)["state"] == "idle", 30, "it hears again")
        board.speak("q12")
        assert "Stockholm" not in board.wait_for(recording, ANSWERS["q12"])
        answered = [turn["turn"] for turn in status(board)["turns"]]
    assert started.turn not in answered


def test_without_a_speaker_answers_are_given_in_text(board: Board) -> None:
    """29: nothing restarts, nothing waits; and it speaks again as soon as there is a speaker."""
    pid = board.machine.main_pid(TTS)
    with board.watching() as events:
        board.sound.unplug("speaker")
        board.speak("q00")
        assert events.wait_for(Transcript).text == "What is the capital of Germany?"
        assert events.wait_for(Sentence).text == ANSWERS["q00"]
        finished = events.wait_for(TurnFinished)
        assert finished.outcome == "failed"
        assert "speaker" in finished.failure
        board.sound.plug_in("speaker")
    assert board.ask("q12") == ANSWERS["q12"]
    assert board.machine.main_pid(TTS) == pid


def test_sounds_can_be_turned_off(board: Board) -> None:
    """[sounds]: on, the earcon says that it is ready; off, no fault is heard, but it is in the log."""
    with board.record() as recording:
        restart(board)
        wait_until(lambda: heard_earcon(recording, "ready"), 20, "the earcon that it is ready")
    with board.record() as recording, settings(board, earcons="false", faults="false"):
        cursor = board.machine.cursor()
        board.sound.unplug("microphone")
        wait_until(lambda: status(board)["state"] == "deaf", 30, "it misses the microphone")
        wait_until(
            lambda: any(m.startswith("fault: ") for m in priorities(board, cursor)), 20, "it is in the log"
        )
        length_s = recording.length_s()
        wait_until(lambda: recording.length_s() > length_s + 5.0, 20, "time for it to be said")
        quiet = recording.sounds()
        board.sound.plug_in("microphone")
    assert quiet == []


def test_no_microphone_when_it_boots(fresh_board: Board) -> None:
    """20: the voice says so, all else is ready, the boot waits for nothing; heard as soon as it is there."""
    board = fresh_board
    unit = "/etc/systemd/system/sound.service"
    lines = FILES[unit].splitlines()
    kept = [line for line in lines if MODULES["microphone"][0] not in line]
    assert len(kept) == len(lines) - 1
    board.machine.write(unit, "\n".join(kept))

    def listen() -> None:
        wait_until(lambda: is_active(board, "sound.service"), 60, "there is a speaker")
        with board.record() as recording:
            wait_for_fault(board, recording, "microphone")

    with ThreadPoolExecutor() as pool:
        listening = pool.submit(listen)
        board.machine.boot(within_s=150)  # which also waits until one looked for it in vain
        listening.result()
    board.machine.wait_active("multi-user.target", *[name for name in UNITS if name != VAD])
    with board.record() as recording:
        assert board.machine.show(VAD, "ActiveState") == "activating"
        board.sound.plug_in("microphone")
        board.wait_ready()
        wait_until(lambda: heard_earcon(recording, "ready"), 20, "the earcon that it is ready")
    assert board.ask("q00") == ANSWERS["q00"]


def test_a_fault_is_heard_though_the_voice_is_dead(fresh_board: Board) -> None:
    """35: the voice's model is cut off: named, and said by a sound that was made when it was installed."""
    board = fresh_board
    board.machine.write(VOICE, "cut off")
    board.machine.boot()
    with board.record() as recording:
        wait_for_fault(board, recording, "model", 120)
        assert heard_earcon(recording, "error") == 1
        assert ONCE[0] <= heard(board, recording, "model") < ONCE[1]
    assert board.machine.journal("assistant-alert.service") != ""
    code, checks = doctor(board)
    assert code == 1
    assert "en_US-tiny-medium.onnx" in " ".join(
        check["what"] for check in checks.values() if check["state"] == "fault"
    )
