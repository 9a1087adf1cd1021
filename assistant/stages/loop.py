"""The loop that every worker process runs: join the daemon, load, work until the daemon goes."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, runtime_checkable

from assistant.errors import AssistantError, AudioError, DaemonError, ModelError
from assistant.messages import AnyMessage, Failure, Fault, Stage, StageState
from assistant.queues.link import Delivery, Disconnected, Dismissed, Link
from assistant.queues.socket import connect, reconnect
from assistant.service import EXIT_UNUSABLE, give_back_memory, log_from, systemd

log = logging.getLogger(__name__)

PAUSE_STEP_S = 60.0

NO_PLACE = "waiting until there is memory for it"
"""What systemd shows of a worker that the plan has no place for; the installer knows the words."""


class Handler(Protocol):
    """A stage that works on what it is given.

    Exhausting the iterator acknowledges the message, unless the stage `acknowledges` by itself, later, when
    the effect has happened.
    """

    acknowledges: bool

    def handle(self, delivery: Delivery) -> Iterator[AnyMessage]:
        """What is made of it, piece by piece.  An `AssistantError` that it raises becomes a `Failure`."""


@runtime_checkable
class Listener(Protocol):
    """A stage that nothing is given to: it makes messages of what it hears."""

    def listen(self) -> Iterator[AnyMessage]:
        """Endless.  Raises `AudioError` when there is nothing more to hear, and a new process is needed."""


@runtime_checkable
class Beginner(Protocol):
    """A stage that has something to see to once it is ready."""

    def begin(self) -> None:
        """The daemon knows that the stage is ready."""


def work(stage: Stage, socket: Path) -> int:
    """Be the worker of `stage` for the daemon at `socket`; gives back the process's exit code.

    Raises `DaemonError` when there is no daemon to work for.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"  # a library that would fetch something must fail instead
    # numpy's threads would go on spinning after the spectrum of an utterance, a quarter of its processor time
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    threading.excepthook = _end_process
    link = connect(socket, stage)
    log_from(link.config.log.level)
    try:
        _pause(link)
        with _reported(stage, lambda reason, fault: _unusable(link, stage, reason, fault)):
            systemd.status("loading")
            worker = _build(stage)(link)
            give_back_memory()
            _ready(link, stage)
            if isinstance(worker, Beginner):
                worker.begin()
            if isinstance(worker, Listener):
                for message in worker.listen():  # endless, or until the microphone is gone
                    link.post(message)
            else:
                link.on_beat = systemd.alive
                _serve_all(stage, worker, link, socket)
        return EXIT_UNUSABLE
    except Disconnected:
        log.debug("the daemon went away")
    return 0


def _pause(link: Link) -> None:
    """Wait before loading for as long as the daemon wants; raises `Disconnected`."""
    if link.pause_s:
        ever = link.pause_s == math.inf
        systemd.status(NO_PLACE if ever else f"waiting for {link.pause_s:.1f} s: the last one failed")
    until_s = time.monotonic() + link.pause_s
    while (left_s := until_s - time.monotonic()) > 0:
        systemd.starts_later(2 * PAUSE_STEP_S)
        link.receive(min(left_s, PAUSE_STEP_S))


def _ready(link: Link, stage: Stage) -> None:
    link.post(StageState(stage, "ready"))
    systemd.ready()
    systemd.status("ready")


def _unusable(link: Link, stage: Stage, reason: str, fault: Fault | None) -> None:
    systemd.status(reason)
    link.post(StageState(stage, "gone", reason, fault))


def _serve_all(stage: Stage, worker: Handler, link: Link, socket: Path) -> None:
    """Work on what comes; raises `Disconnected` when the daemon is gone for good.

    To load a model again takes long: a worker that holds nothing of the old daemon goes on with the next one,
    which systemd has listening already.
    """
    while True:
        try:
            while (delivery := link.receive()) is not None:
                _serve(stage, worker, link, delivery)
        except Dismissed:
            raise
        except Disconnected:
            if worker.acknowledges:  # it has an effect in hand that only the old daemon knows
                raise
            before = link.config
            try:
                reconnect(link, socket, stage)
            except DaemonError as error:
                raise Disconnected(str(error)) from None
            if link.config != before:
                raise
            log.info("goes on with a new daemon")
            _ready(link, stage)


def _serve(stage: Stage, worker: Handler, link: Link, delivery: Delivery) -> None:
    turn, revision = getattr(delivery.message, "turn", 0), getattr(delivery.message, "revision", 0)
    acknowledge = True
    with _reported(stage, lambda reason, _: link.post(Failure(stage, turn, revision, reason))):
        for message in worker.handle(delivery):
            link.post(message)
        acknowledge = not worker.acknowledges
    if acknowledge:
        delivery.done()


@contextmanager
def _reported(stage: Stage, report: Callable[[str, Fault | None], None]) -> Iterator[None]:
    """Tell what goes wrong in a sentence, and of what kind it is; the process goes on."""
    try:
        yield
    except Disconnected:
        raise
    except AssistantError as error:
        report(str(error), _fault(stage, error))
    except MemoryError:
        report(f"There is not enough memory for the {stage} stage; choose a smaller model.", "memory")
    except ModuleNotFoundError as error:
        report(f"The {stage} stage lacks a package ({error}); run ./install.sh again.", None)
    except Exception as error:  # noqa: BLE001 - the one place: one piece of work must not take the stage down
        # without the exception's own words, which may be a person's
        places = traceback.extract_tb(error.__traceback__)
        what = f"{type(error).__name__} at {Path(places[-1].filename).name}:{places[-1].lineno}"
        log.error("a defect in %s: %s", stage, what)
        log.debug("%s", "".join(traceback.format_list(places)))
        report(f"The {stage} stage met a defect ({what}); --debug shows more.", None)


def _fault(stage: Stage, error: AssistantError) -> Fault | None:
    if isinstance(error, MemoryError):
        return "memory"
    if isinstance(error, ModelError):
        return "model"
    if isinstance(error, AudioError) and stage == "vad":
        return "microphone"
    return None


def _build(stage: Stage) -> Callable[[Link], Handler | Listener]:
    """The stage's constructor, from the one module that imports its engine."""
    if stage == "vad":
        from assistant.stages.vad import VadStage

        return VadStage
    if stage == "stt":
        from assistant.stages.stt import SttStage

        return SttStage
    if stage == "llm":
        from assistant.stages.llm import LlmStage

        return LlmStage
    from assistant.stages.tts import TtsStage

    return TtsStage


def _end_process(crash: threading.ExceptHookArgs) -> None:
    """A thread that died in a process that lives makes an assistant that is up and deaf: start another."""
    if crash.exc_type is not None and not issubclass(crash.exc_type, Disconnected):
        log.critical("a thread died", exc_info=crash.exc_value)
    os._exit(1)
