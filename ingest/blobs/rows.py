"""Offers and chunks of blobs within the transaction of their batch. Any worker takes any of them, in any order."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import psycopg

from ..stores.batch import Batch
from ..stores.queries import query


def blob_key(sha256: str) -> str:
    """Where the object store keeps the blob."""
    return f"blobs/{sha256[:2]}/{sha256}"


def settle(cursor: psycopg.Cursor[Any], batch: Batch) -> None:
    """Notes what is offered and keeps what fits; sorted, so that workers queue up instead of waiting in a circle.

    Chunks of what is not wanted, or not any more, leave nothing behind: they come late, or nobody asked for them.
    """
    for offer in sorted(batch.offers, key=lambda one: (one.device, one.sha256)):
        cursor.execute(query("forget_other_size", __package__), asdict(offer))
        cursor.execute(query("offer", __package__), asdict(offer))
    for chunk in sorted(batch.chunks, key=lambda one: (one.device, one.sha256, one.index)):
        values = {"device": chunk.device, "sha256": chunk.sha256, "index": chunk.index}
        if cursor.execute(query("take_chunk", __package__), {**values, "data": chunk.data}).rowcount == 0:
            cursor.execute(query("note_unfit", __package__), {**values, "length": len(chunk.data)})
