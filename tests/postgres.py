"""PostgreSQL servers for tests: one a session, a fresh database a test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import psycopg
import pytest

from ingest.embedded import EmbeddedPostgres, Postgres, TimescalePostgres
from ingest.stores.migrate import migrate

_numbers = count(1)
HASTY = {"fsync": "off", "max_connections": "60"}  # nobody pulls the plug on a test


@pytest.fixture(scope="session")
def embedded_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    with EmbeddedPostgres(tmp_path_factory.mktemp("postgres") / "data", HASTY) as server:
        yield server
    server.remove()


@pytest.fixture(scope="session")
def timescale_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    programs = os.environ.get("TINYML_TIMESCALE_BIN", "")
    if not programs:
        if os.environ.get("CI"):
            pytest.fail("CI has to name server programs with TimescaleDB in TINYML_TIMESCALE_BIN")
        pytest.skip("TINYML_TIMESCALE_BIN names no server programs with TimescaleDB")
    with TimescalePostgres(Path(programs), tmp_path_factory.mktemp("timescale") / "data", HASTY) as server:
        yield server
    server.remove()


def fresh_database(server: Postgres, *, migrated: bool = True) -> Iterator[str]:
    """The body of a fixture: the URL of a database that exists for one test."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    url = server.create_database(name)
    if migrated:
        with psycopg.connect(url, autocommit=True) as connection:
            migrate(connection)
    yield url
    server.drop_database(name)
