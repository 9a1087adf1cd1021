"""The loop that every worker process runs: join the daemon, load, work until the daemon goes."""

from __future__ import annotations

import logging
import os
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, runtime_checkable

from assistant.errors import AssistantError
from assistant.messages import AnyMessage, Failure, Stage, StageState
from assistant.queues.link import Delivery, Disconnected, Link
from assistant.queues.socket import connect
from assistant.service import EXIT_UNUSABLE, give_back_memory, log_from

log = logging.getLogger(__name__)


class Handler(Protocol):
    """A stage that works on what it is given.

    Exhausting the iterator acknowledges the message, unless the stage `acknowledges` by itself, later, when
    the effect has happened.
    """

    acknowledges: bool

    def handle(self, delivery: Delivery) -> Iterator[AnyMessage]: ...


@runtime_checkable
class Listener(Protocol):
    """A stage that nothing is given to: it makes messages of what it hears."""

    def listen(self) -> Iterator[AnyMessage]: ...


def work(stage: Stage, socket: Path) -> int:
    """Be the worker of `stage` for the daemon at `socket`; gives back the process's exit code.

    Raises `DaemonError` when there is no daemon to work for.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"  # a library that would fetch something must fail instead
    threading.excepthook = _end_process
    link = connect(socket, stage)
    log_from(link.config.log.level)
    try:
        with _reported(stage, lambda reason, no_room: link.post(StageState(stage, "gone", reason, no_room))):
            worker = _build(stage)(link)
            give_back_memory()
            link.post(StageState(stage, "ready"))
            if isinstance(worker, Listener):
                for message in worker.listen():  # endless, or until the microphone is gone
                    link.post(message)
            else:
                while (delivery := link.receive()) is not None:
                    _serve(stage, worker, link, delivery)
        return EXIT_UNUSABLE
    except Disconnected:
        log.debug("the daemon went away")
    return 0


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
def _reported(stage: Stage, report: Callable[[str, bool], None]) -> Iterator[None]:
    """Tell what goes wrong in a sentence, and whether for want of memory; the process goes on."""
    try:
        yield
    except Disconnected:
        raise
    except AssistantError as error:
        report(str(error), isinstance(error, MemoryError))
    except MemoryError:
        report(f"There is not enough memory for the {stage} stage; choose a smaller model.", True)
    except ModuleNotFoundError as error:
        report(f"The {stage} stage lacks a package ({error}); run ./install.sh again.", False)
    except Exception as error:  # noqa: BLE001 - the one place: one piece of work must not take the stage down
        # without the exception's own words, which may be a person's
        places = traceback.extract_tb(error.__traceback__)
        what = f"{type(error).__name__} at {Path(places[-1].filename).name}:{places[-1].lineno}"
        log.error("a defect in %s: %s", stage, what)
        log.debug("%s", "".join(traceback.format_list(places)))
        report(f"The {stage} stage met a defect ({what}); --debug shows more.", False)


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
