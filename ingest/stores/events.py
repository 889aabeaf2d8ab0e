"""The event store on PostgreSQL: embedded, plain, or with TimescaleDB; one implementation.

A batch is one transaction: binary COPY into a temporary stage a table, then INSERT ... ON CONFLICT DO NOTHING. So a
batch whose commit was not heard of can be stored again.
"""

from __future__ import annotations

import contextlib
import math
import re
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np
import psycopg
from psycopg import sql
from psycopg.adapt import Dumper, PyFormat
from psycopg.pq import Format

from broker.messages import Float32Array

from ..blobs import rows as blobs
from ..errors import IngestError, RecordRefused, StoreAway
from . import presence
from .batch import KEY, Answer, Batch, Letter, Table
from .clocks import Clocks
from .queries import query
from .readings import TELEMETRY, Readings
from .traffic import Traffic

T = TypeVar("T")
# libpq gives no codes for what happens before a connection stands.
_FINAL = re.compile(r"authentication failed|no pg_hba.conf entry|(role|database) \"[^\"]*\" does not exist")
# Two transactions were in each other's way, and this one gave way: that is no outage to tell devices of.
TRANSIENT = (psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected)
TRANSIENT_TIMES = 2
HEARD_S = 6.0  # longer than `hear_devices` leaves a row alone
REMEMBERED = 100_000  # devices
REAL, REAL_ARRAY = 700, 1021  # PostgreSQL's numbers of these types

# A server that vanished without a word is noticed within half a minute.
PATIENCE: dict[str, Any] = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}


class Float32ArrayDumper(Dumper):
    """Travelling float32 numbers as a `real[]`, without a Python object a number."""

    format = Format.BINARY
    oid = REAL_ARRAY

    def dump(self, obj: Float32Array) -> bytes:
        count = len(obj) // 4
        if not count:
            return struct.pack(">3i", 0, 0, REAL)
        elements = np.empty(count, dtype=[("size", ">i4"), ("number", ">f4")])
        elements["size"] = 4
        elements["number"] = np.frombuffer(obj, "<f4")
        return struct.pack(">5i", 1, 0, REAL, count, 1) + elements.tobytes()


class PostgresEvents:
    """Connects when it is first needed and again after every failure."""

    def __init__(self, url: str, *, application: str = "tinyml-ingest", lock_patience_s: float = 8.0) -> None:
        """A lock that somebody else holds for longer than that makes a StoreAway: nobody hangs here for ever."""
        self.url, self.application, self.lock_patience_s = url, application, lock_patience_s
        self._connection: psycopg.Connection | None = None
        self._stages: dict[Table, _Stage] = {}  # those that exist on this connection
        self._readings, self._clocks = Readings(), Clocks()
        self.traffic = Traffic()
        self._told: dict[str, float] = {}  # device -> when the database was told that it was heard

    def store(self, batch: Batch) -> int:
        """Commits the batch and returns how many rows are new; a second time changes nothing.

        Raises StoreAway or RecordRefused.
        """
        return self._attempt(lambda connection: self._write(connection, batch))

    def level(self) -> str:
        """What the database can do: `plain`, `timescale-apache` or `timescale-community`."""
        return self._attempt(server_level)

    def ping(self) -> None:
        """Raises StoreAway while the database does not answer."""
        self._attempt(lambda connection: connection.execute("SELECT 1"))

    def close(self) -> None:
        """Writes what of the traffic was only counted, and gives the connection back."""
        if self._connection is not None and self.traffic:
            with contextlib.suppress(IngestError):  # it is a figure; the reason why it is lost was told before
                self._attempt(self._write_traffic)
        self._disconnect()

    def _disconnect(self) -> None:
        connection, self._connection, self._stages = self._connection, None, {}
        self._readings.forget()
        if connection is not None:
            connection.close()

    def _attempt(self, work: Callable[[psycopg.Connection], T]) -> T:
        for again in range(TRANSIENT_TIMES, -1, -1):
            try:
                if self._connection is None:
                    self._connection = connect(self.url, self.application)
                    self._connection.execute(query("be_patient"), [f"{self.lock_patience_s:g}s"])
                return work(self._connection)
            except psycopg.Error as error:
                sentence = explained(error)
                if not isinstance(sentence, RecordRefused):
                    self._disconnect()
                if not (again and isinstance(error, TRANSIENT)):
                    raise sentence from error
        raise AssertionError("the last attempt returns or raises")

    def _write(self, connection: psycopg.Connection, batch: Batch) -> int:
        rows = dict(self._clocks.timed(connection, batch))
        telemetry = rows.pop(TELEMETRY, [])
        self._readings.prepare(connection, telemetry)
        tables = sorted(rows, key=lambda table: table.name)  # one order for all workers: no deadlocks
        for table in tables:
            if table not in self._stages:
                self._stages[table] = _create_stage(connection, table)
        with connection.transaction(), connection.cursor() as cursor:
            new = sum(self._stages[table].insert(cursor, rows[table]) for table in tables)
            new += self._readings.insert(cursor, telemetry)
            if batch.letters:
                cursor.executemany(query("bury_letter"), [_buried(letter, batch.live) for letter in batch.letters])
            for waiting in batch.waiting:  # sorted by key
                cursor.execute(query("keep_waiting"), asdict(waiting))
            blobs.settle(cursor, batch)
            presence.settle(cursor, batch)
            if heard := self._news(batch):
                cursor.execute(query("hear_devices" if batch.live else "know_devices"), [heard])
            for answer in sorted(batch.answers, key=lambda a: (a.device, a.sample, a.revision)):
                _answer_label(cursor, answer)
            if due := self.traffic.due:
                self.traffic.write(cursor)
        if due:
            self.traffic.written()
        if batch.live:
            self.traffic.count(batch)
            self._told |= dict.fromkeys(heard, time.monotonic())
        return new

    def _news(self, batch: Batch) -> list[str]:
        """Devices of the batch that the database was not told of a moment ago: most batches are spared a call."""
        if not batch.live:
            return sorted(batch.heard)
        if len(self._told) > REMEMBERED:
            self._told.clear()
        since = time.monotonic() - HEARD_S
        return sorted(device for device in batch.heard if self._told.get(device, -math.inf) < since)

    def _write_traffic(self, connection: psycopg.Connection) -> None:
        with connection.transaction(), connection.cursor() as cursor:
            self.traffic.write(cursor)
        self.traffic.written()


def connect(url: str, application: str = "tinyml") -> psycopg.Connection:
    """A connection in autocommit. Raises psycopg.Error."""
    connection = psycopg.connect(url, autocommit=True, application_name=application, **PATIENCE)
    connection.adapters.register_dumper(Float32Array, Float32ArrayDumper)
    return connection


def server_level(connection: psycopg.Connection) -> str:
    """`plain`, `timescale-apache` or `timescale-community`."""
    row = connection.execute(query("server_level")).fetchone()
    return str(row[0]) if row else "plain"


def explained(error: psycopg.Error) -> IngestError:
    """The error as a sentence of ours: StoreAway, RecordRefused, or an IngestError that a person has to look at."""
    # ProgramLimitExceeded: a text too long for an index, or the like. It is an OperationalError and yet no outage.
    data = psycopg.errors.DataError | psycopg.errors.IntegrityError | psycopg.errors.ProgramLimitExceeded
    if isinstance(error, data):
        return RecordRefused(f"the database refuses a record: {_sentence(error)}")
    # A server that was demoted to a replica answers like this until the address points to the new one.
    away = psycopg.OperationalError | psycopg.InterfaceError | psycopg.errors.ReadOnlySqlTransaction
    if isinstance(error, away):
        return StoreAway("database", _sentence(error), final=bool(_FINAL.search(str(error))))
    return IngestError(f"the database cannot be used: {_sentence(error)}")


def _sentence(error: psycopg.Error) -> str:
    return " ".join((error.diag.message_primary or str(error) or type(error).__name__).split())


@dataclass(frozen=True, slots=True)
class _Stage:
    """A table's temporary stage on one connection."""

    table: str
    types: list[str]
    fill: sql.Composed
    empty_into_table: sql.Composed

    def insert(self, cursor: psycopg.Cursor[Any], rows: Sequence[tuple[Any, ...]]) -> int:
        """How many of them were not there before. Raises RecordRefused, naming the rows where it can."""
        bad: frozenset[tuple[str, str, int]] = frozenset()
        try:
            with cursor.copy(self.fill) as copy:
                copy.set_types(self.types)
                try:
                    for row in rows:
                        copy.write_row(row)
                except psycopg.DataError:
                    bad = frozenset(row[:3] for row in rows if not _writable(copy, row))
                    raise
            return cursor.execute(self.empty_into_table).rowcount
        except psycopg.Error as error:
            sentence = explained(error)
            if isinstance(sentence, RecordRefused):
                raise RecordRefused(str(sentence), self.table, bad) from error
            raise


def _writable(copy: psycopg.Copy, row: tuple[Any, ...]) -> bool:
    """Whether a row can be given to the database at all; it holds no text with a NUL, say."""
    try:
        copy.formatter.transformer.dump_sequence(row, [PyFormat.BINARY] * len(row))
    except psycopg.DataError:
        return False
    return True


def _create_stage(connection: psycopg.Connection, table: Table) -> _Stage:
    columns = (*KEY, *table.columns)
    names: dict[str, Any] = {
        "table": sql.Identifier(table.name),
        "stage": sql.Identifier("stage_" + table.name),
        "columns": sql.SQL(", ").join(map(sql.Identifier, columns)),
    }
    types: dict[str, str] = dict(connection.execute(query("column_types"), [table.name]).fetchall())
    connection.execute(query("create_stage", **names))
    return _Stage(
        table.name, [types[name] for name in columns], query("fill_stage", **names), query("insert_stage", **names)
    )


def _buried(letter: Letter, live: bool) -> dict[str, Any]:
    return {**asdict(letter), "live": live}


def _answer_label(cursor: psycopg.Cursor[Any], answer: Answer) -> None:
    cursor.execute(query("answer_label"), asdict(answer))
    cursor.execute(query("notify_answer"), asdict(answer))
