"""What message time means in a boot, so that records whose clock could not be trusted get a time all the same.

The clock of a boot is one number: wall time = offset + message time. Message time is a monotonic clock that starts
once a boot and never jumps (edge_actors/clock.py), and NTP steers it together with the wall clock, so the offset is
constant between two steps of the wall clock. Devices call themselves synced only once NTP has set the clock. (Where
a processor is suspended in the middle of a boot, message time stops; what was unsynced before is late by that much.)

The rule: **the first believable record of a boot that says synced sets the offset, for ever.** What a later
correction of a wrong sync would change is not worth an answer that changes: the time of a re-timed record is part
of its key, so the record that comes a second time must get the same one. Later records that say synced keep the time
they came with. Believable is a time between 2020 and a day from now, with a message time above zero; a boot without
such a record has no clock, and its records stay as they are, `unsynced`.

A batch asks the database only for boots this process does not know, and, where it brings records that have to be
re-timed, which of them are there already at the time they came with. What is stored `unsynced` although its boot has
a clock by now, because two workers were busy at once, is moved by `ingest/jobs/retime.py`, which computes the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg import sql

from .batch import EPOCH, Batch, Table, wall_time
from .queries import query

Row = tuple[Any, ...]
Boot = tuple[str, str]  # device, boot

EARLIEST = datetime(2020, 1, 1, tzinfo=UTC)
AHEAD = timedelta(days=1)
LONGEST_OP_S = 9e9  # message time in microseconds is exact up to here
REMEMBERED = 20_000  # boots; some 6 MB


class Clocks:
    """The clocks of the boots this process has met; what is remembered was committed, and never changes."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self.remembered = remembered
        self._offsets: dict[Boot, int] = {}  # microseconds; oldest first

    def timed(self, connection: psycopg.Connection, batch: Batch) -> Mapping[Table, Sequence[Row]]:
        """The rows of the batch, those of a boot with a clock at their right time. `connection` is in autocommit.

        Without those that were stored before their boot had its clock: they are there, and the job moves them.
        """
        given: Mapping[Table, Sequence[Row]] = batch.rows
        said = {(row[0], row[1], row[4]) for rows in given.values() for row in rows}
        said |= {(header.device, header.boot, header.clock) for header, _ in (*batch.statuses, *batch.births)}
        synced = {(device, boot) for device, boot, clock in said if clock == "synced"} - self._offsets.keys()
        unsynced = {(device, boot) for device, boot, clock in said if clock == "unsynced"}
        told = _told(batch, synced) if synced else {}
        if unknown := (told.keys() | unsynced) - self._offsets.keys():
            self._ask(connection, told, unknown)
        if unsynced.isdisjoint(self._offsets):
            return given
        timed = {table: [self._retimed(row) for row in rows] for table, rows in given.items()}
        return {table: _without_stored(connection, table, rows) for table, rows in timed.items()}

    def _ask(self, connection: psycopg.Connection, told: Mapping[Boot, int], unknown: set[Boot]) -> None:
        """Sets the clocks that were told, where nobody was faster, and learns those that are set."""
        if told:
            boots = sorted(told)  # one order for all workers: no deadlocks
            columns = ([d for d, _ in boots], [b for _, b in boots], [told[boot] for boot in boots])
            connection.execute(query("set_clocks"), columns)
        asked = ([device for device, _ in unknown], [boot for _, boot in unknown])
        for device, boot, offset in connection.execute(query("read_clocks"), asked):
            self._offsets[device, boot] = offset
        while len(self._offsets) > self.remembered:
            del self._offsets[next(iter(self._offsets))]

    def _retimed(self, row: Row) -> Row:
        offset = self._offsets.get((row[0], row[1])) if row[4] == "unsynced" else None
        if offset is None or not 0 < row[5] <= LONGEST_OP_S:
            return row
        at = EPOCH + timedelta(microseconds=offset + message_us(row[5]))
        return (*row[:3], at, "retimed", *row[5:])


def _without_stored(connection: psycopg.Connection, table: Table, rows: Sequence[Row]) -> Sequence[Row]:
    keys = [(*row[:3], row[5]) for row in rows if row[4] == "retimed"]
    if not keys:
        return rows
    columns = [list(column) for column in zip(*keys, strict=True)]
    stored = set(connection.execute(query("stored_unsynced", table=sql.Identifier(table.name)), columns).fetchall())
    return [row for row in rows if row[4] != "retimed" or (*row[:3], row[5]) not in stored]


def _told(batch: Batch, boots: set[Boot]) -> dict[Boot, int]:
    """The offsets of these boots that follow from the first believable thing they said with a synced clock."""
    told: dict[Boot, int] = {}
    latest = datetime.now(UTC) + AHEAD

    def hear(boot: Boot, clock: str, at: datetime, op_s: float) -> None:
        if clock == "synced" and boot in boots and EARLIEST <= at <= latest and 0 < op_s <= LONGEST_OP_S:
            told.setdefault(boot, _microseconds(at) - message_us(op_s))

    given: Mapping[Table, Sequence[Row]] = batch.rows
    for rows in given.values():
        for device, boot, _, at, clock, op_s, *_rest in rows:
            hear((device, boot), clock, at, op_s)
    for header, _ in (*batch.statuses, *batch.births):
        hear((header.device, header.boot), header.clock, wall_time(header), header.mono_us / 1e6)
    return told


def message_us(op_s: float) -> int:
    """Message time in microseconds, as the device had it in the header; `retime` in queries.sql computes the same."""
    return round(op_s * 1e6)


def _microseconds(at: datetime) -> int:
    return (at - EPOCH) // timedelta(microseconds=1)
