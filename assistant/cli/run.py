"""`assistant run`: the whole appliance on recorded sound."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from assistant.audio.card import SoundCard
    from assistant.cli.timeline import Timeline
    from assistant.config import Config
    from assistant.messages import AnyMessage
    from assistant.queues.link import Link

HELP = "answer recorded questions: the whole appliance with files as microphone and speaker"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--mic", required=True, metavar="FILE", help='a recording, a FIFO, or "-": a WAV stream'
    )
    parser.add_argument(
        "--speaker", default="", metavar="OUT.wav", help='where the answers go: a file, a FIFO, or "-"'
    )
    parser.add_argument("--speed", type=_speed, default=1.0, metavar="N", help="feed a file N times as fast")
    parser.add_argument("--json", action="store_true", help="a line of JSON per event")


def run(words: argparse.Namespace) -> int:
    from assistant.audio.card import SoundCard
    from assistant.client import OwnDaemon, folder_for_sockets
    from assistant.config import load
    from assistant.messages import STAGES

    config = load(words.config)
    with tempfile.TemporaryDirectory(prefix="assistant-card-", dir=folder_for_sockets()) as folder:
        card = SoundCard(words.mic, words.speaker, _voice_rate_hz(config), words.speed, folder=Path(folder))
        try:
            daemon = OwnDaemon(words.config, STAGES, card=Path(folder), debug=words.debug)
            try:
                show = Show(words.json, sys.stderr if words.speaker == "-" else sys.stdout)
                _answer_all(daemon.connect("watcher"), card, show)
                show.end()
            finally:
                daemon.stop()
        finally:
            card.close()
    return 0


def _answer_all(link: Link, card: SoundCard, show: Show) -> None:
    """Until the microphone has ended and every turn is done, or nobody can hear the answers any more."""
    from assistant.errors import AudioError, ModelError
    from assistant.messages import STAGES, MicrophoneEnded, StageState

    missing = set(STAGES)
    ended = False
    while not (ended and show.timeline.started == show.timeline.finished):
        message = link.notice(timeout_s=0.5)
        if not card.microphone_ended.is_set():
            if card.speaker_lost:
                raise AudioError("Nobody takes the answers' sound any more; start the program that plays it.")
            if card.failure:
                return  # closing the card says what it was
        if isinstance(message, StageState):
            if message.state == "gone" and message.detail and missing:  # later its turns are apologised for
                raise ModelError(message.detail)
            if message.state == "ready" and missing:
                missing.discard(message.stage)
                if not missing:
                    card.start()
                    show.listening(card.started_at_s)
        elif isinstance(message, MicrophoneEnded):
            ended = True
        elif message is not None:
            show.message(message)


class Show:
    """Prints what happens, for people or for programs."""

    def __init__(self, as_json: bool, out: TextIO) -> None:
        from assistant.cli.timeline import Timeline

        self.timeline: Timeline = Timeline()
        self._as_json = as_json
        self._out = out
        # of each turn what is shown when it is done: the next one is heard before this one has been answered
        self._shown = 0
        self._blocks: dict[int, list[str]] = {}

    def listening(self, since_s: float) -> None:
        """The appliance listens: the first sample of the microphone and of the speaker was at `since_s`."""
        if self._as_json:
            self._line(json.dumps({"event": "listening", "t": round(since_s, 6), "turn": 0, "text": ""}))
        else:
            self._line("Listening.")

    def message(self, message: AnyMessage) -> None:
        """Show what `message` says."""
        from assistant.text.clean import printable

        for event in self.timeline.feed(message):
            turn = int(event["turn"])
            text = printable(str(event["text"]))
            if self._as_json:
                self._line(json.dumps(event, ensure_ascii=False))
            elif event["event"] == "transcript":
                self._blocks.setdefault(turn, []).append(f"  heard:  {text or '(nothing)'}")
            elif event["event"] == "answer":
                self._blocks.setdefault(turn, []).append(f"  answer: {text}")
            if event["event"] == "done":
                if block := self._blocks.pop(turn, None):
                    failed = [f"  failed: {text}"] if text else []
                    self._shown += 1
                    self._line("\n".join([f"Turn {turn}", *block, *self.timeline.lines(turn), *failed]))
                self.timeline.forget(turn)

    def end(self) -> None:
        """The recording is over and everything is answered."""
        counted = self.timeline.speculation
        if self._as_json:
            wasted_s = round(counted.wasted_s, 3)
            event = {"event": "speculation", "t": round(time.monotonic(), 6), "turn": 0, "text": ""}
            self._line(
                json.dumps({**event, "hits": counted.hits, "misses": counted.misses, "wasted_s": wasted_s})
            )
        elif not self._shown:
            self._line("No speech was heard.")
        else:
            wasted = f" ({counted.wasted_s:.1f} s)" if counted.misses else ""
            told = f"{counted.hits}; for nothing: {counted.misses}{wasted}"
            self._line(f"Times that work began before the end of the turn: {told}")

    def _line(self, text: str) -> None:
        print(text, file=self._out, flush=True)


def _voice_rate_hz(config: Config) -> int:
    """The rate of the voice in use, so that what it says is written as it is."""
    from assistant.catalogue.locate import locate
    from assistant.config import models_folder
    from assistant.errors import ModelError

    voice = locate("tts", config.tts.model, models_folder(config)).path
    description = voice.with_name(voice.name + ".json")
    try:
        return int(json.loads(description.read_text(encoding="utf-8"))["audio"]["sample_rate"])
    except (OSError, ValueError, KeyError, TypeError):
        raise ModelError(
            f"{description} does not say the voice's sample rate; fetch the voice again."
        ) from None


def _speed(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0.1 <= (speed := float(text)) <= 100:
            return speed
    raise argparse.ArgumentTypeError("the speed must be a number from 0.1 to 100")
