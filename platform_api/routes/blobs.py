"""What devices sent in chunks because it is too large for one message: snapshots of their state."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from fastapi import APIRouter, Response

from ingest.blobs.rows import blob_key
from ingest.errors import ObjectError

from .. import objects, paging
from ..errors import (
    DatabaseAwayError,
    InvalidRequestError,
    NoBlobError,
    NoLinkError,
    ObjectsAwayError,
    UnknownDeviceError,
)
from ..problems import documented
from ..schemas import Blob, BlobPage, DeviceId, Link, Sha256
from ..stores import Stores, TheStores

router = APIRouter(prefix="/devices/{device}/blobs", tags=["devices"])
KEY: dict[str, type[paging.Key]] = {"offered_at": datetime, "sha256": str}
WORD = re.compile(r"[a-z0-9-]{1,32}")
BINARY = {"schema": {"type": "string", "format": "binary"}, "example": "(the bytes)"}


@router.get(
    "",
    summary="What a device sent in chunks",
    responses=documented(UnknownDeviceError, InvalidRequestError, DatabaseAwayError),
)
def blobs(stores: TheStores, device: DeviceId, after: paging.After = None, limit: paging.Limit = 50) -> BlobPage:
    """What a device offered and how far it has come, the latest first. `tinyml send DEVICE command upload-snapshot`
    has a managed device offer its newest snapshot."""
    if stores.database.row("device", {"device": device}) is None:
        raise UnknownDeviceError(device)
    rows = stores.database.rows("blobs", {"device": device, "limit": limit + 1, **paging.read(after, KEY)})
    items, following = paging.page(rows, limit, KEY, Blob.model_validate)
    return BlobPage(items=items, next=following)


@router.get(
    "/{sha256}",
    summary="The bytes of it",
    response_class=Response,
    responses={
        200: {"description": "The bytes", "content": {"application/octet-stream": BINARY}},
        **documented(NoBlobError, InvalidRequestError, DatabaseAwayError, ObjectsAwayError),
    },
)
def blob(stores: TheStores, device: DeviceId, sha256: Sha256) -> Response:
    """The whole, which has the sha256 of its name. A snapshot is a file that `tinyml edge snapshots` reads."""
    row = _stored(stores, device, sha256)
    try:
        data = objects.read(stores, blob_key(sha256))
    except ObjectError:
        raise NoBlobError(f"What {device!r} sent as {sha256[:12]} is not in the object store.") from None
    kind = row["what"] if WORD.fullmatch(row["what"]) else "bin"
    headers = {
        "Content-Disposition": f'attachment; filename="{device}-{sha256[:12]}.{kind}"',
        "Cache-Control": "private, no-cache",
        "X-Content-Type-Options": "nosniff",
    }
    return Response(data, media_type="application/octet-stream", headers=headers)


@router.get(
    "/{sha256}/link",
    summary="A link to the bytes of it",
    responses=documented(NoBlobError, NoLinkError, InvalidRequestError, DatabaseAwayError, ObjectsAwayError),
)
def blob_link(stores: TheStores, device: DeviceId, sha256: Sha256) -> Link:
    """A link into the object store that reads it without a token until it expires; only where the store is S3."""
    _stored(stores, device, sha256)
    found = objects.link(stores, blob_key(sha256), f"What {device!r} sent as {sha256[:12]}")
    if found is None:
        raise NoBlobError(f"What {device!r} sent as {sha256[:12]} is not in the object store.")
    return found


def _stored(stores: Stores, device: str, sha256: str) -> Mapping[str, Any]:
    row = stores.database.row("blob", {"device": device, "sha256": sha256})
    if row is None:
        raise NoBlobError(f"{device!r} never offered {sha256[:12]}.")
    if row["state"] != "stored":
        came = f"{row['got']} of {row['chunks']} chunks are here"
        raise NoBlobError(f"What {device!r} offered as {sha256[:12]} is {row['state']}: {row['reason'] or came}.")
    return row
