"""Messages as devices send them."""

from __future__ import annotations

from typing import Any

from broker import topics
from broker.codec import encode
from broker.messages import (
    AdaptationDecided,
    BlobOffered,
    CameraFaulted,
    CameraRecovered,
    CommandReported,
    DeadLetter,
    DriftCleared,
    DriftContinued,
    DriftDetected,
    Float32Array,
    Header,
    LabelAcknowledged,
    LabelRequested,
    LogRecord,
    Message,
    Predictions,
    SampleQuarantined,
    SnapshotTaken,
    Telemetry,
)

DEVICE, BOOT = "lamp-1", "0a1b2c3d-000001"
NOON_US = 1_790_000_000_123_457
QUANTILES = Float32Array.of([0.1, 0.2, 0.3, 0.4, 0.5])

EVERY_KIND: tuple[Message, ...] = (
    DriftDetected(
        at=1.0, episode="e1", frame="f1", detector="cusum", drift_type="residual", statistic=9.5, severity=1.2
    ),
    DriftContinued(at=2.0, episode="e1", frame="f2", detector="cusum", statistic=11.0, samples=("s1", "s2")),
    DriftCleared(at=3.0, episode="e1", frame="f3", detector="cusum", frames=40, reason="in distribution again"),
    Telemetry(
        at=4.0,
        names=("rss_mb", "fps"),
        ages=Float32Array.of([1, 0]),
        values=Float32Array.of([50, 9, 51, float("nan")]),
    ),
    Predictions(
        at=5.0,
        seconds=60.0,
        frames=3,
        labels=("pear", "kiwi"),
        counts=(2, 1),
        confidence=QUANTILES,
        distance=QUANTILES,
    ),
    SampleQuarantined(
        at=6.0,
        sample="s1",
        episode="e1",
        label="pear",
        values=Float32Array.of([1, 2]),
        neighbours=("pear", "kiwi"),
        distances=Float32Array.of([0.5, 0.75]),
        picture=b"\xff\xd8picture",
        picture_type="image/jpeg",
        width=8,
        height=8,
    ),
    AdaptationDecided(at=7.0, adaptation="a1", episode="e1", kind="novel-class", outcome="applied", samples=("s1",)),
    SnapshotTaken(at=8.0, snapshot="n1", reason="adaptation", digest="00", size=100),
    LogRecord(at=9.0, level="warning", where="camera", text="nothing to see"),
    DeadLetter(
        at=10.0, where="knn", topic="label/s1", kind="LabelAssigned", reason="no features", payload=b"\x00\xff"
    ),
    LabelAcknowledged(at=11.0, sample="s1", revision=1, outcome="applied", snapshot="n1"),
    LabelRequested(at=11.5, sample="s1", episode="e1", reason="dense", asked=1, budget=50),
    CommandReported(at=12.0, command="c1", verb="snapshot", state="done", result={"snapshot": "n2"}),
    CameraFaulted(
        at=13.2, episode="f1", frame="f9", fault="black", statistic=1.0, threshold=0.99, frames=10, seconds=2
    ),
    CameraRecovered(at=13.8, episode="f1", frame="f40", fault="black", frames=40, seconds=8.0),
    BlobOffered(at=14.0, sha256="ab" * 32, size=100_000, what="snapshot", name="n2"),
)


def header(seq: int = 1, device: str = DEVICE, boot: str = BOOT, **more: Any) -> Header:
    return Header(**{"device": device, "boot": boot, "seq": seq, "wall_us": NOON_US + seq, "clock": "synced", **more})


def drift(number: int = 0) -> DriftDetected:
    return DriftDetected(at=float(number), episode=f"e{number}", detector="cusum", statistic=3.0, threshold=2.0)


def sent(message: Message, seq: int = 1, device: str = DEVICE, boot: str = BOOT, **more: Any) -> tuple[str, bytes]:
    """Topic and payload."""
    return topics.full(device, topics.path_of(message)), encode(message, header(seq, device, boot, **more))
