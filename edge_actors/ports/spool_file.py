"""The spool's SQLite file: records by (boot, seq), bounded in bytes on the disk, shed by rank.

Not for several threads at once; `spool.Spool` holds a lock around every call. Methods raise `sqlite3.Error` for
what the disk does, and leave the file as it was before the call.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from broker.topics import Rank

from ..errors import SpoolDamagedError, SpoolTooNewError
from .boots import SCHEMA as BOOTS
from .boots import Boots
from .record import Record, without_picture
from .reserve import Reserve

SCHEMA_VERSION = 1
SCHEMA = f"""
{BOOTS}
CREATE TABLE records (
    id INTEGER PRIMARY KEY, rank INTEGER NOT NULL, path TEXT NOT NULL, crc INTEGER NOT NULL, record BLOB NOT NULL
);
CREATE INDEX by_rank ON records (rank DESC);
"""
SEQ_BITS = 40  # id = n << 40 | seq: ids grow with age over all boots, and a range of a boot is a range of ids
HIGHEST_SEQ = (1 << SEQ_BITS) - 1
PORTION = 64  # records forgotten in one transaction
LARGEST = (1 << 30) - 1  # pages; SQLite's own bound
T = TypeVar("T")


class SpoolFile:
    """Opens or makes the file. Raises SpoolDamagedError, SpoolTooNewError, or sqlite3.Error for the disk."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        wal_bytes = min(4 << 20, max_bytes // 4)
        self.batch_bytes = wal_bytes // 8  # what one transaction should hold at most; the log must stay small too
        self._reserve = Reserve(path.with_suffix(".reserve"), wal_bytes // 2)
        self._limit_bytes = max_bytes - wal_bytes - self._reserve.size
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            self._prepare(wal_bytes)
        except BaseException:
            self._db.close()
            raise

    def _prepare(self, wal_bytes: int) -> None:
        try:
            for pragma in (
                "locking_mode=EXCLUSIVE",  # nobody else opens it, so no shared-memory file either
                "journal_mode=WAL",
                "cache_size=-256",  # KiB
                f"wal_autocheckpoint={wal_bytes // 16384}",
                f"journal_size_limit={wal_bytes // 4}",
            ):
                self._db.execute(f"PRAGMA {pragma}")
            version = self._pragma("user_version")
            if version == 0 and self._reserve.path.exists():
                raise SpoolDamagedError("it is empty")
            if version > SCHEMA_VERSION:
                raise SpoolTooNewError(version, SCHEMA_VERSION)
            if version == 0:
                self._db.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version={SCHEMA_VERSION}; COMMIT;")
            found = [text for (text,) in self._db.execute("PRAGMA quick_check(1)")]
            if found != ["ok"]:
                raise SpoolDamagedError(found[0].splitlines()[-1])
            self._page_size = self._pragma("page_size")
            self._may_grow = self._reserve.keep()
            self.boots = Boots(self._db)
            self.count: int = self._db.execute("SELECT count(*) FROM records").fetchone()[0]
            shed = self._db.execute("SELECT key, value FROM meta WHERE key GLOB 'shed:*' OR key = 'refused'")
            self.given_up = Counter({key.removeprefix("shed:"): value for key, value in shed})
        except sqlite3.DatabaseError as error:
            raise damage_or(error) from None

    def begin_boot(self, boot: str = "") -> str:
        """Registers a new boot and returns its id; a power cut after this cannot take the number back."""

        def begin() -> str:
            with self._transaction(durable=True):
                return self.boots.begin(boot)

        begun = self._with_reserve(begin)
        self.boots.learn()
        return begun

    def continue_after(self, starts: int) -> None:
        """Makes the next boot count from here, under a fresh installation id."""
        with self._transaction(durable=True):
            self.boots.set("starts", starts)

    def write(self, batch: Sequence[Record]) -> int:
        """Adds records, shedding what ranks lowest where there is no room; returns how many were refused.

        Refused is the newest, and only once nothing but vital records is left.
        """
        self._grow_again()
        count, given_up = self.count, self.given_up.copy()
        try:
            with self._transaction(durable=any(record.rank == Rank.VITAL for record in batch)):
                for record in batch:
                    if (kept := self._make_room(record)) is not None:
                        self._insert(kept)
                self.boots.count((record.boot, record.seq) for record in batch)
                for key in self.given_up - given_up:
                    self.boots.set(key if key == "refused" else f"shed:{key}", self.given_up[key])
        except BaseException:
            self.count, self.given_up = count, given_up
            raise
        return self.given_up["refused"] - given_up["refused"]

    def next(
        self,
        limit: int,
        max_bytes: int,
        skip: Container[tuple[str, int]],
        ranks: Collection[int] = tuple(Rank),
    ) -> list[Record]:
        """Records of these ranks: highest rank first, oldest first within it; at least one where there is any."""
        found: list[Record] = []
        for id_ in self._ids(ranks):
            if len(found) == limit or max_bytes <= 0:
                break
            boot, seq = self._key(id_)
            if (boot, seq) not in skip:
                record = self._read(id_, boot, seq)
                max_bytes -= len(record.data)
                if found and max_bytes < 0:
                    break
                found.append(record)
        return found

    def _ids(self, ranks: Collection[int]) -> Iterator[int]:
        for rank in sorted(ranks, reverse=True):
            for (id_,) in self._db.execute("SELECT id FROM records WHERE rank = ? ORDER BY id", (int(rank),)):
                yield id_

    def confirm(self, boot: str, ranges: Sequence[tuple[int, int]]) -> int:
        """Forgets the records of a boot whose numbers lie in the ranges (inclusive); returns how many there were."""
        if boot not in self.boots.numbers:
            return 0
        base = self.boots.numbers[boot] << SEQ_BITS
        ids: set[int] = set()
        for first, last in ranges:
            span = (base + min(max(first, 0), HIGHEST_SEQ), base + min(max(last, 0), HIGHEST_SEQ))
            ids.update(id_ for (id_,) in self._db.execute("SELECT id FROM records WHERE id BETWEEN ? AND ?", span))
        waiting = sorted(ids)
        # In portions, so that the log stays small: on a full disk it cannot grow.
        for start in range(0, len(waiting), PORTION):
            self._with_reserve(partial(self._forget, waiting[start : start + PORTION]))
        return len(ids)

    def _forget(self, ids: Sequence[int]) -> None:
        with self._transaction(durable=False):
            self._db.executemany("DELETE FROM records WHERE id = ?", [(id_,) for id_ in ids])
        self.count -= len(ids)

    def oldest(self) -> Record | None:
        """The record that has waited longest."""
        row = self._db.execute("SELECT min(id) FROM records").fetchone()
        return None if row[0] is None else self._read(row[0], *self._key(row[0]))

    def used_bytes(self) -> int:
        """Bytes of the pages that hold something."""
        return (self._pragma("page_count") - self._pragma("freelist_count")) * self._page_size

    def close(self) -> None:
        self._db.close()

    # ---- a full disk -------------------------------------------------------------------------------------------

    def _with_reserve(self, work: Callable[[], T]) -> T:
        """Does the work, on a full disk with the reserve's room: what makes room must not fail for lack of it."""
        try:
            return work()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname != "SQLITE_FULL" or not self._reserve.give_up():
                raise
        self._may_grow = False
        return work()

    def _grow_again(self) -> None:
        """Without a reserve the file stays as large as it is, or there would be no room to forget anything."""
        if not self._may_grow:
            self._may_grow = self._reserve.keep()
            self._pragma(f"max_page_count={LARGEST if self._may_grow else self._pragma('page_count')}")

    # ---- inside a transaction ----------------------------------------------------------------------------------

    @contextmanager
    def _transaction(self, durable: bool) -> Iterator[None]:
        # NORMAL leaves the last commits to the operating system's write-back; FULL waits for the disk.
        self._db.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # SQLite has rolled back by itself after some errors
                self._db.execute("ROLLBACK")
            raise

    def _insert(self, record: Record) -> None:
        row = (self._id(record), int(record.rank), record.path, zlib.crc32(record.data), record.data)
        self.count += self._db.execute("INSERT OR IGNORE INTO records VALUES (?, ?, ?, ?, ?)", row).rowcount

    def _make_room(self, record: Record) -> Record | None:
        """Sheds until the record fits, and returns it; slimmer, or None, where it ranks below all that is there."""
        while self.used_bytes() + len(record.data) + 2 * self._page_size > self._limit_bytes:
            lowest, oldest = self._lowest()
            if lowest is None or lowest > record.rank or lowest == Rank.VITAL:
                self.given_up["refused" if record.rank == Rank.VITAL else Rank(record.rank).name] += 1
                data = without_picture(record.data) if record.rank == Rank.PICTURE else None
                if data is None:
                    return None
                record = replace(record, rank=Rank.SAMPLE, data=data)
            else:
                self.given_up[Rank(lowest).name] += 1
                if lowest == Rank.PICTURE:
                    self._drop_picture(oldest)
                else:
                    self._delete(oldest)
        return record

    def _lowest(self) -> tuple[int | None, int]:
        """The lowest rank there is, and the oldest record of it."""
        lowest = self._db.execute("SELECT min(rank) FROM records").fetchone()[0]
        oldest = self._db.execute("SELECT min(id) FROM records WHERE rank = ?", (lowest,)).fetchone()[0]
        return lowest, oldest

    def _drop_picture(self, id_: int) -> None:
        data = without_picture(self._read(id_, *self._key(id_)).data)
        if data is None:
            self._delete(id_)
        else:
            row = (int(Rank.SAMPLE), zlib.crc32(data), data, id_)
            self._db.execute("UPDATE records SET rank = ?, crc = ?, record = ? WHERE id = ?", row)

    def _delete(self, id_: int) -> None:
        self.count -= self._db.execute("DELETE FROM records WHERE id = ?", (id_,)).rowcount

    # ---- rows --------------------------------------------------------------------------------------------------

    def _id(self, record: Record) -> int:
        return self.boots.numbers[record.boot] << SEQ_BITS | record.seq

    def _key(self, id_: int) -> tuple[str, int]:
        return self.boots.names.get(id_ >> SEQ_BITS, ""), id_ & HIGHEST_SEQ

    def _read(self, id_: int, boot: str, seq: int) -> Record:
        row = self._db.execute("SELECT rank, path, record, crc FROM records WHERE id = ?", (id_,)).fetchone()
        if row is None or zlib.crc32(row[2]) != row[3]:
            raise SpoolDamagedError(f"record {seq} of boot {boot} is not what was written")
        return Record(boot, seq, *row[:3])

    def _pragma(self, name: str) -> int:
        return int(self._db.execute(f"PRAGMA {name}").fetchone()[0])


def damage_or(error: Exception) -> Exception:
    """A SpoolDamagedError when the error says that the file's content is wrong, else the error itself."""
    name = getattr(error, "sqlite_errorname", "")
    damaged = name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")) or str(error).startswith("no such ")
    return SpoolDamagedError(str(error)) if damaged else error
