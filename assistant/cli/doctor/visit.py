"""One look at a board: which facts each check is given, and what of them a bundle may take along."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path

from assistant.board.health import read_health
from assistant.board.recognise import Board
from assistant.catalogue.read import read
from assistant.cli.doctor import board, bundle, services, setup, sound
from assistant.cli.doctor.check import Check, plain
from assistant.cli.doctor.processes import gather_processes
from assistant.client import INSTALLED_SOCKET
from assistant.config import CHECKOUT, SOUNDS_FOLDER, models_folder, state_folder
from assistant.errors import ModelError

INSTALLED_STATE = Path("/var/lib/assistant")


class Visit:
    """Everything is gathered when it is made, but for the models, which may take minutes with `full`."""

    def __init__(self, config_path: Path | None, full: bool, root: Path) -> None:
        self._full = full
        self._installed = services.is_installed(root)
        self._settings = setup.gather_configuration(config_path)
        self._config = self._settings.config
        self._units = services.gather_units() if self._installed else {}
        # A socket of systemd's would start what somebody has stopped.
        is_stopped = self._units.get("assistant.service", {}).get("ActiveState") in ("inactive", "failed")
        self._running = services.Running() if is_stopped else services.gather_running(self._config)
        self._usable = sound.socket_is_usable(root / INSTALLED_SOCKET.relative_to("/"))
        self._board = board.gather_board(root)
        self._root = root

    def checks(self) -> Iterator[Check]:
        """All checks, each as soon as it is made."""
        root, config, installed = self._root, self._config, self._installed
        processes = gather_processes(root)
        yield board.check_system(board.gather_system(root))
        yield board.check_board(self._board)
        yield board.check_memory(board.gather_memory(root), installed)
        yield board.check_power(read_health(root), board.gather_throttled(root))
        yield board.check_disk(board.gather_places(self._folders()))
        yield board.check_clock(board.gather_clock(root, datetime.date.today(), _made()))

        status = self._running.status
        level = status.microphone if status else None
        stages = status.stages if status else ()
        deaf = next((stage.detail for stage in stages if stage.fault == "microphone"), "")
        dumb = next((stage.detail for stage in stages if stage.lacks_speaker), "")
        sounds = sound.gather_sound(root, processes)
        yield sound.check_sound(sounds, "microphone", config.audio.microphone, level, deaf)
        yield sound.check_sound(sounds, "speaker", config.audio.speaker, failure=dumb)
        yield sound.check_rights(sound.Rights(sounds.nodes, self._usable, installed))

        yield setup.check_configuration(self._settings)
        yield setup.check_models(setup.gather_models(config, self._running.status, self._full))
        if installed:
            yield services.check_units(self._units)
        else:
            what = "none are installed; `sudo ./install.sh` makes the assistant start with the board"
            yield plain("services", "skipped", what)
        if installed and self._usable is False:
            yield plain("daemon", "skipped", "you may not ask it (see permissions)")
        else:
            yield services.check_running(self._running, installed)
        yield services.check_isolation(self._units, processes, installed)
        if installed:
            missing = services.gather_fault_sounds(SOUNDS_FOLDER)
            yield services.check_fault_sounds(missing, SOUNDS_FOLDER, config.sounds.faults)

    def write_bundle(self, path: Path, checks: list[Check]) -> None:
        """Raises `AssistantError`."""
        known = [entry.name for entry in read().models]  # the project's own list: an update may be anybody's
        found = self._board if isinstance(self._board, Board) else None
        status, journal = self._running.status, bundle.gather_journal() if self._installed else []
        bundle.write(path, bundle.contents(checks, self._config, known, found, self._units, status, journal))

    def _folders(self) -> list[tuple[str, Path]]:
        state = INSTALLED_STATE if self._installed else state_folder()
        return [("program", CHECKOUT), ("models", models_folder(self._config)), ("state", state)]


def _made() -> datetime.date:
    """A day that is past for sure: that of the list of models."""
    try:
        return read().updated
    except ModelError:
        return datetime.date.min
