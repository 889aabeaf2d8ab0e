"""What devices ask, and their answers to labels: an acknowledgement proves the label in the same transaction."""

from __future__ import annotations

from broker.messages import Header, LabelAcknowledged, LabelRequested

from ..errors import Poison
from ..stores.batch import Answer, Batch, Table

LABEL_REQUEST = Table("label_request", ("sample", "episode", "reason", "asked", "budget"))
LABEL_ACK = Table("label_ack", ("sample", "revision", "outcome", "reason", "snapshot"))
OUTCOMES = frozenset({"applied", "duplicate", "rejected"})


def requested(header: Header, m: LabelRequested, batch: Batch) -> None:
    batch.add(LABEL_REQUEST, header, m.at, (m.sample, m.episode, m.reason, m.asked, m.budget))


def acknowledged(header: Header, m: LabelAcknowledged, batch: Batch) -> None:
    if m.outcome not in OUTCOMES:
        raise Poison(f"outcome {m.outcome[:64]!r} of a label is not one of {', '.join(sorted(OUTCOMES))}")
    batch.add(LABEL_ACK, header, m.at, (m.sample, m.revision, m.outcome, m.reason, m.snapshot))
    batch.answers.append(Answer(header.device, m.sample, m.revision, m.outcome, m.reason))
