"""PostgreSQL servers for tests: embedded, on TimescaleDB's programs, in a container; a fresh database a test."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest
from psycopg import sql
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer

from ingest.embedded import EmbeddedPostgres, Postgres, TimescalePostgres
from ingest.stores.migrate import migrate
from tests.support import missing, wait_until

_numbers = count(1)
_templates: set[str] = set()  # URLs of servers that have one
_emptied: dict[str, str] = {}  # URL of a server -> URL of its database that is emptied before each test
TIMESCALE = "timescale/timescaledb:2.22.1-pg17"  # as compose.yaml runs it
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


class PostgresContainer:
    """The published image of TimescaleDB; Docker removes it with its data."""

    def __init__(self) -> None:
        self.password = secrets.token_hex(8)
        testcontainers_config.ryuk_disabled = True  # one more image to pull; whoever starts the container stops it
        container = DockerContainer(TIMESCALE).with_exposed_ports(5432)
        # The server that only initialises listens on no address, so what answers is the right one.
        self.container = container.with_env("POSTGRES_PASSWORD", self.password)

    def start(self) -> None:
        self.container.start()
        wait_until(self._answers, timeout=90)

    def stop(self) -> None:
        self.container.stop()

    @property
    def url(self) -> str:
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        host, port = self.container.get_container_host_ip(), self.container.get_exposed_port(5432)
        return f"postgresql://postgres:{self.password}@{host}:{port}/{database}"

    def create_database(self, name: str) -> str:
        self._run("CREATE DATABASE {} TEMPLATE template0", name)
        return self.url_of(name)

    def drop_database(self, name: str) -> None:
        self._run("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)

    def _run(self, statement: LiteralString, name: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(sql.Identifier(name)))

    def _answers(self) -> bool:
        try:
            with psycopg.connect(self.url, connect_timeout=2):
                return True
        except psycopg.OperationalError:
            return False


@pytest.fixture(scope="session")
def timescale_container() -> Iterator[PostgresContainer]:
    program = shutil.which("docker")
    if program is None or subprocess.run([program, "info"], capture_output=True, check=False).returncode:
        missing("Docker engine")
    server = PostgresContainer()
    server.start()
    yield server
    server.stop()


def fresh_database(server: Postgres | PostgresContainer, *, migrated: bool = True) -> Iterator[str]:
    """The body of a fixture: the URL of a database that exists for one test."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    if migrated and isinstance(server, EmbeddedPostgres):
        url = _copy_of_template(server, name)
    else:  # TimescaleDB's own sessions in a template would forbid to copy it
        url = server.create_database(name)
        if migrated:
            _migrate(url)
    yield url
    server.drop_database(name)


def emptied_database(server: Postgres | PostgresContainer) -> str:
    """The URL of a migrated database without a row, for one test after the other; it goes with its server.

    With TimescaleDB, making a database takes ten times as long as emptying one.
    """
    if server.url not in _emptied:
        _emptied[server.url] = server.create_database("emptied")
        _migrate(_emptied[server.url])
    with psycopg.connect(_emptied[server.url], autocommit=True) as connection:
        found = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'migration'"
        )
        tables = sql.SQL(", ").join(sql.Identifier(name) for (name,) in found)
        connection.execute("SET client_min_messages = 'warning'")
        connection.execute(sql.SQL("TRUNCATE {} RESTART IDENTITY CASCADE").format(tables))
    return _emptied[server.url]


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
