"""Episodes from the records that arrived, and the status each should have."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import psycopg

from ..stores.queries import query

# A transaction that began before the last look and was committed after it is seen by the next one.
OVERLAP = timedelta(minutes=5)
# How much time of arrival is looked at at once: little where much arrived, more and more where little did.
FIRST_STEP, STEADY = timedelta(hours=1), 5000
RUN_S = 20.0  # a run ends after so long and the next one goes on
# Chunks of drift events older than a week may be compressed, and to look for what arrived in them costs more.
YOUNG, LATE_EVERY = timedelta(days=8), timedelta(minutes=10)
EVER = datetime(1, 1, 1, tzinfo=UTC)


def refresh(database: psycopg.Connection) -> str:
    """Looks at what was received since the last time, oldest first, and settles what is open."""
    begin, now = _mark(database, "episodes")
    late, _ = _mark(database, "late episodes")
    changed = _look(database, "episodes", begin, now, begin - YOUNG if now - begin < YOUNG else EVER)
    if now - late > LATE_EVERY + OVERLAP:
        changed += _look(database, "late episodes", late, now, EVER)
    settled = database.execute(query("settle_episodes", __package__), [now - OVERLAP]).rowcount
    said = [f"{changed} episodes are new or went on"] if changed else []
    return ", ".join(said + ([f"{settled} have another status"] if settled else []))


def _look(database: psycopg.Connection, mark: str, begin: datetime, now: datetime, made_since: datetime) -> int:
    """How many episodes are new or changed by what was received since `begin`."""
    step, changed, end_at = FIRST_STEP, 0, time.monotonic() + RUN_S
    until = begin
    while until <= now and time.monotonic() < end_at:
        until = min(begin + step, now + timedelta(seconds=1))
        span = {"since": begin, "until": until, "made_since": made_since}
        found = 0
        for statement in ("refresh_drift", "refresh_camera", "refresh_away"):
            found += database.execute(query(statement, __package__), span).rowcount
        database.execute(query("write_mark", __package__), [mark, min(until, now)])
        step = max(FIRST_STEP, step / 2) if found > STEADY else step * 4
        begin, changed = until, changed + found
    return changed


def _mark(database: psycopg.Connection, name: str) -> tuple[datetime, datetime]:
    row = database.execute(query("read_mark", __package__), [name]).fetchone()
    assert row is not None  # a SELECT of two values gives a row
    return row[0] - OVERLAP, row[1]
