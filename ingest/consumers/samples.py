"""Quarantined samples: the picture goes to the object store under its digest, the rest becomes a row."""

from __future__ import annotations

import hashlib

from broker.messages import Header, SampleQuarantined

from ..errors import Poison
from ..stores.batch import Batch, Table

SAMPLE = Table(
    "sample",
    (
        "sample",
        "episode",
        "bundle",
        "predicted",
        "confidence",
        "score",
        "features",
        "neighbours",
        "distances",
        "picture_digest",
        "picture_type",
        "width",
        "height",
    ),
)
# What a browser shows as a picture and nothing else: the API serves these bytes to people.
PICTURE_TYPES = frozenset({"image/jpeg", "image/png", "image/webp"})


def picture_key(digest: str) -> str:
    """Where the object store keeps the picture with this sha256."""
    return f"pictures/{digest[:2]}/{digest}"


def quarantined(header: Header, m: SampleQuarantined, batch: Batch) -> None:
    digest = hashlib.sha256(m.picture).hexdigest() if m.picture else None
    if digest:
        if m.picture_type not in PICTURE_TYPES:
            raise Poison(
                f"a picture of type {m.picture_type[:64]!r} is not one of {', '.join(sorted(PICTURE_TYPES))}"
            )
        batch.pictures[digest] = (m.picture, m.picture_type)
    what = (m.sample, m.episode, m.bundle, m.label, m.confidence, m.score)
    values = (*what, m.values, list(m.neighbours), m.distances, digest, m.picture_type, m.width, m.height)
    batch.add(SAMPLE, header, m.at, values)
