"""Text to speech with Piper.  The one file that imports piper and onnxruntime.

A voice is two files, `NAME.onnx` and `NAME.onnx.json`; espeak-ng, which turns text into phonemes, and its
dictionaries come with the library.  Nothing is fetched or written.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

# onnxruntime 1.29 and later tell their maker which models are run, unless this is set when it is imported
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as onnx_errors
from piper import PiperConfig, PiperVoice, SynthesisConfig

from assistant.board.threads import threads
from assistant.catalogue.locate import check
from assistant.config import Tts
from assistant.errors import ModelError

# onnxruntime's errors have no base class of their own
ONNX_ERRORS = (
    onnx_errors.Fail,
    onnx_errors.InvalidArgument,
    onnx_errors.InvalidGraph,
    onnx_errors.InvalidProtobuf,
    onnx_errors.NoSuchFile,
    onnx_errors.NotImplemented,
    onnx_errors.RuntimeException,
)

MOST_PHONEMES = 140
"""Made in one piece, with the marks of stress and the spaces: eight or nine seconds of speech.  An ordinary
sentence of `text.sentences.LONGEST_CHARS` has fewer."""

VOICE_INPUTS = {"input", "input_lengths", "scales"}
"""What every Piper model takes; one of several speakers takes "sid" as well."""


class FrugalSession(onnxruntime.InferenceSession):  # type: ignore[misc]  # it has no types
    """A session that keeps no more memory between two pieces of speech than its weights take.

    Otherwise it would keep for ever what the longest piece needed, 12 MiB for each second of sound.
    """

    def run(
        self,
        output_names: Sequence[str] | None,
        input_feed: Mapping[str, Any],
        run_options: onnxruntime.RunOptions | None = None,
    ) -> Any:
        options = run_options or onnxruntime.RunOptions()
        options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        return super().run(output_names, input_feed, options)


class BoundedVoice(PiperVoice):  # type: ignore[misc]  # it has no types
    """A voice that makes long sentences in several pieces: ten long numbers are a minute of sound."""

    def phonemize(self, text: str) -> list[list[str]]:
        return [piece for phonemes in super().phonemize(text) for piece in pieces(phonemes, MOST_PHONEMES)]


def pieces(phonemes: list[str], most: int) -> Iterator[list[str]]:
    """`phonemes` in pieces of at most `most`, cut between words where there are any."""
    while len(phonemes) > most:
        spaces = [at for at in range(most // 2, most) if phonemes[at] == " "]
        at = spaces[-1] + 1 if spaces else most
        yield phonemes[:at]
        phonemes = phonemes[at:]
    yield phonemes


class PiperEngine:
    """One voice.  `rate_hz` is the rate of all that it says."""

    rate_hz: int

    def __init__(self, path: Path, settings: Tts) -> None:
        """Load the voice in `path` (.onnx) and `path`.json.  Raises `ModelError`."""
        check("tts", path, "download the voice again")
        config = _config(path)
        self._voice = BoundedVoice(session=_session(path, settings.threads), config=config)
        self._synthesis = SynthesisConfig(
            length_scale=config.length_scale / settings.speed, volume=settings.volume
        )
        self.rate_hz = config.sample_rate
        try:
            self._voice.phonemize("a")
        except RuntimeError:
            raise ModelError(
                f'The voice {path} is for "{config.espeak_voice}", which espeak-ng does not know; '
                "choose another voice."
            ) from None

    def warm(self) -> None:
        """Speak a sentence to nobody, so that the first real one finds every buffer in place."""
        for _ in self.speak("The assistant is ready when you are."):
            pass

    def speak(self, text: str) -> Iterator[npt.NDArray[np.int16]]:
        """The sound of `text`, mono at `rate_hz`, one array for each sentence that Piper finds in it.

        Whoever stops iterating stops the synthesis after the sentence at hand.  Text without letters or
        digits yields nothing (espeak-ng would read "!!!" as "exclamation").
        """
        if not any(character.isalnum() for character in text):
            return
        # espeak-ng is C: text ends at a NUL there, and half a surrogate pair has no UTF-8
        plain = text.replace("\0", " ").encode("utf-8", "ignore").decode()
        for chunk in self._voice.synthesize(plain, self._synthesis):
            sound: npt.NDArray[np.int16] = chunk.audio_int16_array
            yield sound


def _config(path: Path) -> PiperConfig:
    described = path.with_name(path.name + ".json")
    try:
        config = PiperConfig.from_dict(json.loads(described.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ModelError(f"{described} does not describe a Piper voice; download the voice again.") from None
    except OSError as error:
        raise ModelError(f"The voice file {described} cannot be read: {error.strerror}.") from None
    if config.phoneme_type.value not in ("espeak", "text"):
        # the others need libraries that are not installed, one of them a download
        raise ModelError(
            f"The voice {path} needs {config.phoneme_type.value} phonemes, which the assistant cannot make; "
            "choose a voice that uses espeak."
        )
    return config


def _session(path: Path, wanted_threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = wanted_threads or threads("tts")
    options.inter_op_num_threads = 1
    # a spinning thread would keep its core from the language model, which goes on while this sentence is made
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors; they are raised as well
    try:
        session = FrugalSession(str(path), sess_options=options, providers=["CPUExecutionProvider"])
    except ONNX_ERRORS as error:
        raise ModelError(
            f"The voice {path} is damaged ({_reason(error)}); delete it and download it again."
        ) from None
    names = {tensor.name for tensor in session.get_inputs()}
    if not names >= VOICE_INPUTS:
        raise ModelError(f"{path} is a model, but not a Piper voice; name a voice in tts.model.")
    return session


def _reason(error: Exception) -> str:
    """The last part of "[ONNXRuntimeError] : 7 : INVALID_PROTOBUF : Load model from … failed:…"."""
    return str(error).splitlines()[0].rpartition("failed:")[2].rstrip(". ")
