"""A database with a fleet in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ingest.embedded import Postgres
from tests.knowledge.fleet import Fleet
from tests.postgres import embedded_server, fresh_database, timescale_server

__all__ = ["embedded_server", "timescale_server"]


@pytest.fixture
def fleet(embedded_server: Postgres) -> Iterator[Fleet]:
    for url in fresh_database(embedded_server):
        with Fleet(url) as fleet:
            yield fleet
