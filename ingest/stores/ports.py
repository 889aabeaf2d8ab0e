"""What ingest and the API need of a store: three small protocols."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from .batch import Batch


class EventStore(Protocol):
    """Where records go. One thread uses it at a time."""

    def store(self, batch: Batch) -> int:
        """Commits the whole batch and returns how many of its rows are new; a second time changes nothing.

        Raises StoreAway or RecordRefused, and then nothing of it is stored.
        """

    def level(self) -> str:
        """What the database can do: `plain`, `timescale-apache` or `timescale-community`."""

    def close(self) -> None:
        """Gives the connection back."""


@dataclass(frozen=True, slots=True)
class ObjectStat:
    key: str
    size: int
    changed_at: datetime


class ObjectStore(Protocol):
    """Where pictures and bundles go. Keys are paths such as `pictures/ab/<digest>`; ObjectError for any other."""

    def put(self, key: str, data: bytes, content_type: str = "application/octet-stream") -> None:
        """Keeps the bytes under the key, whole or not at all."""

    def get(self, key: str) -> bytes:
        """The bytes; raises ObjectError where there are none."""

    def stat(self, key: str) -> ObjectStat | None:
        """Size and time, or None."""

    def list(self, prefix: str = "") -> Iterator[str]:
        """The keys that begin with `prefix`, in order."""

    def delete(self, key: str) -> None:
        """Removes the object; nothing happens where there is none."""

    def url(self, key: str, expires_s: int = 3600) -> str:
        """A URL from which the object can be read: `https:` signed for a while, or `file:`."""


@dataclass(frozen=True, slots=True)
class ModelVersion:
    model: str
    version: int
    digest: str
    tags: Mapping[str, str]
    aliases: tuple[str, ...] = ()
    made_at: datetime | None = None


class ModelRegistry(Protocol):
    """Which bundles exist and which one is the champion."""

    def register(
        self,
        bundle: Path,
        model: str,
        tags: Mapping[str, str],
        alias: str = "",
        *,
        parts: Mapping[str, bytes] | None = None,
        about: str = "",
    ) -> ModelVersion:
        """The version that holds this bundle, the same one when it was registered before.

        The tag `digest` names the bundle; without one the sha256 of the file does. `parts` are kept beside the file,
        `about` is what people read of the version.
        """

    def by_alias(self, model: str, alias: str) -> ModelVersion | None:
        """The version an alias such as `champion` points to."""

    def by_digest(self, model: str, digest: str) -> ModelVersion | None:
        """The version that holds the bundle of this digest; any model's where `model` is empty."""

    def versions(self) -> list[ModelVersion]:
        """Every version of every model: by model, the newest first."""

    def fetch(self, version: ModelVersion, folder: Path) -> Path:
        """Brings the bundle file of a version into a folder and returns its path."""
