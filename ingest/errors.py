"""Errors of ingest. `StoreAway` is the only one that trying again can cure."""

from __future__ import annotations

from broker.errors import TinymlError


class IngestError(TinymlError):
    """Something on the server side that a person can act on."""


class StoreAway(IngestError):  # noqa: N818  it reads as what happened, as do the two below
    """The database, the object store or the registry does not answer at the moment; nothing was stored."""

    def __init__(self, store: str, why: str, *, final: bool = False) -> None:
        super().__init__(f"the {store} {'refuses' if final else 'is away'}: {why}")
        self.store = store
        self.why = why
        self.final = final  # it answered, and a person has to mend something


class RecordRefused(IngestError):  # noqa: N818
    """The database refuses the data itself; at least one record of the batch can never be stored.

    `table` is the one whose rows it refuses, empty where it is none of records. `keys` are the (device, boot, seq) of
    records that certainly cannot be stored, where that is known.
    """

    def __init__(self, sentence: str, table: str = "", keys: frozenset[tuple[str, str, int]] = frozenset()) -> None:
        super().__init__(sentence)
        self.table, self.keys = table, keys


class Poison(IngestError):  # noqa: N818
    """A message that no consumer can take; it becomes a dead letter with this reason."""


class MigrationError(IngestError):
    """The database is not one that these migrations made, or a migration failed."""


class PostgresError(IngestError):
    """The embedded PostgreSQL cannot be started."""


class ObjectError(IngestError):
    """An object cannot be kept under this key, or there is none."""


class PackageRefused(IngestError):  # noqa: N818
    """A package is hostile, damaged, or beyond a limit; nothing of it was taken."""


class EntryRefused(IngestError):  # noqa: N818
    """One entry of a package cannot be taken; the others can."""


class PackageInterrupted(IngestError):  # noqa: N818
    """Work on a package was ended before it was done."""


class RegistryError(IngestError):
    """A model cannot be registered."""
