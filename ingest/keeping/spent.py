"""Removes objects whose rows are gone, unless another row points to the same bytes."""

from __future__ import annotations

import psycopg

from ..errors import ObjectError
from ..stores.ports import ObjectStore
from .queries import query

AGE_S = 600.0  # a record with the same picture may be on its way into the database
MOST = 200


def remove_spent(connection: psycopg.Connection, objects: ObjectStore, age_s: float = AGE_S) -> int:
    """Removes objects noted in `object_to_remove`; returns how many were there and went.

    Raises StoreAway; then what is left is still noted.
    """
    noted = connection.execute(query("objects_to_remove"), {"age_s": age_s, "most": MOST}).fetchall()
    removed = 0
    for (key,) in noted:
        removed += remove(connection, objects, key)
        connection.execute(query("object_removed"), [key])
    return removed


def remove(
    connection: psycopg.Connection, objects: ObjectStore, key: str, *, device: str = "", sample: str = ""
) -> bool:
    """Removes an object that nobody needs but the device, or the sample of it, that is to be forgotten."""
    if needed(connection, key, device=device, sample=sample):
        return False
    waited = connection.execute(query("waiting_removed"), {"key": key}).rowcount > 0
    try:
        data = objects.get(key)
    except ObjectError:
        return waited
    objects.delete(key)
    if needed(connection, key, device=device, sample=sample):
        objects.put(key, data)  # somebody's row came in between, whose object was there when it was put
        return False
    return True


def needed(connection: psycopg.Connection, key: str, *, device: str = "", sample: str = "") -> bool:
    """Whether a row points to the object, but for those of a device or of one sample of it."""
    values = {"key": key, "digest": key.rpartition("/")[2], "device": device, "sample": sample}
    row = connection.execute(query("object_needed"), values).fetchone()
    return bool(row and row[0])
