"""A few connections to PostgreSQL that all requests share, and the statements of `queries.sql`."""

from __future__ import annotations

import select
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from queue import Empty, LifoQueue
from typing import Any, TypeAlias

import psycopg
from psycopg import sql
from psycopg.rows import DictRow, dict_row

from ingest.stores import queries
from ingest.stores.events import PATIENCE

from .errors import DatabaseAwayError

Connection: TypeAlias = psycopg.Connection[DictRow]
TRUST_S = 1.0  # a connection that was used this lately is taken to be alive
NOT_MIGRATED = "the database has no tables yet; run `tinyml ingest migrate`"


def query(name: str) -> sql.Composed:
    """A statement of `platform_api/queries.sql`."""
    return queries.query(name, package=__package__)


class Database:
    """At most `size` connections; a request that gets none within `patience_s` is told that the database is away.

    Whatever fails because the server is gone, slow or not migrated is raised as DatabaseAwayError.
    """

    def __init__(self, url: str, size: int = 8, patience_s: float = 5.0) -> None:
        self.url, self.patience_s = url, patience_s
        self._idle: LifoQueue[tuple[Connection, float] | None] = LifoQueue()
        self._closed = False
        for _ in range(size):
            self._idle.put(None)  # a place that has no connection yet

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection in autocommit for the length of the block."""
        try:
            place = self._idle.get(timeout=self.patience_s)
        except Empty:
            raise DatabaseAwayError("All connections to the database are busy.") from None
        connection: Connection | None = None
        try:
            connection = self._alive(place) or self._connect()
            yield connection
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            raise DatabaseAwayError(_sentence(error)) from error
        except psycopg.errors.UndefinedTable as error:
            raise DatabaseAwayError(f"{NOT_MIGRATED}.") from error
        finally:
            self._give_back(connection)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A connection whose block is committed whole, or not at all where it raises."""
        with self.connection() as connection, connection.transaction():
            yield connection

    def rows(self, name: str, values: Mapping[str, object] | None = None) -> list[DictRow]:
        """All rows of a statement."""
        with self.connection() as connection:
            return connection.execute(query(name), values).fetchall()

    def row(self, name: str, values: Mapping[str, object] | None = None) -> DictRow | None:
        """The first row of a statement."""
        with self.connection() as connection:
            return connection.execute(query(name), values).fetchone()

    def change(self, name: str, values: Mapping[str, object]) -> None:
        """Runs a statement that gives no rows."""
        with self.connection() as connection:
            connection.execute(query(name), values)

    def close(self) -> None:
        """Closes what is idle now, and what is in use as soon as it is given back."""
        self._closed = True
        emptied = 0
        with suppress(Empty):
            while True:
                place = self._idle.get_nowait()
                emptied += 1
                if place is not None:
                    place[0].close()
        for _ in range(emptied):
            self._idle.put(None)

    def _connect(self) -> Connection:
        return psycopg.connect(
            self.url,
            autocommit=True,
            application_name="tinyml-api",
            row_factory=dict_row,
            options=f"-c timezone=UTC -c statement_timeout={round(self.patience_s * 1000)}",
            **PATIENCE,
        )

    @staticmethod
    def _alive(place: tuple[Connection, float] | None) -> Connection | None:
        if place is None:
            return None
        connection, used_at = place
        if time.monotonic() - used_at > TRUST_S or _has_said_something(connection):
            try:
                connection.execute("")
            except psycopg.Error:  # the server was restarted meanwhile; a new connection will tell
                connection.close()
                return None
        return connection

    def _give_back(self, connection: Connection | None) -> None:
        if connection is None or connection.closed:
            self._idle.put(None)
        else:
            self._idle.put((connection, time.monotonic()))
            if self._closed:
                self.close()


def _has_said_something(connection: Connection) -> bool:
    """Whether the server spoke unasked: most likely it ended the session."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def _sentence(error: psycopg.Error) -> str:
    why: Any = error.diag.message_primary or str(error).strip() or type(error).__name__
    return f"The database does not answer: {' '.join(str(why).split())}"
