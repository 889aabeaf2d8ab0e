"""An importer on a real database, a folder for pictures and a registry that is only remembered."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ingest.packages.importer import Importer, Outcome, digest_of
from ingest.packages.ledger import Ledger
from ingest.stores.events import PostgresEvents
from ingest.stores.objects import Folder
from ingest.stores.ports import ModelVersion

STORED = """
    SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
    AND relname NOT IN ('package', 'package_step', 'migration')
"""


@dataclass
class Registry:
    """Versions of models by their digest. MLflow itself is tested with its store."""

    known: dict[str, ModelVersion] = field(default_factory=dict)

    def register(
        self, bundle: Path, model: str, tags: Mapping[str, str], alias: str = "", **_: object
    ) -> ModelVersion:
        assert (bundle.name, alias) == (f"{model}.bundle", "")
        return self.known.setdefault(tags["digest"], ModelVersion(model, len(self.known) + 1, tags["digest"], tags))

    def by_digest(self, _model: str, digest: str) -> ModelVersion | None:
        return self.known.get(digest)


@dataclass
class Desk:
    """Brings packages as a person does."""

    importer: Importer
    folder: Path
    eyes: psycopg.Connection

    def bring(self, data: bytes, name: str = "it") -> Outcome:
        path = self.folder / "package"
        path.write_bytes(data)
        package = digest_of(path)
        assert self.importer.ledger.bring(package, name, len(data))
        return self.importer.work(path, package)

    def seqs(self) -> list[int]:
        """Sequence numbers that are stored, as rows or as dead letters, one a row."""
        rows = self.eyes.execute("SELECT records, numbers, last_seq FROM v_record_count").fetchall()
        assert all(records == numbers for records, numbers, _ in rows)
        return [last for _, _, last in rows]

    def everything(self) -> dict[str, list[str]]:
        """All rows of all tables but those of packages."""
        tables = sorted(name for (name,) in self.eyes.execute(STORED))
        return {name: sorted(map(str, self.eyes.execute(f"SELECT * FROM {name}".encode()))) for name in tables}

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        return self.eyes.execute(statement.encode()).fetchall()


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def start_desk(
    database_url: str, tmp_path: Path, registry: Registry, eyes: psycopg.Connection
) -> Iterator[Callable[..., Desk]]:
    closing_later = []

    def start(**more: Any) -> Desk:
        ledger, events = Ledger(database_url), PostgresEvents(database_url)
        closing_later.extend([closing(ledger), closing(events)])
        objects = Folder(tmp_path / "objects")
        importer = Importer(ledger=ledger, events=events, objects=objects, registry=registry, **more)  # type: ignore[arg-type]
        return Desk(importer, tmp_path, eyes)

    yield start
    for held in closing_later:
        with held:
            """Closed."""


@pytest.fixture
def desk(start_desk: Callable[..., Desk]) -> Desk:
    return start_desk()
