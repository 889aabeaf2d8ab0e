"""Asks for what is missing, puts together what is there, and says so: the work of the job `blobs`.

A blob is `wanted` until all its chunks are here and have the sha256 that was offered; then it is an object and
`stored`, and the device is told. Every step can be done again after a kill.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from broker import topics
from broker.codec import encode
from broker.messages import BLOB_CHUNK, BlobWanted

from ..errors import ObjectError
from ..jobs.job import Site
from ..stores.queries import query
from .rows import blob_key

log = logging.getLogger("tinyml.maintain")

AT_ONCE = 16  # blobs that come at a time: each device has a few chunks on their way, and workers hold them in memory
ASSEMBLED = 8  # in one run
TOLD = 500
MOST_FAILURES = 3  # times that all is there and is not what was offered
MOST_UNFIT = 100  # chunks that do not fit
MOST_RANGES = 500  # in one request
FIRST_S, LONGEST_S = 10.0, 600.0  # of silence before a device is asked again
MB = 1 << 20


@dataclass(slots=True)
class Done:
    """What a run did."""

    stored: int = 0
    spoilt: int = 0
    asked: int = 0
    ended: int = 0

    def __str__(self) -> str:
        counted = {
            "stored": self.stored,
            "not what was offered": self.spoilt,
            "asked for": self.asked,
            "given up": self.ended,
        }
        return ", ".join(f"{count} {what}" for what, count in counted.items() if count)


def work(site: Site) -> Done:
    """One run. Raises StoreAway where the object store or the broker is; the rest of the run is then for the next."""
    done = Done(ended=_give_up(site))
    for device, sha256, size in _rows(site, "complete", limit=ASSEMBLED):
        if _assemble(site, device, sha256, size):
            done.stored += 1
        else:
            done.spoilt += 1
    _make_room(site)
    _tell(site)
    done.asked = _ask(site)
    return done


def missing(have: Sequence[int], chunks: int) -> tuple[tuple[int, int], ...]:
    """The ranges of 0 to chunks - 1 that are not in `have`, which is in order; the first MOST_RANGES of them."""
    gaps: list[tuple[int, int]] = []
    next_one = 0
    for index in [*have, chunks]:
        if index > next_one:
            gaps.append((next_one, index - 1))
        next_one = index + 1
    return tuple(gaps[:MOST_RANGES])


def _give_up(site: Site) -> int:
    settings = site.settings
    ended = _change(site, "expire", days=settings.blob_days)
    ended += _change(site, "refuse_unfit", most=MOST_UNFIT)
    ended += _change(site, "refuse_large", most=settings.blob_mb * MB)
    ended += _change(site, "refuse_too_many", most=settings.blob_device_mb * MB)
    _change(site, "drop_chunks")
    _change(site, "prune")
    return ended


def _assemble(site: Site, device: str, sha256: str, size: int) -> bool:
    """Whether it is what was offered. No lock is held while the object store works: offers must not wait for it."""
    key, which = blob_key(sha256), {"device": device, "sha256": sha256}
    with site.database.transaction(), site.database.cursor(name="chunks", binary=True) as cursor:
        cursor.itersize = 16
        cursor.execute(query("chunks", __package__), which)
        whole = b"".join(data for (data,) in cursor)
    found = hashlib.sha256(whole).hexdigest()
    if found != sha256 or len(whole) != size:
        reason = f"what came has {len(whole)} bytes and the sha256 {found[:12]}, not {size} and {sha256[:12]}"
        log.warning("blob of %s: %s", device, reason)
        _change(site, "spoilt", **which, reason=reason, most=MOST_FAILURES)
        return False
    site.objects.put(key, whole)
    if hashlib.sha256(site.objects.get(key)).hexdigest() != sha256:
        raise ObjectError(f"{key} reads otherwise than it was written")
    if not _change(site, "store", **which, size=size) and not _one(site, "held", **which):
        site.objects.delete(key)  # the device was erased meanwhile
    _change(site, "drop_chunks")
    return True


def _make_room(site: Site) -> None:
    """The object goes first: the next run mends a row without an object, and nobody an object without a row."""
    most = site.settings.blob_device_mb * MB
    for device, sha256 in _rows(site, "give_way", most=most, limit=TOLD):
        if not _one(site, "held", device=device, sha256=sha256):
            site.objects.delete(blob_key(sha256))
        _change(site, "drop", device=device, sha256=sha256)


def _tell(site: Site) -> None:
    for device, sha256, reason in _rows(site, "to_tell", limit=TOLD):
        _say(site, device, BlobWanted(sha256=sha256, reason=reason))
        _change(site, "told", device=device, sha256=sha256)


def _ask(site: Site) -> int:
    waiting = _rows(site, "to_ask")
    room = AT_ONCE - sum(busy for *_, busy, _ in waiting)
    asked = 0
    for device, sha256, size, got, busy, due in waiting:
        if not due or (not busy and room <= 0):
            continue
        room -= not busy
        have = [index for (index,) in _rows(site, "indices", device=device, sha256=sha256)]
        _say(site, device, BlobWanted(sha256=sha256, ranges=missing(have, -(-size // BLOB_CHUNK))))
        _change(site, "asked", device=device, sha256=sha256, got=got, first_s=FIRST_S, longest_s=LONGEST_S)
        asked += 1
    return asked


def _say(site: Site, device: str, message: BlobWanted) -> None:
    topic = topics.full(device, topics.path_of(message), site.settings.root)
    site.publish(topic, encode(message))


def _rows(site: Site, name: str, **values: object) -> list[tuple[Any, ...]]:
    return site.database.execute(query(name, __package__), values).fetchall()


def _one(site: Site, name: str, **values: object) -> bool:
    row = site.database.execute(query(name, __package__), values).fetchone()
    return bool(row and row[0])


def _change(site: Site, name: str, **values: object) -> int:
    return site.database.execute(query(name, __package__), values).rowcount
