"""Bundles in the object store, by digest: where devices fetch the one that is wanted of them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response

from ingest.bundles import bundle_key
from ingest.errors import ObjectError

from .. import objects
from ..errors import DatabaseAwayError, InvalidRequestError, NoBundleError, NoLinkError, ObjectsAwayError
from ..problems import documented
from ..schemas import Link
from ..stores import TheStores

router = APIRouter(prefix="/bundles", tags=["models"])
Digest = Annotated[
    str,
    Path(
        pattern="^[0-9a-f]{64}$",
        description="digest of the bundle, as `GET /models` names it",
        examples=["9b74c9897bac770ffc029102a200c5de0dd4b8d6b3a3e4a35dd4b0c2ac5bbd36"],
    ),
]
BINARY = {"schema": {"type": "string", "format": "binary"}, "example": "(the bytes of the bundle file)"}


@router.get(
    "/{digest}",
    summary="The file of a bundle",
    response_class=Response,
    responses={
        200: {"description": "The file", "content": {"application/octet-stream": BINARY}},
        **documented(NoBundleError, InvalidRequestError, DatabaseAwayError, ObjectsAwayError),
    },
)
def bundle(stores: TheStores, digest: Digest) -> Response:
    """What `tinyml ingest register --upload` put into the object store. A device is told to fetch it here with
    `tinyml send DEVICE model FILE --url http://API/bundles/DIGEST`; it checks what it gets."""
    try:
        data = objects.read(stores, bundle_key(digest))
    except ObjectError:
        raise NoBundleError(digest) from None
    headers = {
        "Content-Disposition": f'attachment; filename="{digest[:12]}.bundle"',
        "ETag": f'"{digest}"',
        "X-Content-Type-Options": "nosniff",
    }
    return Response(data, media_type="application/octet-stream", headers=headers)


@router.get(
    "/{digest}/link",
    summary="A link to the file of a bundle",
    responses=documented(NoBundleError, NoLinkError, InvalidRequestError, DatabaseAwayError, ObjectsAwayError),
)
def bundle_link(stores: TheStores, digest: Digest) -> Link:
    """A link into the object store that reads the file without a token until it expires; only where the store is
    S3."""
    found = objects.link(stores, bundle_key(digest), f"The bundle {digest[:12]}")
    if found is None:
        raise NoBundleError(digest)
    return found
