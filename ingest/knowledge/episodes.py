"""Episodes from the records that arrived, and the status each should have."""

from __future__ import annotations

from datetime import datetime, timedelta

import psycopg

from ..stores.queries import query

# A transaction that began before the last look and was committed after it is seen by the next one.
OVERLAP = timedelta(minutes=5)
STEP = timedelta(hours=1)
STEPS = 2000  # a run: some months of silence, or as much as an hour's records take each


def refresh(database: psycopg.Connection) -> str:
    """Looks at what was received since the last time, oldest first, and settles what is open."""
    since, now = _mark(database)
    changed = 0
    begin = since
    for _ in range(STEPS):
        until = min(begin + STEP, now + timedelta(seconds=1))
        span = {"since": begin, "until": until}
        for statement in ("refresh_drift", "refresh_camera", "refresh_away"):
            changed += database.execute(query(statement, __package__), span).rowcount
        database.execute(query("write_mark", __package__), [max(since, min(until, now) - OVERLAP)])
        begin = until
        if until > now:
            break
    settled = database.execute(query("settle_episodes", __package__), [now - OVERLAP]).rowcount
    said = [f"{changed} episodes are new or went on"] if changed else []
    return ", ".join(said + ([f"{settled} have another status"] if settled else []))


def _mark(database: psycopg.Connection) -> tuple[datetime, datetime]:
    row = database.execute(query("read_mark", __package__)).fetchone()
    assert row is not None  # a SELECT of two values gives a row
    return row[0], row[1]
