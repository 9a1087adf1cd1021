"""`assistant doctor --sound`: plays, listens, and says whether the assistant hears and understands it."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import sys
from pathlib import Path

import numpy as np

from assistant.audio import devices, self_test
from assistant.audio.formats import RATE_HZ
from assistant.audio.microphone import open_microphone
from assistant.audio.speaker import open_speaker
from assistant.cli.doctor import NAME_WIDTH, hearing
from assistant.cli.doctor.services import gather_units, is_installed
from assistant.client import Assistant, attach
from assistant.config import Config, load
from assistant.errors import AnswerError, AudioError, one_line
from assistant.messages import Recognise

SENTENCES = {
    "de": "Die Hauptstadt von Deutschland ist Berlin.",
    "en": "The capital of Germany is Berlin.",
    "es": "La capital de Alemania es Berlín.",
    "fr": "La capitale de l'Allemagne est Berlin.",
    "it": "La capitale della Germania è Berlino.",
    "nl": "De hoofdstad van Duitsland is Berlijn.",
}
"""Plain words that every model knows, the small test models too; numbers would be written in two ways."""

SPEAKER_HZ = 48_000
"""What nearly every sound card has; the devices' own rate serves as well."""


def run(words: argparse.Namespace) -> int:
    """Play, listen, print; raises `AssistantError`."""
    config = load(words.config)
    _refuse_beside_another(config)
    audio = config.audio
    with (
        contextlib.closing(open_microphone(audio.microphone, channel=audio.channel)) as microphone,
        contextlib.closing(open_speaker(audio.speaker, SPEAKER_HZ)) as speaker,
        _assistant(words) as assistant,
    ):
        used = {kind: devices.find(kind, getattr(audio, kind)).name for kind in devices.KINDS}
        sentence, rate_hz, skipped = _spoken(assistant, config.stt.language)
        seconds = math.ceil(self_test.duration_s(len(sentence) / rate_hz))
        _note(f"Keep quiet for {seconds} seconds.")
        heard = self_test.hear(microphone, speaker, sentence, rate_hz)
        recognised = ""
        if not skipped:
            recognised, skipped = _recognised(assistant, heard, 1000 * len(sentence) // rate_hz)
    said = SENTENCES.get(config.stt.language, "")
    facts = hearing.Facts(heard.figures, heard.lost_ms, said, recognised, skipped, config.audio.barge_in)
    found = hearing.verdict(facts)
    if words.json:
        print(json.dumps(hearing.as_tree(facts, found, used), ensure_ascii=False))
    else:
        for name, what in [*used.items(), *hearing.rows(facts)]:
            print(f"{name:{NAME_WIDTH}} {one_line(what)}")
        print(f"\n{hearing.sentence_of(found)}")
    return 1 if found.state == "fault" else 0


def _assistant(words: argparse.Namespace) -> Assistant:
    """One that can speak; said only now, when both devices are there."""
    _note("Plays a chirp and a sentence, and listens. The voice is being loaded …")
    return Assistant.open(words.config, workers=["tts"], debug=words.debug)


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _refuse_beside_another(config: Config) -> None:
    """Raises `AudioError` if an assistant runs: it holds the microphone, or would answer what it hears."""
    installed = is_installed(Path("/"))
    units = gather_units() if installed else {}
    # to ask its socket would start it
    if units.get("assistant.socket", {}).get("ActiveState") != "active":
        if (link := attach(config, "watcher")) is None:
            return
        link.close()
    stop, start = "end it", "start it again"
    if installed:
        stop, start = (f"`sudo systemctl {verb} assistant.target`" for verb in ("stop", "start"))
    raise AudioError(
        "The assistant runs: it uses the microphone, and would answer the test; "
        f"{stop}, run this again, then {start}."
    )


def _spoken(assistant: Assistant, language: str) -> tuple[self_test.Int16, int, str]:
    """The test sentence as sound, its rate, and why there is none, or ""."""
    silence = np.empty(0, np.int16)
    if language not in SENTENCES:
        return silence, RATE_HZ, f'there is no test sentence in "{language}"'
    try:
        parts = assistant.speech(SENTENCES[language])
    except AnswerError as error:
        return silence, RATE_HZ, str(error).rstrip(".")
    sound = np.concatenate([np.frombuffer(part.pcm, np.int16) for part in parts])
    skipped = "" if sound.any() else "the voice made no sound"
    return sound, parts[0].rate_hz, skipped


def _recognised(assistant: Assistant, heard: self_test.Measurement, voiced_ms: int) -> tuple[str, str]:
    """The words of the sentence, and why they were not looked for, or ""."""
    if heard.figures.echo is None:
        return "", "the chirp was not heard"
    try:
        return assistant.recognise(Recognise(heard.sentence.tobytes(), RATE_HZ, voiced_ms)), ""
    except AnswerError as error:
        return "", str(error).rstrip(".")
