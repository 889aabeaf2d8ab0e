"""Incidents: the same on many devices within a while."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import AwareDatetime

from .. import paging
from ..errors import DatabaseAwayError, InvalidRequestError, UnknownIncidentError
from ..problems import documented
from ..schemas import Incident, IncidentDetail, IncidentId, IncidentKind, IncidentPage, IncidentStatus, Member
from ..stores import TheStores

router = APIRouter(prefix="/incidents", tags=["incidents"])
KEY: dict[str, type[paging.Key]] = {"begin_at": datetime, "incident": str}


@router.get("", summary="Incidents", responses=documented(InvalidRequestError, DatabaseAwayError))
def incidents(
    stores: TheStores,
    *,
    kind: Annotated[IncidentKind | None, Query(description="only of this kind")] = None,
    status: Annotated[IncidentStatus | None, Query(description="only with this status")] = None,
    since: Annotated[AwareDatetime | None, Query(description="only those that grew at or after this time")] = None,
    after: paging.After = None,
    limit: paging.Limit = 50,
) -> IncidentPage:
    """Incidents of the fleet, the latest first. docs/knowledge.md says what makes one."""
    chosen = {"kind": kind, "status": status, "since": since, "limit": limit + 1}
    rows = stores.database.rows("incidents", {**chosen, **paging.read(after, KEY)})
    items, following = paging.page(rows, limit, KEY, Incident.model_validate)
    return IncidentPage(items=items, next=following)


@router.get(
    "/{incident}",
    summary="One incident",
    responses=documented(UnknownIncidentError, InvalidRequestError, DatabaseAwayError),
)
def incident(stores: TheStores, incident: IncidentId) -> IncidentDetail:
    """An incident with the episodes it is made of, at most 1000 of them."""
    row = stores.database.row("incident", {"incident": incident})
    if row is None:
        raise UnknownIncidentError(incident)
    members = stores.database.rows("incident_members", {"incident": incident})
    return IncidentDetail.model_validate({**row, "members": [Member.model_validate(member) for member in members]})
