"""The records of a spool as they are on disk at one moment, whether a device runs on it or not.

A running device holds its spool's file alone, so what is read is a copy of the file and its write-ahead log. A
checkpoint writes only what the log still holds, until a new log with other salts begins: a copy during which the
log's salts stayed the same is consistent. Nothing in the state directory is changed.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
import time
import zlib
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ..errors import ExportError, SpoolDamagedError, SpoolTooNewError
from .record import Record
from .salvage import salvage
from .spool_file import HIGHEST_SEQ, SCHEMA_VERSION, SEQ_BITS, damage_or

TRIES, PAUSE_S = 50, 0.1
ROOM = 8 << 20  # what a salvaged file needs beside its records
LOG_HEAD = 32  # bytes; its salts change with every new log


@dataclass(frozen=True, slots=True)
class SpoolCopy:
    """A copy that was checked: every record is what was written."""

    path: Path
    boots: dict[int, str]  # of which there are records, in their order
    latest_boot: str
    records: int
    damaged: bool  # the spool was; this is what could be saved of it

    def read(self) -> Generator[Record, None, None]:
        """All records, in the order of boots and sequence numbers."""
        with closing(sqlite3.connect(self.path)) as db:
            for id_, rank, path, record in db.execute("SELECT id, rank, path, record FROM records ORDER BY id"):
                yield Record(self.boots[id_ >> SEQ_BITS], id_ & HIGHEST_SEQ, rank, path, record)


@contextmanager
def copy_of(directory: Path, beside: Path) -> Iterator[SpoolCopy]:
    """A copy of the spool in a state directory, in a folder of its own in `beside` while it is used.

    Raises ExportError, SpoolTooNewError.
    """
    try:
        with tempfile.TemporaryDirectory(prefix=".tinyml-export-", dir=beside) as folder:
            copy = Path(folder) / "spool.db"
            _copy(directory / "spool.db", copy)
            yield _checked(copy)
    except OSError as error:
        raise ExportError(f"the spool in {directory} cannot be copied: {(error.strerror or '').lower()}") from None


def _copy(spool: Path, copy: Path) -> None:
    if not spool.exists():
        raise ExportError(f"there is no spool in {spool.parent}")
    for _ in range(TRIES):
        log = _log(spool)
        before = _head(log)
        shutil.copyfile(spool, copy)
        _log(copy).unlink(missing_ok=True)
        with suppress(FileNotFoundError):  # there is none where a device was stopped in order
            shutil.copyfile(log, _log(copy))
        if _head(log) == before:
            return
        time.sleep(PAUSE_S)
    raise ExportError(f"the device writes to {spool} too fast; stop it, or try again")


def _log(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def _head(log: Path) -> bytes:
    try:
        with log.open("rb") as file:
            return file.read(LOG_HEAD)
    except FileNotFoundError:
        return b""


def _checked(copy: Path) -> SpoolCopy:
    try:
        return _looked_through(copy, damaged=False)
    except SpoolDamagedError:
        salvage(copy, 2 * copy.stat().st_size + ROOM)
        return _looked_through(copy, damaged=True)


def _looked_through(copy: Path, damaged: bool) -> SpoolCopy:
    try:
        with closing(sqlite3.connect(copy)) as db:
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version > SCHEMA_VERSION:
                raise SpoolTooNewError(version, SCHEMA_VERSION)
            found = [text for (text,) in db.execute("PRAGMA quick_check(1)")]
            if found != ["ok"]:
                raise SpoolDamagedError(found[0].splitlines()[-1])
            names = dict(db.execute("SELECT n, boot FROM boots ORDER BY n"))
            numbers, count = set(), 0
            for id_, record, crc in db.execute("SELECT id, record, crc FROM records ORDER BY id"):
                if zlib.crc32(record) != crc or id_ >> SEQ_BITS not in names:
                    raise SpoolDamagedError(f"record {id_ & HIGHEST_SEQ} is not what was written")
                numbers.add(id_ >> SEQ_BITS)
                count += 1
    except sqlite3.DatabaseError as error:
        raise damage_or(error) from None
    boots = {number: names[number] for number in sorted(numbers)}
    return SpoolCopy(copy, boots, names[max(names)] if names else "", count, damaged)
