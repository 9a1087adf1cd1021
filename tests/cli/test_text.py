"""`assistant --text`, at a terminal and in a pipe."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import (
    BERLIN,
    CAPITAL,
    COMMAND,
    DEADLINE_S,
    STORY,
    assistant,
    daemon,
    processes,
    said,
    started,
    until,
)

NOT_KNOWN = "I do not know that."


class Terminal:
    """`assistant --text` on a pseudoterminal that it is the session's leader of, as in a window."""

    def __init__(self, config: Path) -> None:
        self._master, slave = os.openpty()
        command = ["setsid", "--ctty", *COMMAND, "--config", str(config), "--text"]
        environment = {**os.environ, "TERM": "xterm", "LC_ALL": "C.UTF-8"}
        self.process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment)
        os.close(slave)
        self.shown = b""
        self.wait_for("> ")

    def type(self, keys: str) -> None:
        self.shown = b""
        os.write(self._master, keys.encode())

    def wait_for(self, text: str) -> None:
        assert self._shows(text, DEADLINE_S), f"{text!r} is not shown, but {self.shown!r}"

    def press_until(self, key: str, text: str) -> None:
        """Python's readline sees a signal that comes while it echoes a key with the next key only."""
        give_up_s = time.monotonic() + DEADLINE_S
        self.type(key)
        while not self._shows(text, 0.5):
            assert time.monotonic() < give_up_s, f"{text!r} is not shown, but {self.shown!r}"
            self.type(key)
        self.wait_for("> ")

    def _shows(self, text: str, within_s: float) -> bool:
        give_up_s = time.monotonic() + within_s
        while text.encode() not in self.shown and (left_s := give_up_s - time.monotonic()) > 0:
            if select.select([self._master], [], [], left_s)[0]:
                self.shown += os.read(self._master, 4096)
        return text.encode() in self.shown

    def ask(self, keys: str, answer: str) -> None:
        """Type, wait for the answer and for the next prompt."""
        self.type(keys)
        self.wait_for(answer)
        self.shown = self.shown.partition(answer.encode())[2]
        self.wait_for("> ")

    def close(self) -> int:
        try:
            return self.process.wait(10)
        finally:
            self.process.kill()
            os.close(self._master)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with daemon(tmp_path_factory.mktemp("daemon"), "--workers", "llm") as (config, _):
        yield config


@pytest.fixture
def terminal(config: Path) -> Iterator[Terminal]:
    opened = Terminal(config)
    yield opened
    if opened.process.poll() is None:
        opened.type("\x15/quit\r")
    assert opened.close() == 0


LEFT, UP, BACKSPACE = "\x1b[D", "\x1b[A", "\x7f"


def test_lines_can_be_edited_and_called_back(terminal: Terminal) -> None:
    terminal.ask("What is the capital of Gemany?" + 5 * LEFT + "r\r", BERLIN)
    terminal.ask("My name is Annaxx" + 2 * BACKSPACE + ".\r", "Nice to meet you, Anna.")
    terminal.ask(2 * UP + "\r", BERLIN)
    terminal.ask("What is my name?\r", "Your name is Anna.")
    terminal.ask("/new\r", "A new conversation.")
    terminal.ask(2 * UP + "\r", NOT_KNOWN)


def test_any_script_and_any_key_may_be_typed(terminal: Terminal) -> None:
    terminal.ask("ما هي عاصمة 🎉 ألمانيا؟\r", NOT_KNOWN)
    terminal.ask("\r\x01\x07\x0b" + CAPITAL + "\r", BERLIN)
    terminal.ask("/help\r", "There is no /help, only /new and /quit")


def test_ctrl_c_stops_the_answer_and_not_the_program(terminal: Terminal) -> None:
    for _ in range(20):  # the tiny model is sometimes faster than the fingers
        terminal.type("\x15Tell me a story.\r")
        terminal.wait_for("Once there")
        terminal.type(3 * "\x03")  # an impatient person
        terminal.wait_for("> ")
        if "…".encode() in terminal.shown:
            break
    else:
        raise AssertionError("no answer could be stopped")
    assert STORY[-20:].encode() not in terminal.shown
    terminal.ask("\x15" + CAPITAL + "\r", BERLIN)


def test_ctrl_c_at_the_prompt_gives_a_fresh_one(terminal: Terminal) -> None:
    terminal.type("half a li")
    terminal.wait_for("half a li")
    terminal.press_until("\x03", "(/quit ends)")
    terminal.ask("\x15" + CAPITAL + "\r", BERLIN)


@pytest.mark.parametrize("keys", ["/quit\r", "\x04"], ids=["quit", "ctrl-d"])
def test_the_end_of_the_conversation(keys: str, config: Path) -> None:
    terminal = Terminal(config)
    terminal.type(keys)
    assert terminal.close() == 0


@pytest.mark.parametrize(
    ("typed", "answers"),
    [
        (f"{CAPITAL}\n", [BERLIN]),
        (CAPITAL, [BERLIN]),
        (f"\n  \n{CAPITAL}\r\n\r\nWhat is two plus three?\r\n", [BERLIN, "Two plus three is five."]),
        ("My name is Anna.\nWhat is my name?\n", ["Nice to meet you, Anna.", "Your name is Anna."]),
        ("My name is Anna.\n/new\nWhat is my name?\n", ["Nice to meet you, Anna.", NOT_KNOWN]),
        (f"{CAPITAL}\n/quit\nWhat is two plus three?\n", [BERLIN]),
        (b"\xff\xfe\x00What is\x00 two plus three?\x1b[31m\n", ["Two plus three is five."]),
        ("שלום, מה שלומך?\n", [NOT_KNOWN]),
        ("", []),
    ],
)
def test_a_pipe_gets_the_answers_and_nothing_else(
    typed: str | bytes, answers: list[str], config: Path
) -> None:
    done = assistant("--text", stdin=typed, config=config)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "".join(answer + "\n" for answer in answers)


@pytest.mark.parametrize(("line", "complaint"), [("a" * 100_000, "too long"), ("/help", "There is no /help")])
def test_a_line_that_cannot_be_answered_does_not_end_the_conversation(
    line: str, complaint: str, config: Path
) -> None:
    done = assistant("--text", stdin=f"{line}\n{CAPITAL}\n", config=config)
    assert done.returncode == 1
    assert done.stdout == f"{BERLIN}\n"
    assert complaint in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_reader_that_has_enough_ends_it(config: Path) -> None:
    """As in `… | assistant --text | head -1`."""
    with started("--text", config=config) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdin.write(20 * b"Tell me a story.\n")
        process.stdin.close()
        assert process.stdout.readline().decode() == f"{STORY}\n"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(10) == 128 + signal.SIGPIPE


def test_without_a_daemon_it_runs_its_own_and_ends_it(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f'[daemon]\nsocket = "{tmp_path / "daemon.sock"}"\n')
    done = assistant("--text", stdin=f"{CAPITAL}\n", config=config)
    assert (done.stdout, done.returncode) == (f"{BERLIN}\n", 0)
    until(lambda: not processes(str(tmp_path)), "every process has ended")


def test_a_daemon_that_dies_ends_it_with_a_sentence(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    with daemon(tmp_path, "--workers", "none") as (_, running), started("--text", config=config) as process:
        assert process.stdin
        assert process.stderr
        process.stdin.write(b"/help\n")
        process.stdin.flush()
        assert b"no /help" in process.stderr.readline(), "it is connected"
        process.stdin.write(f"{CAPITAL}\n".encode())  # which is never answered, without workers
        process.stdin.flush()
        running.kill()
        out, err = process.communicate(timeout=20)
    done = subprocess.CompletedProcess(process.args, process.returncode, out.decode(), err.decode())
    assert "daemon went away" in said(done)
