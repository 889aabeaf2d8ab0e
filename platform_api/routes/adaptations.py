"""Adaptations: what devices changed in their own memory, and why."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import AwareDatetime

from .. import paging
from ..errors import DatabaseAwayError, InvalidRequestError
from ..problems import documented
from ..schemas import Adaptation, AdaptationPage, DeviceName, Word
from ..stores import TheStores

router = APIRouter(prefix="/adaptations", tags=["adaptations"])
KEY: dict[str, type[paging.Key]] = {"at": datetime, "device": str, "adaptation": str}


@router.get("", summary="Adaptations", responses=documented(InvalidRequestError, DatabaseAwayError))
def adaptations(
    stores: TheStores,
    *,
    device: Annotated[DeviceName | None, Query(description="only of this device")] = None,
    outcome: Annotated[Word | None, Query(description="applied, rolled-back or rejected")] = None,
    since: Annotated[AwareDatetime | None, Query(description="only those at or after this time")] = None,
    after: paging.After = None,
    limit: paging.Limit = 50,
) -> AdaptationPage:
    """Decision records of adaptations, the latest first."""
    chosen = {"only_device": device, "outcome": outcome, "since": since, "limit": limit + 1}
    rows = stores.database.rows("adaptations", {**chosen, **paging.read(after, KEY)})
    items, following = paging.page(rows, limit, KEY, Adaptation.model_validate)
    return AdaptationPage(items=items, next=following)
