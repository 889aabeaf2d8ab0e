"""Devices as ingest sees them: their records reach the database through ingest's own store."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from itertools import count

from broker.messages import (
    AdaptationDecided,
    Birth,
    DriftCleared,
    DriftDetected,
    Float32Array,
    Header,
    LabelAcknowledged,
    Message,
    SampleQuarantined,
    Status,
)
from ingest.consumers.samples import picture_key
from ingest.stores.batch import Batch
from ingest.stores.events import PostgresEvents
from ingest.stores.objects import Folder
from ingest.wiring import CONSUMERS

BOOT = "3f9a1c20-000001"
NOON_US = 1_795_000_000_000_000
FEATURES = Float32Array.of([0.5, -1.25, 3.0])


@dataclass
class Fleet:
    """Stores what devices would have sent."""

    url: str
    objects: Folder
    _seq: count[int] = field(default_factory=lambda: count(1))

    def __post_init__(self) -> None:
        self.events = PostgresEvents(self.url)

    def close(self) -> None:
        self.events.close()

    def says(self, device: str, *messages: Message, wall_us: int | None = None) -> None:
        """Stores messages of a device, one batch."""
        batch = Batch()
        for message in messages:
            seq = next(self._seq)
            at = wall_us if wall_us is not None else NOON_US + seq * 1_000_000
            CONSUMERS[type(message)](
                Header(device=device, boot=BOOT, seq=seq, wall_us=at, clock="synced"), message, batch
            )
        batch.heard.add(device)
        for digest, (picture, kind) in batch.pictures.items():
            self.objects.put(picture_key(digest), picture, kind)
        self.events.store(batch)

    def appears(self, device: str) -> None:
        self.says(
            device,
            Birth(session=1, versions={"tinymlops": "0.1.0"}, actors=("knn",), bundle="b1", location="hall 2"),
            Status(state="online", session=1),
        )

    def drifts(self, device: str, episode: str, *, ended: bool = False, wall_us: int | None = None) -> None:
        begin = DriftDetected(
            episode=episode, detector="cusum", drift_type="residual", statistic=30.0, threshold=26.4
        )
        self.says(device, begin, wall_us=wall_us)
        if ended:
            self.says(device, DriftCleared(episode=episode, detector="cusum", reason="over"), wall_us=wall_us)

    def quarantines(
        self, device: str, *samples: str, episode: str = "e1", predicted: str = "apple", wall_us: int | None = None
    ) -> None:
        self.says(device, *(quarantined(sample, episode, predicted) for sample in samples), wall_us=wall_us)

    def adapts(self, device: str, adaptation: str, outcome: str = "applied") -> None:
        self.says(
            device, AdaptationDecided(adaptation=adaptation, kind="novel-class", outcome=outcome, label="novel-1")
        )

    def acknowledges(
        self, device: str, sample: str, revision: int, outcome: str = "applied", reason: str = ""
    ) -> None:
        ack = LabelAcknowledged(sample=sample, revision=revision, outcome=outcome, reason=reason, snapshot="s1")
        self.says(device, ack)


def quarantined(sample: str, episode: str, predicted: str) -> SampleQuarantined:
    return SampleQuarantined(
        sample=sample,
        episode=episode,
        bundle="b1",
        label=predicted,
        confidence=0.6,
        score=2.0,
        values=FEATURES,
        neighbours=("apple", "pear"),
        distances=Float32Array.of([1.0, 2.0]),
        picture=picture(sample),
        picture_type="image/png",
        width=8,
        height=8,
    )


def picture(sample: str) -> bytes:
    return b"\x89PNG " + hashlib.sha256(sample.encode()).digest()
