"""The whole device on one screen: what may come in, who hears what, how each actor is built."""

from __future__ import annotations

from broker.messages import (
    AdaptationDecided,
    DeadLetter,
    DriftCleared,
    DriftContinued,
    DriftDetected,
    Features,
    Frame,
    LabelAcknowledged,
    LabelApplied,
    LabelAssigned,
    LabelResolved,
    LogRecord,
    MemoryChanged,
    Message,
    Neighbours,
    Predictions,
    PseudoLabelled,
    QuarantineFilled,
    SampleQuarantined,
    Scored,
    SnapshotRequested,
    SnapshotSaved,
    SnapshotTaken,
    Telemetry,
    Tick,
    Vitals,
)

from .runtime.door import Door

# What may come in, in the order in which waiting messages are taken.
DOORS: dict[type[Message], Door] = {
    Tick: Door(room=4, drop_oldest=True, tells_time=True),
    SnapshotSaved: Door(room=4),
    LabelAssigned: Door(room=64),  # refused when full: the bridge keeps the label and tries again
    Vitals: Door(room=2, drop_oldest=True, tells_time=True),
    Frame: Door(room=1, drop_oldest=True, tells_time=True),  # the newest picture wins
}

# Who hears what. A message is delivered to the actors in this order before anything they yield is.
ROUTES: dict[type[Message], tuple[str, ...]] = {
    Tick: ("uplink", "recorder", "health", "state_manager"),
    Frame: ("quarantine", "extractor"),  # the quarantine remembers the picture until the frame is scored
    Features: ("knn",),
    Neighbours: ("drift_monitor",),
    Scored: ("quarantine", "recorder"),
    DriftDetected: ("quarantine", "state_manager", "uplink"),
    DriftContinued: ("uplink",),
    DriftCleared: ("quarantine", "state_manager", "uplink"),
    SampleQuarantined: ("drift_monitor", "uplink"),
    QuarantineFilled: ("adapter",),
    PseudoLabelled: ("knn",),
    MemoryChanged: ("adapter", "state_manager"),
    AdaptationDecided: ("quarantine", "uplink"),
    LabelAssigned: ("quarantine",),
    LabelResolved: ("knn",),
    LabelApplied: ("state_manager",),
    SnapshotRequested: (),  # the runtime itself answers
    SnapshotSaved: ("state_manager",),
    SnapshotTaken: ("uplink",),
    LabelAcknowledged: ("uplink",),
    Predictions: ("uplink",),
    Vitals: ("health",),
    Telemetry: ("uplink",),
    LogRecord: ("uplink",),
    DeadLetter: ("uplink",),
}
