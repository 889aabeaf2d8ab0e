"""Gives up rows that are older than they are to be kept, but nothing that is still needed.

Whole chunks where the table is a hypertable, else bounded batches; each batch is a transaction, so a run can be ended
anywhere and the next one goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import LiteralString

import psycopg
from psycopg import sql

from .queries import query

BATCH = 5_000
BEHIND = timedelta(hours=2)  # rollups that are further behind are waited for
ALWAYS: LiteralString = "true"
ENDED: LiteralString = """(old.episode = '' OR EXISTS (
    SELECT FROM {table} e WHERE e.device = old.device AND e.episode = old.episode AND e.phase = 'end'))"""
ANSWERED: LiteralString = """EXISTS (
    SELECT FROM command_report f WHERE f.device = old.device AND f.command = old.command
    AND f.state IN ('done', 'failed', 'expired'))"""


# The last one says how a device is now.
FOLLOWED: LiteralString = """EXISTS (
    SELECT FROM presence_event n WHERE n.device = old.device AND n.noted_at > old.noted_at)"""


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows that go by their age, where a condition on the row `old` holds: nobody needs them any more."""

    table: str
    time: str = "at"
    record: bool = True  # keyed as records of devices are, with a clock that may be wrong
    only_if: LiteralString = ALWAYS
    rollup: str = ""  # the table whose hours have to be there before


@dataclass(frozen=True, slots=True)
class Statement:
    """Rows that go by a statement of their own, which returns how many went."""

    name: str
    table: str


def _episodes(of: LiteralString) -> Rows:
    over: LiteralString = " AND old.status IN ('resolved', 'dismissed')"
    return Rows("episode_state", time="last_heard_at", record=False, only_if=of + over)


HOURS = ("prediction_hour", "prediction_label_hour", "drift_hour", "reading_hour")
# What belongs to each kind of `periods.DEFAULTS`.
KINDS: Mapping[str, tuple[Rows | Statement, ...]] = {
    "telemetry": (
        Rows("reading", record=False, rollup="telemetry"),
        Rows("telemetry", rollup="telemetry"),
    ),
    "prediction": (Rows("prediction", rollup="prediction"),),
    "hourly": tuple(Rows(name, time="hour", record=False) for name in HOURS),
    "log": (Rows("log"),),
    "snapshot": (Rows("snapshot"),),
    "camera": (Rows("camera_event", only_if=ENDED), _episodes("old.kind = 'camera'")),
    "command": (Rows("command_report", only_if=ANSWERED),),
    "dead-letter": (Rows("dead_letter"), Rows("ingest_dead_letter", time="received_at", record=False)),
    "traffic": (Statement("fold_traffic", "traffic"),),
    "presence": (
        Rows("presence_event", time="noted_at", record=False, only_if=FOLLOWED),
        Rows("fleet_hour", time="hour", record=False),
        _episodes("old.kind = 'away'"),
    ),
    "notification": (Rows("notification", time="notified_at", record=False, only_if="old.over_at IS NOT NULL"),),
    "incident": (Rows("incident", time="closed_at", record=False),),
    "package": (Rows("package", time="received_at", record=False, only_if="old.ended_at IS NOT NULL"),),
    "drift": (Rows("drift_event", only_if=ENDED, rollup="drift_event"), _episodes("old.kind = 'drift'")),
    "sample": (Statement("drop_samples", "sample"),),
    "adaptation": (Rows("adaptation"),),
}


@dataclass(frozen=True, slots=True)
class Run:
    """One run: until when it may work, and which tables are hypertables."""

    connection: psycopg.Connection
    until: float
    chunked: frozenset[str]

    def give_up(self, kept: Mapping[str, timedelta | None]) -> dict[str, str]:
        """What was given up, by table, in words: rows or chunks, or why it has to wait."""
        said: dict[str, str] = {}
        for kind, period in kept.items():
            for part in KINDS[kind] if period is not None else ():
                if words := self._part(part, self._cutoff(period)):  # type: ignore[arg-type]
                    said[part.table] = ", ".join(filter(None, (said.get(part.table), words)))
        return said

    def _cutoff(self, period: timedelta) -> datetime:
        # A whole hour, because hours are summed up from all of their rows or not at all.
        statement = "SELECT date_trunc('hour', now(), 'UTC') - %s"
        return self.connection.execute(statement, [period]).fetchone()[0]  # type: ignore[index,no-any-return]

    def _part(self, part: Rows | Statement, cutoff: datetime) -> str:
        if isinstance(part, Statement):
            return _counted(self._batches(lambda: self._statement(part, cutoff)), "rows")
        if part.rollup and not self._close(part.rollup, cutoff):
            return "waits for its hours to be summed up"
        if part.table in self.chunked and part.only_if is ALWAYS and not self._waits_for_clock(part, cutoff):
            return _counted(self._chunks(part.table, cutoff), "chunks")
        return _counted(self._batches(lambda: self._rows(part, cutoff)), "rows")

    def _batches(self, batch: Callable[[], int]) -> int:
        gone = 0
        while time.monotonic() < self.until:
            last = batch()
            gone += last
            if last < BATCH:
                break
        return gone

    def _statement(self, part: Statement, cutoff: datetime) -> int:
        values = {"cutoff": cutoff, "most": BATCH}
        row = self.connection.execute(query(part.name), values).fetchone()
        return int(row[0]) if row else 0

    def _rows(self, part: Rows, cutoff: datetime) -> int:
        table = sql.Identifier(part.table)
        names = {"table": table, "only_if": sql.SQL(part.only_if).format(table=table)}
        values = {"cutoff": cutoff, "most": BATCH}
        if part.record:
            return self.connection.execute(query("drop_records", **names), values).rowcount
        return self.connection.execute(query("drop_rows", time=sql.Identifier(part.time), **names), values).rowcount

    def _chunks(self, table: str, cutoff: datetime) -> int:
        row = self.connection.execute(query("drop_chunks"), {"table": table, "cutoff": cutoff}).fetchone()
        return int(row[0]) if row else 0

    def _waits_for_clock(self, part: Rows, cutoff: datetime) -> bool:
        if not part.record:
            return False
        statement = query("waits_for_clock", table=sql.Identifier(part.table))
        return bool(self.connection.execute(statement, {"cutoff": cutoff}).fetchone()[0])  # type: ignore[index]

    def _close(self, table: str, cutoff: datetime) -> bool:
        """Whether the hours before the cutoff are summed up; from then on they stay as they are."""
        with self.connection.transaction(), self.connection.cursor() as cursor:
            row = cursor.execute(query("lock_rollup"), [table]).fetchone()
            if row is None:
                return False
            done, closed, now = row
            values = {"what": table, "closed": closed, "cutoff": cutoff, "until": done}
            statement = query("not_summed_up", table=sql.Identifier(table))
            if now - done > BEHIND or cursor.execute(statement, values).fetchone()[0]:  # type: ignore[index]
                return False
            cursor.execute(query("close_rollup"), {"what": table, "closed": cutoff})
        return True


def start(connection: psycopg.Connection, seconds: float, level: str) -> Run:
    """A run that ends after so many seconds at the latest, but for the statement in hand."""
    chunked: frozenset[str] = frozenset()
    if level != "plain":
        chunked = frozenset(name for (name,) in connection.execute(query("hypertables")))
    return Run(connection, time.monotonic() + seconds, chunked)


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count else ""
