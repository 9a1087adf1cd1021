"""Text to speech with Piper.  The one file that imports piper.

A voice is two files, `NAME.onnx` and `NAME.onnx.json`; espeak-ng, which turns text into phonemes, and its
dictionaries come with the library.  Nothing is fetched or written.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from piper import PiperConfig, PiperVoice

from assistant.board.threads import threads
from assistant.catalogue.bounded import opened
from assistant.catalogue.locate import check
from assistant.config import Tts
from assistant.engines import onnx
from assistant.engines.piper_cut import Uncuttable, cut
from assistant.engines.piper_windows import Decoder, Floats, Stage
from assistant.errors import ModelError

log = logging.getLogger(__name__)

MOST_PHONEMES = 140
"""Made in one piece, with the marks of stress and the spaces: eight or nine seconds of speech.  An ordinary
sentence of `text.sentences.LONGEST_CHARS` has fewer."""

VOICE_INPUTS = {"input", "input_lengths", "scales"}
"""What every Piper model takes; one of several speakers takes "sid" as well."""

FIRST_S = 0.3
LONGEST_S = 0.6
"""Of sound in the first chunk of a sentence and at most in a later one.  Longer ones take more memory, 12 MiB
for each second, and are made no faster: the shorter fit the processor's caches better."""

WARM_UP = "The assistant is ready when you are."

QUIETEST = 0.05
"""Of the full scale: a voice whose loudest sample is below this is not made louder than twenty times."""

KNEE = 0.8
"""Of the full scale; what is louder is squeezed into the rest of it."""


class FrugalSession(onnx.InferenceSession):  # type: ignore[misc]  # it has no types
    """A session that keeps no more memory between two pieces of speech than its weights take.

    Patterns would be kept for each length of a piece.  One that makes a `whole` sentence takes less at its
    peak with an arena; that would keep what the longest took, 12 MiB a second of sound, and is emptied.
    """

    def __init__(self, path_or_content: str | bytes, options: onnx.SessionOptions, *, whole: bool) -> None:
        options.enable_cpu_mem_arena = whole
        options.enable_mem_pattern = False
        super().__init__(path_or_content, sess_options=options, providers=["CPUExecutionProvider"])
        self._run_options = onnx.RunOptions()
        if whole:
            self._run_options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")

    def run(
        self,
        output_names: Sequence[str] | None,
        input_feed: Mapping[str, Any],
        run_options: onnx.RunOptions | None = None,
    ) -> Any:
        return super().run(output_names, input_feed, run_options or self._run_options)

    def give(self, taken: Floats) -> Floats:
        """What a model of one input makes of it."""
        (given,) = self.run(None, {self.get_inputs()[0].name: taken})
        made: Floats = given
        return made


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
        self._session, self._decoder = _sessions(path, session_options(path, settings.threads))
        self._voice = BoundedVoice(session=self._session, config=config)
        # noise in the sound, length, noise in the length: as the voice was trained to take them
        self._scales = np.array(
            [config.noise_scale, config.length_scale / settings.speed, config.noise_w_scale], np.float32
        )
        self._gain = 0.0  # until the voice has been heard: sentences keep their loudness among themselves
        self.rate_hz = config.sample_rate
        try:
            self._voice.phonemize("a")
        except RuntimeError:
            raise ModelError(
                f'The voice {path} is for "{config.espeak_voice}", which espeak-ng does not know; '
                "choose another voice."
            ) from None

    def warm(self) -> None:
        """Speak a sentence to nobody, so that the first real one finds all in place, the loudness too."""
        sound = np.concatenate([np.zeros(1, np.float32), *self._sound(WARM_UP)])
        self._gain = 1 / max(float(np.abs(sound).max()), QUIETEST)

    def speak(self, text: str) -> Iterator[npt.NDArray[np.int16]]:
        """The sound of `text`, mono at `rate_hz`, in chunks that join without a gap.

        A sentence begins with a short chunk; where the voice cannot be cut, it is one.  Whoever stops
        iterating stops the synthesis after the chunk at hand.  Text without letters or digits yields nothing
        (espeak-ng would read "!!!" as "exclamation").
        """
        if not any(character.isalnum() for character in text):
            return
        if not self._gain:
            self.warm()
        # espeak-ng is C: text ends at a NUL there, and half a surrogate pair has no UTF-8
        plain = text.replace("\0", " ").encode("utf-8", "ignore").decode()
        for sound in self._sound(plain):
            loud = limited(self._gain * sound)
            yield (32767 * loud).astype(np.int16)

    def _sound(self, text: str) -> Iterator[Floats]:
        """The sound of `text` as the voice makes it, chunk by chunk, in 32-bit numbers."""
        for phonemes in self._voice.phonemize(text):
            if phonemes:
                made: Floats = self._session.run(None, self._feed(phonemes))[0]
                first, most = (round(duration_s * self.rate_hz) for duration_s in (FIRST_S, LONGEST_S))
                for chunk in self._decoder.sound(made, first, most):
                    yield chunk.reshape(-1)

    def _feed(self, phonemes: list[str]) -> dict[str, npt.NDArray[Any]]:
        config = self._voice.config
        ids = self._voice.phonemes_to_ids(phonemes)
        feed: dict[str, npt.NDArray[Any]] = {
            "input": np.array([ids], np.int64),
            "input_lengths": np.array([len(ids)], np.int64),
            "scales": self._scales,
        }
        if config.num_speakers > 1:
            feed["sid"] = np.array([config.default_speaker_id], np.int64)
        return feed


def limited(sound: Floats) -> Floats:
    """`sound` between -1 and 1: what is beyond `KNEE` nears the full scale smoothly, the rest stays."""
    room = 1 - KNEE
    beyond = np.maximum(np.abs(sound) - KNEE, 0)
    return np.copysign(np.minimum(np.abs(sound), KNEE) + room * np.tanh(beyond / room), sound)


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


def session_options(path: Path, wanted_threads: int) -> onnx.SessionOptions:
    """For the voice in `path`, and for parts of it, whose weights stay in that file."""
    options = onnx.session_options(wanted_threads or threads("tts"))
    folder = str(path.absolute().parent)
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
    return options


def _sessions(path: Path, options: onnx.SessionOptions) -> tuple[FrugalSession, Decoder]:
    """What needs the whole sentence, and the decoder; if the voice cannot be cut, that has nothing to do."""
    try:
        with opened(path) as file:
            parts = [
                (FrugalSession(part.model(file), options, whole=False), part.reach) for part in cut(file)
            ]
    except (Uncuttable, ModelError, *onnx.ERRORS) as error:
        level = logging.DEBUG if isinstance(error, Uncuttable) else logging.WARNING
        log.log(level, "the voice %s makes a sentence in one piece: %s", path, error)
        parts = [(_whole(path, options), None)]
    session = parts[0][0]
    if not {tensor.name for tensor in session.get_inputs()} >= VOICE_INPUTS:
        raise ModelError(f"{path} is a model, but not a Piper voice; name a voice in tts.model.")
    return session, Decoder([Stage(part.give, reach) for part, reach in parts if reach])


def _whole(path: Path, options: onnx.SessionOptions) -> FrugalSession:
    try:
        return FrugalSession(str(path), options, whole=True)
    except onnx.ERRORS as error:
        raise ModelError(
            f"The voice {path} is damaged ({_reason(error)}); delete it and download it again."
        ) from None


def _reason(error: Exception) -> str:
    """The last part of "[ONNXRuntimeError] : 7 : INVALID_PROTOBUF : Load model from … failed:…"."""
    return str(error).splitlines()[0].rpartition("failed:")[2].rstrip(". ")
