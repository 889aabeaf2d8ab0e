"""Decision records of adaptations, and the snapshots that hold what came of them."""

from __future__ import annotations

from broker.messages import AdaptationDecided, Header, SnapshotTaken

from ..stores.batch import Batch, Table

ADAPTATION = Table(
    "adaptation",
    (
        "adaptation",
        "episode",
        "kind",
        "outcome",
        "reason",
        "label",
        "samples",
        "statistic",
        "threshold",
        "accuracy_before",
        "accuracy_after",
        "memory",
    ),
)
SNAPSHOT = Table("snapshot", ("snapshot", "reason", "digest", "size"))


def decided(header: Header, m: AdaptationDecided, batch: Batch) -> None:
    what = (m.adaptation, m.episode, m.kind, m.outcome, m.reason, m.label, list(m.samples))
    measured = (m.statistic, m.threshold, m.accuracy_before, m.accuracy_after, m.memory)
    batch.add(ADAPTATION, header, m.at, (*what, *measured))


def taken(header: Header, m: SnapshotTaken, batch: Batch) -> None:
    batch.add(SNAPSHOT, header, m.at, (m.snapshot, m.reason, m.digest, m.size))
