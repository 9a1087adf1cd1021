"""A Whisper model in CTranslate2's form, sound in and readings out: the one file that imports faster_whisper.

A model is a folder; nothing is ever looked up on the network.
"""

from __future__ import annotations

import json
import os
from collections.abc import Container, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from assistant.board.threads import threads
from assistant.catalogue.locate import check
from assistant.config import Stt
from assistant.engines.whisper_judgement import (
    IMPROBABLE,
    MOST_TOKENS,
    NO_SPEECH,
    REPETITIVE,
    TEMPERATURES,
    Reading,
    compression_ratio,
)
from assistant.errors import ModelError, NoRoomError

if TYPE_CHECKING:
    from ctranslate2 import StorageView

JSON_FILES = {
    "config.json": "suppress_ids",
    "tokenizer.json": "model",
    "preprocessor_config.json": "feature_size",
}
"""The model's JSON files and a key that each must have."""


class WhisperModel:
    """The Whisper model in `folder`, in 8-bit integers on the processor.  Raises `ModelError`."""

    def __init__(self, folder: Path, settings: Stt) -> None:
        check("stt", folder, "delete it and download it again")
        _check_json(folder)
        os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is imported, which faster_whisper does
        import faster_whisper
        from faster_whisper.tokenizer import Tokenizer

        try:
            self._model = faster_whisper.WhisperModel(
                str(folder),
                device="cpu",
                compute_type="int8",
                cpu_threads=settings.threads or threads("stt"),
                local_files_only=True,
            )
        except (RuntimeError, ValueError) as error:
            raise ModelError(
                f"The speech model {folder} is damaged, or is not Whisper ({_reason(error)}); "
                "delete it and download it again."
            ) from None
        except MemoryError:
            raise NoRoomError(
                f"There is not enough memory for the speech model {folder}; choose a smaller one."
            ) from None
        multilingual, words = self._model.model.is_multilingual, self._model.hf_tokenizer
        self.language = language_of(multilingual, settings.language, words.get_vocab())
        self._tokenizer = Tokenizer(words, multilingual, task="transcribe", language=self.language)
        self._prompt = self._model.get_prompt(self._tokenizer, [], without_timestamps=True)

    def spectrum(self, sound: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The logarithmic mel spectrum of `sound` (16 kHz, -1 to 1), as Whisper scales it: bins, frames."""
        spectrum: npt.NDArray[np.float32] = self._model.feature_extractor(sound)[:, :-1]
        return spectrum

    def encode(self, spectrum: npt.NDArray[np.float32], frames: int) -> StorageView:
        """What the decoder looks at: `spectrum` and behind it nothing, `frames` together, at most 3000.

        CTranslate2 would take the result for another spectrum if it were as long as a spectrum has bins (80
        or 128): `frames` must not be 159, 160, 255 or 256.
        """
        window = np.zeros((spectrum.shape[0], frames), dtype=np.float32)
        window[:, : spectrum.shape[1]] = spectrum
        return self._model.encode(window)

    def decode(self, encoded: StorageView, beam_size: int, temperature: float, most_tokens: int) -> Reading:
        """The text of one window, without timestamps.

        At `temperature` 0 by a beam search; above, the likeliest of as many texts drawn at random.
        """
        sampling = {"num_hypotheses": beam_size, "sampling_topk": 0, "sampling_temperature": temperature}
        (result,) = self._model.model.generate(
            encoded,
            [self._prompt],
            max_length=2 * most_tokens,  # CTranslate2 4.8 makes half as many as it is allowed
            return_scores=True,
            return_no_speech_prob=True,
            **({"beam_size": 1, **sampling} if temperature > 0 else {"beam_size": beam_size}),
        )
        tokens, score = result.sequences_ids[0], result.scores[0]
        text = self._tokenizer.decode(tokens)
        # the score is shared out among the tokens; the paper's limits are for a mean with the end of text
        avg_logprob = score * len(tokens) / (len(tokens) + 1)
        return Reading(text, len(tokens), avg_logprob, result.no_speech_prob, compression_ratio(text))

    def windows(self, sound: npt.NDArray[np.float32], beam_size: int) -> Iterator[Reading]:
        """What is in more than 30 s: timestamps let a window begin where the sentences before it end."""
        segments, _ = self._model.transcribe(
            sound,
            language=self.language,
            beam_size=beam_size,
            best_of=beam_size,
            temperature=TEMPERATURES,
            compression_ratio_threshold=REPETITIVE,
            log_prob_threshold=IMPROBABLE,
            no_speech_threshold=NO_SPEECH,
            condition_on_previous_text=False,
            max_new_tokens=2 * MOST_TOKENS,  # as in `decode`
        )
        for segment in segments:
            yield Reading(
                segment.text,
                len(segment.tokens),
                segment.avg_logprob,
                segment.no_speech_prob,
                segment.compression_ratio,
            )


def language_of(multilingual: bool, wanted: str, tokens: Container[str]) -> str:
    """The language to read in: English if the model has no other, else `wanted`.  Raises `ModelError`."""
    if not multilingual:
        return "en"
    if f"<|{wanted}|>" not in tokens:
        raise ModelError(
            f'The speech model does not know the language "{wanted}"; change stt.language or stt.model.'
        )
    return wanted


def _check_json(folder: Path) -> None:
    for name, key in JSON_FILES.items():
        file = folder / name
        try:
            # the library takes a broken one for an empty one, or raises a bare Exception
            usable = not file.exists() or key in dict(json.loads(file.read_text(encoding="utf-8")))
        except (ValueError, TypeError):
            usable = False
        except OSError as error:
            raise ModelError(f"The speech model's {file} cannot be read: {error.strerror}.") from None
        if not usable:
            raise ModelError(
                f"The speech model {folder} is damaged: {name}; delete it and download it again."
            )


def _reason(error: Exception) -> str:
    return str(error).splitlines()[0].rstrip(". ")
