"""Pictures that waited in the database go into the object store once it takes them again."""

from __future__ import annotations

import hashlib
import time
from functools import partial

from ..errors import ObjectError, StoreAway
from ..pictures import Putters
from ..stores.batch import Waiting
from ..stores.ports import ObjectStore
from ..stores.queries import query
from .job import Job, Site

AT_ONCE = 32  # objects in memory and locked
RUN_S = 20.0  # of one run
PATIENCE_S = 60.0  # with a store that does not answer


def run(site: Site) -> str:
    """Moves what waits, those first that were tried least. Raises StoreAway when the store takes none."""
    putters = Putters(partial(_bring, site.objects))
    moved, until = 0, time.monotonic() + RUN_S
    while time.monotonic() < until:
        arrived, failed = _round(site, putters)
        moved += arrived
        if failed and not arrived:
            raise StoreAway("object store", f"{failed} of those that wait could not be moved, {moved} were")
        if arrived + failed < AT_ONCE:
            break
    return f"{moved} objects moved into the object store" if moved else ""


def _round(site: Site, putters: Putters) -> tuple[int, int]:
    """How many arrived and how many did not. What arrived twice because of a kill in between is the same object."""
    with site.database.transaction(), site.database.cursor() as cursor:
        rows = cursor.execute(query("next_waiting"), [AT_ONCE]).fetchall()
        items = [Waiting(*row) for row in rows]
        failed = putters.put_all(items, PATIENCE_S) if items else {}
        cursor.execute(query("arrived_waiting"), [[item.key for item in items if item.key not in failed]])
        for key, reason in sorted(failed.items()):
            cursor.execute(query("failed_waiting"), {"key": key, "reason": reason})
    return len(items) - len(failed), len(failed)


def _bring(objects: ObjectStore, item: Waiting) -> None:
    """Raises StoreAway, or ObjectError where the store does not give back what it was given."""
    objects.put(item.key, item.data, item.type)
    if hashlib.sha256(objects.get(item.key)).digest() != hashlib.sha256(item.data).digest():
        raise ObjectError(f"{item.key} reads otherwise than it was written")


JOB = Job("objects", "pictures that waited in the database go into the object store", 5.0, run)
