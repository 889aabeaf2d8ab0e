"""PostgreSQL servers for tests: one a session, a fresh database a test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from ingest.embedded import EmbeddedPostgres, Postgres, TimescalePostgres
from ingest.stores.migrate import migrate
from tests.support import missing

_numbers = count(1)
_templates: set[str] = set()  # URLs of servers that have one
HASTY = {"fsync": "off", "max_connections": "60"}  # nobody pulls the plug on a test


@pytest.fixture(scope="session")
def embedded_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    with EmbeddedPostgres(tmp_path_factory.mktemp("postgres") / "data", HASTY) as server:
        yield server
    server.remove()


def timescale_programs() -> Path:
    """Where the server programs with TimescaleDB are; skips, and in CI fails, where there are none."""
    programs = os.environ.get("TINYML_TIMESCALE_BIN", "")
    if not programs:
        missing("TimescaleDB (TINYML_TIMESCALE_BIN names its server programs)")
    return Path(programs)


@pytest.fixture(scope="session")
def timescale_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    with TimescalePostgres(timescale_programs(), tmp_path_factory.mktemp("timescale") / "data", HASTY) as server:
        yield server
    server.remove()


def fresh_database(server: Postgres, *, migrated: bool = True) -> Iterator[str]:
    """The body of a fixture: the URL of a database that exists for one test."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    if migrated and not isinstance(server, TimescalePostgres):
        url = _copy_of_template(server, name)
    else:  # TimescaleDB's own sessions in a template would forbid to copy it
        url = server.create_database(name)
        if migrated:
            _migrate(url)
    yield url
    server.drop_database(name)


def _copy_of_template(server: Postgres, name: str) -> str:
    if server.url not in _templates:
        _migrate(server.create_database("template_migrated"))
        _templates.add(server.url)
    with psycopg.connect(server.url, autocommit=True) as connection:
        copy = "CREATE DATABASE {} TEMPLATE template_migrated STRATEGY file_copy"
        connection.execute(sql.SQL(copy).format(sql.Identifier(name)))
    return server.url_of(name)


def _migrate(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        migrate(connection)
