"""A row for every table there is, made from the catalogue: a table that somebody adds has one too."""

from __future__ import annotations

import re
from typing import Any

import psycopg
from psycopg import sql

COLUMNS = """
    SELECT c.relname::text, a.attname::text, format_type(a.atttypid, a.atttypmod), a.attnotnull
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND c.relname <> 'migration'
        AND a.attgenerated = ''
    ORDER BY c.relname, a.attnum"""
CHECKS = """
    SELECT conrelid::regclass::text, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE contype = 'c' AND connamespace = 'public'::regnamespace"""
ONE_OF = re.compile(r"\((\w+) = ANY \(ARRAY\['([^']+)'::text")
VALUES: dict[str, Any] = {
    "double precision": 1.5,
    "real": 1.5,
    "boolean": True,
    "jsonb": "{}",
    "bytea": b"\x00\xff",
    "text[]": ["a", "b"],
    "real[]": [1.0, 2.0],
    "bigint[]": [1, 2],
    "timestamp with time zone": "2026-01-01 00:30+00",
    "date": "2026-01-01",
}


def fill(connection: psycopg.Connection, *, number: int = 1, **known: Any) -> set[str]:
    """Inserts a row into every table and returns the tables; columns of texts or lists named in `known` get those.

    Texts and whole numbers follow from the column's name and `number`, so that rows refer to each other.
    """
    checks = connection.execute(CHECKS.encode()).fetchall()
    allowed = {(table, found[1]): found[2] for table, rule in checks if (found := ONE_OF.search(rule))}
    tables: dict[str, list[tuple[str, Any, bool]]] = {}
    for table, column, kind, needed in connection.execute(COLUMNS.encode()):
        value = known.get(column)
        if kind not in ("text", "text[]", "real[]") or isinstance(value, list) != kind.endswith("[]"):
            value = None
        value = allowed.get((table, column)) if value is None else value
        tables.setdefault(table, []).append(
            (column, _value(column, kind, number) if value is None else value, needed)
        )
    waiting = list(tables)
    while waiting:
        left = [table for table in waiting if not _insert(connection, table, tables[table])]
        assert len(left) < len(waiting), f"no row can be made for {left}"
        waiting = left
    return set(tables)


def _value(column: str, kind: str, number: int) -> Any:
    if column == "clock":
        return "synced"
    if kind == "text":
        return f"{column}-{number}"
    if kind in ("bigint", "integer"):
        return number
    if kind == "uuid":
        return f"00000000-0000-4000-8000-{number:012}"
    return VALUES[kind]


def _insert(connection: psycopg.Connection, table: str, columns: list[tuple[str, Any, bool]]) -> bool:
    """False where a row of another table has to be there first."""
    for only_needed in (False, True):  # some columns may only be filled when others are not
        chosen = [(column, value) for column, value, needed in columns if needed or not only_needed]
        statement = sql.SQL("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE VALUES ({})").format(
            sql.Identifier(table),
            sql.SQL(", ").join(sql.Identifier(column) for column, _ in chosen),
            sql.SQL(", ").join(sql.Placeholder() for _ in chosen),
        )
        try:
            connection.execute(statement, [value for _, value in chosen])
        except psycopg.errors.CheckViolation:
            if only_needed:
                raise
        except psycopg.errors.ForeignKeyViolation:
            return False
        else:
            return True
    return False
