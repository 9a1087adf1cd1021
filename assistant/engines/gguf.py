"""The first bytes of a model in GGUF format, which is llama.cpp's."""

from __future__ import annotations

import struct
from pathlib import Path

from assistant.errors import ModelError


def check_header(path: Path) -> None:
    """Refuse what is no GGUF file before C code reads it.

    A GGUF begins with its name, its version, and the numbers of its tensors and of its metadata.
    """
    try:
        with path.open("rb") as file:
            header = file.read(24)
    except FileNotFoundError:
        raise ModelError(f"There is no model {path}; download it, or name another in llm.model.") from None
    except OSError as error:
        raise ModelError(
            f"The model {path} cannot be read: {error.strerror}; name another in llm.model."
        ) from None
    if header[:4] != b"GGUF":
        raise ModelError(
            f"{path} is not a model in GGUF format; download it again, or name another in llm.model."
        )
    if len(header) < 24:
        raise ModelError(f"The model {path} is cut off after {len(header)} bytes; download it again.")
    version, tensors, _ = struct.unpack("<IQQ", header[4:])
    if version not in (2, 3):
        raise ModelError(
            f"The model {path} is in GGUF version {version}, not 2 or 3 as it should be; choose another."
        )
    if tensors == 0:
        raise ModelError(f"The model {path} has no weights in it; choose another.")
