"""The event store on PostgreSQL: embedded, plain, or with TimescaleDB; one implementation.

A batch is one transaction: binary COPY into a temporary stage a table, then INSERT ... ON CONFLICT DO NOTHING. So a
batch whose commit was not heard of can be stored again.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, NoReturn, TypeVar

import numpy as np
import psycopg
from psycopg import sql
from psycopg.adapt import Dumper
from psycopg.pq import Format
from psycopg.types.json import Jsonb

from broker.messages import Birth, Float32Array, Header, Status

from ..errors import IngestError, RecordRefused, StoreAway
from . import presence
from .batch import KEY, Answer, Batch, Table, wall_time
from .presence import Standing
from .queries import query

T = TypeVar("T")
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

    def __init__(self, url: str, *, application: str = "tinyml-ingest") -> None:
        self.url, self.application = url, application
        self._connection: psycopg.Connection | None = None
        self._stages: dict[Table, list[str]] = {}  # tables with a stage on this connection -> their column types

    def store(self, batch: Batch) -> None:
        """Commits the batch once, however often it is called; raises StoreAway or RecordRefused and stores nothing."""
        self._attempt(lambda connection: self._write(connection, batch))

    def level(self) -> str:
        """What the database can do: `plain`, `timescale-apache` or `timescale-community`."""
        return self._attempt(server_level)

    def ping(self) -> None:
        """Raises StoreAway while the database does not answer."""
        self._attempt(lambda connection: connection.execute("SELECT 1"))

    def close(self) -> None:
        """Gives the connection back."""
        connection, self._connection, self._stages = self._connection, None, {}
        if connection is not None:
            connection.close()

    def _attempt(self, work: Callable[[psycopg.Connection], T]) -> T:
        try:
            if self._connection is None:
                self._connection = connect(self.url, self.application)
            return work(self._connection)
        except psycopg.Error as error:
            self.close()
            _explain(error)

    def _write(self, connection: psycopg.Connection, batch: Batch) -> None:
        tables = sorted(batch.rows, key=lambda table: table.name)  # one order for all workers: no deadlocks
        for table in tables:
            if table not in self._stages:
                self._stages[table] = _create_stage(connection, table)
        with connection.transaction(), connection.cursor() as cursor:
            for table in tables:
                _insert(cursor, table, self._stages[table], batch.rows[table])
            for letter in batch.letters:
                cursor.execute(query("bury_letter"), asdict(letter))
            for device in sorted(_spoken_for(batch)):
                _settle_presence(cursor, device, batch)
            if batch.heard:
                cursor.execute(query("hear_devices"), [sorted(batch.heard)])
            for answer in sorted(batch.answers, key=lambda a: (a.device, a.sample, a.revision)):
                _answer_label(cursor, answer)


def connect(url: str, application: str = "tinyml") -> psycopg.Connection:
    """A connection in autocommit. Raises psycopg.Error."""
    connection = psycopg.connect(url, autocommit=True, application_name=application, **PATIENCE)
    connection.adapters.register_dumper(Float32Array, Float32ArrayDumper)
    return connection


def server_level(connection: psycopg.Connection) -> str:
    """`plain`, `timescale-apache` or `timescale-community`."""
    row = connection.execute(query("server_level")).fetchone()
    return str(row[0]) if row else "plain"


def _explain(error: psycopg.Error) -> NoReturn:
    if isinstance(error, psycopg.errors.DataError | psycopg.errors.IntegrityError):
        raise RecordRefused(f"the database refuses a record: {_sentence(error)}") from error
    # A server that was demoted to a replica answers like this until the address points to the new one.
    away = psycopg.OperationalError | psycopg.InterfaceError | psycopg.errors.ReadOnlySqlTransaction
    if isinstance(error, away):
        raise StoreAway("database", _sentence(error)) from error
    raise IngestError(f"the database cannot be used: {_sentence(error)}") from error


def _sentence(error: psycopg.Error) -> str:
    return " ".join((error.diag.message_primary or str(error) or type(error).__name__).split())


def _names(columns: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, columns))


def _parts(table: Table) -> dict[str, sql.Composable]:
    return {
        "table": sql.Identifier(table.name),
        "stage": sql.Identifier("stage_" + table.name),
        "columns": _names((*KEY, *table.columns)),
    }


def _create_stage(connection: psycopg.Connection, table: Table) -> list[str]:
    types = dict(connection.execute(query("column_types"), [table.name]).fetchall())
    connection.execute(query("create_stage", **_parts(table)))
    return [types[column] for column in (*KEY, *table.columns)]


def _insert(
    cursor: psycopg.Cursor[Any], table: Table, types: Sequence[str], rows: Sequence[tuple[object, ...]]
) -> None:
    parts = _parts(table)
    with cursor.copy(query("fill_stage", **parts)) as copy:
        copy.set_types(types)
        for row in rows:
            copy.write_row(row)
    cursor.execute(query("insert_stage", **parts))


def _answer_label(cursor: psycopg.Cursor[Any], answer: Answer) -> None:
    cursor.execute(query("answer_label"), asdict(answer))
    cursor.execute(query("notify_answer"), asdict(answer))


# ---- presence --------------------------------------------------------------------------------------------------


def _spoken_for(batch: Batch) -> set[str]:
    return {header.device for header, _ in [*batch.statuses, *batch.births]}


def _settle_presence(cursor: psycopg.Cursor[Any], device: str, batch: Batch) -> None:
    cursor.execute(query("ensure_device"), [device])
    state_boot, session, mono_us, state, birth_boot, birth_session = cursor.execute(
        query("read_standing"), [device]
    ).fetchone() or (None,) * 6
    known = Standing(state_boot, session, mono_us, state == "offline") if state_boot is not None else None
    born = Standing(birth_boot, birth_session) if birth_boot is not None else None
    for header, birth in batch.births:
        if header.device == device and (born is None or presence.overrules(presence.of_birth(header, birth), born)):
            born = presence.of_birth(header, birth)
            cursor.execute(query("write_birth"), _birth_values(header, birth))
    for header, status in batch.statuses:
        if header.device == device and (known is None or presence.overrules(presence.of_status(header, status), known)):
            known = presence.of_status(header, status)
            cursor.execute(query("write_status"), _status_values(header, status))


def _status_values(header: Header, status: Status) -> dict[str, object]:
    return {
        "device": header.device,
        "boot": header.boot,
        "at": wall_time(header),
        "mono_us": header.mono_us,
        "session": status.session,
        "state": status.state,
        "reason": status.reason,
        "faults": list(status.faults),
    }


def _birth_values(header: Header, birth: Birth) -> dict[str, object]:
    return {
        **{name: getattr(birth, name) for name in Birth.__slots__},
        "device": header.device,
        "boot": header.boot,
        "at": wall_time(header),
        "versions": Jsonb(birth.versions),
        "actors": list(birth.actors),
        "detectors": list(birth.detectors),
    }
