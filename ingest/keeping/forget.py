"""Erases a device or a sample from the database and the object store, and looks whether anything is left.

The tables are read from the catalogue, so a new table with a column `device` is erased without being named here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import psycopg
from psycopg import sql

from ..stores.events import server_level
from ..stores.ports import ObjectStore
from . import community
from .queries import query
from .spent import needed, remove

# Tables that hold readings by the series of a device.
BY_SERIES = ("reading", "reading_hour")
# Tables where nothing is of one device. A test asks for every table whether it is here or above, or has a device.
NOT_OF_A_DEVICE = frozenset(
    {
        "fleet_hour",
        "incident",
        "job",
        "knowledge_mark",
        "migration",
        "notification_delivery",
        "object_to_remove",
        "package",
        "registry_mark",
        "rollout",
        "rollup",
        "waiting_object",
    }
)
# Where people and programs write freely, and may name what is to be forgotten.
MENTIONS: Mapping[str, tuple[str, ...]] = {
    "command_report": ("reason", "result"),
    "job": ("said",),
    "log": ("text",),
    "notification": ("title", "text", "action", "link"),
    "package": ("name", "reason"),
    "package_step": ("name", "reason"),
    "rollout": ("name", "reason", "devices"),
}
OF_DEVICES = frozenset({"command_report", "log"})  # large; a device writes of itself there
LETTERS = ("dead_letter", "ingest_dead_letter")


@dataclass(frozen=True, slots=True)
class Subject:
    """What is to be forgotten: a device, or one sample of it."""

    device: str
    sample: str = ""

    def __str__(self) -> str:
        return f"sample {self.sample} of {self.device}" if self.sample else f"device {self.device}"

    @property
    def values(self) -> dict[str, str]:
        # Ids are letters, digits and hyphens, so nothing in one means anything in a regular expression.
        mention = f"(?<![a-z0-9-]){self.sample or self.device}(?![a-z0-9-])"
        return {"device": self.device, "sample": self.sample, "mention": mention}


class Place(Protocol):
    """Somewhere that something of the subject may be."""

    name: str

    def look(self) -> dict[str, int]:
        """How much of the subject is there, by what it is; only what is there."""

    def erase(self) -> None:
        """Erases it. Raises StoreAway while the place does not answer; then it can be done again."""


class Database:
    """Every row, table by table; a transaction each, so that nobody waits long."""

    name = "database"

    def __init__(self, connection: psycopg.Connection, subject: Subject) -> None:
        self.connection, self.subject = connection, subject
        self._columns = {name: self._tables_with(name) for name in ("device", "sample", "samples")}

    def look(self) -> dict[str, int]:
        return self._each("count")

    def erase(self) -> None:
        self._each("erase")

    def _each(self, verb: str) -> dict[str, int]:
        found = self._of_sample(verb) if self.subject.sample else self._of_device(verb)
        for table, columns in MENTIONS.items():
            if table in OF_DEVICES and not self.subject.sample:
                continue
            for column in columns:
                found[f"{table}.{column}"] = self._mentions(verb, table, column)
        return {what: count for what, count in found.items() if count}

    def _of_device(self, verb: str) -> dict[str, int]:
        found = self._readings(verb)
        for table in sorted(self._columns["device"] - {"series"}):
            found[table] = self._run(f"{verb}_of_device", sql.Identifier(table))
        if server_level(self.connection) == "timescale-community":
            for view, behind in community.aggregate_tables(self.connection):
                if view != "aggregate_reading_hour":
                    found[view] = self._run(f"{verb}_of_device", behind)
        return found

    def _readings(self, verb: str) -> dict[str, int]:
        # Series first: workers look again for the series they know, so no reading comes after (migration 007).
        with self.connection.transaction(), self.connection.cursor() as cursor:
            cursor.execute(query("series_of_device" if verb == "count" else "erase_series"), self.subject.values)
            series = [number for (number,) in cursor.fetchall()]
            tables = {table: sql.Identifier(table) for table in BY_SERIES}
            if server_level(self.connection) == "timescale-community":
                known = dict(community.aggregate_tables(self.connection))
                tables |= {view: known[view] for view in ("aggregate_reading_hour",) if view in known}
            found = {"series": len(series)}
            for name, table in tables.items():
                cursor.execute(query(f"{verb}_readings", table=table), {"series": series})
                found[name] = _count(cursor, verb)
        return found

    def _of_sample(self, verb: str) -> dict[str, int]:
        named = sorted(self._columns["device"] & self._columns["sample"])
        listed = sorted(self._columns["device"] & self._columns["samples"])
        found = {table: self._run(f"{verb}_of_sample", sql.Identifier(table)) for table in named}
        lists = {f"{table}.samples": self._run(f"{verb}_listed", sql.Identifier(table)) for table in listed}
        letters = {table: self._run(f"{verb}_letters", sql.Identifier(table)) for table in LETTERS}
        return found | lists | letters

    def _mentions(self, verb: str, table: str, column: str) -> int:
        by_device = self.subject.sample and table in self._columns["device"]
        kind = self.connection.execute(query("columns"), [column]).fetchall()
        types = {name: type_ for name, _, type_ in kind}
        parts = {
            "column": sql.Identifier(column),
            "type": sql.SQL(types[table]),
            "scope": sql.SQL("device = %(device)s" if by_device else "true"),
        }
        return self._run(f"{verb}_mentions", sql.Identifier(table), **parts)

    def _run(self, statement: str, table: sql.Identifier, **parts: sql.Composable) -> int:
        with self.connection.cursor() as cursor:
            cursor.execute(query(statement, table=table, **parts), self.subject.values)
            return _count(cursor, statement)

    def _tables_with(self, column: str) -> set[str]:
        texts = ("text", "text[]")
        rows = self.connection.execute(query("columns"), [column]).fetchall()
        return {table for table, _, kind in rows if kind in texts and (kind == "text[]") == (column == "samples")}


class Objects:
    """Pictures of its samples and what else it brought; the bytes stay where a row of somebody else points to them.

    Erased before the rows, which say what there is: so that it can be done again after an interruption.
    """

    name = "objects"

    def __init__(self, connection: psycopg.Connection, objects: ObjectStore, subject: Subject) -> None:
        self.connection, self.objects, self.subject = connection, objects, subject
        name = "objects_of_sample" if subject.sample else "objects_of_device"
        self.keys = sorted(key for (key,) in connection.execute(query(name), subject.values))

    def look(self) -> dict[str, int]:
        alone = [key for key in self.keys if not needed(self.connection, key, **self._mine)]
        found = {
            "objects": sum(self.objects.stat(key) is not None for key in alone),
            "objects that wait for the object store": sum(map(self._waits, alone)),
        }
        return {what: count for what, count in found.items() if count}

    def erase(self) -> None:
        for key in self.keys:
            remove(self.connection, self.objects, key, **self._mine)

    @property
    def _mine(self) -> dict[str, str]:
        return {"device": self.subject.device, "sample": self.subject.sample}

    def _waits(self, key: str) -> bool:
        row = self.connection.execute(query("object_waits"), [key]).fetchone()
        return bool(row and row[0])


def last_heard_s(connection: psycopg.Connection, device: str) -> float | None:
    """How long ago a device was heard; None where nobody knows it."""
    row = connection.execute(query("last_heard"), [device]).fetchone()
    return float(row[0]) if row else None


def _count(cursor: psycopg.Cursor[Any], verb: str) -> int:
    if not verb.startswith("count"):
        return cursor.rowcount
    row = cursor.fetchone()
    return int(row[0]) if row else 0
