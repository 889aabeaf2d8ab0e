"""Forgets records of a spool that no device runs on: those that a receipt says are stored."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from broker import codec
from broker.errors import DecodeError
from broker.messages import Stored

from ..errors import ExportError, SpoolTooNewError
from .spool_file import HIGHEST_SEQ, SCHEMA_VERSION, SEQ_BITS


def confirm(path: Path, stored: Iterable[tuple[str, Stored]]) -> tuple[int, int]:
    """How many records were forgotten, and how many still wait; all in one transaction.

    The caller holds the state directory. Raises ExportError where the spool cannot be written, SpoolTooNewError.
    """
    if not path.exists():
        raise ExportError(f"there is no spool in {path.parent}")
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version > SCHEMA_VERSION:
                raise SpoolTooNewError(version, SCHEMA_VERSION)
            db.execute("PRAGMA synchronous=FULL")
            db.execute("BEGIN IMMEDIATE")
            forgotten = _forget(db, stored)
            waiting = db.execute("SELECT count(*) FROM records").fetchone()[0]
            db.execute("COMMIT")
    except sqlite3.Error as error:
        raise ExportError(f"the spool in {path.parent} cannot be changed: {error}; nothing was forgotten") from None
    return forgotten, int(waiting)


def _forget(db: sqlite3.Connection, stored: Iterable[tuple[str, Stored]]) -> int:
    boots = {boot: number for number, boot in db.execute("SELECT n, boot FROM boots")}
    device = _device(db)
    forgotten = 0
    for whose, message in stored:
        if message.boot not in boots or (device and whose != device):
            continue  # of another device, or of a boot whose records are long gone
        base = boots[message.boot] << SEQ_BITS
        for first, last in message.ranges:
            span = (base + min(max(first, 1), HIGHEST_SEQ), base + min(max(last, 0), HIGHEST_SEQ))
            forgotten += db.execute("DELETE FROM records WHERE id BETWEEN ? AND ?", span).rowcount
    return forgotten


def _device(db: sqlite3.Connection) -> str:
    """Whose records these are, as the first of them says; empty where there is none that says so."""
    row = db.execute("SELECT record FROM records ORDER BY id LIMIT 1").fetchone()
    try:
        return codec.decode_header(row[0]).device if row else ""
    except DecodeError:
        return ""
