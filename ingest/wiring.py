"""Ingest on one screen: which message goes to which consumer, and what is done now and then.

Topics follow from `broker/topics.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from broker.messages import (
    AdaptationDecided,
    Birth,
    BlobChunk,
    BlobOffered,
    CameraFaulted,
    CameraRecovered,
    CommandReported,
    ConfigReported,
    DeadLetter,
    DriftCleared,
    DriftContinued,
    DriftDetected,
    Header,
    LabelAcknowledged,
    LabelRequested,
    LogRecord,
    Message,
    ModelReported,
    Predictions,
    SampleQuarantined,
    SnapshotTaken,
    Status,
    Telemetry,
)

from .consumers import adaptations, blobs, camera, dead_letters, drift, health, labels, remote, samples, status
from .jobs import blobs as blobs_job
from .jobs import (
    delivery,
    episodes,
    incidents,
    levels,
    notifications,
    objects,
    presence,
    readings,
    registry,
    retention,
    retime,
    rollups,
)
from .jobs.job import Job
from .stores.batch import Batch

# A consumer adds what a message means to the batch that is committed next. It raises Poison for what it cannot take.
Consumer = Callable[[Header, Any, Batch], None]

CONSUMERS: dict[type[Message], Consumer] = {
    Status: status.status,
    Birth: status.birth,
    Telemetry: health.telemetry,
    Predictions: health.predictions,
    LogRecord: health.log,
    DriftDetected: drift.detected,
    DriftContinued: drift.continued,
    DriftCleared: drift.cleared,
    CameraFaulted: camera.faulted,
    CameraRecovered: camera.recovered,
    SampleQuarantined: samples.quarantined,
    AdaptationDecided: adaptations.decided,
    SnapshotTaken: adaptations.taken,
    LabelRequested: labels.requested,
    LabelAcknowledged: labels.acknowledged,
    CommandReported: remote.command_reported,
    ConfigReported: remote.config_reported,
    ModelReported: remote.model_reported,
    BlobOffered: blobs.offered,
    BlobChunk: blobs.chunk,
    DeadLetter: dead_letters.buried_by_device,
}

# Done by `tinyml ingest maintain` in this order, each when it is due.
JOBS: tuple[Job, ...] = (
    levels.JOB,
    objects.JOB,
    blobs_job.JOB,
    registry.JOB,
    presence.JOB,
    episodes.JOB,
    incidents.JOB,
    notifications.JOB,
    delivery.JOB,
    readings.JOB,
    retime.JOB,
    rollups.JOB,
    retention.JOB,
)
