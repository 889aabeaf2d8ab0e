"""Migrations end at `schema.sql`, are applied once, and notice a database that is not theirs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from threading import Thread
from typing import Any

import psycopg
import psycopg.rows
import pytest

from ingest.embedded import Postgres
from ingest.errors import MigrationError
from ingest.stores.migrate import Migration, available, migrate
from tests.postgres import fresh_database
from tests.rows import fill

READINGS = 7  # the migration that made readings rows
FIRST = Migration(1, "001_a.sql", "CREATE TABLE a (x bigint)")
SECOND = Migration(2, "002_b.sql", "CREATE TABLE b (x bigint)")
CATALOG = {
    "columns": """
        SELECT c.relname, c.relkind, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
               pg_get_expr(d.adbin, d.adrelid)
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
        LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'v') AND a.attnum > 0
          AND NOT a.attisdropped AND c.relname <> 'migration'
        ORDER BY c.relname, a.attname""",
    "constraints": """
        SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text <> 'migration'
        ORDER BY 1, 2""",
    "indexes": """
        SELECT indexname, indexdef FROM pg_indexes
        WHERE schemaname = 'public' AND tablename <> 'migration' ORDER BY 1""",
    "views": "SELECT viewname, definition FROM pg_views WHERE schemaname = 'public' ORDER BY 1",
    "functions": """
        SELECT proname, prosrc, pg_get_function_identity_arguments(oid) FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace ORDER BY 1, 3""",
    "triggers": """
        SELECT tgrelid::regclass::text, pg_get_triggerdef(oid) FROM pg_trigger
        WHERE NOT tgisinternal ORDER BY 1, 2""",
}


@pytest.fixture
def empty(embedded_server: Postgres) -> Iterator[psycopg.Connection]:
    for url in fresh_database(embedded_server, migrated=False):
        with psycopg.connect(url, autocommit=True) as connection:
            yield connection


def catalog(connection: psycopg.Connection) -> dict[str, list[tuple[Any, ...]]]:
    return {what: connection.execute(query.encode()).fetchall() for what, query in CATALOG.items()}


def same_database(server: Postgres) -> bool:
    schema = resources.files("ingest.stores").joinpath("schema.sql").read_bytes()
    catalogs = []
    for migrated in (True, False):
        for url in fresh_database(server, migrated=migrated):
            with psycopg.connect(url, autocommit=True) as connection:
                if not migrated:
                    with connection.transaction():
                        connection.execute(schema)
                catalogs.append(catalog(connection))
    first, second = catalogs
    assert first["columns"], "the catalogue was not read"
    differ = {what: sorted(map(str, set(first[what]) ^ set(second[what]))) for what in first}
    assert first == second, differ
    return first == second


def test_the_migrations_and_the_schema_give_the_same_database(embedded_server: Postgres) -> None:
    assert same_database(embedded_server)


@pytest.mark.timescale
def test_the_migrations_and_the_schema_give_the_same_database_on_timescale(timescale_server: Postgres) -> None:
    assert same_database(timescale_server)


# What a migration put elsewhere on purpose: readings became rows of their own.
MOVED = {"telemetry": {"names", "ages", "readings"}}


def rows_of(connection: psycopg.Connection, table: str, columns: list[str] | None = None) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        rows = cursor.execute(f"SELECT * FROM {table} ORDER BY 1, 2".encode()).fetchall()
    kept = columns or [name for name in (rows[0] if rows else {}) if name not in MOVED.get(table, ())]
    return [{name: row[name] for name in kept} for row in rows]


def check_migration_from(connection: psycopg.Connection, count: int) -> None:
    """The rows of a database of the first so many migrations are all there after the rest of them."""
    migrate(connection, available()[:count])
    tables = set()
    for number in (1, 2):
        tables = fill(
            connection, number=number, names=["fps", "rss"], ages=[60.0, 0.0], readings=[1.0, 2.0, 3.0, 4.0]
        )
    before = {table: rows_of(connection, table) for table in tables}
    migrate(connection)
    for table, rows in before.items():
        assert len(rows) == 2, table
        assert rows_of(connection, table, list(rows[0])) == rows, f"{table} after the migration from {count}"
    (readings,) = connection.execute("SELECT count(*) FROM v_telemetry").fetchone() or (0,)
    assert count >= READINGS or readings == 8


@pytest.mark.parametrize("count", range(1, len(available())))
def test_keeps_every_row_of_every_earlier_version(empty: psycopg.Connection, count: int) -> None:
    check_migration_from(empty, count)


@pytest.mark.timescale
@pytest.mark.parametrize("count", range(1, len(available())))
def test_keeps_every_row_of_every_earlier_version_on_timescale(timescale_server: Postgres, count: int) -> None:
    for url in fresh_database(timescale_server, migrated=False):
        with psycopg.connect(url, autocommit=True) as connection:
            check_migration_from(connection, count)


def test_every_view_can_be_read(empty: psycopg.Connection) -> None:
    migrate(empty)
    views = empty.execute("SELECT viewname FROM pg_views WHERE schemaname = 'public'").fetchall()
    assert {"v_device", "v_drift_episode", "v_sample", "v_sample_pending", "v_label", "v_record_count"} <= {
        name for (name,) in views
    }
    for (name,) in views:
        assert empty.execute(f"SELECT * FROM {name}".encode()).fetchall() == []


def test_a_second_run_changes_nothing(empty: psycopg.Connection) -> None:
    assert migrate(empty) == [migration.name for migration in available()]
    assert migrate(empty) == []


def test_applies_only_what_is_missing(empty: psycopg.Connection) -> None:
    assert migrate(empty, [FIRST]) == ["001_a.sql"]
    assert migrate(empty, [FIRST, SECOND]) == ["002_b.sql"]


def test_notices_a_migration_that_was_changed(empty: psycopg.Connection) -> None:
    migrate(empty, [FIRST])
    changed = Migration(1, "001_a.sql", FIRST.text + " ")
    with pytest.raises(MigrationError, match=r"made with another 001_a\.sql"):
        migrate(empty, [changed, SECOND])
    assert empty.execute("SELECT to_regclass('b')").fetchone() == (None,)


def test_notices_a_ledger_that_was_tampered_with(empty: psycopg.Connection) -> None:
    migrate(empty)
    empty.execute("UPDATE migration SET checksum = 'f00' WHERE number = 1")
    with pytest.raises(MigrationError, match="checksum f00"):
        migrate(empty)


def test_refuses_a_database_that_is_newer_than_the_program(empty: psycopg.Connection) -> None:
    migrate(empty, [FIRST, SECOND])
    with pytest.raises(MigrationError, match="newer than this program"):
        migrate(empty, [FIRST])


def test_a_migration_that_fails_leaves_nothing_behind(empty: psycopg.Connection) -> None:
    broken = Migration(1, "001_broken.sql", "CREATE TABLE half (x bigint); SELECT 1 / 0")
    with pytest.raises(MigrationError, match=r"001_broken\.sql failed: division by zero"):
        migrate(empty, [broken])
    assert empty.execute("SELECT to_regclass('half')").fetchone() == (None,)
    assert migrate(empty, [FIRST]) == ["001_a.sql"]  # and the lock was given back


def test_two_processes_that_start_together_migrate_once(empty: psycopg.Connection) -> None:
    applied: list[list[str]] = []

    def start() -> None:
        with psycopg.connect(empty.info.dsn, autocommit=True) as connection:
            applied.append(migrate(connection))

    threads = [Thread(target=start) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(map(len, applied)) == [0, 0, len(available())]


def test_migrations_are_numbered_without_a_gap(tmp_path: Path) -> None:
    (tmp_path / "001_a.sql").write_text("")
    (tmp_path / "003_c.sql").write_text("")
    with pytest.raises(MigrationError, match="not numbered"):
        available(tmp_path)


def test_names_of_migrations_say_what_changes() -> None:
    for migration in available():
        assert re.fullmatch(r"\d{3}_[a-z_]+\.sql", migration.name)
