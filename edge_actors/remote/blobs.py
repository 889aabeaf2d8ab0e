"""What is too large for one message: kept until the server has it, and sent in chunks when it asks for them.

Nothing goes through the spool: the file is on the disk already, and a hard link keeps it there. What is kept and not
answered is offered again, by every process and now and then, so that no message has to arrive.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import threading
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from broker.messages import BLOB_CHUNK, BlobChunk, BlobOffered, BlobWanted, Tick

from ..errors import CommandError, StateDirectoryError
from ..ports.kept import Kept, sync

log = logging.getLogger(__name__)

MOST, MOST_BYTES = 4, 64 << 20  # kept at a time; the oldest gives way
KEPT_S = 7 * 24 * 3600.0  # of operation; then the device lets go of it
AGAIN_S = 3600.0  # without a word from the server it is offered again
PART = ".part"


@dataclass(slots=True)
class Held:
    """A file that is kept. Times are seconds of operation."""

    size: int
    what: str
    name: str
    since: float
    told: float | None = None  # when it was offered, or asked for, last; None: not by this process


class Blobs:
    """`add` and `look` are for one thread; `wanted`, `next` and `unsent` for any, and never wait.

    `offer` leaves an offer where it goes to the server; False: there is no room for it at the moment.
    """

    def __init__(
        self, directory: Path, kept: Kept, offer: Callable[[BlobOffered], bool], tick: Callable[[], Tick]
    ) -> None:
        self._directory, self._kept, self._offer, self._tick = directory, kept, offer, tick
        self._lock = threading.Lock()  # guards what follows
        self._held: dict[str, Held] = {}  # sha256 -> what, the oldest first
        self._asked: dict[str, deque[tuple[int, int]]] = {}  # ranges of chunks that are to be sent
        self._over: dict[str, str] = {}  # those the server has, or (with a reason) does not want
        for sha256, (size, what, name, since) in kept.read().get("blobs", {}).items():
            path = directory / sha256
            if path.is_file() and path.stat().st_size == size:
                self._held[sha256] = Held(size, what, name, since)
        self._remove(())  # what a power cut left between a file and its note

    def add(self, path: Path, what: str, name: str) -> tuple[str, int]:
        """Keeps a file and offers it; sha256 and size. Raises CommandError where the disk does not take it."""
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            sha256, size = self._link(path)
        except OSError as error:
            raise CommandError(f"{path.name} cannot be kept: {(error.strerror or str(error)).lower()}") from None
        if size > MOST_BYTES:
            with suppress(OSError):
                (self._directory / sha256).unlink()
            raise CommandError(f"{path.name} has {size} bytes; {MOST_BYTES} can be sent")
        with self._lock:
            self._held.pop(sha256, None)  # what is offered once more is the newest
            self._held[sha256] = Held(size, what, name, self._tick().at)
            self._over.pop(sha256, None)
            gone = self._surplus()
        try:
            self._write()
        except StateDirectoryError as error:
            raise CommandError(str(error)) from None
        self._remove(gone)
        self.look()
        return sha256, size

    def look(self) -> None:
        """Offers what nobody has answered, and lets go of what is over; to be called now and then."""
        now = self._tick().at
        with self._lock:
            gone = dict(self._over)
            self._over.clear()
            old = {key: "nobody fetched it in time" for key, held in self._held.items() if now - held.since > KEPT_S}
            gone = {key: why for key, why in (old | gone).items() if key in self._held}
            for sha256 in gone:
                self._let_go(sha256)
            silent = [
                (key, held) for key, held in self._held.items() if held.told is None or now - held.told >= AGAIN_S
            ]
        if gone:
            for sha256, why in gone.items():
                log.log(logging.WARNING if why else logging.INFO, "blob %.12s is let go: %s", sha256, why or "stored")
            with suppress(StateDirectoryError):  # the next process finds the file gone
                self._write()
            self._remove(gone)
        for sha256, held in silent:
            if self._offer(BlobOffered(sha256=sha256, size=held.size, what=held.what, name=held.name)):
                with self._lock:
                    held.told = now

    def wanted(self, message: BlobWanted) -> None:
        """What the server wants of a blob, instead of what it wanted before."""
        with self._lock:
            held = self._held.get(message.sha256)
            if held is None:
                return
            if not message.ranges:
                self._over[message.sha256] = message.reason
                self._asked.pop(message.sha256, None)
                return
            held.told = self._tick().at
            last = (held.size - 1) // BLOB_CHUNK
            ranges = ((max(low, 0), min(high, last)) for low, high in message.ranges)
            self._asked[message.sha256] = deque((low, high) for low, high in ranges if low <= high)

    def next(self) -> BlobChunk | None:
        """The next chunk to send; None where nothing is asked for."""
        with self._lock:
            while self._asked:
                sha256, ranges = next(iter(self._asked.items()))
                if not ranges:
                    del self._asked[sha256]
                    continue
                low, high = ranges.popleft()
                if low < high:
                    ranges.appendleft((low + 1, high))
                if (data := self._read(sha256, low)) is None:
                    del self._asked[sha256]
                    continue
                return BlobChunk(sha256=sha256, index=low, data=data)
            return None

    def unsent(self, chunk: BlobChunk) -> None:
        """A chunk could not be sent now; it is the next one again."""
        with self._lock:
            if chunk.sha256 in self._held:
                others = {key: ranges for key, ranges in self._asked.items() if key != chunk.sha256}
                ranges = self._asked.get(chunk.sha256, deque())
                ranges.appendleft((chunk.index, chunk.index))
                self._asked = {chunk.sha256: ranges, **others}

    def __len__(self) -> int:
        return len(self._held)

    # ---- the disk ----------------------------------------------------------------------------------------------

    def _link(self, path: Path) -> tuple[str, int]:
        """Makes a name for the file here, under its digest. Raises OSError."""
        part = self._directory / f"new{PART}"
        part.unlink(missing_ok=True)
        try:
            os.link(path, part)
        except OSError:
            if not path.exists():
                raise
            with path.open("rb") as given, part.open("xb") as file:  # a file system without hard links
                shutil.copyfileobj(given, file)
                file.flush()
                os.fsync(file.fileno())
        with part.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            size = os.fstat(file.fileno()).st_size
        # Where both are names of one file, rename does nothing and leaves both.
        part.replace(self._directory / sha256)
        part.unlink(missing_ok=True)
        sync(self._directory)
        return sha256, size

    def _read(self, sha256: str, index: int) -> bytes | None:
        try:
            with (self._directory / sha256).open("rb") as file:
                file.seek(index * BLOB_CHUNK)
                return file.read(BLOB_CHUNK)
        except OSError as error:
            log.error("blob %.12s cannot be read: %s", sha256, error.strerror)
            self._over[sha256] = "it cannot be read any more"
            return None

    def _write(self) -> None:
        with self._lock:
            rows: dict[str, Any] = {
                key: [held.size, held.what, held.name, held.since] for key, held in self._held.items()
            }
        self._kept.write({"blobs": rows})

    def _remove(self, gone: Iterable[str]) -> None:
        """Removes files, and whatever else lies there without being kept."""
        with self._lock:
            stay = set(self._held)
        for path in [*(self._directory / name for name in gone), *self._directory.glob("*")]:
            if path.name not in stay:
                with suppress(OSError):
                    path.unlink()

    # ---- with the lock -----------------------------------------------------------------------------------------

    def _surplus(self) -> list[str]:
        gone: list[str] = []
        while len(self._held) > MOST or sum(held.size for held in self._held.values()) > MOST_BYTES:
            oldest = next(iter(self._held))
            log.warning("blob %.12s is let go: it gives way to newer ones", oldest)
            self._let_go(oldest)
            gone.append(oldest)
        return gone

    def _let_go(self, sha256: str) -> None:
        self._held.pop(sha256, None)
        self._asked.pop(sha256, None)
