"""Pictures and blobs for clients: their bytes, wherever they are at the moment, or a link to them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from ingest.errors import StoreAway

from .errors import NoLinkError, ObjectsAwayError
from .schemas import Link
from .stores import Stores

LINK_S = 300  # how long a link reads the object


def read(stores: Stores, key: str) -> bytes:
    """The bytes of an object. Raises ObjectError where there is none, and ObjectsAwayError."""
    # In this order: what is moved from the database into the store meanwhile is in the store then.
    waiting = stores.database.row("waiting_object", {"key": key})
    if waiting is not None:
        data: bytes = waiting["data"]
        return data
    try:
        return stores.objects.get(key)
    except StoreAway as error:
        raise ObjectsAwayError(str(error)) from error


def link(stores: Stores, key: str, what: str) -> Link | None:
    """A link that needs no token, for a short while; None where there is no such object.

    Raises NoLinkError where the store is not S3, or has not got the object yet; ObjectsAwayError.
    """
    if stores.database.row("waiting_object", {"key": key}) is not None:
        raise NoLinkError(f"{what} waits for the object store; read it here meanwhile.")
    expires_at = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=LINK_S)
    try:
        url = stores.objects.url(key, LINK_S)
        if not url.startswith(("https://", "http://")):
            raise NoLinkError("The object store is a folder, which gives no links; read it here.")
        return Link(url=url, expires_at=expires_at) if stores.objects.stat(key) is not None else None
    except StoreAway as error:
        raise ObjectsAwayError(str(error)) from error
