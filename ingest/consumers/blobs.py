"""What devices offer that is too large for one message, and the chunks of it that were asked for."""

from __future__ import annotations

from broker.messages import BLOB_CHUNK, BlobChunk, BlobOffered, Header

from ..errors import Poison
from ..stores.batch import Batch, Chunk, Offer, Table

BLOB_OFFER = Table("blob_offer", ("sha256", "size", "what", "name"))
MOST_BYTES = 1 << 40  # how many are really taken is a setting; this is what can be counted in chunks
LONGEST = {"what": 64, "name": 256}


def offered(header: Header, m: BlobOffered, batch: Batch) -> None:
    if not 1 <= m.size <= MOST_BYTES:
        raise Poison(f"a blob of {m.size} bytes; it can have 1 to {MOST_BYTES}")
    for name, most in LONGEST.items():
        if len(getattr(m, name)) > most:
            raise Poison(f"{name} of a blob has {len(getattr(m, name))} characters; {most} are taken")
    batch.add(BLOB_OFFER, header, m.at, (m.sha256, m.size, m.what, m.name))
    if batch.live:  # in a package it says nothing of what the device still keeps
        batch.offers.append(Offer(header.device, m.sha256, m.size, m.what, m.name))


def chunk(header: Header, m: BlobChunk, batch: Batch) -> None:
    if not 1 <= len(m.data) <= BLOB_CHUNK:
        raise Poison(f"a chunk of {len(m.data)} bytes; it can have 1 to {BLOB_CHUNK}")
    batch.chunks.append(Chunk(header.device, m.sha256, m.index, m.data))
