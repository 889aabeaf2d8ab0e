"""Grafana's role reads the views, and can do nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from broker.cli import main
from ingest.embedded import Postgres
from ingest.keeping.readers import grant_readers
from tests.postgres import fresh_database

PASSWORD = "long enough for Grafana"


@pytest.fixture
def url(embedded_server: Postgres) -> Iterator[str]:
    yield from fresh_database(embedded_server)


@pytest.fixture
def role(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("TINYML_GRAFANA_PASSWORD", PASSWORD)
    name = "grafana_reader"
    assert main(["ingest", "migrate", "--database", url, "--grafana-role", name]) == 0
    yield name
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute(f"DROP OWNED BY {name}; DROP ROLE {name}".encode())


@pytest.fixture
def reader(url: str, role: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(url.replace("user=postgres", f"user={role}"), autocommit=True) as connection:
        yield connection


def test_reads_every_view(reader: psycopg.Connection) -> None:
    views = reader.execute("SELECT viewname FROM pg_views WHERE schemaname = 'public' AND viewname LIKE 'v\\_%'")
    names = [name for (name,) in views]
    assert {"v_device", "v_traffic_day", "v_reading_hour", "v_incident"} <= set(names)
    for name in names:
        assert reader.execute(f"SELECT * FROM {name}".encode()).fetchall() == []


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT idempotency_key FROM label",
        "SELECT * FROM sample",
        "SELECT * FROM migration",
        "INSERT INTO device (device) VALUES ('x')",
        "UPDATE v_traffic SET bytes = 0",
        "DELETE FROM v_log",
        "TRUNCATE log",
        "CREATE TABLE mine (x bigint)",
        "CREATE ROLE mine",
        "SELECT pg_read_file('PG_VERSION')",
        "SELECT rolpassword FROM pg_authid",
    ],
)
def test_can_do_nothing_else_even_where_it_says_that_it_writes(reader: psycopg.Connection, statement: str) -> None:
    reader.execute("SET default_transaction_read_only = off")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        reader.execute(statement.encode())


def test_starts_read_only_and_with_a_limit_of_time(reader: psycopg.Connection) -> None:
    shown = [
        reader.execute(f"SHOW {name}".encode()).fetchone()
        for name in ("default_transaction_read_only", "statement_timeout")
    ]
    assert shown == [("on",), ("30s",)]


def test_its_password_is_kept_as_a_digest(url: str, role: str) -> None:
    with psycopg.connect(url) as owner:
        ((kept,),) = owner.execute("SELECT rolpassword FROM pg_authid WHERE rolname = %s", [role]).fetchall()
    assert kept.startswith("SCRAM-SHA-256$")


def test_making_it_again_changes_the_password_and_nothing_else(
    url: str, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINYML_GRAFANA_PASSWORD", PASSWORD + "!")
    assert main(["ingest", "migrate", "--database", url, "--grafana-role", role]) == 0


def test_reads_views_that_came_later(url: str, reader: psycopg.Connection) -> None:
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute("CREATE VIEW v_new AS SELECT 1 AS one; DROP VIEW v_job; CREATE VIEW v_job AS SELECT 2 AS two")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            reader.execute("SELECT * FROM v_new")
        grant_readers(owner)
    assert reader.execute("SELECT one, two FROM v_new, v_job").fetchall() == [(1, 2)]


@pytest.mark.parametrize(
    ("name", "password", "sentence"),
    [
        ("grafana_reader", "", "has to have 12 characters or more, and has 0"),
        ("grafana_reader", "short", "has to have 12 characters or more, and has 5"),
        ("Grafana; DROP", PASSWORD, "is not a name for a role"),
        ("pg_read_all_data", PASSWORD, "is not a name for a role"),
        ("postgres", PASSWORD, "there is a role postgres that was not made by tinyml"),
    ],
)
def test_refuses_what_would_be_wrong(
    url: str,
    name: str,
    password: str,
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TINYML_GRAFANA_PASSWORD", password)
    assert main(["ingest", "migrate", "--database", url, "--grafana-role", name]) == 2
    assert sentence in capsys.readouterr().err


def test_the_password_is_in_no_log_of_the_server(embedded_server: Postgres, url: str, role: str) -> None:
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute("ALTER SYSTEM SET log_statement = 'all'; ")
        owner.execute("SELECT pg_reload_conf()")
        try:
            assert main(["ingest", "migrate", "--database", url, "--grafana-role", role]) == 0
        finally:
            owner.execute("ALTER SYSTEM RESET log_statement")
            owner.execute("SELECT pg_reload_conf()")
    log = Path(embedded_server.data_dir, "server.log").read_text()
    assert "ALTER ROLE" in log
    assert PASSWORD not in log
