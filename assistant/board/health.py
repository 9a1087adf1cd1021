"""Whether the board is too hot or too weakly supplied: temperature, throttling, under-voltage, clock.

Only files of the kernel's below /sys are read, which takes about a millisecond; what they do not tell is
None.  Sources: https://www.raspberrypi.com/documentation/computers/os.html#get_throttled,
https://www.raspberrypi.com/documentation/computers/raspberry-pi.html#frequency-management-and-thermal-control
and the kernel's hwmon/raspberrypi-hwmon and ABI/testing/sysfs-class-thermal.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import msgspec

from assistant.board.cgroups import number, read

THROTTLES_AT_CELSIUS = 80.0
"""From here on the firmware slows the processor of any Raspberry Pi down; at 85 it does so hard."""

Trouble = Literal["under-voltage", "frequency capped", "throttled", "soft temperature limit"]

TROUBLES: tuple[Trouble, ...] = ("under-voltage", "frequency capped", "throttled", "soft temperature limit")
"""By bits 0 to 3 of `get_throttled` for now, by bits 16 to 19 for what has been."""

PROCESSOR_ZONES = ("cpu-thermal", "x86_pkg_temp")
"""The thermal zones that are the processor, of a Raspberry Pi and of a PC."""


class Throttled(msgspec.Struct, frozen=True):
    """What the firmware says: what is the matter `now`, and what has been.

    `vcgencmd` tells what has been since start-up; the kernel's file only the last seconds, because its driver
    asks the firmware every two seconds to forget.
    """

    now: frozenset[Trouble]
    been: frozenset[Trouble]


class Health(msgspec.Struct, frozen=True):
    """`is_under_voltage` and `is_throttled` are for this moment; None: the board does not tell.

    `frequency_hz` is what the kernel asks for, not what a throttled board gives (issue 2986 of
    raspberrypi/linux).
    """

    celsius: float | None
    is_under_voltage: bool | None
    is_throttled: bool | None
    frequency_hz: int | None
    most_hz: int | None

    @property
    def is_hot(self) -> bool:
        return self.celsius is not None and self.celsius >= THROTTLES_AT_CELSIUS


def parse_throttled(text: str) -> Throttled | None:
    """What `vcgencmd get_throttled` ("throttled=0x50005") or the kernel's file ("50005") says; None: neither.

    Bits 0 to 3 are under-voltage, frequency capped, throttled, soft temperature limit; bits 16 to 19 the same
    for what has been.  Others are reserved.
    """
    found = re.fullmatch(r"\s*(?:throttled=)?(?:0x)?([0-9a-fA-F]{1,8})\s*", text)
    if found is None:
        return None
    bits = int(found[1], 16)
    now, been = (
        frozenset(trouble for bit, trouble in enumerate(TROUBLES, lowest) if bits >> bit & 1)
        for lowest in (0, 16)
    )
    return Throttled(now, been)


def read_health(root: Path = Path("/")) -> Health:
    """The health of the board whose files lie below `root`."""
    throttled = None
    under_voltage = _voltage_alarm(root)
    if under_voltage is None:
        # Only then: current kernels write a warning with a stack trace to the log when this file is read.
        throttled = _kernels_throttled(root)
        under_voltage = None if throttled is None else "under-voltage" in throttled.now | throttled.been
    frequency = root / "sys/devices/system/cpu/cpufreq/policy0"
    return Health(
        celsius=_celsius(root),
        is_under_voltage=under_voltage,
        is_throttled=None if throttled is None else "throttled" in throttled.now,
        frequency_hz=_hz(frequency / "scaling_cur_freq"),
        most_hz=_hz(frequency / "cpuinfo_max_freq"),
    )


def _celsius(root: Path) -> float | None:
    """Of the processor; of a board that does not say which sensor that is, the hottest."""
    found: list[tuple[bool, float]] = []
    for zone in (root / "sys/class/thermal").glob("thermal_zone*"):
        degrees = re.fullmatch(r"(-?[0-9]{1,6})\s*", read(zone / "temp"))  # in thousandths
        if degrees:
            found.append((read(zone / "type").strip() in PROCESSOR_ZONES, int(degrees[1]) / 1000))
    return max(found)[1] if found else None


def _voltage_alarm(root: Path) -> bool | None:
    """Whether there was under-voltage in the last two seconds, as the kernel's driver asks the firmware."""
    for device in (root / "sys/class/hwmon").glob("hwmon*"):
        if read(device / "name").strip() == "rpi_volt":
            alarm = number(read(device / "in0_lcrit_alarm"))
            return None if alarm is None else alarm != 0
    return None


def _kernels_throttled(root: Path) -> Throttled | None:
    """From the file that older kernels of Raspberry Pi OS have; a Pi 5 calls the device "soc@107c000000"."""
    for path in (root / "sys/devices/platform").glob("soc*/soc*:firmware/get_throttled"):
        return parse_throttled(read(path))
    return None


def _hz(path: Path) -> int | None:
    khz = number(read(path))
    return None if khz is None else khz * 1000
