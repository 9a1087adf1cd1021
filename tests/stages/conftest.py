"""Fixtures of the stages' tests: what vad hears, and whom tts speaks to."""

from __future__ import annotations

from tts_studio import open_studio, voice
from vad_room import plug, room

__all__ = ["open_studio", "plug", "room", "voice"]
