"""What devices could not handle, and what ingest itself could not."""

from __future__ import annotations

import hashlib

from broker.messages import DeadLetter, Header

from ..stores.batch import Batch, Letter, Table

DEAD_LETTER = Table("dead_letter", ("source", "topic", "kind", "reason", "payload"))
MAX_PAYLOAD = 1 << 20  # more of a payload than any message of the contract may have is not kept


def buried_by_device(header: Header, m: DeadLetter, batch: Batch) -> None:
    batch.add(DEAD_LETTER, header, m.at, (m.where, m.topic, m.kind, m.reason, m.payload))


def letter(
    device: str, topic: str, payload: bytes, reason: str, *, kind: str = "", header: Header | None = None
) -> Letter:
    """A dead letter of ingest. With a header it stands for that record; without one nobody can say which it was."""
    return Letter(
        device=device,
        digest=hashlib.sha256(topic.encode() + b"\0" + payload).hexdigest(),
        topic=_storable(topic),
        kind=_storable(kind),
        reason=_storable(reason),
        payload=payload[:MAX_PAYLOAD],
        boot=header.boot if header else None,
        seq=header.seq if header else None,
    )


def _storable(text: str) -> str:
    # PostgreSQL's text holds any character but NUL; a dead letter must never be refused itself.
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")
