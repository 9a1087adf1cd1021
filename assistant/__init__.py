"""An offline voice assistant for the Raspberry Pi.

from assistant import Assistant
with Assistant.open() as a:
    for part in a.ask("What is the capital of France?"):
        print(part, end="")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from assistant.version import __version__

if TYPE_CHECKING:
    from assistant.client import Assistant

__all__ = ["Assistant", "__version__"]


def __getattr__(name: str) -> object:
    """Import the client only when asked for: `assistant --help` must not pay for it."""
    if name == "Assistant":
        from assistant.client import Assistant

        return Assistant
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
