"""A false alarm on demand: what does it cost when the device adapts to a drift that is none?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge_actors import wiring
from edge_actors.algorithms.detector import Detector, Observation
from edge_actors.bundle import Bundle
from edge_actors.drift_monitor import DriftMonitor
from edge_actors.ports.outbox import Outbox
from edge_actors.runtime.seat import Factory
from edge_actors.settings import EdgeSettings

from .streams import FORCED_AT


class Trigger(Detector):
    """Alarms at one frame, counted from the start of the stream, and never again."""

    name, watches, threshold = "trigger", "nothing", 1.0

    def __init__(self, frame: int) -> None:
        self.frame, self.seen = frame, 0

    def learn(self, seen: Observation) -> None:
        self.seen += 1

    def update(self, seen: Observation) -> float:
        self.seen += 1
        return 2.0 if self.seen == self.frame + 1 else 0.0

    def reset(self) -> None:
        pass

    def state(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.seen = state["seen"]


def build(settings: EdgeSettings, bundle: Bundle, outbox: Outbox) -> dict[str, Factory]:
    """The device as it is, with a trigger beside its detectors."""
    factories = wiring.build(settings, bundle, outbox)
    usual = factories["drift_monitor"]

    def with_trigger() -> Any:
        monitor = usual()
        assert isinstance(monitor, DriftMonitor)
        monitor.detectors.append(Trigger(FORCED_AT))
        return monitor

    return {**factories, "drift_monitor": with_trigger}
