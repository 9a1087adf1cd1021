"""A button between a GPIO pin and ground.  The one file that imports gpiozero."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from queue import Empty, SimpleQueue
from typing import Literal

from assistant.errors import ButtonError

Press = Literal["short", "long"]

LONG_S = 1.0
"""How long the button is held to mean something else."""

BOUNCE_S = 0.03
"""Contacts of a push button bounce for some milliseconds, at most about 20."""

NEXT = "wire the button between that pin and ground, or set wake.button_gpio to -1."


class Button:
    """Reports each press once it is clear what it is: a short one when it ends, a long one after `LONG_S`.

    gpiozero tells of them on a thread of its own; here they wait until somebody asks.
    """

    def __init__(self, pin: int) -> None:
        """`pin` is a BCM number.  Raises `ButtonError` where there are no pins, or not this one."""
        import gpiozero

        self._presses: SimpleQueue[Press] = SimpleQueue()
        self._is_long = False
        if not os.environ.get("GPIOZERO_PIN_FACTORY") and gpiozero.Device.pin_factory is None:
            _find_lgpio()
        try:
            if "lgpio" in sys.modules and gpiozero.Device.pin_factory is None:
                # gpiozero's other ways to the pins, which it would try next, do not work on every board
                gpiozero.Device.pin_factory = gpiozero.pins.lgpio.LGPIOFactory()
            self._button = gpiozero.Button(pin, pull_up=True, bounce_time=BOUNCE_S, hold_time=LONG_S)
        except (gpiozero.GPIOZeroError, OSError, *_lgpio_errors()) as error:
            raise ButtonError(f"The button on GPIO {pin} cannot be used ({error}); {NEXT}") from None
        self._button.when_held = self._held
        self._button.when_released = self._released

    def take(self) -> Press | None:
        """The next press that has not been taken, or None; does not wait."""
        try:
            return self._presses.get_nowait()
        except Empty:
            return None

    def close(self) -> None:
        """Give the pin back."""
        self._button.close()

    def _held(self) -> None:
        self._is_long = True
        self._presses.put("long")

    def _released(self) -> None:
        if not self._is_long:
            self._presses.put("short")
        self._is_long = False


def _find_lgpio() -> None:
    """Import what gpiozero reaches the pins with.  Raises `ButtonError`.

    lgpio makes a pipe in the working directory while it is imported, opens it, and needs its name no more; a
    service's own working directory is not to be written to.
    """
    try:
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            import gpiozero.pins.lgpio  # noqa: F401 - it imports lgpio
    except ModuleNotFoundError:
        raise ButtonError(
            "The button cannot be used, as the package lgpio is not there; on a Raspberry Pi run `sudo "
            "./install.sh` (for an appliance) or `./install.sh try`, elsewhere set wake.button_gpio to -1."
        ) from None


def _lgpio_errors() -> tuple[type[Exception], ...]:
    """lgpio's own error, which has no base that others share; none where it is not in use."""
    lgpio = sys.modules.get("lgpio")
    return () if lgpio is None else (lgpio.error,)
