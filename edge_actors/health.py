"""Gathers what the rim measured into batches, and says so when something goes wrong and when it is over."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator
from typing import Any

from broker.messages import Float32Array, LogRecord, Telemetry, Tick, Vitals

from .runtime.actor import Actor

GRACE_S = 10.0
MAX_READINGS = 720  # an hour of readings every five seconds; a batch ends early rather than grow without bound

Inbox = Vitals | Tick
Outbox = Telemetry | LogRecord


class Health(Actor[Inbox, Outbox]):
    """A batch ends with the first tick after `report_s`, or with the device's last one."""

    def __init__(self, report_s: float = 60.0) -> None:
        self.report_s = report_s
        self.began: float | None = None
        self.readings: list[Vitals] = []
        self.faults: frozenset[str] = frozenset()

    def receive(self, message: Inbox) -> Iterator[Outbox]:
        if self.began is None or message.at - self.began > 2 * self.report_s + GRACE_S:
            self.began, self.readings = message.at, []  # far too old: reported before this actor was rebuilt
        if isinstance(message, Vitals):
            yield from self._read(message)
        elif message.last or message.at - self.began >= self.report_s:
            yield from self._report(message.at)

    def _read(self, vitals: Vitals) -> Iterator[Outbox]:
        self.readings.append(vitals)
        faults = frozenset(vitals.faults)
        for fault in sorted(faults - self.faults):
            yield LogRecord(at=vitals.at, level="warning", where="health", text=f"{fault} began")
        for fault in sorted(self.faults - faults):
            yield LogRecord(at=vitals.at, level="info", where="health", text=f"{fault} ended")
        self.faults = faults
        if len(self.readings) >= MAX_READINGS:
            yield from self._report(vitals.at)

    def _report(self, at: float) -> Iterator[Outbox]:
        if self.readings:
            names = sorted({name for reading in self.readings for name in reading.metrics})
            values = array("f")
            for reading in self.readings:
                values.extend(reading.metrics.get(name, math.nan) for name in names)
            yield Telemetry(
                at=at,
                names=tuple(names),
                ages=Float32Array.of(at - reading.at for reading in self.readings),
                values=Float32Array.of(values),
                faults=tuple(sorted({fault for reading in self.readings for fault in reading.faults})),
            )
        self.began, self.readings = at, []

    def state(self) -> dict[str, Any]:
        readings = [[reading.at, reading.metrics, reading.faults] for reading in self.readings]
        return {"began": self.began, "readings": readings, "faults": sorted(self.faults)}

    def restore(self, state: dict[str, Any]) -> None:
        self.began, self.faults = state["began"], frozenset(state["faults"])
        self.readings = [Vitals(at=at, metrics=metrics, faults=tuple(f)) for at, metrics, f in state["readings"]]

    def restarted(self) -> None:
        self.began, self.readings = None, []  # they were sent by the last process, or belong to its wall time
