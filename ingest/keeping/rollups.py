"""Sums rows up into hours, so that the rows can be given up.

Rows are found by when they arrived, so what comes late is counted too: every hour that a new row belongs to is summed
up again from all of its rows. That can be repeated, so a run may be killed anywhere.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import psycopg
from psycopg import sql

from .queries import query

STEP = timedelta(hours=1)  # of arrival, in one transaction
# A row is dated by the begin of its transaction and seen at the end of it; none takes longer than this.
OVERLAP = timedelta(minutes=10)
MOST_TOLD = 20_000


@dataclass(frozen=True, slots=True)
class Rollup:
    """A table, and the tables of hours that are made of it."""

    table: str
    hours: tuple[str, ...]


ROLLUPS = (
    Rollup("prediction", ("prediction_hour", "prediction_label_hour")),
    Rollup("drift_event", ("drift_hour",)),
    Rollup("telemetry", ("reading_hour",)),
)
# What TimescaleDB Community sums up itself (community.sql), once its aggregate exists.
AGGREGATES = {
    "prediction_hour": "aggregate_prediction_hour",
    "drift_hour": "aggregate_drift_hour",
    "reading_hour": "aggregate_reading_hour",
}


def sum_up(connection: psycopg.Connection, until: float) -> int:
    """Brings the tables of hours up to date; returns how many hours of devices were summed up.

    Stops at monotonic time `until`; the next run goes on from there.
    """
    done = 0
    for i, rollup in enumerate(ROLLUPS):
        # Whoever is far behind leaves time to the others.
        mine = time.monotonic() + (until - time.monotonic()) / (len(ROLLUPS) - i)
        connection.execute(query("begin_rollup", table=sql.Identifier(rollup.table)), [rollup.table])
        behind = True
        while behind and time.monotonic() < mine:
            hours, behind = _step(connection, rollup)
            done += hours
    return done


def _step(connection: psycopg.Connection, rollup: Rollup) -> tuple[int, bool]:
    """Hours that one step of arrivals touched, and whether there is more to do."""
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute(query("lock_rollup"), [rollup.table])
        state: tuple[datetime, datetime | None, datetime] = cursor.fetchone()  # type: ignore[assignment]
        since, closed, now = state
        until = min(since + STEP, now)
        cursor.execute(query("create_touched"))
        values = {"since": since - OVERLAP, "until": until, "closed": closed, "what": rollup.table}
        cursor.execute(query("touch_told"), {**values, "most": MOST_TOLD})
        told = cursor.rowcount
        cursor.execute(query(f"touch_{rollup.table}"), values)
        hours = told + cursor.rowcount
        if hours:
            _fill(cursor, rollup)
        elif until < now:  # nothing came in that time; on to when something did
            cursor.execute(query("next_arrival", table=sql.Identifier(rollup.table)), {"until": until})
            until = min(cursor.fetchone()[0] or now, now)  # type: ignore[index]
        cursor.execute(query("advance_rollup"), {"what": rollup.table, "until": until})
    return hours, until < now or told == MOST_TOLD


def _fill(cursor: psycopg.Cursor[Any], rollup: Rollup) -> None:
    for hours in rollup.hours:
        if hours in AGGREGATES and _exists(cursor, AGGREGATES[hours]):
            continue
        cursor.execute(query(f"fill_{hours}"))


def _exists(cursor: psycopg.Cursor[Any], name: str) -> bool:
    row = cursor.execute("SELECT to_regclass(%s) IS NOT NULL", [name]).fetchone()
    return bool(row and row[0])
