"""The Silero network: how likely it is that somebody speaks.

Its model is a file of the package faster-whisper, of which nothing is imported.  This module is for who has
room for numpy and onnxruntime: 33 MB.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from assistant.audio.formats import SAMPLE_BYTES
from assistant.engines import onnx
from assistant.errors import ModelError

FILE = Path("assets") / "silero_vad_v6.onnx"
WINDOW_SAMPLES, CONTEXT_SAMPLES = 512, 64
"""The network looks at 32 ms (at 16 kHz) and, again, the 4 ms before them (faster_whisper/vad.py)."""

STATE = (1, 1, 128)
FULL_SCALE = 32_768


class SileroVad:
    """Listens to one stream, in order, with one thread: 0.1 ms of a PC's core for a window."""

    def __init__(self) -> None:
        """Raises `ModelError` where the package has no such model."""
        options = onnx.session_options(1)
        options.enable_cpu_mem_arena = False
        self._session = onnx.InferenceSession(
            _model(), sess_options=options, providers=["CPUExecutionProvider"]
        )
        self.forget()

    def forget(self) -> None:
        """What comes next is not what came before."""
        self._waiting = b""
        self._context = np.zeros(CONTEXT_SAMPLES, np.float32)
        self._hidden, self._cell = np.zeros(STATE, np.float32), np.zeros(STATE, np.float32)
        self._probability = 0.0

    def speech(self, pcm: bytes) -> float:
        """How probable speech is, 0 to 1, in the last whole window of all `pcm` so far (16 kHz, 16 bit)."""
        self._waiting += pcm
        while len(self._waiting) >= SAMPLE_BYTES * WINDOW_SAMPLES:
            window = np.divide(
                np.frombuffer(self._waiting, np.int16, WINDOW_SAMPLES), FULL_SCALE, dtype=np.float32
            )
            self._waiting = self._waiting[SAMPLE_BYTES * WINDOW_SAMPLES :]
            sound = np.concatenate([self._context, window])[np.newaxis]
            self._context = window[-CONTEXT_SAMPLES:]
            found, self._hidden, self._cell = self._session.run(
                None, {"input": sound, "h": self._hidden, "c": self._cell}
            )
            self._probability = float(found[0])
        return self._probability


def _model() -> str:
    package = find_spec("faster_whisper")
    for folder in (package.submodule_search_locations if package else None) or ():
        if (file := Path(folder) / FILE).is_file():
            return str(file)
    raise ModelError(
        f"The package faster-whisper has no {FILE.name}, which vad.second_opinion needs; install the "
        "assistant anew, or set vad.second_opinion to false."
    )
