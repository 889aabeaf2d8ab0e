"""Episodes from the records that arrived, and the status each should have."""

from __future__ import annotations

import time
from datetime import datetime, timedelta

import psycopg

from ..stores.queries import query

# A transaction that began before the last look and was committed after it is seen by the next one.
OVERLAP = timedelta(minutes=5)
# How much time of arrival is looked at at once: little where much arrived, more and more where little did.
FIRST_STEP, STEADY = timedelta(hours=1), 5000
RUN_S = 20.0  # a run ends after so long and the next one goes on


def refresh(database: psycopg.Connection) -> str:
    """Looks at what was received since the last time, oldest first, and settles what is open."""
    begin, now = _mark(database)
    step, changed, end_at = FIRST_STEP, 0, time.monotonic() + RUN_S
    until = begin
    while until <= now and time.monotonic() < end_at:
        until = min(begin + step, now + timedelta(seconds=1))
        span = {"since": begin, "until": until}
        found = 0
        for statement in ("refresh_drift", "refresh_camera", "refresh_away"):
            found += database.execute(query(statement, __package__), span).rowcount
        database.execute(query("write_mark", __package__), [min(until, now)])
        step = max(FIRST_STEP, step / 2) if found > STEADY else step * 4
        begin, changed = until, changed + found
    settled = database.execute(query("settle_episodes", __package__), [now - OVERLAP]).rowcount
    said = [f"{changed} episodes are new or went on"] if changed else []
    return ", ".join(said + ([f"{settled} have another status"] if settled else []))


def _mark(database: psycopg.Connection) -> tuple[datetime, datetime]:
    row = database.execute(query("read_mark", __package__)).fetchone()
    assert row is not None  # a SELECT of two values gives a row
    return row[0] - OVERLAP, row[1]
