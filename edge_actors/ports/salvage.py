"""Saves what can still be read of a damaged spool into a new file, and keeps the damaged one aside."""

from __future__ import annotations

import os
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from broker import codec, topics
from broker.errors import DecodeError, TopicError

from .record import Record
from .spool_file import SEQ_BITS, SpoolFile

WIDEST_GAP = 200_000
SCANS = (  # from both ends towards the damage
    "SELECT id FROM records INDEXED BY by_rank ORDER BY rank DESC, id",
    "SELECT id FROM records INDEXED BY by_rank ORDER BY rank, id DESC",
    "SELECT id FROM records NOT INDEXED ORDER BY id",
    "SELECT id FROM records NOT INDEXED ORDER BY id DESC",
)


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
    path.touch()
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
        _reserve(fresh).unlink(missing_ok=True)
        fresh.rename(path)
        _sync(path.parent)


def _replace(aside: Path, path: Path) -> None:
    aside.unlink(missing_ok=True)
    _wal(aside).unlink(missing_ok=True)
    path.rename(aside)
    if _wal(path).exists():
        _wal(path).rename(_wal(aside))
    _sync(path.parent)


def _fresh(path: Path) -> Path:
    return path.with_name(path.stem + "-salvaged.db")


def _wal(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def _reserve(path: Path) -> Path:
    return path.with_suffix(".reserve")


def _remove(path: Path) -> None:
    for part in (path, _wal(path), _reserve(path)):
        part.unlink(missing_ok=True)


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
    for id_ in _ids(damaged):
        with suppress(sqlite3.DatabaseError):
            row = damaged.execute("SELECT record, crc FROM records WHERE id = ?", (id_,)).fetchone()
            if row is not None:
                yield row[0] if isinstance(row[0], bytes) and zlib.crc32(row[0]) == row[1] else b""


def _ids(damaged: sqlite3.Connection) -> list[int]:
    """Every id that the table or its index still names, and those between, which a damaged page may hide."""
    ids: set[int] = set()
    for scan in SCANS:
        with suppress(sqlite3.DatabaseError):
            for (id_,) in damaged.execute(scan):
                if isinstance(id_, int) and id_ > 0:
                    ids.add(id_)
    for boot in {id_ >> SEQ_BITS for id_ in ids}:
        of_boot = [id_ for id_ in ids if id_ >> SEQ_BITS == boot]
        if max(of_boot) - min(of_boot) < WIDEST_GAP:
            ids.update(range(min(of_boot), max(of_boot)))
    return sorted(ids)


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
