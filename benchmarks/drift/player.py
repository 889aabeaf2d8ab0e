"""Plays a recorded stream through the whole device, and listens to what its actors say to each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from broker.messages import (
    AdaptationDecided,
    DriftCleared,
    DriftDetected,
    Embedded,
    LabelAssigned,
    LabelRequested,
    Message,
    Scored,
)
from edge_actors import wiring
from edge_actors.arrays import Floats, packed
from edge_actors.bundle import Bundle
from edge_actors.ports.outbox import Outbox
from edge_actors.runtime.actor import Actor
from edge_actors.runtime.device import Device, Identity
from edge_actors.runtime.door import Doors
from edge_actors.runtime.recording import Outputs
from edge_actors.runtime.replay import NoDisk, Tape
from edge_actors.runtime.seat import Factory
from edge_actors.settings import EdgeSettings

FPS = 5.0
BOOT = "00000000-000001"

Inbox = Scored | DriftDetected | DriftCleared | AdaptationDecided | LabelRequested
HEARD: tuple[type[Message], ...] = (Scored, DriftDetected, DriftCleared, AdaptationDecided, LabelRequested)


@dataclass
class Result:
    """What the device said, a value a frame, and what it did. Frames count from 0."""

    predicted: list[str] = field(default_factory=list)
    score: list[float] = field(default_factory=list)
    in_drift: list[int] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    adaptations: list[dict[str, Any]] = field(default_factory=list)
    labels_asked: list[int] = field(default_factory=list)


class Listener(Actor[Inbox, Scored]):
    """Writes down what it hears; says nothing."""

    def __init__(self, result: Result, asked: list[str]) -> None:
        self.result, self.asked = result, asked

    def receive(self, message: Inbox) -> Iterator[Scored]:
        result, now = self.result, len(self.result.predicted)  # the frame that is not scored yet
        if isinstance(message, Scored):
            result.predicted.append(message.label)
            result.score.append(message.score)
            result.in_drift.append(int(message.in_drift))
        elif isinstance(message, DriftDetected):
            result.events.append({"frame": now, "kind": "begin", "detector": message.detector})
        elif isinstance(message, DriftCleared):
            result.events.append({"frame": now, "kind": "end", "detector": message.detector})
        elif isinstance(message, AdaptationDecided):
            result.adaptations.append(_tree(message, now - 1))
        else:
            self.asked.append(message.sample)
        return iter(())


def play(
    bundle: Bundle,
    features: Floats,
    labels: list[str],
    settings: EdgeSettings,
    *,
    answers: int,
    build: Callable[[EdgeSettings, Bundle, Outbox], dict[str, Factory]] = wiring.build,
) -> Result:
    """A fresh device on (n, D) features; its first `answers` questions are answered by the (n) labels."""
    result, asked = Result(), list[str]()
    outputs = Outputs(Tape(BOOT, 1))
    actors = {**build(settings, bundle, outputs), "listener": lambda: Listener(result, asked)}
    routes = dict(wiring.ROUTES)
    for kind in HEARD:
        routes[kind] = (*routes.get(kind, ()), "listener")
    device = Device(
        actors, Doors(wiring.DOORS), routes, snapshots=NoDisk(), identity=Identity(boot=BOOT, bundle=bundle.digest)
    )
    for number, row in enumerate(features):
        at = number / FPS
        device.admit(Embedded(at=at, frame=f"{BOOT}-{number}", values=packed(row.astype(np.float32))))
        while asked:
            sample = asked.pop(0)
            if len(result.labels_asked) < answers:
                result.labels_asked.append(_frame(sample))
                device.admit(_answer(sample, labels, at, bundle))
    return result


def _answer(sample: str, labels: list[str], at: float, bundle: Bundle) -> Message:
    label = labels[_frame(sample)]
    return LabelAssigned(at=at, sample=sample, revision=1, verdict="is", label=label, bundle=bundle.digest)


def _tree(decided: AdaptationDecided, frame: int) -> dict[str, Any]:
    kept = decided.outcome != "rejected" and decided.label
    samples = [{"frame": _frame(sample), "label": decided.label} for sample in decided.samples] if kept else []
    return {"frame": frame, "kind": decided.kind, "outcome": decided.outcome, "samples": samples}


def _frame(sample: str) -> int:
    return int(sample.rsplit("-", 1)[1])
