"""The whole device on one screen: what may come in, who hears what, how each actor is built."""

from __future__ import annotations

from typing import Any

from broker.messages import (
    AdaptationDecided,
    BlobOffered,
    CameraDoubted,
    CameraFaulted,
    CameraRecovered,
    CommandIssued,
    CommandReported,
    DeadLetter,
    DriftCleared,
    DriftContinued,
    DriftDetected,
    Embedded,
    Features,
    Frame,
    LabelAcknowledged,
    LabelApplied,
    LabelAssigned,
    LabelRequested,
    LabelResolved,
    LogRecord,
    MemoryChanged,
    Message,
    Neighbours,
    Predictions,
    PseudoLabelled,
    PseudoWithdrawn,
    QuarantineFilled,
    Recentring,
    SampleQuarantined,
    Scored,
    SnapshotRequested,
    SnapshotSaved,
    SnapshotTaken,
    Telemetry,
    Tick,
    Vitals,
)

from .adapter import Adapter
from .algorithms import detectors
from .algorithms.ending import Ending
from .algorithms.page_hinkley import Printed
from .algorithms.placing import Placing
from .algorithms.scene_gate import SceneGate
from .bundle import Bundle
from .camera_guard import CameraGuard
from .drift_monitor import DriftMonitor
from .extractor import Extractor
from .health import Health
from .knn import Knn
from .policies.choice import policy
from .ports.outbox import Outbox
from .privacy import Showing, hook
from .quarantine import Quarantine
from .recorder import Recorder
from .runtime.actor import Actor
from .runtime.door import Door
from .runtime.seat import Factory
from .settings import EdgeSettings
from .state_manager import StateManager
from .uplink import Uplink

# What may come in, in the order in which waiting messages are taken.
DOORS: dict[type[Message], Door] = {
    Tick: Door(room=4, drop_oldest=True, tells_time=True),
    SnapshotSaved: Door(room=4),
    LabelAssigned: Door(room=64),  # refused when full: the bridge keeps the label and tries again
    CommandReported: Door(room=64),  # what the rim itself has done; before what it leaves to actors
    BlobOffered: Door(room=4),  # where refused it is offered again
    CommandIssued: Door(room=16),
    Vitals: Door(room=2, drop_oldest=True, tells_time=True),
    Frame: Door(room=1, drop_oldest=True, tells_time=True),  # the newest picture wins
    Embedded: Door(room=1, drop_oldest=True, tells_time=True),
}

# Who hears what. A message is delivered to the actors in this order before anything they yield is.
ROUTES: dict[type[Message], tuple[str, ...]] = {
    Tick: ("uplink", "recorder", "health", "state_manager"),
    # The quarantine remembers the picture until the frame is scored. The guard speaks before the extractor, so that a
    # camera is doubted before its frame is judged.
    Frame: ("quarantine", "camera_guard", "extractor"),
    Embedded: ("camera_guard", "extractor"),
    CameraDoubted: ("drift_monitor", "quarantine"),
    CameraFaulted: ("uplink",),
    CameraRecovered: ("uplink",),
    Features: ("knn",),
    Neighbours: ("drift_monitor",),
    Scored: ("quarantine", "recorder"),
    DriftDetected: ("quarantine", "state_manager", "uplink"),
    DriftContinued: ("uplink",),
    DriftCleared: ("quarantine", "knn", "state_manager", "uplink"),
    SampleQuarantined: ("drift_monitor", "uplink"),
    QuarantineFilled: ("adapter",),
    PseudoLabelled: ("knn",),
    PseudoWithdrawn: ("knn",),
    Recentring: ("knn",),
    MemoryChanged: ("adapter", "state_manager"),
    AdaptationDecided: ("quarantine", "uplink"),
    LabelRequested: ("uplink",),
    LabelAssigned: ("quarantine",),
    LabelResolved: ("knn", "drift_monitor"),
    LabelApplied: ("adapter", "state_manager"),
    CommandIssued: ("state_manager", "quarantine"),
    CommandReported: ("uplink",),
    BlobOffered: ("uplink",),
    SnapshotRequested: (),  # the runtime itself answers
    SnapshotSaved: ("state_manager",),
    SnapshotTaken: ("uplink",),
    LabelAcknowledged: ("uplink",),
    Predictions: ("uplink",),
    Vitals: ("health", "state_manager"),
    Telemetry: ("uplink",),
    LogRecord: ("uplink",),
    DeadLetter: ("uplink",),
}

ACTORS: dict[str, type[Actor[Any, Any]]] = {
    "uplink": Uplink,
    "camera_guard": CameraGuard,
    "extractor": Extractor,
    "knn": Knn,
    "drift_monitor": DriftMonitor,
    "quarantine": Quarantine,
    "adapter": Adapter,
    "recorder": Recorder,
    "health": Health,
    "state_manager": StateManager,
}


def build(settings: EdgeSettings, bundle: Bundle, outbox: Outbox) -> dict[str, Factory]:
    """How to make each actor of a device; made again after a failure, an actor begins as fresh as the first time."""
    contents, statistics = bundle.contents, bundle.contents.statistics
    dimension, k, distance = contents.projection.dimension, contents.settings.k, contents.settings.distance
    usual = detectors.Usual(
        statistics,
        contents.calibration,
        lambda: bundle.memory(settings.arithmetic),
        settings.false_alarm_frames,
        Printed(
            threshold=settings.ph_threshold,
            alpha=settings.ph_alpha,
            entry_factor=settings.ph_entry_factor,
            exit_factor=settings.ph_exit_factor,
            cooldown_s=settings.ph_cooldown_s,
            adaptive=settings.ph_adaptive,
            reference=settings.ph_reference,
        ),
    )
    showing = Showing(settings.privacy, hook(settings.redact))
    return {
        "uplink": lambda: Uplink(settings.device, outbox),
        "camera_guard": lambda: CameraGuard(settings.camera_frozen_s),
        "extractor": lambda: Extractor(bundle.interpreter, contents.projection),
        "knn": lambda: Knn(bundle.memory(settings.arithmetic), contents.calibration, bundle.digest, statistics.scene),
        "drift_monitor": lambda: DriftMonitor(
            statistics.scores(),
            SceneGate(statistics.scene),
            Placing(statistics.places),
            detectors.build(settings.detector_names(), usual),
            Ending(statistics.usual, dimension),
            commissioning=settings.commissioning_frames,
            false_alarm_frames=settings.false_alarm_frames,
        ),
        "quarantine": lambda: Quarantine(
            bundle=bundle.digest,
            places=statistics.places,
            k=k,
            usual_distance=statistics.nearest,
            showing=showing,
            limit=settings.quarantine_size,
            label_budget=settings.label_budget,
            distance=distance,
            judges=settings.policy != "seed",  # which knows no such difference
        ),
        "adapter": lambda: Adapter(policy(settings.policy, contents), dimension),
        "recorder": lambda: Recorder(settings.report_s, settings.predictions == "each"),
        "health": lambda: Health(settings.report_s),
        "state_manager": lambda: StateManager(outbox.boot, settings.snapshot_interval_s, settings.snapshot_quiet_s),
    }
