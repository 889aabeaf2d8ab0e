"""What leaves the device waits here, on disk, until the server says that it is stored.

`append` only touches memory: a thread of the spool's own writes what has gathered, at the latest 50 ms later, in
one transaction. What a full or failing disk does not take stays in a bounded queue, is tried again, and can be
sent from there. Nothing here raises into the loop; what goes wrong is a fault with a name.
"""

from __future__ import annotations

import errno
import secrets
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Collection, Container, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from broker.topics import Rank

from ..errors import SpoolDamagedError
from .record import Record
from .salvage import Salvaged, finish, salvage
from .spool_file import SpoolFile, damage_or
from .spool_queue import SpoolQueue

GROUP_S = 0.05  # how long a record may wait for others before it is written
SPARING_S = 10.0  # the same where the disk is to be spared; vital records do not wait then
RETRY_S = 5.0  # how long to wait after the disk has refused
MIN_BYTES = 1 << 20
DISK_FAULTS = frozenset({"disk_full", "disk_failing"})
DISK_ERRORS = (sqlite3.Error, SpoolDamagedError, OSError)


@dataclass(frozen=True, slots=True)
class SpoolStats:
    """What a person wants to know of the spool."""

    records: int = 0  # waiting, on disk and in memory
    queued: int = 0  # of these, not on disk yet
    used_bytes: int = 0  # on disk
    written_bytes: int = 0  # payload that this process has written to the disk
    oldest: Record | None = None
    produced: dict[str, int] = field(default_factory=dict)  # highest sequence number of each of the latest boots
    given_up: dict[str, int] = field(default_factory=dict)  # by rank and "refused", since the file was made
    salvaged: Salvaged | None = None


class Spool:
    """The outbox of a device in `<directory>/spool.db`. Raises SpoolTooNewError."""

    def __init__(
        self,
        directory: Path,
        max_bytes: int = 64 << 20,
        *,
        queue_bytes: int = 4 << 20,
        group_s: float = GROUP_S,
        retry_s: float = RETRY_S,
    ) -> None:
        self._path = directory / "spool.db"
        self._max_bytes = max(max_bytes, MIN_BYTES)
        self._group_s, self._retry_s = group_s, retry_s
        self._disk = threading.Lock()  # around every use of the file; `append` never takes it
        self._file: SpoolFile | None = None
        self._damaged = False
        self._salvaged: Salvaged | None = None
        self.written_bytes = 0  # payload that this process has written
        self._changed = threading.Condition()  # guards what follows; where both are needed, `_disk` comes first
        self._queue = SpoolQueue(queue_bytes)
        self._appended = self._settled = 0
        self._attempts = self._refused = 0  # to write; the number of the last one that failed
        self._faults: set[str] = set()
        self._urgent = self._closing = self._sparing = False
        self.next_seq = 1
        self.boot = ""
        self.on_written: Callable[[], object] = lambda: None  # called on the writer's thread
        with self._disk:
            try:
                self._open_file()
            except DISK_ERRORS as error:
                self._failed(error)
        # Where the disk cannot keep the start count, an installation id of its own makes the boot id unique.
        self.boot = self.boot or f"{secrets.token_hex(4)}-000001"
        self._writer = threading.Thread(target=self._write_for_ever, name="spool", daemon=True)
        self._writer.start()

    def spare(self, sparing: bool) -> None:
        """Whether to write as seldom as may be."""
        with self._changed:
            self._sparing = sparing

    def append(self, seq: int, rank: int, path: str, record: bytes) -> None:
        """Takes a record of this boot; never waits for the disk, never raises."""
        with self._changed:
            self.next_seq = seq + 1
            self._appended += 1
            self._urgent |= self._sparing and rank == Rank.VITAL
            refused = self._queue.given_up["refused"]
            self._settled += self._queue.append(Record(self.boot, seq, rank, path, record))
            if self._queue.given_up["refused"] > refused:
                self._faults.add("spool_full")
            self._changed.notify_all()

    def next(
        self,
        limit: int,
        max_bytes: int,
        skip: Container[tuple[str, int]] = (),
        ranks: Collection[int] = tuple(Rank),
    ) -> list[Record]:
        """Records of these ranks to send, none of `skip`: highest rank first, oldest first within it."""
        with self._disk:
            found: list[Record] = []
            if self._file is not None:
                try:
                    found = self._file.next(limit, max_bytes, skip, ranks)
                except DISK_ERRORS as error:
                    self._failed(error)
        with self._changed:
            if not found and self._faults & DISK_FAULTS:  # what the disk does not take is sent from memory
                found = self._queue.peek(limit, max_bytes, skip, ranks)
        return found

    def confirm(self, boot: str, ranges: Iterable[tuple[int, int]]) -> int:
        """Forgets the records of these sequence numbers (first and last, inclusive); returns how many there were."""
        spans = list(ranges)
        gone = 0
        with self._disk:
            if self._file is not None:
                try:
                    gone = self._file.confirm(boot, spans)
                except DISK_ERRORS as error:
                    self._failed(error)
            with self._changed:
                from_memory = self._queue.confirm(boot, spans)
                self._settled += from_memory
                gone += from_memory
                if gone:
                    self._faults.discard("spool_full")
                self._changed.notify_all()
        return gone

    def stats(self) -> SpoolStats:
        """Counts and sizes of this moment."""
        with self._disk, self._changed:
            stats = SpoolStats(
                records=len(self._queue),
                queued=len(self._queue),
                written_bytes=self.written_bytes,
                oldest=self._queue.oldest(),
                produced={self.boot: self.next_seq - 1},
                given_up=dict(self._queue.given_up),
                salvaged=self._salvaged,
            )
            if self._file is None:
                return stats
            try:
                return replace(
                    stats,
                    records=self._file.count + stats.queued,
                    used_bytes=self._file.used_bytes(),
                    oldest=self._file.oldest() or stats.oldest,
                    produced=self._file.boots.produced() | stats.produced,
                    given_up=dict(self._file.given_up + Counter(stats.given_up)),
                )
            except DISK_ERRORS as error:
                self._failed(error)
                return stats

    def faults(self) -> frozenset[str]:
        """What is wrong: disk_full, disk_failing, spool_full, spool_salvaged."""
        with self._changed:
            return frozenset(self._faults)

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Waits until what was appended before has left memory; False when the disk refuses it, or takes too long."""
        with self._changed:
            wanted, before = self._appended, self._attempts
            self._urgent = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._settled >= wanted or self._refused > before, timeout_s)
            return self._settled >= wanted

    def close(self, timeout_s: float = 10.0) -> int:
        """Writes what the disk takes and closes the file; returns how many records it did not take."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._writer.join(timeout_s)
        with self._disk, self._changed:
            if self._file is not None:
                self._file.close()
                self._file = None
            return len(self._queue)

    # ---- the writer's thread -----------------------------------------------------------------------------------

    def _write_for_ever(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._closing or self._file is None)
                group_s = SPARING_S if self._sparing else self._group_s
                self._changed.wait_for(lambda: self._urgent or self._closing, group_s)
                self._urgent = False
                self._attempts += 1
                last = self._closing
            with self._disk:
                done = self._write_queue()
            if last:
                return
            if not done:
                with self._changed:
                    self._refused = self._attempts
                    self._changed.notify_all()
                    self._changed.wait_for(lambda: self._urgent or self._closing, self._retry_s)

    def _write_queue(self) -> bool:
        """Writes all that waits, a transaction at a time; False when the disk refused."""
        try:
            if self._file is None:
                self._open_file()
            while self._file is not None and self._write_batch(self._file):
                pass
        except DISK_ERRORS as error:
            self._failed(error)
            return False
        return True

    def _write_batch(self, file: SpoolFile) -> bool:
        """Writes one transaction; False when nothing waits. What could not be written is back in the queue."""
        with self._changed:
            batch = self._queue.take(file.batch_bytes)
        if not batch:
            return False
        try:
            refused = file.write(batch)
        except BaseException:
            with self._changed:
                self._queue.put_back(batch)
            raise
        self.written_bytes += sum(len(record.data) for record in batch)
        with self._changed:
            self._settled += len(batch)
            self._faults -= DISK_FAULTS
            if refused:
                self._faults.add("spool_full")
            self._changed.notify_all()
        self.on_written()
        return True

    # ---- the file; callers hold `_disk` ------------------------------------------------------------------------

    def _open_file(self) -> None:
        finish(self._path)
        try:
            if self._damaged:
                raise SpoolDamagedError("it was seen while running")
            file = SpoolFile(self._path, self._max_bytes)
        except SpoolDamagedError:
            self._salvaged = salvage(self._path, self._max_bytes)
            self._damaged = False
            with self._changed:
                self._faults.add("spool_salvaged")
            file = SpoolFile(self._path, self._max_bytes)
        try:
            self.boot = file.begin_boot(self.boot)
        except BaseException:
            file.close()
            raise
        self._file = file
        with self._changed:
            self._faults -= DISK_FAULTS

    def _failed(self, error: Exception) -> None:
        """Names the fault; unless the disk is only full, the file is closed, to be checked and opened anew."""
        full = getattr(error, "sqlite_errorname", "") == "SQLITE_FULL" or getattr(error, "errno", 0) == errno.ENOSPC
        self._damaged |= isinstance(damage_or(error), SpoolDamagedError)
        with self._changed:
            self._faults -= DISK_FAULTS
            self._faults.add("disk_full" if full else "disk_failing")
            if not full and self._file is not None:
                self._file.close()
                self._file = None
            self._changed.notify_all()
