"""Devices' answers to labels: the acknowledgement is stored and proves the label in the same transaction."""

from __future__ import annotations

from broker.messages import Header, LabelAcknowledged

from ..errors import Poison
from ..stores.batch import Answer, Batch, Table

LABEL_ACK = Table("label_ack", ("sample", "revision", "outcome", "reason", "snapshot"))
OUTCOMES = frozenset({"applied", "duplicate", "rejected"})


def acknowledged(header: Header, m: LabelAcknowledged, batch: Batch) -> None:
    if m.outcome not in OUTCOMES:
        raise Poison(f"outcome {m.outcome[:64]!r} of a label is not one of {', '.join(sorted(OUTCOMES))}")
    batch.add(LABEL_ACK, header, m.at, (m.sample, m.revision, m.outcome, m.reason, m.snapshot))
    batch.answers.append(Answer(header.device, m.sample, m.revision, m.outcome, m.reason))
