"""What the machine tells of itself: memory, processor, temperature, throttling, disk; and what of it is a fault.

Everything is read from files of the kernel, below `root`, so that a recorded tree does as well. What a machine does
not have, it does not tell.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

MB = 1 << 20
HOT_C, COOL_C = 80.0, 75.0  # a Raspberry Pi slows down from 80 on
THROTTLED = "sys/devices/platform/soc/soc:firmware/get_throttled"  # what `vcgencmd get_throttled` prints
UNDERVOLTAGE, SLOWED, TOO_HOT = 0x1, 0x2 | 0x4, 0x8  # of its bits; 16 higher: has happened since the machine started


class Machine:
    """Faults are those of the last reading: hot, throttled, undervoltage."""

    def __init__(self, directory: Path, root: Path = Path("/")) -> None:
        self.directory, self._root = directory, root
        self._cpu = Rate(time.process_time)
        self._faults: frozenset[str] = frozenset()

    def metrics(self) -> dict[str, float]:
        """Takes a reading."""
        temperature, flags = self._temperature_c(), self._throttled()
        self._faults = frozenset(self._judged(temperature, flags or 0))
        readings = {
            "rss_mb": self._rss_mb(),
            "memory_available_mb": self._available_mb(),
            "cpu_share": self._cpu(),
            "cpu_mhz": self._number("sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", 1000),
            "temperature_c": temperature,
            "throttled_flags": None if flags is None else float(flags),
            "disk_free_mb": self._disk_free_mb(),
        }
        return {name: value for name, value in readings.items() if value is not None}

    def faults(self) -> frozenset[str]:
        """What is wrong, by name."""
        return self._faults

    def _judged(self, temperature: float | None, flags: int) -> set[str]:
        limit = COOL_C if "hot" in self._faults else HOT_C
        found = {"hot"} if flags & TOO_HOT or (temperature is not None and temperature >= limit) else set()
        found |= {"throttled"} if flags & SLOWED else set()
        return found | ({"undervoltage"} if flags & UNDERVOLTAGE or self._voltage_alarm() else set())

    # ---- one file each -----------------------------------------------------------------------------------------

    def _text(self, path: str) -> str:
        try:
            return (self._root / path).read_text()
        except (OSError, ValueError):  # not this kind of machine
            return ""

    def _number(self, path: str, divisor: int = 1) -> float | None:
        text = self._text(path).strip()
        return int(text) / divisor if text.lstrip("-").isdecimal() else None

    def _rss_mb(self) -> float | None:
        fields = self._text("proc/self/statm").split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / MB if len(fields) > 1 else None

    def _available_mb(self) -> float | None:
        fields = dict(line.partition(":")[::2] for line in self._text("proc/meminfo").splitlines())
        number = fields.get("MemAvailable", "").removesuffix("kB").strip()
        return int(number) / 1024 if number.isdecimal() else None

    def _temperature_c(self) -> float | None:
        """The hottest of the machine's thermal zones."""
        zones = sorted((self._root / "sys/class/thermal").glob("thermal_zone*/temp"))
        found = (self._number(str(zone.relative_to(self._root)), 1000) for zone in zones)
        return max((one for one in found if one is not None), default=None)

    def _throttled(self) -> int | None:
        text = self._text(THROTTLED).strip()
        try:
            return int(text, 16)
        except ValueError:
            return None

    def _voltage_alarm(self) -> bool:
        """What newer kernels of the Raspberry Pi say in the place of the firmware's flags."""
        for name in sorted((self._root / "sys/class/hwmon").glob("hwmon*/name")):
            sensor = name.parent.relative_to(self._root)
            if self._text(f"{sensor}/name").strip() == "rpi_volt":
                return self._number(f"{sensor}/in0_lcrit_alarm") == 1
        return False

    def _disk_free_mb(self) -> float | None:
        try:
            disk = os.statvfs(self.directory)
        except OSError:
            return None
        return disk.f_bavail * disk.f_frsize / MB


class Rate:
    """How fast a number grows, per second, since the last time it was asked."""

    def __init__(self, count: Callable[[], float], monotonic: Callable[[], float] = time.monotonic) -> None:
        self._count, self._monotonic = count, monotonic
        self._last = (monotonic(), count())

    def __call__(self) -> float | None:
        """None when no time has passed."""
        (then, before), self._last = self._last, (self._monotonic(), self._count())
        now, after = self._last
        return (after - before) / (now - then) if now > then else None
