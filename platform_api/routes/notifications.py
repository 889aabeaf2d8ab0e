"""Notifications: what a person should know, and who has seen it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Body, Depends, Query

from .. import paging
from ..access import may_write
from ..errors import (
    BodyTooLargeError,
    DatabaseAwayError,
    InvalidRequestError,
    TokenNeededError,
    UnknownNotificationError,
)
from ..problems import documented
from ..schemas import Ack, DeviceName, Notification, NotificationId, NotificationPage, Severity, Word
from ..stores import TheStores

router = APIRouter(prefix="/notifications", tags=["notifications"])
KEY: dict[str, type[paging.Key]] = {"notified_at": datetime, "id": int}


@router.get("", summary="Notifications", responses=documented(InvalidRequestError, DatabaseAwayError))
def notifications(
    stores: TheStores,
    *,
    kind: Annotated[Word | None, Query(description="only of this kind: incident, device-offline ...")] = None,
    severity: Annotated[Severity | None, Query(description="only of this severity")] = None,
    device: Annotated[DeviceName | None, Query(description="only about this device")] = None,
    active: Annotated[bool | None, Query(description="true: only what still is so; false: only what is over")] = None,
    acked: Annotated[bool | None, Query(description="true: only those somebody has seen; false: the others")] = None,
    after: paging.After = None,
    limit: paging.Limit = 50,
) -> NotificationPage:
    """What people were told, the latest first. docs/knowledge.md says of what, and what can be set."""
    said = {"kind": kind, "severity": severity, "only_device": device, "active": active, "acked": acked}
    rows = stores.database.rows("notifications", {**said, "limit": limit + 1, **paging.read(after, KEY)})
    items, following = paging.page(rows, limit, KEY, Notification.model_validate)
    return NotificationPage(items=items, next=following)


@router.get(
    "/{notification}",
    summary="One notification",
    responses=documented(UnknownNotificationError, InvalidRequestError, DatabaseAwayError),
)
def notification(stores: TheStores, notification: NotificationId) -> Notification:
    """A notification, and how far each channel is with it."""
    row = stores.database.row("notification", {"id": notification})
    if row is None:
        raise UnknownNotificationError(notification)
    return Notification.model_validate(row)


@router.post(
    "/{notification}/ack",
    summary="Say that somebody has seen it",
    dependencies=[Depends(may_write)],
    responses=documented(
        TokenNeededError, UnknownNotificationError, BodyTooLargeError, InvalidRequestError, DatabaseAwayError
    ),
)
def acknowledge(stores: TheStores, notification: NotificationId, said: Annotated[Ack, Body()]) -> Notification:
    """Notes who has seen a notification; the first one stays."""
    stores.database.change("ack_notification", {"id": notification, "by": said.by})
    row = stores.database.row("notification", {"id": notification})
    if row is None:
        raise UnknownNotificationError(notification)
    return Notification.model_validate(row)
