"""The system's espeak-ng as a teacher: speech, and the sample at which every phoneme begins.

Talks to libespeak-ng through ctypes; constants and structures are those of its speak_lib.h.
"""

from __future__ import annotations

import ctypes
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

RATE_HZ = 22050

_AUDIO_OUTPUT_SYNCHRONOUS = 2
_PHONEME_EVENTS, _PHONEME_IPA = 1, 2
_EVENT_END, _EVENT_PHONEME = 0, 7
_PARAMETER_RATE, _PARAMETER_PITCH = 1, 3
_CHARS_UTF8 = 1
_POSITION_CHARACTER = 1


class _Id(ctypes.Union):
    _fields_: ClassVar = [
        ("number", ctypes.c_int),
        ("name", ctypes.c_char_p),
        ("string", ctypes.c_char * 8),
    ]


class _Event(ctypes.Structure):
    _fields_: ClassVar = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    ]


class _Voice(ctypes.Structure):
    _fields_: ClassVar = [
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_char_p),
        ("identifier", ctypes.c_char_p),
        ("gender", ctypes.c_ubyte),
        ("age", ctypes.c_ubyte),
        ("variant", ctypes.c_ubyte),
        ("reserved", ctypes.c_ubyte),
        ("score", ctypes.c_int),
        ("spare", ctypes.c_void_p),
    ]


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


class Espeak:
    """The one synthesizer of this process. `ipa`: phonemes in IPA, not in espeak's own letters."""

    def __init__(self, *, ipa: bool) -> None:
        self._lib = ctypes.CDLL("libespeak-ng.so.1")
        options = _PHONEME_EVENTS | (_PHONEME_IPA if ipa else 0)
        rate_hz = self._lib.espeak_Initialize(_AUDIO_OUTPUT_SYNCHRONOUS, 0, None, options)
        if rate_hz != RATE_HZ:
            raise SystemExit(
                f"espeak-ng speaks at {rate_hz} Hz, not at {RATE_HZ}: is espeak-ng-data installed?"
            )
        self._pieces: list[npt.NDArray[np.int16]] = []
        self._events: list[tuple[int, str]] = []
        self._callback = _Callback(self._on_sound)  # kept: the library holds only a pointer to it
        self._lib.espeak_SetSynthCallback(self._callback)

    def _on_sound(self, pcm: Any, samples: int, events: Any) -> int:
        if pcm and samples > 0:
            self._pieces.append(np.ctypeslib.as_array(pcm, (samples,)).copy())
        at = 0
        while events[at].type != _EVENT_END:
            if events[at].type == _EVENT_PHONEME:
                self._events.append((events[at].sample, events[at].id.string.decode("utf-8", "replace")))
            at += 1
        return 0

    def _choose(self, voice: str) -> None:
        """By name, else by language as the espeak-ng program does: en-gb with any speaker is plain en-gb."""
        if self._lib.espeak_SetVoiceByName(voice.encode()) != 0:
            by_language = _Voice(languages=voice.encode())
            if self._lib.espeak_SetVoiceByProperties(ctypes.byref(by_language)) != 0:
                raise SystemExit(f"espeak-ng has no voice {voice!r}")

    def say(
        self, text: str, voice: str, words_per_minute: int, pitch: int
    ) -> tuple[npt.NDArray[np.int16], list[tuple[int, str]]]:
        """Samples [n] at RATE_HZ, and (first sample, name) of every phoneme and pause in them."""
        self._pieces, self._events = [], []
        self._choose(voice)
        self._lib.espeak_SetParameter(_PARAMETER_RATE, words_per_minute, 0)
        self._lib.espeak_SetParameter(_PARAMETER_PITCH, pitch, 0)
        raw = text.encode() + b"\0"
        self._lib.espeak_Synth(raw, len(raw), 0, _POSITION_CHARACTER, 0, _CHARS_UTF8, None, None)
        self._lib.espeak_Synchronize()
        return np.concatenate(self._pieces), list(self._events)
