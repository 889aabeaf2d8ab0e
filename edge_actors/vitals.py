"""Rim: measures the device every few seconds and leaves the readings at the door; actors never measure themselves."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence

from broker import codec
from broker.messages import Vitals

from .camera import Camera
from .clock import MessageClock
from .machine import Rate
from .ports.spool import Spool
from .runtime.device import Device
from .runtime.door import Doors

Gauge = Callable[[], Mapping[str, float]]  # name -> value, the unit in the name
MB = 1 << 20


class VitalsProbe:
    """A thread of its own. `tell` hears the faults of every reading."""

    def __init__(
        self,
        doors: Doors,
        clock: MessageClock,
        gauges: Sequence[Gauge],
        faults: Callable[[], frozenset[str]],
        *,
        tell: Callable[[frozenset[str]], object],
        interval_s: float = 5.0,
    ) -> None:
        self.doors, self.clock, self.gauges, self.faults = doors, clock, gauges, faults
        self.tell, self.interval_s = tell, interval_s
        self.latest = Vitals()
        self._stopping, self._changed = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="vitals", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float = 2.0) -> None:
        """Ends after a last reading."""
        self._stopping.set()
        self._changed.set()
        self._thread.join(timeout_s)
        self.read()
        self.doors.wait_until_taken(Vitals, timeout_s)

    def every(self, interval_s: float) -> None:
        """How often to read from now on; for any thread."""
        self.interval_s = interval_s
        self._changed.set()

    def read(self) -> None:
        """Takes a reading, leaves it at the door, and tells its faults."""
        metrics: dict[str, float] = {}
        for gauge in self.gauges:
            metrics.update(gauge())
        faults = self.faults()
        finite = {name: float(value) for name, value in metrics.items() if math.isfinite(value)}
        self.latest = Vitals(at=self.clock.now(), metrics=finite, faults=tuple(sorted(faults)))
        self.doors.post(self.latest)
        self.tell(faults)

    def _run(self) -> None:
        while not self._stopping.is_set():
            if not self._changed.wait(self.interval_s):
                self.read()
            elif not self._stopping.is_set():
                self._changed.clear()


class LoopGauge:
    """How fast the loop is, and what it had to leave out."""

    def __init__(
        self, device: Device, doors: Doors, camera: Camera, sizes: Mapping[str, float] | None = None
    ) -> None:
        self.device, self.doors, self.camera = device, doors, camera
        self.sizes = dict(sizes or {})  # of what it runs, and how often it was started: these do not change
        self._fps = Rate(lambda: camera.frames - doors.turned_away()["Frame"])

    def metrics(self) -> dict[str, float]:
        turned_away = self.doors.turned_away()
        metrics = self.device.latencies() | self.sizes
        metrics["actor_failures"] = self.device.failures
        metrics |= {f"{kind.lower()}_turned_away": count for kind, count in turned_away.items()}
        if (fps := self._fps()) is not None:
            metrics["fps"] = fps
        return metrics


class SpoolGauge:
    """How much waits in the spool, for how long, and what it had to give up."""

    def __init__(self, spool: Spool, clock: MessageClock) -> None:
        self.spool, self.clock = spool, clock

    def metrics(self) -> dict[str, float]:
        stats = self.spool.stats()
        metrics = {
            "spool_records": float(stats.records),
            "spool_queued": float(stats.queued),
            "spool_mb": stats.used_bytes / MB,
            "spool_produced": float(stats.produced[self.spool.boot]),
        }
        metrics |= {f"spool_{what.lower()}_given_up": float(count) for what, count in stats.given_up.items()}
        if stats.oldest is not None:
            header = codec.decode_header(stats.oldest.data)
            metrics["spool_oldest_s"] = max(0.0, self.clock.now() - header.mono_us / 1e6)
        return metrics
