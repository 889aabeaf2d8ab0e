"""Removes objects whose rows are gone, unless another row points to the same bytes."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg

from ..errors import ObjectError
from ..stores.ports import ObjectStore
from .queries import query

AGE_S = 600.0  # a record with the same picture may be on its way into the database
MOST = 200


def remove_spent(
    connection: psycopg.Connection, objects: ObjectStore, keys: Sequence[str] | None = None, age_s: float = AGE_S
) -> int:
    """Removes the objects noted in `object_to_remove`, or those of these keys; returns how many were there and went.

    Raises StoreAway; then what is left is still noted.
    """
    if keys is None:
        noted = connection.execute(query("objects_to_remove"), {"age_s": age_s, "most": MOST}).fetchall()
        keys = [key for (key,) in noted]
    return sum(_remove(connection, objects, key) for key in keys)


def needed(connection: psycopg.Connection, key: str) -> bool:
    """Whether a row points to the object."""
    row = connection.execute(query("object_needed"), {"key": key, "digest": key.rpartition("/")[2]}).fetchone()
    return bool(row and row[0])


def _remove(connection: psycopg.Connection, objects: ObjectStore, key: str) -> bool:
    removed = False
    if not needed(connection, key):
        try:
            data = objects.get(key)
        except ObjectError:
            data = None
        if data is not None:
            objects.delete(key)
            removed = True
            if needed(connection, key):  # a row came in between, whose object was there when it was looked for
                objects.put(key, data)
                removed = False
        connection.execute(query("waiting_removed"), {"key": key})
    connection.execute(query("object_removed"), [key])
    return removed
