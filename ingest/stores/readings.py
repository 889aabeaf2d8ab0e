"""Telemetry as it is stored: one row a message in the ledger `telemetry`, one row a reading in `reading`.

A message is claimed in the ledger (ON CONFLICT DO NOTHING RETURNING) and only what was claimed is copied, in the same
transaction: so every reading is there once, and the copy needs no stage and no unique key. Messages whose clock
cannot be trusted keep their arrays in the ledger until their boot has a clock (`ingest/jobs/retime.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Never

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import sql

from broker.messages import Float32Array

from .batch import EPOCH, KEY, Table
from .queries import query

Row = tuple[Any, ...]
Names = tuple[str, ...]

TELEMETRY = Table("telemetry", ("names", "ages", "readings", "faults", "size", "seconds"))
EPOCH_2000_US = 946_684_800_000_000  # PostgreSQL counts from there
AT_ONCE = 1 << 15  # readings that are built and copied at a time: bounds the memory
REMEMBERED = 400_000  # ids of series; some 10 MB

# A row of binary COPY into (series, at, value).
BINARY_ROW = np.dtype(
    [
        ("fields", ">i2"),
        ("series_size", ">i4"),
        ("series", ">i8"),
        ("at_size", ">i4"),
        ("at", ">i8"),
        ("value_size", ">i4"),
        ("value", ">f4"),
    ]
)
BINARY_HEAD, BINARY_TAIL = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"


class _Message(NamedTuple):
    """A row of the ledger as the consumer made it."""

    device: str
    boot: str
    seq: int
    at: datetime
    clock: str
    op_s: float
    names: Names
    ages: Float32Array
    readings: Float32Array
    faults: list[str]
    size: int
    seconds: float

    @property
    def waits(self) -> bool:
        return self.clock == "unsynced"

    def ledger_row(self) -> Row:
        return self if self.waits else (*self[:6], None, None, None, *self[9:])


class Readings:
    """Writes telemetry over one connection, and remembers the ids of the series it has met."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self.remembered = remembered
        self._ids: dict[tuple[str, Names], NDArray[np.int64]] = {}  # least lately used first
        self._names: dict[Names, Names] = {}  # thousands of devices have the same ones
        self._count = 0
        self._generation = -1  # of the series that the ids were looked up in
        self._types: list[str] = []  # of the stage, where there is one on this connection

    def prepare(self, connection: psycopg.Connection, rows: Sequence[Row]) -> None:
        """Before the transaction: a stage, and ids for all series of these rows of the ledger, in autocommit.

        So that an id is never rolled back, and nobody waits for a name until a batch is written.
        """
        if not rows:
            return
        if not self._types:
            types: dict[str, str] = dict(connection.execute(query("column_types"), [TELEMETRY.name]).fetchall())
            connection.execute(query("create_stage", **_PARTS))
            self._types = [types[name] for name in (*KEY, *TELEMETRY.columns)]
        wanted = {(row[0], row[6]) for row in rows if row[4] != "unsynced"}
        if missing := sorted(wanted - self._ids.keys()):
            self._look_up(connection, missing)
        self._forget_some(wanted)

    def insert(self, cursor: psycopg.Cursor[Row], rows: Sequence[Row]) -> int:
        """Within the transaction; returns how many messages are new."""
        if not rows:
            return 0
        messages = {row[:4]: _Message(*row) for row in rows}
        new = [messages[key] for key in self._claim(cursor, messages.values())]
        if timed := [message for message in new if not message.waits]:
            self._check_series(cursor)
            with cursor.copy(query("copy_readings")) as copy:
                copy.write(BINARY_HEAD)
                for piece in self._pieces(timed):
                    copy.write(piece)
                copy.write(BINARY_TAIL)
        return len(new)

    def _claim(self, cursor: psycopg.Cursor[Row], messages: Iterable[_Message]) -> list[Row]:
        with cursor.copy(query("fill_stage", **_PARTS)) as copy:
            copy.set_types(self._types)
            for message in messages:
                row = message.ledger_row()
                copy.write_row((*row[:6], row[6] and list(row[6]), *row[7:]))
        return cursor.execute(query("claim_messages", **_PARTS)).fetchall()

    def _pieces(self, messages: Sequence[_Message]) -> Iterator[memoryview]:
        gathered: list[_Message] = []
        room = AT_ONCE
        for message in messages:
            gathered.append(message)
            room -= len(message.readings) // 4
            if room <= 0:
                yield self._binary(gathered)
                gathered, room = [], AT_ONCE
        if gathered:
            yield self._binary(gathered)

    def _binary(self, messages: Sequence[_Message]) -> memoryview:
        rows = np.empty(sum(len(message.readings) // 4 for message in messages), dtype=BINARY_ROW)
        rows["fields"], rows["series_size"], rows["at_size"], rows["value_size"] = 3, 8, 8, 4
        end = 0
        for message in messages:
            ids = self._ids[message.device, message.names]
            ages = np.frombuffer(message.ages, "<f4").astype(float)
            start, end = end, end + len(ids) * len(ages)
            # A series after the other: neighbours in the index are written one after the other.
            block = rows[start:end].reshape(len(ids), len(ages))
            block["series"] = ids[:, None]
            block["at"] = microseconds(message.at) - np.rint(ages * 1e6).astype(np.int64)
            block["value"] = np.frombuffer(message.readings, "<f4").reshape(len(ages), len(ids)).T
        return memoryview(rows[~np.isnan(rows["value"])].view(np.uint8))

    # ---- series ----------------------------------------------------------------------------------------------------

    def _look_up(self, connection: psycopg.Connection, missing: Sequence[tuple[str, Names]]) -> None:
        if self._generation < 0:
            self._generation = _generation(connection.cursor())
        pairs = sorted({(device, name) for device, names in missing for name in names})
        wanted = {"devices": [device for device, _ in pairs], "names": [name for _, name in pairs]}
        connection.execute(query("add_series"), wanted)
        ids = {(device, name): number for device, name, number in connection.execute(query("read_series"), wanted)}
        if len(ids) < len(pairs):
            self._gone()
        for device, names in missing:
            self._ids[device, names] = np.array([ids[device, name] for name in names], dtype=np.int64)
            self._count += len(names)

    def _check_series(self, cursor: psycopg.Cursor[Row]) -> None:
        """From here on no series is deleted until the transaction ends; raises where one was since the look-up."""
        cursor.execute(query("hold_series"))
        if _generation(cursor) != self._generation:
            self._gone()

    def _gone(self) -> Never:
        self.forget()
        raise psycopg.errors.SerializationFailure("series were deleted meanwhile")  # the batch is stored again

    def _forget_some(self, wanted: set[tuple[str, Names]]) -> None:
        for device, names in wanted:
            ids = self._ids.pop((device, names))
            self._ids[device, self._names.setdefault(names, names)] = ids
        while self._count > self.remembered and len(self._ids) > len(wanted):
            self._count -= len(self._ids.pop(next(iter(self._ids))))
        if len(self._names) > len(self._ids) + 100:  # names of devices that were forgotten
            self._names = {names: names for _, names in self._ids}

    def forget(self) -> None:
        """What was known of another connection, or of series that are gone."""
        self._ids, self._names, self._count, self._generation, self._types = {}, {}, 0, -1, []


def _generation(cursor: psycopg.Cursor[Row]) -> int:
    row = cursor.execute(query("series_generation")).fetchone()
    return int(row[0]) if row else 0


def microseconds(at: datetime) -> int:
    """A time as PostgreSQL counts it."""
    since = at - EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds - EPOCH_2000_US


_PARTS: dict[str, Any] = {
    "table": sql.Identifier(TELEMETRY.name),
    "stage": sql.Identifier("stage_" + TELEMETRY.name),
    "columns": sql.SQL(", ").join(map(sql.Identifier, (*KEY, *TELEMETRY.columns))),
}
