"""Devices: who they are, whether they are there, what goes on."""

from __future__ import annotations

from fastapi import APIRouter

from .. import paging
from ..errors import DatabaseAwayError, InvalidRequestError, UnknownDeviceError
from ..problems import documented
from ..schemas import Device, DeviceId, DevicePage
from ..stores import TheStores

router = APIRouter(prefix="/devices", tags=["devices"])
KEY: dict[str, type[paging.Key]] = {"device": str}


@router.get("", summary="All devices", responses=documented(InvalidRequestError, DatabaseAwayError))
def devices(stores: TheStores, after: paging.After = None, limit: paging.Limit = 100) -> DevicePage:
    """Every device that was ever heard of, by name."""
    rows = stores.database.rows("devices", {**paging.read(after, KEY), "limit": limit + 1})
    items, following = paging.page(rows, limit, KEY, Device.model_validate)
    return DevicePage(items=items, next=following)


@router.get(
    "/{device}",
    summary="One device",
    responses=documented(UnknownDeviceError, InvalidRequestError, DatabaseAwayError),
)
def device(stores: TheStores, device: DeviceId) -> Device:
    """What is known of a device."""
    row = stores.database.row("device", {"device": device})
    if row is None:
        raise UnknownDeviceError(device)
    return Device.model_validate(row)
