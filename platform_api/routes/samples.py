"""Quarantined samples: the strange frames that devices kept aside for a person to look at."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response

from ingest.consumers.samples import PICTURE_TYPES, picture_key
from ingest.errors import ObjectError

from .. import objects, paging
from ..errors import (
    DatabaseAwayError,
    InvalidRequestError,
    NoLinkError,
    NoPictureError,
    ObjectsAwayError,
    UnknownSampleError,
)
from ..problems import documented
from ..schemas import CurrentLabel, DeviceId, DeviceName, Link, Sample, SampleId, SamplePage, Word
from ..stores import Stores, TheStores

router = APIRouter(prefix="/samples", tags=["samples"])
KEY: dict[str, type[paging.Key]] = {"at": datetime, "device": str, "boot": str, "seq": int}
BINARY = {"schema": {"type": "string", "format": "binary"}, "example": "(the bytes of the picture)"}


@router.get("", summary="Quarantined samples", responses=documented(InvalidRequestError, DatabaseAwayError))
def samples(
    stores: TheStores,
    *,
    device: Annotated[DeviceName | None, Query(description="only of this device")] = None,
    episode: Annotated[Word | None, Query(description="only of this drift episode")] = None,
    pending: Annotated[
        bool | None, Query(description="true: only those nobody has labelled; false: the others")
    ] = None,
    asked: Annotated[bool | None, Query(description="true: only those a device asked for; false: the others")] = None,
    label: Annotated[Word | None, Query(description="only those a person says are of this class")] = None,
    after: paging.After = None,
    limit: paging.Limit = 50,
) -> SamplePage:
    """Quarantined samples, the latest first."""
    said = {"pending": pending, "asked": asked, "label": label}
    chosen = {"only_device": device, "episode": episode, "limit": limit + 1, **said}
    rows = stores.database.rows("samples", {**chosen, **paging.read(after, KEY)})
    items, following = paging.page(rows, limit, KEY, _sample)
    return SamplePage(items=items, next=following)


@router.get(
    "/{device}/{sample}",
    summary="One quarantined sample",
    responses=documented(UnknownSampleError, InvalidRequestError, DatabaseAwayError),
)
def sample(stores: TheStores, device: DeviceId, sample: SampleId) -> Sample:
    """What the device says of a sample, and what a person said last."""
    return _sample(_row(stores, device, sample))


@router.get(
    "/{device}/{sample}/picture",
    summary="The picture of a sample",
    response_class=Response,
    responses={
        200: {"description": "The picture", "content": dict.fromkeys(sorted(PICTURE_TYPES), BINARY)},
        304: {"description": "The client has it already (If-None-Match)"},
        **documented(UnknownSampleError, NoPictureError, InvalidRequestError, DatabaseAwayError, ObjectsAwayError),
    },
)
def picture(
    stores: TheStores,
    device: DeviceId,
    sample: SampleId,
    if_none_match: Annotated[str | None, Header(description="ETag of the picture the client has")] = None,
) -> Response:
    """The picture as the device sent it: a thumbnail or the whole frame, by its privacy level."""
    row = _row(stores, device, sample)
    digest = _digest(row)
    headers = {
        "ETag": f'"{digest}"',
        "Cache-Control": "private, no-cache",  # kept by the client, but asked for each time: access may end
        "X-Content-Type-Options": "nosniff",
    }
    if if_none_match is not None and _matches(if_none_match, digest):
        return Response(status_code=304, headers=headers)
    try:
        data = objects.read(stores, picture_key(digest))
    except ObjectError:
        raise NoPictureError(f"The picture of sample {sample!r} of {device!r} is not in the object store.") from None
    # Whatever a row says, nothing but a picture is ever shown: these bytes come from devices.
    kind = row["picture_type"] if row["picture_type"] in PICTURE_TYPES else "application/octet-stream"
    return Response(data, media_type=kind, headers=headers)


@router.get(
    "/{device}/{sample}/picture/link",
    summary="A link to the picture of a sample",
    responses=documented(
        UnknownSampleError, NoPictureError, NoLinkError, InvalidRequestError, DatabaseAwayError, ObjectsAwayError
    ),
)
def picture_link(stores: TheStores, device: DeviceId, sample: SampleId) -> Link:
    """A link into the object store that reads the picture without a token until it expires; only where the store is
    S3, and once it has got the picture."""
    key = picture_key(_digest(_row(stores, device, sample)))
    found = objects.link(stores, key, f"The picture of sample {sample!r} of {device!r}")
    if found is None:
        raise NoPictureError(f"The picture of sample {sample!r} of {device!r} is not in the object store.")
    return found


def _digest(row: Mapping[str, Any]) -> str:
    digest: str | None = row["picture_digest"]
    if digest is None:
        raise NoPictureError(f"Sample {row['sample']!r} of {row['device']!r} came without a picture.")
    return digest


def _matches(if_none_match: str, digest: str) -> bool:
    tags = {tag.strip().removeprefix("W/").strip('"') for tag in if_none_match.split(",")}
    return digest in tags or "*" in tags


def _row(stores: Stores, device: str, sample: str) -> Mapping[str, Any]:
    row = stores.database.row("sample", {"device": device, "sample": sample})
    if row is None:
        raise UnknownSampleError(device, sample)
    return row


def _sample(row: Mapping[str, Any]) -> Sample:
    label = None
    if row["revision"] is not None:
        label = CurrentLabel(
            revision=row["revision"],
            verdict=row["verdict"],
            label=row["label"],
            by=row["labelled_by"],
            state=row["label_state"],
            reason=row["label_reason"],
            made_at=row["labelled_at"],
            answered_at=row["answered_at"],
        )
    picture = f"/samples/{row['device']}/{row['sample']}/picture" if row["picture_digest"] else None
    return Sample.model_validate({**row, "label": label, "picture": picture})
