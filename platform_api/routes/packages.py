"""Packages: files that people carry from devices without a link, uploaded and worked off step by step."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from .. import paging
from ..access import may_write
from ..desk import Desk
from ..errors import (
    BodyTooLargeError,
    DatabaseAwayError,
    DeskFullError,
    InvalidRequestError,
    NoRoomError,
    TokenNeededError,
    UnknownPackageError,
)
from ..examples import PACKAGE_DONE, PACKAGE_WAITING
from ..problems import documented
from ..schemas import Package, PackageId, PackagePage, PackageState, PackageSteps, Step, Word
from ..stores import TheStores
from ..upload import Upload

router = APIRouter(prefix="/packages", tags=["packages"])
KEY: dict[str, type[paging.Key]] = {"received_at": datetime, "package": str}
STEP: dict[str, type[paging.Key]] = {"step": int}
CHUNK = 1 << 20
BODY = {
    "required": True,
    "description": "the file itself; what it is is told by its content",
    "content": {
        "application/octet-stream": {
            "schema": {"type": "string", "format": "binary"},
            "example": "(the bytes of lamp-1-20261124T080000Z.cborseq.gz)",
        }
    },
}


@router.post(
    "",
    status_code=202,
    summary="Upload a package",
    dependencies=[Depends(may_write)],
    openapi_extra={"requestBody": BODY},
    responses={
        200: {
            "model": Package,
            "description": "It was worked off before",
            "content": {"application/json": {"example": PACKAGE_DONE}},
        },
        202: {"description": "It is in hand", "content": {"application/json": {"example": PACKAGE_WAITING}}},
        **documented(
            TokenNeededError, BodyTooLargeError, InvalidRequestError, DeskFullError, NoRoomError, DatabaseAwayError
        ),
    },
)
async def upload(
    request: Request,
    response: Response,
    name: Annotated[Word | None, Query(description="what the file is called, for people")] = None,
    again: Annotated[bool, Query(description="true: work it off again even if that was done before")] = False,
) -> Package:
    """Takes a file (`tinyml edge export`, records, a bundle, or an archive of such things and pictures) and works it
    off by and by; `GET /packages/{package}` tells how far it is. The same file again is the same package: one that
    was done is not done again, one that failed or was interrupted is."""
    desk: Desk = request.app.state.desk
    into = await run_in_threadpool(desk.upload)
    try:
        await _receive(request, into)
        row, busy = await run_in_threadpool(desk.bring, into, name or "", again)
    except ClientDisconnect:
        raise InvalidRequestError("body: it ended before all of it had arrived") from None
    finally:
        await run_in_threadpool(into.drop)
    response.status_code = 202 if busy else 200
    response.headers["Location"] = f"/packages/{row['package']}"
    return Package.model_validate(row)


@router.get("", summary="Packages", responses=documented(InvalidRequestError, DatabaseAwayError))
def packages(
    stores: TheStores,
    *,
    state: Annotated[PackageState | None, Query(description="only those in this state")] = None,
    after: paging.After = None,
    limit: paging.Limit = 50,
) -> PackagePage:
    """Every package that was brought, by upload or with `tinyml ingest import`, the latest first."""
    rows = stores.database.rows("packages", {"state": state, "limit": limit + 1, **paging.read(after, KEY)})
    items, following = paging.page(rows, limit, KEY, Package.model_validate)
    return PackagePage(items=items, next=following)


@router.get(
    "/{package}",
    summary="One package",
    responses=documented(UnknownPackageError, InvalidRequestError, DatabaseAwayError),
)
def package(
    stores: TheStores, package: PackageId, after: paging.After = None, limit: paging.Limit = 100
) -> PackageSteps:
    """How far a package is, and what came of each thing in it."""
    row = stores.database.row("find_package", {"package": package})
    if row is None:
        raise UnknownPackageError(package)
    chosen = {"package": package, "limit": limit + 1, **paging.read(after, STEP)}
    items, following = paging.page(stores.database.rows("package_steps", chosen), limit, STEP, Step.model_validate)
    return PackageSteps.model_validate({**row, "items": items, "next": following})


async def _receive(request: Request, into: Upload) -> None:
    """Writes the body as it arrives, in pieces worth a thread. The gate caps it."""
    held = bytearray()
    async for chunk in request.stream():
        held += chunk
        if len(held) >= CHUNK:
            await run_in_threadpool(into.write, bytes(held))
            held.clear()
    await run_in_threadpool(into.write, bytes(held))
