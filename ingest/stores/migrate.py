"""Brings a database to the present schema: numbered files, each applied once, none ever changed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any, cast

import psycopg
from psycopg import sql

from ..errors import MigrationError
from .queries import query

_NAME = re.compile(r"(\d{3})_\w+\.sql")


@dataclass(frozen=True, slots=True)
class Migration:
    number: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


def available(folder: Traversable | None = None) -> list[Migration]:
    """The migrations of this program, in order. Raises MigrationError where a number is missing or taken twice."""
    folder = folder or resources.files(__package__).joinpath("migrations")
    names = sorted(file.name for file in folder.iterdir() if _NAME.fullmatch(file.name))
    migrations = [Migration(int(name[:3]), name, folder.joinpath(name).read_text(encoding="utf-8")) for name in names]
    if [m.number for m in migrations] != list(range(1, len(migrations) + 1)):
        raise MigrationError(f"migrations are not numbered 1, 2, 3 ...: {', '.join(names)}")
    return migrations


def migrate(connection: psycopg.Connection, migrations: Sequence[Migration] | None = None) -> list[str]:
    """Applies what is missing and returns the names. `connection` is in autocommit. Raises MigrationError."""
    migrations = available() if migrations is None else migrations
    connection.execute(query("lock_migrations"))
    try:
        connection.execute(query("create_ledger"))
        missing = migrations[_applied(connection, migrations) :]
        for migration in missing:
            _apply(connection, migration)
    finally:
        if not connection.broken:
            connection.execute(query("unlock_migrations"))
    return [migration.name for migration in missing]


def _applied(connection: psycopg.Connection, migrations: Sequence[Migration]) -> int:
    ledger = connection.execute(query("applied_migrations")).fetchall()
    for (number, name, checksum), migration in zip(ledger, migrations, strict=False):
        if (number, checksum) != (migration.number, migration.checksum):
            raise MigrationError(
                f"the database was made with another {name} (checksum {checksum[:12]}) than the {migration.name} "
                f"of this program (checksum {migration.checksum[:12]})"
            )
    if len(ledger) > len(migrations):
        raise MigrationError(
            f"the database is newer than this program: it has {len(ledger)} migrations, the program {len(migrations)}"
        )
    return len(ledger)


def _apply(connection: psycopg.Connection, migration: Migration) -> None:
    # The files are part of this program, so their text is as trusted as a literal.
    statement = sql.SQL(cast("Any", migration.text))
    try:
        with connection.transaction():
            connection.execute(statement)
            connection.execute(query("note_migration"), [migration.number, migration.name, migration.checksum])
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:
        raise MigrationError(f"{migration.name} failed: {error.diag.message_primary or error}") from error
