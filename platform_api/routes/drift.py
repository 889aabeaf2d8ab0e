"""Drift episodes: when a device's pictures stopped looking like what it knows, and when they did again."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import AwareDatetime

from .. import paging
from ..errors import DatabaseAwayError, InvalidRequestError, UnknownEpisodeError
from ..problems import documented
from ..schemas import DeviceId, DeviceName, Episode, EpisodeId, EpisodePage
from ..stores import TheStores

router = APIRouter(prefix="/drift", tags=["drift"])
KEY: dict[str, type[paging.Key]] = {"since_at": datetime, "device": str, "episode": str}


@router.get("", summary="Drift episodes", responses=documented(InvalidRequestError, DatabaseAwayError))
def episodes(
    stores: TheStores,
    *,
    device: Annotated[DeviceName | None, Query(description="only of this device")] = None,
    open: Annotated[
        bool | None, Query(description="true: only those that go on; false: only those that ended")
    ] = None,
    since: Annotated[AwareDatetime | None, Query(description="only those heard of at or after this time")] = None,
    after: paging.After = None,
    limit: paging.Limit = 50,
) -> EpisodePage:
    """Drift episodes, the latest first."""
    chosen = {"only_device": device, "open": open, "since": since, "limit": limit + 1}
    rows = stores.database.rows("episodes", {**chosen, **paging.read(after, KEY)})
    items, following = paging.page(rows, limit, KEY, Episode.model_validate)
    return EpisodePage(items=items, next=following)


@router.get(
    "/{device}/{episode}",
    summary="One drift episode",
    responses=documented(UnknownEpisodeError, InvalidRequestError, DatabaseAwayError),
)
def episode(stores: TheStores, device: DeviceId, episode: EpisodeId) -> Episode:
    """What is known of a drift episode."""
    row = stores.database.row("episode", {"device": device, "episode": episode})
    if row is None:
        raise UnknownEpisodeError(device, episode)
    return Episode.model_validate(row)
