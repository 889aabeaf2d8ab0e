"""The snapshots that a device keeps, to look at while it runs, and to go back to while it does not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import RollbackError, SnapshotDamagedError, SnapshotTooNewError, StateDirectoryError
from .snapshots import DAMAGED, SUFFIX, Snapshot, dump, files, load, place, put

ROLLBACK = "rollback to "  # how the reason of a snapshot begins that is an earlier one again


@dataclass(frozen=True, slots=True)
class Kept:
    """A snapshot's file; `snapshot` is None where it holds none, and `problem` says why."""

    path: Path
    size: int
    modified_s: float  # by the device's clock when it was written
    snapshot: Snapshot | None
    problem: str = ""


def kept(directory: Path) -> list[Kept]:
    """All that is in a directory of snapshots, oldest first; reads only. Raises StateDirectoryError."""
    try:
        return [_kept(path) for path in files(directory, SUFFIX, DAMAGED)]
    except OSError as error:
        raise StateDirectoryError(directory, (error.strerror or str(error)).lower()) from None


def _kept(path: Path) -> Kept:
    about = path.stat()
    try:
        return Kept(path, about.st_size, about.st_mtime, load(path.read_bytes(), path))
    except (SnapshotDamagedError, SnapshotTooNewError) as error:
        return Kept(path, about.st_size, about.st_mtime, None, str(error))


def newest(held: list[Kept]) -> Snapshot | None:
    """The one that the next start takes."""
    return next((one.snapshot for one in reversed(held) if one.snapshot and one.path.suffix == SUFFIX), None)


def chosen(held: list[Kept], name: str, bundle: str) -> Snapshot:
    """The snapshot of this id, or of this file's number, if the bundle can go on from it. Raises RollbackError."""
    found = [one for one in held if _is(one, name)]
    if not found:
        known = ", ".join(one.snapshot.snapshot for one in held if one.snapshot) or "none"
        raise RollbackError(name, f"there is no such snapshot; there are: {known}")
    snapshot = found[-1].snapshot
    if snapshot is None:
        raise RollbackError(name, found[-1].problem)
    if snapshot.bundle != bundle:
        reason = f"it belongs to the bundle {snapshot.bundle[:12]}, the device runs {bundle[:12]}"
        raise RollbackError(name, reason)
    return snapshot


def _is(one: Kept, name: str) -> bool:
    number = name.isdecimal() and one.path.stem.isdecimal() and int(name) == int(one.path.stem)
    return number or (one.snapshot is not None and one.snapshot.snapshot == name)


def go_back(directory: Path, to: Snapshot, latest: Snapshot) -> Snapshot:
    """Writes an earlier state once more as the newest snapshot, and returns that. Raises RollbackError.

    Message time and the count of messages go on from the latest one: they never go back. The others stay, until
    newer ones take their place.
    """
    number = max(int(path.stem) for path in files(directory, SUFFIX, DAMAGED)) + 1
    again = replace(
        to,
        snapshot=f"{to.snapshot}-back{number}",
        at=max(to.at, latest.at),
        applied=max(to.applied, latest.applied),
        reason=ROLLBACK + to.snapshot,
    )
    try:
        put(dump(again), place(directory, number))
    except OSError as error:
        raise RollbackError(to.snapshot, f"the disk does not take it: {(error.strerror or '').lower()}") from None
    return again
