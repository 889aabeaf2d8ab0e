"""Records that were stored before their boot had a clock are moved to their right time.

A row is moved by one transaction: deleted where it was and inserted where it belongs, unless it is there already
because its device sent it again. So a kill leaves it at the one place or the other, and nothing is there twice.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import sql

from ..stores.queries import query
from ..stores.readings import TELEMETRY
from .job import Job, Site

AT_ONCE = 2_000  # records in one transaction
RUN_S = 20.0  # of one run
ARRAYS = ("names", "ages", "readings")  # of a message in the ledger; they become rows


def run(site: Site) -> str:
    """Moves what can be moved, a table after the other."""
    moved, until = 0, time.monotonic() + RUN_S
    for table, columns in record_tables(site.database):
        while time.monotonic() < until:
            chosen = _move(site.database, table, columns)
            moved += chosen
            if chosen < AT_ONCE:
                break
    return f"{moved} records moved to the time of their boot's clock" if moved else ""


def record_tables(connection: psycopg.Connection) -> list[tuple[str, list[str]]]:
    """Every table of records with its columns, whoever made it."""
    return connection.execute(query("record_tables", __package__)).fetchall()


def _move(connection: psycopg.Connection, table: str, columns: Sequence[str]) -> int:
    """Moves some records of a table, and returns how many were chosen."""
    of_messages = table == TELEMETRY.name
    parts: dict[str, Any] = {
        "table": sql.Identifier(table),
        "what": sql.Literal(table),
        "columns": sql.SQL(", ").join(map(sql.Identifier, columns)),
        "values": sql.SQL(", ").join(_value(column, of_messages) for column in columns),
        "seconds": sql.SQL("r.seconds" if of_messages else "0"),
    }
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute(query("create_late", __package__))
        cursor.execute(query("allow_decompression", __package__))
        chosen = cursor.execute(query("choose_late", __package__, **parts), {"most": AT_ONCE}).rowcount
        if not chosen:
            return 0
        if of_messages:
            cursor.execute(query("hold_series"))
            cursor.execute(query("add_late_series", __package__))
            cursor.execute(query("move_late_readings", __package__, **parts))
        else:
            cursor.execute(query("move_late", __package__, **parts))
        cursor.execute(query("touch_late", __package__, **parts))
    return chosen


def _value(column: str, of_messages: bool) -> sql.Composable:
    if column == "at":
        return sql.SQL("right_at")
    if column == "clock":
        return sql.SQL("'retimed'")
    return sql.SQL("NULL") if of_messages and column in ARRAYS else sql.Identifier(column)


JOB = Job("retime", "records of boots whose clock became known later get their right time", 10.0, run)
