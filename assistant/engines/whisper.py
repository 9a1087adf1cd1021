"""Speech to text with faster-whisper.  The one file that imports it.

A model is a folder in CTranslate2's form; nothing is ever looked up on the network.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Container, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from assistant.audio.formats import RATE_HZ
from assistant.board.threads import threads
from assistant.catalogue.locate import check
from assistant.config import Stt
from assistant.errors import ModelError, NoRoomError

if TYPE_CHECKING:
    from faster_whisper import WhisperModel
    from faster_whisper.transcribe import Segment

JSON_FILES = {
    "config.json": "suppress_ids",
    "tokenizer.json": "model",
    "preprocessor_config.json": "feature_size",
}
"""The model's JSON files and a key that each must have."""

FULL_SCALE = 32_768
WINDOW_S = 30

MOST_TOKENS = 222
TOKENS_PER_S = 25
"""What one window's text may have: half of Whisper's 448 tokens less its prompt, and less for a short
utterance, so that a loop of repetitions in it ends soon.  English has 3 to 5 a second, some scripts 15."""

TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Tried in turn while the text is too improbable or too repetitive (Radford et al. 2022, section 4.5)."""

NO_SPEECH = 0.6
IMPROBABLE = -1.0
REPETITIVE = 2.4
"""The same paper's limits for no-speech probability, mean log-probability and compression ratio."""

FASTEST_SPEECH = 40
SLOWEST_SPEECH = 3
"""Letters in a second of voice: people speak 10 to 25, and one word in seconds of "voice" was noise."""

STOCK_PHRASE = re.compile(
    r"you|(thank you|thanks)( very much| so much| for watching)?|bye( bye)?|okay|oh|so|the end"
    r"|(please )?(like and )?subscribe|see you (next time|in the next video)|subtitles by .*"
)
"""What Whisper writes over silence and noise most often: the ends of the videos that it learnt from."""


class Heard(NamedTuple):
    """What was read from an utterance; `text` is empty if it was no speech.

    `confidence` is the (geometric) mean probability of the text's tokens, 0 to 1.
    """

    text: str
    language: str
    confidence: float


class WhisperEngine:
    """One Whisper model, in 8-bit integers on the processor."""

    def __init__(self, folder: Path, settings: Stt) -> None:
        """Load the model in `folder`.  Raises `ModelError`."""
        check("stt", folder, "delete it and download it again")
        _check_json(folder)
        os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is imported, which faster_whisper does
        from faster_whisper import WhisperModel

        try:
            self._model: WhisperModel = WhisperModel(
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
        tokens = self._model.hf_tokenizer.get_vocab()
        self._language = language_of(self._model.model.is_multilingual, settings.language, tokens)
        self._beam_size = settings.beam_size

    def warm(self) -> None:
        """Read a second of nothing, so that the first utterance finds every weight in memory."""
        for _ in self._segments(np.zeros(RATE_HZ, dtype=np.int16), TEMPERATURES[:1]):
            pass

    def transcribe(self, pcm: npt.NDArray[np.int16], voiced_ms: int, cancelled: Callable[[], bool]) -> Heard:
        """The text of `pcm` (16 kHz, mono), of which `voiced_ms` sounded like a voice.

        Asks `cancelled` before every window of 30 s; a cancelled reading has no text.
        """
        nothing = Heard("", self._language, 0.0)
        if cancelled():
            return nothing
        texts: list[str] = []
        log_probabilities: list[tuple[float, int]] = []
        for segment in self._segments(pcm, TEMPERATURES):
            if cancelled():
                return nothing
            if not invented(
                segment.text,
                segment.no_speech_prob,
                segment.avg_logprob,
                segment.compression_ratio,
                voiced_ms,
            ):
                texts.append(segment.text)
                log_probabilities.append((segment.avg_logprob, len(segment.tokens)))
        if not texts:
            return nothing
        tokens = sum(count for _, count in log_probabilities)
        mean = sum(value * count for value, count in log_probabilities) / tokens
        return Heard("".join(texts).strip(), self._language, min(1.0, math.exp(mean)))

    def _segments(self, pcm: npt.NDArray[np.int16], temperatures: tuple[float, ...]) -> Iterator[Segment]:
        duration_s = len(pcm) / RATE_HZ
        tokens = min(MOST_TOKENS, int(TOKENS_PER_S * (1 + duration_s)))
        segments, _ = self._model.transcribe(
            pcm.astype(np.float32) / FULL_SCALE,
            language=self._language,
            beam_size=self._beam_size,
            best_of=self._beam_size,
            temperature=temperatures,
            compression_ratio_threshold=REPETITIVE,
            log_prob_threshold=IMPROBABLE,
            no_speech_threshold=NO_SPEECH,
            condition_on_previous_text=False,
            # beyond one window, timestamps let the next begin where this one's last sentence ends
            without_timestamps=duration_s <= WINDOW_S,
            max_new_tokens=2 * tokens,  # CTranslate2 4.8 makes half as many as it is allowed
            vad_filter=False,
        )
        return iter(segments)


def invented(
    text: str, no_speech_prob: float, avg_logprob: float, compression_ratio: float, voiced_ms: int
) -> bool:
    """Whether the model made `text` up over silence or noise.

    No sign is enough alone: people do say "Thank you.", mumble, and repeat themselves.  Each adds to the
    doubt, and four points are too many: two full signs, or one and two halves.
    """
    letters = sum(character.isalnum() for character in text)
    if not letters:
        return True
    voiced_s = max(voiced_ms, 1) / 1000
    if voiced_ms < 100 or letters / voiced_s > FASTEST_SPEECH:
        doubt = 2
    else:
        doubt = int(voiced_ms < 200 or letters / voiced_s < SLOWEST_SPEECH)
    doubt += (no_speech_prob > NO_SPEECH / 2) + (no_speech_prob > NO_SPEECH)
    doubt += (avg_logprob < IMPROBABLE * 0.6) + (avg_logprob < IMPROBABLE)
    doubt += 2 * (compression_ratio > REPETITIVE) + 2 * _is_stock(text)
    return doubt >= 4


def _is_stock(text: str) -> bool:
    """Whether `text` is nothing but stock phrases, in any number."""
    sentences = re.split(r"[.!?,;\u2026]+(?:\s|$)", text.lower())
    phrases = [" ".join(re.findall(r"\w+", sentence)) for sentence in sentences]
    return all(STOCK_PHRASE.fullmatch(phrase) for phrase in phrases if phrase)


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
