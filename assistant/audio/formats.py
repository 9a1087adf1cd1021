"""What sound is inside the program: mono, signed 16 bit little-endian, at one rate.

Everything that comes from outside is brought to this form where it enters (`resampling`).
"""

from __future__ import annotations

RATE_HZ = 16_000
"""Samples per second: what voice activity detection and speech recognition were made for."""

FRAME_MS = 20
"""What one frame lasts; WebRTC's voice activity detection takes 10, 20 or 30 ms."""

FRAME_SAMPLES = RATE_HZ * FRAME_MS // 1000
SAMPLE_BYTES = 2
FRAME_BYTES = FRAME_SAMPLES * SAMPLE_BYTES
