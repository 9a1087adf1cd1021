"""Settings of a board without a screen: a mistake is heard, and the last good ones run until it is mended."""

from __future__ import annotations

import pytest
from installed import ANSWERS, APPLIANCE, Board
from known_speech import KnownSpeech
from virtual_sound import EARCON_S, Recording

from assistant.audio.fault_sounds import FAULT_SENTENCES

pytest_plugins = ["appliance_fixtures"]
pytestmark = APPLIANCE

SYSTEM, BOOT = "/etc/assistant/config.toml", "/boot/firmware/assistant.toml"
GOOD = "[llm]\ncontext_tokens = 1024\n"
"""Not the default, so that the journal's line about the plan shows whose settings run."""
LAST_GOOD, DEFAULT = "with 1024 tokens", "with 2048 tokens"

MISTAKES: dict[str, tuple[str, str | bytes, tuple[str, ...]]] = {
    "a key": (
        SYSTEM,
        "[vad]\nagressiveness = 3\n",
        ("vad.agressiveness", "did you mean vad.aggressiveness?"),
    ),
    "a key, on the boot partition": (BOOT, "[ttz]\nspeed = 2\n", ("ttz", "did you mean tts?")),
    "a value": (SYSTEM, "[tts]\nvolume = 11\n", ("tts.volume = 11 is impossible", "from 0 to 1")),
    "no TOML": (BOOT, "[tts\nvolume = 1\n", ("is not valid TOML", "line 1")),
    "no text": (BOOT, b"\x89PNG\r\n\x1a\n\0\0\xff\xfe" * 50, ("is not UTF-8 text; save it as UTF-8",)),
    "a model": (BOOT, '[llm]\nmodel = "tinylama"\n', ("llm.model in", "did you mean tinyllama")),
}


def write(board: Board, path: str, content: str | bytes) -> None:
    """A file of the machine, which is on."""
    board.machine.write(path, "")
    board.machine.path(path).write_bytes(content.encode() if isinstance(content, str) else content)


def journal_of_start(board: Board) -> str:
    """What the daemon says, started again by a person who has changed something."""
    cursor = board.machine.cursor()
    board.machine.run("systemctl", "restart", "assistant.service")
    board.wait_ready()
    return board.machine.journal("assistant.service", after=cursor)


def earcons(recording: Recording) -> list[tuple[float, float]]:
    return [(begin, end) for begin, end in recording.sounds() if end - begin < EARCON_S]


def test_settings_with_a_mistake(board: Board) -> None:
    """File, key and what may be meant stand in the journal; the last good settings run; mended, the new ones.

    Each as a person does it who edits a file and starts the assistant again.
    """
    edited = board.machine.shell(f"cat {SYSTEM}")
    write(board, SYSTEM, GOOD)
    assert LAST_GOOD in journal_of_start(board)
    for place, content, said in MISTAKES.values():
        write(board, place, content)
        journal = journal_of_start(board)
        (line,) = [line for line in journal.splitlines() if "Until then the last good settings run." in line]
        assert place in line
        assert all(words in line for words in said), line
        assert LAST_GOOD in journal
        assert FAULT_SENTENCES["config"] in journal
        doctor = board.machine.run("assistant", "doctor", check=False).stdout
        (line,) = [line for line in doctor.splitlines() if line.startswith("✗")]
        assert place in line or "tinylama" in line
        write(board, place, GOOD if place == SYSTEM else "")
    write(board, SYSTEM, edited)
    mended = journal_of_start(board)
    assert DEFAULT in mended
    assert "mistake" not in mended


def test_a_board_that_starts_with_a_mistake_says_so_and_answers(fresh_board: Board) -> None:
    """As with the card in a PC: the mistake is made while the board is off.  It is said aloud, once."""
    machine = fresh_board.machine
    machine.write(BOOT, GOOD)
    fresh_board.boot()
    assert LAST_GOOD in machine.journal("assistant.service")
    mistake = KnownSpeech(fresh_board, FAULT_SENTENCES["config"])
    machine.power_off()
    machine.write(BOOT, "[llm]\ncontext_token = 512\n")
    machine.boot()
    with fresh_board.record() as recording:
        fresh_board.wait_ready()
        recording.wait_for_quiet()
        assert mistake.heard(recording, FAULT_SENTENCES["config"]) > 0.8
        fresh_board.speak("q00")
        said = fresh_board.wait_for(recording, ANSWERS["q00"])
        assert said.endswith(ANSWERS["q00"])
        assert mistake.heard(recording, FAULT_SENTENCES["config"]) < 1.5
    assert LAST_GOOD in machine.journal("assistant.service")


def test_the_boot_partition_overrides_key_by_key(fresh_board: Board) -> None:
    """One key of a section that /etc has, and one that it has not: both files count.  No earcon is heard."""
    machine = fresh_board.machine
    machine.write(SYSTEM, "[llm]\ncontext_tokens = 1024\nmax_tokens = 100\n[sounds]\nfaults = false\n")
    machine.write(BOOT, "[llm]\ncontext_tokens = 768\n[sounds]\nearcons = false\n")
    machine.boot()
    with fresh_board.record() as recording:
        fresh_board.wait_ready()
        fresh_board.speak("q12")
        assert fresh_board.wait_for(recording, ANSWERS["q12"]) == ANSWERS["q12"]
        assert earcons(recording) == []
    assert "with 768 tokens" in machine.journal("assistant.service")
    good = machine.shell("cat /var/lib/assistant/config.good.json")
    assert '"max_tokens":100' in good
    assert '"sounds":{"earcons":false,"volume":1.0,"faults":false}' in good


@pytest.mark.parametrize(
    ("files", "fault"),
    [
        ({SYSTEM: ""}, False),
        ({}, False),
        ({SYSTEM: "[vad]\nagressiveness = 3\n"}, True),
        ({BOOT: "\0"}, True),
    ],
    ids=["empty", "none", "mistake", "mistake on the boot partition"],
)
def test_without_any_last_good_settings_the_defaults_run(
    files: dict[str, str], fault: bool, fresh_board: Board
) -> None:
    """A first start: nothing is kept yet.  The assistant never stays silent because of a file."""
    machine = fresh_board.machine
    machine.off_run("sh", "-euc", f"rm -rf /var/lib/assistant {SYSTEM}")
    for path, text in files.items():
        machine.write(path, text)
    fresh_board.boot()
    journal = machine.journal("assistant.service")
    assert DEFAULT in journal
    assert ("Until then the defaults run." in journal) is fault
    assert (FAULT_SENTENCES["config"] in journal) is fault
    kept = machine.run("test", "-e", "/var/lib/assistant/config.good.json", check=False)
    assert (kept.returncode == 0) is not fault
    if fault:  # it is mended, and a restart is all that it needs
        (place,) = files
        write(fresh_board, place, GOOD)
        journal = journal_of_start(fresh_board)
        assert LAST_GOOD in journal
        assert "Until then" not in journal
