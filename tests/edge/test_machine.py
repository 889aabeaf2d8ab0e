"""The machine tells what the kernel's files say; what is bad in it has a name. Trees are in the kernel's formats."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from edge_actors.machine import THROTTLED, Machine, Rate

PI = {  # a Raspberry Pi Zero 2 W that is well
    "proc/self/statm": "21000 13056 5100 1 0 9000 0\n",
    "proc/meminfo": "MemTotal:         437844 kB\nMemFree:           61000 kB\nMemAvailable:     262144 kB\n",
    "sys/class/thermal/thermal_zone0/temp": "47236\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "1000000\n",
    THROTTLED: "0\n",
}


def tree(directory: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return directory


def test_measures_this_machine(tmp_path: Path) -> None:
    metrics = Machine(tmp_path).metrics()
    assert metrics["rss_mb"] > 5
    assert metrics["disk_free_mb"] > 0
    assert 0 <= metrics["cpu_share"] < 64
    assert -40 < metrics.get("temperature_c", 20.0) < 150
    assert "disk_free_mb" not in Machine(tmp_path / "nowhere").metrics()


def test_reads_a_raspberry_pi(tmp_path: Path) -> None:
    machine = Machine(tmp_path, tree(tmp_path, PI))
    metrics = machine.metrics()
    assert (metrics["temperature_c"], metrics["memory_available_mb"]) == (47.236, 256.0)
    assert (metrics["cpu_mhz"], metrics["throttled_flags"]) == (1000.0, 0.0)
    assert metrics["rss_mb"] == pytest.approx(51.0)
    assert machine.faults() == frozenset()


@pytest.mark.parametrize(
    ("flags", "faults"),
    [
        ("1", {"undervoltage"}),
        ("2", {"throttled"}),
        ("4", {"throttled"}),
        ("8", {"hot"}),
        ("50005", {"undervoltage", "throttled"}),
        ("0xe0008", {"hot"}),
        ("50000", set()),  # has happened, and is over
        ("nonsense", set()),
        ("", set()),
    ],
)
def test_what_the_firmware_holds_back_has_a_name_while_it_lasts(tmp_path: Path, flags: str, faults: set[str]) -> None:
    machine = Machine(tmp_path, tree(tmp_path, PI | {THROTTLED: flags + "\n"}))
    machine.metrics()
    assert machine.faults() == faults
    tree(tmp_path, PI)
    machine.metrics()
    assert machine.faults() == frozenset()


def test_is_hot_until_it_has_cooled_down_and_the_hottest_zone_counts(tmp_path: Path) -> None:
    machine = Machine(tmp_path, tree(tmp_path, PI))
    seen = []
    for millidegrees in (79_900, 80_000, 76_000, 74_900, 79_000):
        tree(tmp_path, {"sys/class/thermal/thermal_zone1/temp": f"{millidegrees}\n"})
        machine.metrics()
        seen.append("hot" in machine.faults())
    assert seen == [False, True, True, False, False]


def test_a_newer_kernel_says_undervoltage_by_a_sensor(tmp_path: Path) -> None:
    sensor = {"sys/class/hwmon/hwmon1/name": "rpi_volt\n", "sys/class/hwmon/hwmon1/in0_lcrit_alarm": "1\n"}
    other = {"sys/class/hwmon/hwmon0/name": "cpu_thermal\n"}
    machine = Machine(tmp_path, tree(tmp_path, PI | other | sensor))
    machine.metrics()
    assert machine.faults() == {"undervoltage"}


def test_another_kind_of_machine_tells_less_and_has_no_faults(tmp_path: Path) -> None:
    machine = Machine(tmp_path, tmp_path / "bare")
    assert set(machine.metrics()) <= {"cpu_share", "disk_free_mb"}
    assert machine.faults() == frozenset()


def test_a_rate_is_the_growth_since_it_was_asked_last() -> None:
    count, now = 0.0, 10.0
    rate = Rate(lambda: count, lambda: now)
    assert rate() is None
    count, now = 30.0, 15.0
    assert rate() == 6.0
    now = 20.0
    assert rate() == 0.0
