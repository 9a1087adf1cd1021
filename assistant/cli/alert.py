"""`assistant alert`: play what is wrong, from sounds made beforehand, without any stage."""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from assistant.config import SOUNDS_FOLDER
from assistant.messages import Fault

if TYPE_CHECKING:
    import socket

    from assistant.audio.speaker import Speaker
    from assistant.config import Config

log = logging.getLogger(__name__)

HELP = "play the sounds of faults (what systemd starts when the voice is dead)"
FAULTS: tuple[Fault, ...] = get_args(Fault)

IDLE_S = 5.0
"""How long the service waits for another fault before it ends."""

MOST_BYTES = 64
"""Of a datagram; the names of faults are shorter."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("faults", nargs="*", type=_fault, metavar="NAME", help=f"of {', '.join(FAULTS)}")
    parser.add_argument(
        "--sounds", type=Path, default=SOUNDS_FOLDER, metavar="DIR", help="default: %(default)s"
    )
    parser.add_argument(
        "--activated", action="store_true", help="play the names that come through the socket of systemd"
    )


def run(words: argparse.Namespace) -> int:
    from assistant import service
    from assistant.config import Config, load
    from assistant.errors import ConfigError

    if bool(words.faults) == words.activated:
        raise ConfigError(f"Name the faults to play ({', '.join(FAULTS)}), or systemd passes a socket.")
    if not words.activated:
        config = load(words.config)
        for fault in words.faults:
            play(words.sounds, fault, config.audio.speaker)
        return 0
    service.log_to_stderr("debug" if words.debug else "warning", "assistant-alert")
    try:
        config = load(words.config)
    except ConfigError as error:
        # which may be the very fault that is to be told
        log.warning("%s Faults are told through the first speaker that is found.", error)
        config = Config()
    sockets = service.systemd.sockets()
    if len(sockets) != 1:
        raise ConfigError("--activated is for systemd, which passes one socket; name the faults to play.")
    return _serve(sockets[0], config, words.sounds)


def play(folder: Path, fault: Fault, speaker_name: str) -> None:
    """Play one fault's sound to its end, waiting while the speaker is busy.  Raises `AudioError`."""
    import numpy as np

    from assistant.audio import fault_sounds
    from assistant.audio.resampling import Resampler

    pcm, rate_hz = fault_sounds.load(folder, fault)
    speaker = _opened(speaker_name, rate_hz)
    try:
        resampler = Resampler(rate_hz, speaker.rate_hz)
        speaker.write(np.concatenate([resampler.feed(pcm), resampler.end()]))
        while speaker.pending():
            time.sleep(0.01)
    finally:
        speaker.close()


def _serve(passed: socket.socket, config: Config, folder: Path) -> int:
    """Play every fault that is told, until none has come for a while; 1 if one could not be played."""
    from assistant.errors import AudioError

    code = 0
    with passed:
        while waiting := list(_received(passed)):
            for fault in dict.fromkeys(waiting):  # what was told twice meanwhile is heard once
                if not config.sounds.faults:
                    continue
                try:
                    play(folder, fault, config.audio.speaker)
                except AudioError as error:
                    log.error("the fault %s was not heard: %s", fault, error)
                    code = 1
    return code


def _received(passed: socket.socket) -> Iterator[Fault]:
    """The faults that wait, or the next one; none if none comes within `IDLE_S`."""
    give_up_s = time.monotonic() + IDLE_S
    any_came = False
    while True:
        passed.settimeout(0 if any_came else max(0.0, give_up_s - time.monotonic()))
        try:
            name = passed.recv(MOST_BYTES).decode("ascii", "replace").strip()
        except (TimeoutError, BlockingIOError):
            return
        try:
            yield _fault(name)
        except argparse.ArgumentTypeError as error:
            log.warning("%s", error)
        else:
            any_came = True


def _opened(name: str, rate_hz: int) -> Speaker:
    """The speaker, as soon as it is free.  Raises `AudioError` if it is not within `BUSY_WITHIN_S`."""
    from assistant.audio.playback import BUSY_WITHIN_S, LOOK_EVERY_S
    from assistant.audio.speaker import open_speaker
    from assistant.errors import AudioError, DeviceStuck

    give_up_s = time.monotonic() + BUSY_WITHIN_S
    look_again = False
    while True:
        try:
            return open_speaker(name, rate_hz, look_again)
        except AudioError as error:
            if isinstance(error, DeviceStuck) or time.monotonic() >= give_up_s:
                raise
        time.sleep(LOOK_EVERY_S)
        look_again = True


def _fault(name: str) -> Fault:
    for fault in FAULTS:
        if fault == name:
            return fault
    raise argparse.ArgumentTypeError(f'there is no fault "{name}", only {", ".join(FAULTS)}')
