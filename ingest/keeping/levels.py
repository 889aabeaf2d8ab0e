"""Brings a database to the level of its server: plain PostgreSQL, TimescaleDB Apache, TimescaleDB Community."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import psycopg

from ..errors import IngestError
from ..stores.events import server_level
from . import community
from .queries import query

# What flows steadily, and how much time a chunk holds.
STEADY: Mapping[str, timedelta] = {
    "drift_event": timedelta(days=7),
    "telemetry": timedelta(days=7),
    "prediction": timedelta(days=7),
    "snapshot": timedelta(days=7),
    "log": timedelta(days=7),
    "reading": timedelta(days=1),
}
NOT_ALLOWED = (
    "TimescaleDB is on this server, but this user may not create the extension; "
    "let an administrator say CREATE EXTENSION timescaledb in this database"
)


def level_up(connection: psycopg.Connection, late: timedelta, kept: Mapping[str, timedelta | None]) -> str:
    """Does what is missing and says it in a sentence; "" where nothing is. Each table is a transaction.

    Raises psycopg.Error, and IngestError where TimescaleDB refuses something.
    """
    if server_level(connection) == "plain":
        if not _yes(connection, "timescale_offered"):
            return ""
        try:
            connection.execute(query("create_timescale"))
        except psycopg.errors.InsufficientPrivilege:
            return NOT_ALLOWED
    done = [f"hypertable {table}" for table in _missing(connection) if _make(connection, table)]
    if server_level(connection) == "timescale-community":
        done += community.set_up(connection, late, kept)
    return f"made {', '.join(done)}" if done else ""


def _missing(connection: psycopg.Connection) -> list[str]:
    there = {name for (name,) in connection.execute(query("hypertables"))}
    return [table for table in STEADY if table not in there]


def _make(connection: psycopg.Connection, table: str) -> bool:
    try:
        with connection.transaction():
            connection.execute(query("be_brief"))
            connection.execute(query("make_hypertable"), {"table": table, "chunk": STEADY[table]})
    except psycopg.errors.LockNotAvailable:
        raise IngestError(f"{table} is in use and could not become a hypertable; it is tried again") from None
    return True


def _yes(connection: psycopg.Connection, name: str) -> bool:
    row = connection.execute(query(name)).fetchone()
    return bool(row and row[0])
