"""The card: power cuts while it is written, no room on it, read-only, and models on it that are not whole."""

from __future__ import annotations

import hashlib
import json
import random
import re
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from container import Container, wait_until
from installed import ANSWERS, APPLIANCE, CHECKOUT, Board
from known_speech import KnownSpeech

from assistant.audio.fault_sounds import FAULT_SENTENCES
from assistant.board.speed import KeptSpeed
from assistant.catalogue import gguf
from assistant.config import Config
from assistant.daemon.answers import APOLOGY
from assistant.messages import Stage, TurnFinished

pytest_plugins = ["appliance_fixtures"]
pytestmark = APPLIANCE

MODELS = CHECKOUT / "tests" / "models"
SETTINGS = "/etc/assistant/config.toml"
FOLDER, STATE = "/opt/assistant/models", "/var/lib/assistant"
OWN: dict[Stage, str] = {
    "llm": f"{FOLDER}/own/own.gguf",
    "stt": f"{FOLDER}/own/whisper",
    "tts": f"{FOLDER}/own/own.onnx",
}
ORIGINAL: dict[Stage, str] = {
    "llm": "tiny-chat-q4_k_m.gguf",
    "stt": "whisper-tiny-test",
    "tts": "en_US-tiny-low.onnx",
}
CUTS = 10


# ---------------------------------------------------------------- what the tests lay out


def catalogue() -> str:
    """An update of the catalogue with two language models that there are, so that there is one to choose."""
    entries = ""
    for name in ("tiny-chat-q4_k_m", "tiny-chat-q8_0"):
        path = MODELS / f"{name}.gguf"
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        file = f'{{ path = "{path.name}", size_bytes = {path.stat().st_size}, sha256 = "{sha256}" }}'
        entries += (
            f'[[models]]\nname = "{name}"\nkind = "llm"\nshape = "tiny"\nlicence = "GPL-3.0"\n'
            f'commercial = true\nlanguages = ["en"]\nquantisation = "{name.rpartition("-")[2].upper()}"\n'
            f'repo = "o/r"\nrevision = "{"1" * 40}"\nfiles = [{file}]\n'
        )
    shape = msgspec.to_builtins(gguf.shape(gguf.read_header(MODELS / "tiny-chat-q8_0.gguf")))
    own = (CHECKOUT / "models" / "catalogue.toml").read_text("utf-8")
    own = re.sub(r'(?m)^updated = ".*"', 'updated = "2099-01-01"', own)
    own = own.replace(
        "[auto.llm]\nen = [", '[auto.llm]\nen = [\n    "tiny-chat-q8_0",\n    "tiny-chat-q4_k_m",'
    )
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in shape.items() if value is not None)
    return f"{own}\n[shapes.llm.tiny]\n{lines}{entries}"


def put_models(machine: Container) -> None:
    """Both, where `assistant models pull` would have put them; the machine is off."""
    machine.write(f"{FOLDER}/catalogue.updated.toml", catalogue())
    for name in ("tiny-chat-q4_k_m", "tiny-chat-q8_0"):
        machine.write(f"{FOLDER}/{name}/{name}.gguf", "")
        target = machine.upper / f"{FOLDER}/{name}/{name}.gguf".lstrip("/")
        target.write_bytes((MODELS / f"{name}.gguf").read_bytes())


def put_own(board: Board, stage: Stage) -> None:
    """A model of the user's own, named in the settings; it takes the next start to use it."""
    machine, original, own = board.machine, MODELS / ORIGINAL[stage], OWN[stage]
    for path in (
        sorted(original.rglob("*")) if original.is_dir() else original.parent.glob(f"{original.name}*")
    ):
        target = own + (f"/{path.name}" if original.is_dir() else path.name.removeprefix(original.name))
        machine.write(target, "")
        machine.path(target).write_bytes(path.read_bytes())
    machine.write(SETTINGS, f'[{stage}]\nmodel = "{own}"\n')


def restart(board: Board) -> None:
    board.machine.run("systemctl", "restart", "assistant.service")


def status(board: Board) -> dict[Stage, dict[str, str]]:
    """What `assistant status` shows of them."""
    shown = board.machine.run("assistant", "status", "--json", check=False).stdout
    found: dict[Stage, dict[str, str]] = json.loads(shown)["stages"] if shown else {}
    return found


def others_are_ready(board: Board, harmed: Stage) -> bool:
    return all(stage["state"] == "ready" for name, stage in status(board).items() if name != harmed)


@pytest.fixture
def own_models(board: Board) -> Iterator[Board]:
    """A board that everybody uses, for tests that name a model of their own in its settings."""
    settings = board.machine.shell(f"cat {SETTINGS}")
    yield board
    board.machine.write(SETTINGS, settings)
    board.machine.run("rm", "-rf", f"{FOLDER}/own")
    restart(board)


# ---------------------------------------------------------------- power cuts


def test_a_power_cut_while_state_is_written_leaves_it_whole(fresh_board: Board) -> None:
    """Fault 31: cut ten times at moments around the writing: each time all of the old file or of the new.

    Changed settings make the daemon write both files at every start; half of the cuts come as soon as
    something happens in the folder, half at any time while the daemon begins.  Nothing but what was there is
    left there in the end, and the board answers.
    """
    machine, state = fresh_board.machine, fresh_board.machine.upper / STATE.lstrip("/")
    put_models(machine)
    random.seed(31)
    contents: list[tuple[str, ...]] = []
    for number in range(CUTS):
        machine.write(SETTINGS, f"[llm]\nseed = {number}\n")
        (state / "speed.json").unlink(missing_ok=True)
        before = changes(state)
        machine.boot()
        if number % 2:
            wait_until(lambda before=before: changes(state) != before, 60, "something is written")  # type: ignore[misc] # a default keeps a loop's value
        else:
            time.sleep(random.uniform(0, 1))
        machine.cut_power()
        contents.append(whole(state))
    assert len(set(contents)) > CUTS // 2, "hardly anything was written"
    machine.write(SETTINGS, "")
    fresh_board.boot()
    assert sorted(path.name for path in state.iterdir() if path.name[0] != ".") == [
        "config.good.json",
        "speed.json",
    ]
    assert fresh_board.ask("q00") == ANSWERS["q00"]


def changes(folder: Path) -> list[tuple[str, int]]:
    if not folder.exists():
        return []
    return sorted((path.name, path.lstat().st_mtime_ns) for path in folder.iterdir())


def whole(state: Path) -> tuple[str, ...]:
    """The contents of the files in it, each of which makes sense."""
    files: dict[str, type[object]] = {"config.good.json": Config, "speed.json": KeptSpeed}
    found = []
    for name, kind in files.items():
        if (state / name).exists():
            found.append((state / name).read_text("utf-8"))
            msgspec.json.decode(found[-1], type=kind)
    return tuple(found)


# ---------------------------------------------------------------- no room, and read-only


def test_without_any_room_on_the_card_it_goes_on(fresh_board: Board) -> None:
    """Fault 33: root, /run and /tmp are full, so that neither state nor limits can be written.

    It answers, starts again with other settings, answers again, and no half-written file is left.
    """
    machine = fresh_board.machine
    machine.use_small_disk(free_mib=12)
    fresh_board.boot()
    before = machine.shell(f"cat {STATE}/config.good.json")
    machine.write(SETTINGS, "[llm]\nseed = 7\n")
    machine.shell("mount -o remount,size=2M /run && mount -o remount,size=1M /tmp")
    for folder in ("", "/run", "/tmp"):
        machine.run(
            "sh",
            "-c",
            f"cat /dev/zero > {folder}/fill; : > {folder}/more; echo 1 > {folder}/more",
            check=False,
        )
        full = machine.run("sh", "-c", f"head -c 65536 /dev/zero > {folder}/more", check=False)
        assert "No space left on device" in full.stderr
    assert fresh_board.ask("q00") == ANSWERS["q00"]
    cursor = machine.cursor()
    machine.run("systemctl", "restart", "assistant.target")
    fresh_board.wait_ready()
    wait_until(lambda: "limits cannot be written" in machine.journal(after=cursor), 30, "it says so")
    assert fresh_board.ask("q12") == ANSWERS["q12"]
    assert machine.shell(f"ls -A {STATE}").split() == ["config.good.json"]
    assert machine.shell(f"cat {STATE}/config.good.json") == before
    left = machine.shell("ls -A /run/assistant").split()
    assert sorted(left) == ["alert.sock", "assistant.sock", "assistant.sock.lock", "limits.json"]
    machine.run("rm", "/fill", "/run/fill", "/tmp/fill")
    restart(fresh_board)
    fresh_board.wait_ready()
    assert '"seed":7' in machine.shell(f"cat {STATE}/config.good.json")


@pytest.mark.parametrize("is_full", [False, True], ids=["state in memory", "state without room"])
def test_with_a_read_only_root_it_boots_and_answers(is_full: bool, fresh_board: Board) -> None:
    """Faults 33, 34: nothing but the state, which is in memory, can be written; or not even that."""
    machine = fresh_board.machine
    machine.write(SETTINGS, "[llm]\ncontext_tokens = 1024\n")
    if is_full:
        fill = f"[Service]\nExecStartPre=/bin/sh -c 'echo all of it > {STATE}/full'\n"
        machine.write("/etc/systemd/system/assistant.service.d/full.conf", fill)
    machine.options += ["--read-only", f"--tmpfs={STATE}" + (":size=4096" if is_full else "")]
    fresh_board.boot()
    for path in ("/x", "/etc/x", "/var/x", "/opt/assistant/x"):
        assert "Read-only file system" in machine.run("touch", path, check=False).stderr
    assert machine.shell(f"ls -A {STATE}").split() == ["full" if is_full else "config.good.json"]
    assert "with 1024 tokens" in machine.journal("assistant.service")
    assert machine.shell("systemctl list-units --failed --no-legend 'assistant*'") == ""
    assert fresh_board.ask("q00") == ANSWERS["q00"]


# ---------------------------------------------------------------- models that are not whole


def truncate(content: bytes) -> bytes:
    return content[: len(content) // 2]


def harm(board: Board, stage: Stage) -> str:
    """Half of the model's file is lost.  Its path."""
    path = OWN[stage] + ("/model.bin" if stage == "stt" else "")
    file = board.machine.path(path)
    file.write_bytes(truncate(file.read_bytes()))
    return path


@pytest.mark.parametrize("stage", OWN)
def test_a_truncated_model_is_refused_by_name(stage: Stage, own_models: Board) -> None:
    """Fault 35: heard, whether the voice is dead or not; journal and status name the file; others are up."""
    board, machine = own_models, own_models.machine
    sentence = FAULT_SENTENCES["model"]
    known = KnownSpeech(board, sentence)
    put_own(board, stage)
    harm(board, stage)
    cursor = machine.cursor()
    with board.record() as recording:
        restart(board)
        wait_until(lambda: known.heard(recording, sentence) > 0.7, 90, "the fault is heard")
    assert f"{stage} cannot work: " in machine.journal("assistant.service", after=cursor)
    assert OWN[stage] in machine.journal("assistant.service", after=cursor)
    # The next worker that starts looks as if it might succeed.
    wait_until(lambda: OWN[stage] in status(board)[stage]["detail"], 60, "status names it")
    wait_until(lambda: others_are_ready(board, stage), 60, "the others are ready")


def test_a_model_with_a_flipped_bit_is_found_by_its_hash(fresh_board: Board) -> None:
    """Fault 36: `assistant models verify` refuses it by name, and says what to do.

    Until then it is used: to hash gigabytes at every start would take minutes.  A wrong weight makes answers
    worse, but it cannot do more than a model can.
    """
    machine = fresh_board.machine
    put_models(machine)
    name = "tiny-chat-q8_0"
    file = machine.upper / f"{FOLDER}/{name}/{name}.gguf".lstrip("/")
    content = bytearray(file.read_bytes())
    content[len(content) * 3 // 4] ^= 1
    file.write_bytes(content)
    fresh_board.boot()
    assert f", {name}, " in machine.journal("assistant.service")
    with fresh_board.watching() as events:
        fresh_board.speak("q00")
        assert events.wait_for(TurnFinished).outcome == "answered"
    verified = machine.run("assistant", "models", "verify", check=False)
    assert verified.returncode != 0
    (line,) = [line for line in (verified.stdout + verified.stderr).splitlines() if f"{name}.gguf" in line]
    assert "damaged" in line or "hash" in line
    assert f"assistant models pull {name}" in verified.stdout + verified.stderr
    assert "tiny-chat-q4_k_m.gguf" not in verified.stderr


def hostile_gguf() -> bytes:
    """A model of no layers, at which llama.cpp gives up with abort(3)."""
    content = bytearray((MODELS / ORIGINAL["llm"]).read_bytes())
    key = b"llama.block_count"
    at = content.index(key) + len(key) + 4  # behind the type of the value
    assert content[at : at + 4] == b"\4\0\0\0"
    content[at] = 0
    return bytes(content)


def test_a_model_that_kills_its_worker_harms_nobody_else(own_models: Board) -> None:
    """Fault 37: said aloud, the file named, a question apologised for, and nothing else comes to harm."""
    board, machine = own_models, own_models.machine
    sentence = FAULT_SENTENCES["crash"]
    known = KnownSpeech(board, sentence, APOLOGY)
    put_own(board, "llm")
    machine.path(OWN["llm"]).write_bytes(hostile_gguf())
    cursor = machine.cursor()
    restart(board)
    with board.record() as recording:
        wait_until(lambda: known.heard(recording, sentence) > 0.7, 120, "the fault is heard")
        wait_until(lambda: others_are_ready(board, "llm"), 60, "the others are ready")
        recording.wait_for_quiet()
        board.speak("q00")
        wait_until(lambda: known.heard(recording, APOLOGY) > 0.7, 60, "an apology is heard")
    journal = machine.journal("assistant*", after=cursor)
    assert "status=6/ABRT" in journal
    assert f"choose another model than {OWN['llm']}" in journal
    assert machine.show("assistant-llm.service", "NRestarts") != "0"
