"""The assistant for programs: three lines of Python, and what the command line itself is built on.

Attaches to a running daemon; where there is none, runs one of its own for as long as it is open.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import msgspec

from assistant import config as configuration
from assistant.config import Config
from assistant.errors import AnswerError, DaemonError
from assistant.messages import (
    AnyMessage,
    Ask,
    ForgetConversation,
    Recognise,
    Say,
    Speech,
    Stage,
    StopTurn,
    Token,
    Transcript,
    TurnAccepted,
    TurnFinished,
)
from assistant.queues.link import Disconnected, Link
from assistant.queues.socket import connect
from assistant.queues.wire import Role
from assistant.text.clean import clean_question
from assistant.text.speakable import speakable

if TYPE_CHECKING:
    from assistant.segments import Segment

INSTALLED_SOCKET = Path("/run/assistant/assistant.sock")
START_WITHIN_S = 30.0
STOP_WITHIN_S = 2.0


class NotStarted(DaemonError):
    """A daemon of one's own ended at once; it has said why on standard error."""

    is_said = True


class OwnDaemon:
    """A daemon that lives as long as this object; it ends by itself when this process does.

    `workers` are started at once, others when needed.  `card` is the folder of a sound card (`audio.card`).
    """

    def __init__(
        self,
        config_path: Path | None,
        workers: Iterable[Stage],
        socket: Path | None = None,
        card: Path | None = None,
        debug: bool = False,
    ) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="assistant-", dir=folder_for_sockets()))
        self.socket = socket or self._folder / "daemon.sock"
        command = [sys.executable, "-P", "-m", "assistant"]  # -P: nothing from the current folder
        if config_path is not None:
            command += ["--config", str(config_path)]
        if debug:
            command.append("--debug")
        command += ["daemon", "--owned", "--socket", str(self.socket), "--workers", ",".join(workers)]
        if card is not None:
            command += ["--card", str(card)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)

    def connect(self, role: Role) -> Link:
        """A connection to it, waiting until it listens.  Raises `DaemonError`."""
        give_up_s = time.monotonic() + START_WITHIN_S
        while True:
            if self._process.poll() is not None:
                raise NotStarted("The daemon could not start; its line on standard error says why.")
            try:
                return connect(self.socket, role)
            except DaemonError:
                if time.monotonic() > give_up_s:
                    raise
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0.01)

    def stop(self) -> None:
        """End it and its workers, within two seconds."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


class Assistant:
    """Ask, speak and transcribe.  Open it with `Assistant.open()`; not to be shared by threads."""

    def __init__(self, link: Link, config: Config, own: OwnDaemon | None) -> None:
        self._link = link
        self._config = config
        self._own = own
        self._closed = False
        self._turn = 0  # the request whose messages are still to come

    @classmethod
    def open(
        cls, config: Path | str | None = None, *, workers: Iterable[Stage] = (), debug: bool = False
    ) -> Assistant:
        """Attach to the running daemon, else run one.

        `config` names another config.toml; a daemon that runs with other models, or with other settings of
        them, is then left alone.

        `workers` are the stages that an own daemon starts at once rather than when first needed.
        Raises `ConfigError`, `DaemonError`.
        """
        path = Path(config) if config is not None else None
        settings = configuration.load(path)
        if (link := attach(settings, "client")) is not None:
            if path is None or _same_models(link.written, settings):
                return cls(link, settings, None)
            link.close()
        own = OwnDaemon(path, workers, debug=debug)
        try:
            return cls(own.connect("client"), settings, own)
        except BaseException:
            own.stop()
            raise

    @property
    def is_attached(self) -> bool:
        """Whether it uses a daemon that others may use too."""
        return self._own is None

    def ask(self, question: str) -> Generator[str, None, None]:
        """The answer, piece by piece as it is made; it stops being made when the iterator is closed, or when
        something else is asked for.

        Earlier questions of this object are remembered.  Raises `AnswerError`, `QueueFull`, `DaemonError`.
        """
        if not clean_question(question):
            raise AnswerError("The question is empty; ask something in words.")
        for message in self._messages(Ask(question)):
            if isinstance(message, Token):
                yield message.text

    def forget(self) -> None:
        """Begin a new conversation."""
        self._link.post(ForgetConversation(), confirm=True)

    def say(self, text: str, file: Path | str | None = None) -> None:
        """Speak `text`, returning when it has been heard; with `file`, write it there as WAV instead.

        Raises `AnswerError` where `text` has nothing that can be spoken, `AudioError`, `DaemonError`.
        """
        if file is None:
            for _ in self._saying(text, to_client=False):
                pass
            return
        import numpy as np

        from assistant.audio.files import write_wav
        from assistant.audio.pipes import refuse_other_endings

        refuse_other_endings(str(file))
        parts = self.speech(text)
        pcm = np.concatenate([np.frombuffer(part.pcm, np.int16) for part in parts])
        write_wav(Path(file), pcm, parts[0].rate_hz)

    def speech(self, text: str) -> list[Speech]:
        """`text` as sound, a sentence each.  Raises `AnswerError`, `DaemonError`."""
        return [message for message in self._saying(text, to_client=True) if isinstance(message, Speech)]

    def transcribe(self, file: Path | str) -> str:
        """The words in a recording: WAV, FLAC, MP3 or OGG of any rate and channels.  Raises `AudioError`."""
        return " ".join(segment.text for segment in self.segments(file))

    def segments(self, file: Path | str) -> Iterator[Segment]:
        """The same, stretch of speech by stretch of speech, with times and confidence."""
        from assistant.segments import Segment, speech_in

        # a second opinion only where the plan has the memory for one
        second_opinion = self._link.config.vad.second_opinion
        vad = msgspec.structs.replace(self._config.vad, second_opinion=second_opinion)
        for sound in speech_in(Path(file), vad):
            for message in self._messages(sound.request):
                if isinstance(message, Transcript) and message.text:
                    yield Segment(
                        sound.start_s, sound.end_s, message.text, message.language, message.confidence
                    )

    def recognise(self, request: Recognise) -> str:
        """The words in that sound; "" where there are none.  Raises `AnswerError`, `DaemonError`."""
        return " ".join(
            message.text for message in self._messages(request) if isinstance(message, Transcript)
        )

    def close(self) -> None:
        """Detach; a daemon of one's own ends."""
        self._closed = True
        self._link.close()
        if self._own is not None:
            self._own.stop()

    def __enter__(self) -> Assistant:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _saying(self, text: str, to_client: bool) -> Iterator[AnyMessage]:
        if not speakable(clean_question(text)):
            raise AnswerError("There is nothing to say: the text has no words.")
        return self._messages(Say(text, to_client))

    def _messages(self, request: AnyMessage) -> Generator[AnyMessage, None, None]:
        """All messages of the turn that `request` becomes."""
        if self._closed:
            raise DaemonError("This Assistant is closed; open another with Assistant.open().")
        self._stop()
        self._link.post(request, confirm=True)
        come: deque[AnyMessage] = deque()
        while (message := self._link.notice(0)) is not None:
            come.append(message)
        # The daemon gives the turn its number before it confirms the request; what else was accepted is of
        # requests that were interrupted before they knew their number.
        *unwanted, turn = [message.turn for message in come if isinstance(message, TurnAccepted)]
        for number in unwanted:
            self._link.post(StopTurn(number))
        self._turn = turn
        try:
            while self._turn == turn:  # else something else was asked for meanwhile
                message = come.popleft() if come else self._link.notice()
                if message is None or getattr(message, "turn", 0) != turn:
                    continue
                if not isinstance(message, TurnFinished):
                    yield message
                    continue
                self._turn = 0
                if message.outcome == "failed":
                    raise AnswerError(message.failure)
        finally:
            if self._turn == turn:
                self._stop()

    def _stop(self) -> None:
        """The rest of the turn is not wanted."""
        if self._turn:
            self._link.post(StopTurn(self._turn))
            self._turn = 0


def folder_for_sockets() -> Path:
    """Where private folders with sockets can be made; short, for `sun_path` of unix(7) has 107 bytes."""
    folder = configuration.runtime_folder()
    return folder if len(os.fsencode(folder)) <= 64 else Path("/tmp")


def _same_models(one: Config, other: Config) -> bool:
    return (one.stt, one.llm, one.tts) == (other.stt, other.llm, other.tts)


def _may_be_there(path: Path) -> bool:
    """Whether there is such a file, or a folder before it that this user may not look into."""
    try:
        path.stat()
    except PermissionError:
        return True
    except OSError:
        return False
    return True


def attach(config: Config, role: Role) -> Link | None:
    """A connection to the user's or the installed daemon, None if neither runs.  Raises `DaemonError`."""
    path = configuration.socket_path(config)
    for candidate in (path, INSTALLED_SOCKET) if config.daemon.socket == "auto" else (path,):
        if _may_be_there(candidate):
            try:
                return connect(candidate, role)
            except Disconnected:
                raise  # it runs, and will not have us
            except DaemonError:
                if candidate == INSTALLED_SOCKET:
                    raise  # it runs, but not for us: say so rather than load a second model
    return None
