"""TimescaleDB Community keeps the hours up to date, compresses and drops by itself; this tells it to.

Each step looks whether it was taken and is a transaction of its own, so a failure leaves what was there before, and
says what failed; without the aggregates the hours are summed up as on every other server.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import LiteralString

import psycopg
from psycopg import sql

from ...errors import IngestError
from ...stores import queries
from ..rollups import AGGREGATES

COMPRESSED: Mapping[str, str] = {
    "drift_event": "compress_records",
    "prediction": "compress_records",
    "snapshot": "compress_records",
    "log": "compress_records",
    "reading": "compress_readings",
}


def set_up(connection: psycopg.Connection, late: timedelta, kept: Mapping[str, timedelta | None]) -> list[str]:
    """Takes the steps that are missing and returns them in words. Raises IngestError for the first that fails."""
    done: list[str] = []
    for hours, aggregate in AGGREGATES.items():
        _step(done, f"aggregate {aggregate}", lambda h=hours, a=aggregate: _aggregate(connection, h, a))  # type: ignore[misc]
        _step(done, f"refresh of {aggregate}", lambda a=aggregate: _refreshed(connection, a, late))  # type: ignore[misc]
        _step(done, f"retention of {aggregate}", lambda a=aggregate: _dropped(connection, a, kept["hourly"]))  # type: ignore[misc]
    for table, statement in COMPRESSED.items():
        _step(done, f"compression of {table}", lambda t=table, s=statement: _compressed(connection, t, s))  # type: ignore[misc]
    # Rows with a clock that may be wrong are dropped by the job, which knows of it; readings have only right times.
    _step(done, "retention of reading", lambda: _dropped(connection, "reading", kept["telemetry"]))
    return done


def aggregate_tables(connection: psycopg.Connection) -> list[tuple[str, sql.Identifier]]:
    """The aggregates with the tables behind them."""
    rows = connection.execute(_query("aggregate_tables")).fetchall()
    return [(view, sql.Identifier(schema, table)) for view, schema, table in rows]


def _step(done: list[str], what: str, step: Callable[[], bool]) -> None:
    try:
        if step():
            done.append(what)
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:
        sentence = error.diag.message_primary or str(error)
        raise IngestError(f"TimescaleDB Community refuses the {what}: {sentence}") from error


def _aggregate(connection: psycopg.Connection, hours: str, aggregate: str) -> bool:
    if _value(connection, "SELECT to_regclass(%s) IS NOT NULL", aggregate):
        return False
    with connection.transaction():
        connection.execute(_query(aggregate))
        connection.execute(_query(f"show_{hours}"))
    connection.execute(_query("refresh", aggregate=sql.Literal(aggregate)))
    return True


def _refreshed(connection: psycopg.Connection, aggregate: str, late: timedelta) -> bool:
    if _value(connection, _query("refresh_offset"), aggregate) == late:
        return False
    with connection.transaction():
        connection.execute(_query("end_refresh_policy"), [aggregate])
        connection.execute(_query("refresh_policy"), {"name": aggregate, "late": late})
    return True


def _compressed(connection: psycopg.Connection, table: str, statement: str) -> bool:
    if _value(connection, _query("is_compressed"), table):
        return False
    with connection.transaction():
        connection.execute(_query(statement, table=sql.Identifier(table)))
        connection.execute(_query("compression_policy"), {"name": table})
    return True


def _dropped(connection: psycopg.Connection, name: str, age: timedelta | None) -> bool:
    if _value(connection, _query("retention_age"), name) == age:
        return False
    with connection.transaction():
        connection.execute(_query("end_retention_policy"), [name])
        if age is not None:
            connection.execute(_query("retention_policy"), {"name": name, "age": age})
    return True


def _query(name: str, **parts: sql.Composable) -> sql.Composed:
    return queries.query(name, __package__, **parts)


def _value(connection: psycopg.Connection, statement: LiteralString | sql.Composed, *values: object) -> object:
    row = connection.execute(statement, values).fetchone()
    return row[0] if row else None
