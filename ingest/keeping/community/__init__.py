"""TimescaleDB Community keeps the hours up to date, compresses and drops by itself; this tells it to.

Each step looks whether it was taken and is a transaction of its own, so a failure leaves what was there before, and
says what failed; without the aggregates the hours are summed up as on every other server.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from typing import LiteralString

import psycopg
from psycopg import sql

from ...errors import IngestError
from ...stores import queries
from ..rollups import AGGREGATES

# A late record has to be compared with those of its chunk, so these are compressed once none comes late any more.
RECORDS = ("drift_event", "prediction", "snapshot", "log")
# Readings are most of what there is, and have no key to compare: a late one is simply added.
READINGS_AFTER = timedelta(days=2)


def set_up(connection: psycopg.Connection, late: timedelta, kept: Mapping[str, timedelta | None]) -> list[str]:
    """Takes the steps that are missing and returns them in words.

    Raises IngestError for those that failed, after all others were taken.
    """
    steps = {"limit of compressed rows in a transaction": partial(_lifted, connection)}
    for hours, aggregate in AGGREGATES.items():
        steps[f"aggregate {aggregate}"] = partial(_aggregate, connection, hours, aggregate)
        steps[f"refresh of {aggregate}"] = partial(_refreshed, connection, aggregate, late)
        steps[f"retention of {aggregate}"] = partial(_dropped, connection, aggregate, kept["hourly"])
    for table in RECORDS:
        steps[f"compression of {table}"] = partial(_compressed, connection, table, "compress_records", late)
    steps["compression of reading"] = partial(_compressed, connection, "reading", "compress_readings", READINGS_AFTER)
    # Rows with a clock that may be wrong are dropped by the job, which knows of it; readings have only right times.
    steps["retention of reading"] = partial(_dropped, connection, "reading", kept["telemetry"])
    taken: list[str] = []
    failed: list[str] = []
    for what, step in steps.items():
        try:
            if step():
                taken.append(what)
        except psycopg.OperationalError:
            raise
        except psycopg.Error as error:
            failed.append(f"the {what}: {error.diag.message_primary or error}")
    if failed:
        raise IngestError(f"TimescaleDB Community refuses {'; '.join(failed)}")
    return taken


def aggregate_tables(connection: psycopg.Connection) -> list[tuple[str, sql.Identifier]]:
    """The aggregates with the tables behind them."""
    rows = connection.execute(_query("aggregate_tables")).fetchall()
    return [(view, sql.Identifier(schema, table)) for view, schema, table in rows]


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


def _lifted(connection: psycopg.Connection) -> bool:
    if _value(connection, _query("lifts_limit"), connection.info.dbname):
        return False
    connection.execute(_query("lift_limit", database=sql.Identifier(connection.info.dbname)))
    return True


def _compressed(connection: psycopg.Connection, table: str, statement: str, age: timedelta) -> bool:
    if _value(connection, _query("compression_age"), table) == age:
        return False
    with connection.transaction():
        if not _value(connection, _query("is_compressed"), table):
            connection.execute(_query(statement, table=sql.Identifier(table)))
        connection.execute(_query("end_compression_policy"), [table])
        connection.execute(_query("compression_policy"), {"name": table, "age": age})
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
