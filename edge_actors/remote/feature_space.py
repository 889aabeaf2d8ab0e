"""What a bundle leaves to the next one: its own state, in case it comes back, and what people have labelled."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..algorithms.votes import Origin
from ..arrays import floats
from ..bundle import Bundle, archive
from ..errors import BundleError, SnapshotDamagedError, SnapshotTooNewError, StateDirectoryError
from ..knn import Knn
from ..ports.snapshots import Snapshot, dump, load, put

log = logging.getLogger(__name__)

SUFFIX = ".state"


class Legacy:
    """Keeps the last state of each bundle in `<folder>/<digest>.state`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.metrics: dict[str, float] = {}  # what became of people's labels

    def state_for(self, bundle: Bundle, latest: Snapshot | None, files: Iterable[Path]) -> Snapshot | None:
        """The snapshot that a bundle goes on from, when the newest one may be another bundle's.

        Its own where it ran before; else what people labelled, where the bundle before it had the same feature
        space, which `files` are searched for. Raises StateDirectoryError where the other's state cannot be kept.
        """
        if latest is None or latest.bundle == bundle.digest:
            return latest
        self._keep(latest)
        own = self._own(bundle.digest)
        if own is not None:
            return replace(own, at=latest.at, applied=latest.applied, boot=latest.boot)
        return self._inherited(bundle, latest, files) or latest

    def tidy(self, needed: set[str]) -> None:
        """Removes the states of all other bundles."""
        for path in self.folder.glob(f"*{SUFFIX}"):
            if path.stem not in needed:
                with suppress(OSError):  # it takes room and does no other harm
                    path.unlink()

    def _keep(self, snapshot: Snapshot) -> None:
        path = self.folder / f"{snapshot.bundle[:64]}{SUFFIX}"
        try:
            path.with_suffix(".part").unlink(missing_ok=True)
            put(dump(snapshot), path)
        except OSError as error:
            raise StateDirectoryError(self.folder, (error.strerror or str(error)).lower()) from None

    def _own(self, digest: str) -> Snapshot | None:
        path = self.folder / f"{digest[:64]}{SUFFIX}"
        try:
            return load(path.read_bytes(), path) if path.exists() else None
        except (OSError, SnapshotDamagedError, SnapshotTooNewError) as error:
            log.error("%s; the bundle begins as delivered", error)
            return None

    def _inherited(self, bundle: Bundle, latest: Snapshot, files: Iterable[Path]) -> Snapshot | None:
        memory: dict[str, Any] = latest.states.get("knn", {}).get("memory", {})
        people = [row for row, origin in enumerate(memory.get("origins", b"")) if origin == Origin.PERSON]
        if not people:
            return None
        fits = any(_space(one) == _space_of(bundle) for one in files if _is(one, latest.bundle))
        self.metrics = {"labels_carried": 0.0, "labels_left": float(len(people))}
        if not fits:
            log.warning("%d labels of people stay behind: the new bundle has another feature space", len(people))
            return None
        knn = Knn(bundle.memory(), bundle.contents.calibration, bundle.digest)
        rows = floats(memory["rows"], bundle.contents.projection.dimension)
        times = memory.get("times", [0.0] * len(memory["labels"]))
        carried = sum(
            knn.memory.add(rows[row], memory["labels"][row], Origin.PERSON, memory["samples"][row], times[row])
            for row in people
        )
        self.metrics = {"labels_carried": float(carried), "labels_left": float(len(people) - carried)}
        return replace(latest, bundle=bundle.digest, states={"knn": knn.state()})


def _is(path: Path, digest: str) -> bool:
    with suppress(BundleError):
        return archive.digest_in(path) == digest
    return False


def _space(path: Path) -> tuple[str, str]:
    """What decides where features lie: digests of the model and of the projection."""
    return _digests(archive.manifest_in(path))


def _space_of(bundle: Bundle) -> tuple[str, str]:
    return _digests(bundle.manifest)


def _digests(manifest: dict[str, Any]) -> tuple[str, str]:
    parts = manifest["parts"]
    return parts.get(archive.MODEL, {}).get("sha256", ""), parts["projection.cbor"]["sha256"]
