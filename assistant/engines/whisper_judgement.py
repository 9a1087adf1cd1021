"""Whether what Whisper read can be believed: when to read again, and what it made up.  Pure."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from typing import NamedTuple

from assistant.engines.whisper_inventions import spoken, stock

MOST_TOKENS = 222
TOKENS_PER_S = 25
"""What one window's text may have: half of Whisper's 448 tokens less its prompt, and less for a short
utterance, so that a loop of repetitions in it ends soon.  English has 3 to 5 a second, some scripts 15."""

NO_SPEECH = 0.6
IMPROBABLE = -1.0
REPETITIVE = 2.4
"""Limits for no-speech probability, mean log-probability and compression ratio (Radford et al. 2022,
section 4.5)."""

TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Tried in turn while the text is too improbable or too repetitive, as there."""

DOUBTFUL = 0.6 * IMPROBABLE
"""Below it a quick reading is not believed at once."""

FASTEST_SPEECH = 40
SLOWEST_SPEECH = 3
"""Letters in a second of voice: people speak 10 to 25, and one word in seconds of "voice" was noise."""

SLOWEST_COURTESY = 6
"""The same of stock phrases: "Thank you." in more than 1.3 s of "voice" was hardly said."""

OFTEN = 3
"""So many times in a row nobody thanks; other words make people impatient, too ("Stop, stop, stop!")."""

ENDLESS = 5
"""The same of any words; `REPETITIVE` does not see it in a short text."""


class Reading(NamedTuple):
    """What Whisper wrote for one window, and what it thinks of it.

    `avg_logprob` is the mean natural logarithm of its tokens' probabilities, `no_speech_prob` is from 0 to 1.
    """

    text: str
    tokens: int
    avg_logprob: float
    no_speech_prob: float
    compression_ratio: float


def compression_ratio(text: str) -> float:
    """How much shorter zlib makes `text`: 2 and more if it repeats itself, below 1 if it is short."""
    encoded = text.strip().encode()
    return len(encoded) / len(zlib.compress(encoded))


def most_tokens(duration_s: float) -> int:
    """How many tokens the text of so much sound may have."""
    return min(MOST_TOKENS, int(TOKENS_PER_S * (1 + duration_s)))


def is_sure(reading: Reading, limit: int) -> bool:
    """Whether a quick reading, which was stopped at `limit` tokens, can stand.

    In a window that ends soon after the speech Whisper may say a sentence twice, or go on without end.
    """
    return (
        reading.avg_logprob >= DOUBTFUL
        and reading.compression_ratio <= REPETITIVE
        and reading.tokens < limit
        and not ends_twice(reading.text)
    )


def is_final(reading: Reading) -> bool:
    """Whether a careful reading needs no other at a higher temperature."""
    if reading.avg_logprob < IMPROBABLE:
        return reading.no_speech_prob > NO_SPEECH  # then it is silence, which no temperature changes
    return reading.compression_ratio <= REPETITIVE


def likeliest(readings: Sequence[Reading]) -> Reading:
    """The most probable one; one that repeats itself only if all do."""
    calm = [reading for reading in readings if reading.compression_ratio <= REPETITIVE]
    return max(calm or readings, key=lambda reading: reading.avg_logprob)


def ends_twice(text: str) -> bool:
    """Whether the last words, however many, are the same as those before them."""
    words = re.findall(r"\w+", text.lower())
    return any(words[-n:] == words[-2 * n : -n] for n in range(1, len(words) // 2 + 1))


def repeats(text: str) -> int:
    """How many times the same words are said, where `text` is nothing but them; else 1."""
    words = re.findall(r"\w+", text.lower())
    for length in range(1, len(words) // 2 + 1):
        if len(words) % length == 0 and words == words[:length] * (len(words) // length):
            return len(words) // length
    return 1


def invented(reading: Reading, voiced_ms: int) -> bool:
    """Whether the model made the text up over silence or noise.

    No sign is enough alone: people do say "Thank you.", mumble, and repeat themselves.  Each adds to the
    doubt, and four points are too many: two full signs, or one and two halves.  Only what nobody says, such
    as who made the subtitles, is enough.
    """
    text = spoken(reading.text)
    letters = sum(character.isalnum() for character in text)
    if not letters:
        return True
    kind, times = stock(text)
    times = max(times, repeats(text))
    letters_per_s = letters / (max(voiced_ms, 1) / 1000)
    slowest = SLOWEST_COURTESY if kind else SLOWEST_SPEECH
    if voiced_ms < 100 or letters_per_s > FASTEST_SPEECH:
        doubt = 2
    else:
        doubt = int(voiced_ms < 200 or letters_per_s < slowest)
    doubt += (reading.no_speech_prob > NO_SPEECH / 2) + (reading.no_speech_prob > NO_SPEECH)
    doubt += (reading.avg_logprob < DOUBTFUL) + (reading.avg_logprob < IMPROBABLE)
    is_loop = reading.compression_ratio > REPETITIVE or times >= (OFTEN if kind else ENDLESS)
    doubt += 2 if is_loop else times >= OFTEN
    return doubt + kind >= 4
