"""What is wrong, as sound that is made beforehand: it can be played when nothing else works any more."""

from __future__ import annotations

import wave
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from assistant.errors import AudioError
from assistant.messages import Fault

if TYPE_CHECKING:  # the daemon, which only wants the sentences, needs no numpy
    import numpy as np
    import numpy.typing as npt

    Int16 = npt.NDArray[np.int16]

FAULT_SENTENCES: dict[Fault, str] = {
    "microphone": "I cannot find a microphone. Please plug one in.",
    "model": "One of my models is missing or damaged. Please run the installer again.",
    "memory": "I ran out of memory. Please choose smaller models, or restart me.",
    "hot": "I am too hot, so I am slow. Please give me more air.",
    "power": "My power supply is too weak. Please use a stronger one.",
    "crash": "A part of me keeps failing. Please restart me, and look at the log if it fails again.",
    "config": "There is a mistake in my settings. I use the last good ones. Please correct the file.",
}
"""What is wrong, and what to do: for somebody who has no screen."""

PAUSE_S = 0.25
"""Between the error earcon and the sentence."""


def path(folder: Path, fault: Fault) -> Path:
    """The file of a fault."""
    return folder / f"{fault}.wav"


def render(folder: Path, speak: Callable[[str], Iterable[Int16]], rate_hz: int) -> None:
    """Write the sound of every fault to `folder`, which is made if need be; each file is replaced in one go.

    `speak` gives the sound of a sentence, mono at `rate_hz`, in pieces.  Raises `AudioError`.
    """
    import numpy as np

    from assistant.audio.earcons import earcon
    from assistant.audio.files import write_wav

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AudioError(f"{folder} cannot be made: {error.strerror}; choose another folder.") from None
    start = [earcon("error", rate_hz), np.zeros(int(PAUSE_S * rate_hz), np.int16)]
    for fault, sentence in FAULT_SENTENCES.items():
        write_wav(path(folder, fault), np.concatenate([*start, *speak(sentence)]), rate_hz)


def load(folder: Path, fault: Fault) -> tuple[Int16, int]:
    """The sound of `fault`, shape (n,), and its rate.  Raises `AudioError`."""
    import numpy as np

    place = path(folder, fault)
    remedy = f"make it with `assistant sounds --folder {folder}`."
    try:
        with wave.open(str(place)) as file:
            if (file.getnchannels(), file.getsampwidth()) == (1, 2):
                return np.frombuffer(file.readframes(file.getnframes()), "<i2"), file.getframerate()
    except (wave.Error, EOFError):
        pass
    except OSError as error:
        raise AudioError(f"The sound {place} cannot be read ({error.strerror}); {remedy}") from None
    raise AudioError(f"The sound {place} is damaged; {remedy}")
