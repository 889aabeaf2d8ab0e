"""Labels: what people say samples are, on its way to the devices."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Header, Query, Response

from .. import paging
from ..access import may_write
from ..database import Connection, query
from ..errors import (
    BodyTooLargeError,
    DatabaseAwayError,
    InvalidRequestError,
    KeyReusedError,
    NothingToRetractError,
    NotLabelledError,
    TokenNeededError,
    UnknownSampleError,
)
from ..examples import NEW_LABELS, QUEUED
from ..problems import documented
from ..schemas import (
    DeviceId,
    DeviceName,
    Label,
    LabelHistory,
    LabelPage,
    LabelState,
    NewLabel,
    SampleId,
)
from ..stores import TheStores

router = APIRouter(prefix="/labels", tags=["labels"])
KEY: dict[str, type[paging.Key]] = {"made_at": datetime, "device": str, "sample": str, "revision": int}


@router.post(
    "",
    status_code=201,
    summary="Label a sample",
    dependencies=[Depends(may_write)],
    responses={
        201: {"description": "Queued for the device", "content": {"application/json": {"example": QUEUED}}},
        **documented(
            TokenNeededError,
            UnknownSampleError,
            NothingToRetractError,
            BodyTooLargeError,
            InvalidRequestError,
            KeyReusedError,
            DatabaseAwayError,
        ),
    },
)
def label(
    stores: TheStores,
    *,
    response: Response,
    said: Annotated[NewLabel, Body(openapi_examples=NEW_LABELS)],
    idempotency_key: Annotated[
        str | None,
        Header(
            pattern=r"^[!-~]{1,128}$",
            description="any word of the client's own for this label; sent again with the same word it is not made "
            "twice, and the answer is what became of it",
        ),
    ] = None,
) -> Label:
    """Queues what a person says for the device. The database keeps it until the device proves that it was applied,
    so it is safe from here on, whatever is switched off. What was said about the sample before is superseded."""
    with stores.database.transaction() as connection:
        words = [f"sample {said.device}/{said.sample}"] + ([f"key {idempotency_key}"] if idempotency_key else [])
        connection.execute(query("lock_words"), {"words": words})
        revision = _revision_of_key(connection, idempotency_key, said) or _queue(connection, idempotency_key, said)
        which = {"device": said.device, "sample": said.sample, "revision": revision}
        row = connection.execute(query("label_revision"), which).fetchone()
    response.headers["Location"] = f"/labels/{said.device}/{said.sample}"
    return Label.model_validate(row)


@router.get("", summary="Labels", responses=documented(InvalidRequestError, DatabaseAwayError))
def labels(
    stores: TheStores,
    *,
    device: Annotated[DeviceName | None, Query(description="only for this device")] = None,
    state: Annotated[LabelState | None, Query(description="only those in this state")] = None,
    after: paging.After = None,
    limit: paging.Limit = 50,
) -> LabelPage:
    """Every revision of every label, the latest first."""
    chosen = {"only_device": device, "state": state, "limit": limit + 1}
    rows = stores.database.rows("labels", {**chosen, **paging.read(after, KEY)})
    items, following = paging.page(rows, limit, KEY, Label.model_validate)
    return LabelPage(items=items, next=following)


@router.get(
    "/{device}/{sample}",
    summary="What was said about a sample",
    responses=documented(NotLabelledError, InvalidRequestError, DatabaseAwayError),
)
def history(stores: TheStores, device: DeviceId, sample: SampleId) -> LabelHistory:
    """Every revision of a sample's label, the newest first."""
    rows = stores.database.rows("label_history", {"device": device, "sample": sample})
    if not rows:
        raise NotLabelledError(device, sample)
    return LabelHistory(items=[Label.model_validate(row) for row in rows])


def _revision_of_key(connection: Connection, key: str | None, said: NewLabel) -> int | None:
    if key is None:
        return None
    made = connection.execute(query("label_of_key"), {"key": key}).fetchone()
    if made is None:
        return None
    # The label of an `is-not` without one was filled in when it was made.
    same = said.model_copy(update={"label": said.label or made["label"]}) if said.verdict == "is-not" else said
    if any(made[name] != value for name, value in same.model_dump().items()):
        raise KeyReusedError
    revision: int = made["revision"]
    return revision


def _queue(connection: Connection, key: str | None, said: NewLabel) -> int:
    """Makes the next revision; the caller holds the sample's lock."""
    which = {"device": said.device, "sample": said.sample}
    about = connection.execute(query("sample_to_label"), which).fetchone()
    if about is None:
        raise UnknownSampleError(said.device, said.sample)
    if said.verdict == "retract" and about["verdict"] in (None, "retract"):
        raise NothingToRetractError(said.device, said.sample)
    revision: int = (about["revision"] or 0) + 1
    connection.execute(query("supersede"), which)
    connection.execute(query("insert_label"), {**_values(said, about), "revision": revision, "key": key})
    connection.execute(query("notify_label"))
    return revision


def _values(said: NewLabel, about: Mapping[str, Any]) -> dict[str, object]:
    # Features and bundle are copied, so that a device can apply the label after the sample has left its quarantine.
    label = said.label
    if said.verdict == "is-not" and not label:
        label = about["predicted"]
        if label in ("", "unknown"):
            raise InvalidRequestError("body.label: the device took it for nothing it knows; which class is it not?")
    return {**said.model_dump(), "label": label, "features": about["features"], "bundle": about["bundle"]}
