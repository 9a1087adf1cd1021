"""Heat and weak power are read from the files of the kernel."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from machine import machine

from assistant.board.health import TROUBLES, Health, Trouble, parse_throttled, read_health

ZONE = "sys/class/thermal/thermal_zone"
HWMON = "sys/class/hwmon/hwmon"
CLOCK = "sys/devices/system/cpu/cpufreq/policy0/"
FIRMWARE = "sys/devices/platform/soc/soc:firmware/get_throttled"
FIRMWARE_5 = "sys/devices/platform/soc@107c000000/soc@107c000000:firmware/get_throttled"
UNKNOWN = Health(None, None, None, None, None)


@pytest.mark.parametrize(
    ("text", "now", "been"),
    [
        ("throttled=0x0\n", [], []),
        ("0\n", [], []),
        ("throttled=0x50005\n", ["under-voltage", "throttled"], ["under-voltage", "throttled"]),
        ("50005\n", ["under-voltage", "throttled"], ["under-voltage", "throttled"]),
        ("0x50000", [], ["under-voltage", "throttled"]),
        ("80008\n", ["soft temperature limit"], ["soft temperature limit"]),
        ("e0000\n", [], ["frequency capped", "throttled", "soft temperature limit"]),
        # Reserved bits mean nothing to us.
        ("0xfff0fff0", [], []),
    ],
)
def test_what_the_firmware_says(text: str, now: list[str], been: list[str]) -> None:
    throttled = parse_throttled(text)
    assert throttled is not None
    assert (sorted(throttled.now), sorted(throttled.been)) == (sorted(now), sorted(been))


@pytest.mark.parametrize(
    "text", ["", "VCHI initialization failed", "throttled=", "0x", "-1", "50005 50005", "123456789", "0x5g"]
)
def test_what_the_firmware_does_not_say(text: str) -> None:
    assert parse_throttled(text) is None


@given(st.frozensets(st.sampled_from(TROUBLES)), st.frozensets(st.sampled_from(TROUBLES)))
def test_every_combination_of_bits(now: frozenset[Trouble], been: frozenset[Trouble]) -> None:
    bits = sum(1 << TROUBLES.index(trouble) for trouble in now)
    bits |= sum(1 << 16 + TROUBLES.index(trouble) for trouble in been)
    for text in (f"{bits:x}\n", f"throttled={bits:#x}\n"):
        throttled = parse_throttled(text)
        assert throttled is not None
        assert (throttled.now, throttled.been) == (now, been)


@given(st.text(max_size=20))
def test_no_text_is_too_strange(text: str) -> None:
    parse_throttled(text)


@pytest.mark.parametrize(
    ("files", "health"),
    [
        pytest.param({"sys/": ""}, UNKNOWN, id="a container"),
        pytest.param(
            {
                f"{ZONE}0/type": "cpu-thermal\n",
                f"{ZONE}0/temp": "48686\n",
                f"{HWMON}0/name": "cpu_thermal\n",
                f"{HWMON}1/name": "rpi_volt\n",
                f"{HWMON}1/in0_lcrit_alarm": "1\n",
                # Not read: the kernel would complain.
                FIRMWARE: "0\n",
                f"{CLOCK}scaling_cur_freq": "1800000\n",
                f"{CLOCK}cpuinfo_max_freq": "1800000\n",
            },
            Health(48.686, True, None, 1_800_000_000, 1_800_000_000),
            id="a Pi 4",
        ),
        pytest.param(
            {f"{HWMON}2/name": "rpi_volt\n", f"{HWMON}2/in0_lcrit_alarm": "0\n"},
            Health(None, False, None, None, None),
            id="enough voltage",
        ),
        pytest.param(
            {f"{HWMON}2/name": "rpi_volt\n"}, UNKNOWN, id="a driver of the voltage that cannot be read"
        ),
        pytest.param({FIRMWARE: "50005\n"}, Health(None, True, True, None, None), id="an old kernel"),
        # The drop was between two looks of the kernel's.
        pytest.param({FIRMWARE: "10000\n"}, Health(None, True, False, None, None), id="a short drop"),
        pytest.param({FIRMWARE_5: "0\n"}, Health(None, False, False, None, None), id="a Pi 5"),
        pytest.param({FIRMWARE: "nonsense"}, UNKNOWN, id="nonsense of the firmware"),
        pytest.param(
            {
                f"{ZONE}0/type": "acpitz\n",
                f"{ZONE}0/temp": "90000\n",
                f"{ZONE}1/type": "x86_pkg_temp\n",
                f"{ZONE}1/temp": "41000\n",
                f"{ZONE}2/type": "x86_pkg_temp\n",
            },
            Health(41.0, None, None, None, None),
            id="a PC: the processor, not the hottest",
        ),
        pytest.param(
            {f"{ZONE}0/temp": "30000", f"{ZONE}1/temp": "35000", f"{ZONE}2/temp": "x"},
            Health(35.0, None, None, None, None),
            id="sensors without names: the hottest",
        ),
        pytest.param({f"{ZONE}0/temp": "-5000\n"}, Health(-5.0, None, None, None, None), id="frost"),
    ],
)
def test_boards(tmp_path: Path, files: dict[str, str], health: Health) -> None:
    assert read_health(machine(tmp_path, files)) == health


@pytest.mark.parametrize(("temp", "hot"), [("79999", False), ("80000", True), ("85100", True)])
def test_hot(tmp_path: Path, temp: str, hot: bool) -> None:
    root = machine(tmp_path, {f"{ZONE}0/type": "cpu-thermal", f"{ZONE}0/temp": temp})
    assert read_health(root).is_hot is hot


def test_without_any_sensor_nothing_is_hot() -> None:
    assert not UNKNOWN.is_hot
