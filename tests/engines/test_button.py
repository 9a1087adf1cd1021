"""The real gpiozero, on its mock pins."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import gpiozero
import pytest
from gpiozero.pins.mock import MockFactory

from assistant.engines import button
from assistant.engines.button import LONG_S, Button, Press
from assistant.errors import ButtonError

PIN = 17
PATIENCE_S = 30.0


@pytest.fixture
def pins() -> Iterator[MockFactory]:
    """Pins without a board."""
    factory = gpiozero.Device.pin_factory = MockFactory()
    yield factory
    factory.reset()
    gpiozero.Device.pin_factory = None


def wait_for(found: Button) -> Press:
    pause = threading.Event()
    give_up_s = time.monotonic() + PATIENCE_S
    while (press := found.take()) is None:
        assert time.monotonic() < give_up_s, "the press was never told"
        pause.wait(0.005)
    return press


def test_a_press_is_told_when_it_ends_and_once(pins: MockFactory) -> None:
    found = Button(PIN)
    pin = pins.pin(PIN)
    assert pin.pull == "up", "the button connects it to ground"
    pin.drive_low()
    assert found.take() is None, "it may become a long one"
    pin.drive_high()
    assert wait_for(found) == "short"
    pin.drive_low()
    pin.drive_high()
    assert wait_for(found) == "short"
    assert found.take() is None
    found.close()


def test_a_long_press_is_told_while_it_is_held_and_is_no_short_one(
    pins: MockFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(button, "LONG_S", 0.05)
    found = Button(PIN)
    pin = pins.pin(PIN)
    pin.drive_low()
    assert wait_for(found) == "long"
    pin.drive_high()
    pin.drive_low()
    pin.drive_high()
    assert wait_for(found) == "short", "the next one"
    assert found.take() is None
    found.close()
    assert LONG_S >= 0.5, "a slow press of a short kind is none"


@pytest.mark.usefixtures("pins")
def test_a_pin_that_others_have_is_one_sentence() -> None:
    taken = gpiozero.LED(PIN)
    with pytest.raises(
        ButtonError, match=rf"button on GPIO {PIN} cannot be used.*set wake.button_gpio to -1"
    ):
        Button(PIN)
    taken.close()
    Button(PIN).close()


def test_where_there_are_no_pins_it_is_one_sentence_without_warnings() -> None:
    """Neither a board nor lgpio: in a process of its own, since what is imported stays so."""
    without = {name: value for name, value in os.environ.items() if name != "GPIOZERO_PIN_FACTORY"}
    program = (
        "import sys; sys.modules['lgpio'] = None\n"
        "from assistant.engines.button import Button\n"
        "from assistant.errors import ButtonError\n"
        "try:\n    Button(17)\nexcept ButtonError as error:\n    print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        env=without,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "lgpio is not there; on a Raspberry Pi run `sudo ./install.sh`" in done.stdout
    assert done.stderr == ""
