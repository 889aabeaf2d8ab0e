"""Saves what can still be read of a damaged spool into a new file, and keeps the damaged one aside."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from broker import codec, topics
from broker.errors import DecodeError, TopicError

from .spool_file import Record, SpoolFile

MAX_QUERIES = 2000  # every damaged page costs some; a file that is nothing but damage has to end too
HIGHEST_ID = (1 << 62) - 1
UPWARDS = "SELECT id, record FROM records NOT INDEXED WHERE id BETWEEN ? AND ? ORDER BY id"
DOWNWARDS = UPWARDS + " DESC"


@dataclass(frozen=True, slots=True)
class Salvaged:
    """How many records were saved, and how many rows were there but held no record any more."""

    saved: int = 0
    unreadable: int = 0


def salvage(path: Path, max_bytes: int) -> Salvaged:
    """Replaces the spool at `path` by what can be read of it. Raises sqlite3.Error or OSError for the disk.

    Whatever moment the power goes, `path` is the damaged file or the complete new one after `finish`.
    """
    fresh = _fresh(path)
    _remove(fresh)
    saved = unreadable = starts = 0
    with closing(SpoolFile(fresh, max_bytes)) as new, closing(_open_damaged(path)) as damaged:
        batch: list[Record] = []
        for data in _rows(damaged):
            if (record := _record(data)) is None:
                unreadable += 1
                continue
            saved += 1
            starts = max(starts, _start_count(record.boot))
            batch.append(record)
            if sum(len(record.data) for record in batch) > new.batch_bytes:
                _write(new, batch)
                batch = []
        _write(new, batch)
        # A fresh installation id comes with the next boot: a number that the damage made us forget is never reused.
        new.continue_after(max(starts, _starts(damaged)))
    _replace(path.with_suffix(".damaged"), path)
    finish(path)
    return Salvaged(saved, unreadable)


def finish(path: Path) -> None:
    """Ends a salvage that a power cut interrupted between its two renames."""
    fresh = _fresh(path)
    if fresh.exists() and not path.exists():
        _wal(path).unlink(missing_ok=True)  # it belongs to the damaged file
        fresh.rename(path)
        _sync(path.parent)


def _replace(aside: Path, path: Path) -> None:
    _remove(aside)
    path.rename(aside)
    if _wal(path).exists():
        _wal(path).rename(_wal(aside))
    _sync(path.parent)


def _fresh(path: Path) -> Path:
    return path.with_suffix(".salvaged")


def _wal(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    _wal(path).unlink(missing_ok=True)


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _open_damaged(path: Path) -> sqlite3.Connection:
    damaged = sqlite3.connect(path, isolation_level=None)
    with suppress(sqlite3.DatabaseError):
        damaged.execute("PRAGMA writable_schema=ON")  # lets SQLite read a file that is shorter than it should be
        damaged.execute("PRAGMA locking_mode=EXCLUSIVE")
    return damaged


def _rows(damaged: sqlite3.Connection) -> Iterator[bytes]:
    """The records of all rows that can be reached, around whatever pages are damaged."""
    spans, queries = [(0, HIGHEST_ID)], 0
    while spans and queries < MAX_QUERIES:
        low, high = spans.pop()
        for select, step in ((UPWARDS, 1), (DOWNWARDS, -1)):  # from both ends towards the damage
            queries += 1
            try:
                for id_, data in damaged.execute(select, (low, high)):
                    low, high = (id_ + 1, high) if step > 0 else (low, id_ - 1)
                    if isinstance(data, bytes):
                        yield data
                break
            except sqlite3.DatabaseError:
                continue
        else:
            if low < high:
                middle = (low + high) // 2
                spans += [(low, middle), (middle + 1, high)]


def _record(data: bytes) -> Record | None:
    """The record that these bytes are; all that the spool's other columns say is in them."""
    try:
        header, message = codec.decode_record(data)
        return Record(header.boot, header.seq, topics.rank_of(message), topics.path_of(message), data)
    except (DecodeError, TopicError):
        return None


def _write(new: SpoolFile, batch: list[Record]) -> None:
    for boot in dict.fromkeys(record.boot for record in batch):
        new.begin_boot(boot)
    new.write(batch)


def _start_count(boot: str) -> int:
    digits = boot.rpartition("-")[2]
    return int(digits) if digits.isdecimal() and len(digits) < 10 else 0


def _starts(damaged: sqlite3.Connection) -> int:
    try:
        row = damaged.execute("SELECT value FROM meta WHERE key = 'starts'").fetchone()
    except sqlite3.DatabaseError:
        return 0
    return row[0] if row and isinstance(row[0], int) else 0
