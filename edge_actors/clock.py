"""Rim: message time, and a Tick a second that ties it to the wall clock and says whether that can be trusted."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Callable

from broker.messages import Tick

from .runtime.door import Doors

SYNCED_BY_SYSTEMD = "/run/systemd/timesync/synchronized"
STA_UNSYNC, TIME_ERROR = 0x40, 5


class MessageClock:
    """Seconds of operation: goes on from where the last run of the device stopped, and never jumps."""

    def __init__(self, start_at: float = 0.0, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._offset = start_at - monotonic()

    def now(self) -> float:
        return self._offset + self._monotonic()


class Ticker:
    """Posts a Tick at once and then each second, until stopped."""

    def __init__(
        self,
        doors: Doors,
        clock: MessageClock,
        quality: Callable[[], str],
        *,
        interval_s: float = 1.0,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.doors, self.clock, self.quality, self.wall_ns = doors, clock, quality, wall_ns
        self.interval_s = interval_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="clock", daemon=True)

    def start(self) -> None:
        """The first tick is there before this returns, so that nothing is let in without a time."""
        self._tick()
        self._thread.start()

    def stop(self, timeout_s: float = 2.0) -> None:
        """Stops, and leaves a last tick for those who still hold something back."""
        self._stopping.set()
        self._thread.join(timeout_s)
        self._tick(last=True)

    def tick(self, last: bool = False) -> Tick:
        # Asked first: a clock that is set right after this question is called unsynced a second too long, no more.
        # The other way round, the time from before it was set would be called synced.
        clock = self.quality()
        return Tick(at=self.clock.now(), wall_us=self.wall_ns() // 1000, clock=clock, last=last)

    def _tick(self, last: bool = False) -> None:
        self.doors.post(self.tick(last))

    def _run(self) -> None:
        while not self._stopping.wait(self.interval_s):
            self._tick()


def clock_quality(setting: str = "auto") -> Callable[[], str]:
    """How to find out whether the wall clock is right: as set, or as the kernel or systemd say."""
    if setting != "auto":
        return lambda: setting
    return lambda: "synced" if _kernel_says_synced() or os.path.exists(SYNCED_BY_SYSTEMD) else "unsynced"


class _Timex(ctypes.Structure):
    """The beginning of the kernel's `struct timex`, and more room than the rest of it takes."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    )


def _kernel_says_synced() -> bool:
    try:
        adjtimex = ctypes.CDLL(None).adjtimex
    except (AttributeError, OSError):  # not Linux
        return False
    timex = _Timex()
    state = adjtimex(ctypes.byref(timex))
    return state >= 0 and state != TIME_ERROR and not timex.status & STA_UNSYNC
