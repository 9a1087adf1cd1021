"""What holds for all tests."""

from __future__ import annotations

import signal

# Whoever starts us in the background may have Ctrl-C ignored, and all that we start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
