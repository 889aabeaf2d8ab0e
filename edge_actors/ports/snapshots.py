"""Snapshots of the device's state on disk, written by a thread of their own.

A file is CBOR, `[format, {...}]`, and then the SHA-256 of it. It is written beside, synced and renamed, so a power
cut leaves the old files or the new one; the newest whole file is the one to start from. A disk that refuses is told
in `SnapshotSaved.error`, and the device goes on.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Protocol

from broker import codec
from broker.errors import DecodeError
from broker.messages import SnapshotSaved

from ..errors import EdgeError, SnapshotDamagedError, SnapshotTooNewError, StateDirectoryError

log = logging.getLogger(__name__)

FORMAT = 1
DIGEST_BYTES = 32
SUFFIX, DAMAGED, PART = ".snapshot", ".damaged", ".part"


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The state of all actors between two messages."""

    snapshot: str = ""  # its id
    at: float = 0.0
    boot: str = ""
    bundle: str = ""  # digest of the bundle that the state belongs to
    applied: int = 0  # messages let in until then, over all boots
    reason: str = ""  # why it was taken
    states: dict[str, Any] = field(default_factory=dict)  # by actor


class Snapshots(Protocol):
    """Takes snapshots; the answer comes as SnapshotSaved, through a door."""

    def save(self, snapshot: Snapshot) -> None: ...


class SnapshotStore:
    """Keeps the newest `keep` snapshots in a directory. Raises StateDirectoryError."""

    def __init__(self, directory: Path, saved: Callable[[SnapshotSaved], object], keep: int = 5) -> None:
        self._directory, self._saved, self._keep = directory, saved, max(keep, 1)
        self._changed = threading.Condition()
        self._pending: Snapshot | None = None
        self._closing = False
        self._faults: set[str] = set()
        self.written_bytes = 0  # by this process
        try:
            directory.mkdir(parents=True, exist_ok=True)
            _remove(directory.glob(f"*{PART}"))
            self._number = max((int(path.stem) for path in self._files(SUFFIX, DAMAGED)), default=0)
        except OSError as error:
            raise StateDirectoryError(directory, _reason(error)) from None
        self._writer = threading.Thread(target=self._write_for_ever, name="snapshots", daemon=True)
        self._writer.start()

    def save(self, snapshot: Snapshot) -> None:
        """Leaves a snapshot for the writer, in the place of one that still waits; never waits for the disk."""
        with self._changed:
            replaced, self._pending = self._pending, snapshot
            self._changed.notify_all()
        if replaced is not None:
            self._saved(SnapshotSaved(snapshot=replaced.snapshot, error="a newer one took its place before the disk"))

    def latest(self) -> Snapshot | None:
        """The newest snapshot that is whole; damaged ones are put aside."""
        for path in reversed(self._files(SUFFIX)):
            try:
                return load(_read(path), path)
            except SnapshotDamagedError as error:
                self._passed_over("snapshot_damaged", error)
                with suppress(OSError):  # a card that can only be read any more still gives its older ones
                    path.rename(path.with_suffix(DAMAGED))
            except SnapshotTooNewError as error:
                self._passed_over("snapshot_too_new", error)
        return None

    def _passed_over(self, fault: str, error: EdgeError) -> None:
        log.error("%s; an older one is tried", error)
        with self._changed:
            self._faults.add(fault)

    def faults(self) -> frozenset[str]:
        """What is wrong, by name: snapshot_damaged, snapshot_too_new, snapshot_failing, disk_full."""
        with self._changed:
            return frozenset(self._faults)

    def close(self, timeout_s: float = 10.0) -> bool:
        """Writes what still waits; False when that did not work in time."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._writer.join(timeout_s)
        return not self._writer.is_alive() and "snapshot_failing" not in self.faults()

    # ---- the writer's thread -----------------------------------------------------------------------------------

    def _write_for_ever(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._pending is not None or self._closing)
                snapshot, self._pending = self._pending, None
            if snapshot is None:
                return
            self._saved(self._write(snapshot))

    def _write(self, snapshot: Snapshot) -> SnapshotSaved:
        data = dump(snapshot)
        try:
            self._put(data)
        except OSError as error:
            self._note({"snapshot_failing"} | ({"disk_full"} if error.errno in FULL else set()))
            return SnapshotSaved(snapshot=snapshot.snapshot, error=f"the disk does not take it: {_reason(error)}")
        self._note(set())
        return SnapshotSaved(snapshot=snapshot.snapshot, digest=data[-DIGEST_BYTES:].hex(), size=len(data))

    def _note(self, failing: set[str]) -> None:
        with self._changed:
            self._faults = self._faults - {"snapshot_failing", "disk_full"} | failing

    def _put(self, data: bytes) -> None:
        self._number += 1
        put(data, place(self._directory, self._number))
        self.written_bytes += len(data)
        _remove(self._files(SUFFIX)[: -self._keep])
        _remove(self._files(DAMAGED)[: -self._keep])

    def _files(self, *suffixes: str) -> list[Path]:
        return files(self._directory, *suffixes)


def files(directory: Path, *suffixes: str) -> list[Path]:
    """The files of these kinds, oldest first."""
    return sorted(path for path in directory.iterdir() if path.suffix in suffixes and path.stem.isdecimal())


def place(directory: Path, number: int) -> Path:
    """Where the snapshot of a number lies; the highest number is the newest."""
    return directory / f"{number:08d}{SUFFIX}"


def put(data: bytes, path: Path) -> None:
    """Writes the bytes beside, syncs and renames them: afterwards they are on the disk. Raises OSError."""
    part = path.with_suffix(PART)
    try:
        with part.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)
        _sync(path.parent)
    except OSError:
        with suppress(OSError):  # the first error is the one to tell
            part.unlink(missing_ok=True)
        raise


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def dump(snapshot: Snapshot) -> bytes:
    """The bytes of a snapshot's file."""
    data = codec.pack([FORMAT, {item.name: getattr(snapshot, item.name) for item in fields(snapshot)}])
    return data + hashlib.sha256(data).digest()


def load(data: bytes, path: Path) -> Snapshot:
    """The snapshot in the bytes of a file. Raises SnapshotDamagedError, SnapshotTooNewError."""
    body, digest = data[:-DIGEST_BYTES], data[-DIGEST_BYTES:]
    if hashlib.sha256(body).digest() != digest:
        raise SnapshotDamagedError(path, "its checksum is wrong")
    try:
        found, tree = codec.unpack(body)
        if found > FORMAT:
            raise SnapshotTooNewError(path, found, FORMAT)
        return Snapshot(**{item.name: tree[item.name] for item in fields(Snapshot) if item.name in tree})
    except (DecodeError, TypeError, ValueError) as error:
        raise SnapshotDamagedError(path, str(error)) from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SnapshotDamagedError(path, _reason(error)) from None


def _remove(paths: Iterable[Path]) -> None:
    """Removes what is not needed any more; what cannot be removed takes room and does no other harm."""
    for path in paths:
        with suppress(OSError):
            path.unlink()


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
