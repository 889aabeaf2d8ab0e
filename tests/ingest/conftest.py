"""A worker's surroundings: a broker, a database, a folder for pictures."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest

from broker.address import BrokerAddress
from broker.connection import Options
from broker.embedded import BrokerProcess, find_mosquitto
from broker.process import shipped_limits
from ingest.embedded import Postgres
from ingest.filing import Filing
from ingest.stores.events import PostgresEvents
from ingest.stores.objects import Folder
from ingest.stores.ports import ObjectStore
from ingest.worker import Limits, Worker
from tests.ingest.harness import Fleet, Running
from tests.postgres import embedded_server, fresh_database, timescale_server
from tests.support import wait_until

__all__ = ["embedded_server", "timescale_server"]

StartWorker = Callable[..., Running]


@pytest.fixture
def broker(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[BrokerProcess]:
    """Mosquitto where there is one, else the embedded broker; a test may ask for either, or for what we ship."""
    kind = getattr(request, "param", "auto")
    if kind in ("mosquitto", "shipped") and find_mosquitto() is None:
        if os.environ.get("CI"):
            pytest.fail("CI needs a mosquitto")
        pytest.skip("there is no mosquitto on this machine")
    more = shipped_limits() if kind == "shipped" else ()
    with BrokerProcess(tmp_path / "broker", "mosquitto" if more else kind, more=more) as broker:
        yield broker


@pytest.fixture
def database_url(embedded_server: Postgres) -> Iterator[str]:
    yield from fresh_database(embedded_server)


@pytest.fixture
def eyes(database_url: str) -> Iterator[psycopg.Connection]:
    """A connection that looks at what the worker did."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def fleet(broker: BrokerProcess) -> Iterator[Fleet]:
    with Fleet(broker.url) as fleet:
        yield fleet


@pytest.fixture
def start_worker(broker: BrokerProcess, fleet: Fleet, database_url: str, tmp_path: Path) -> Iterator[StartWorker]:
    """Starts workers, each with a database connection of its own, and waits until the fleet knows of them."""
    with ExitStack() as stack:

        def start(
            *,
            database: str = database_url,
            receive_maximum: int = 500,
            objects: ObjectStore | None = None,
            patience_s: float = 10.0,  # with the object store
            **limits: Any,
        ) -> Running:
            events = PostgresEvents(database)
            stack.callback(events.close)
            options = Options(
                address=BrokerAddress.of(broker.url),
                client_id=f"ingest-{id(events)}",
                receive_maximum=receive_maximum,
                backoff_cap_s=0.5,
            )
            made = Worker(
                Filing(events, objects or Folder(tmp_path / "objects"), patience_s=patience_s),
                options,
                limits=Limits(**{"pause_cap_s": 0.3, **limits}),
            )
            running = stack.enter_context(Running(made))
            wait_until(lambda: any(state.worker == made.beacon.worker for state in fleet.states))
            return running

        yield start


@pytest.fixture
def worker(start_worker: StartWorker) -> Running:
    return start_worker()
