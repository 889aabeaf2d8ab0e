"""A real PostgreSQL and a real broker for the API's tests; a database a test."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from broker.address import BrokerAddress
from broker.process import BrokerProcess, find_mosquitto
from ingest.embedded import Postgres
from ingest.stores.migrate import migrate
from ingest.stores.models import MlflowRegistry
from ingest.stores.objects import Folder
from platform_api.broker_link import Link
from platform_api.database import Database
from platform_api.stores import Stores
from tests.platform_api.fleet import Fleet
from tests.platform_api.servers import Api
from tests.postgres import embedded_server

__all__ = ["embedded_server"]
_numbers = count(1)


@pytest.fixture(scope="session")
def template(embedded_server: Postgres) -> str:
    with psycopg.connect(embedded_server.create_database("migrated"), autocommit=True) as connection:
        migrate(connection)
    return "migrated"


@pytest.fixture
def database_url(embedded_server: Postgres, template: str) -> Iterator[str]:
    yield from _fresh_database(embedded_server, template)


@pytest.fixture(scope="module")
def module_database_url(embedded_server: Postgres, template: str) -> Iterator[str]:
    yield from _fresh_database(embedded_server, template)


def _fresh_database(server: Postgres, template: str) -> Iterator[str]:
    name = f"api_{next(_numbers)}"
    with psycopg.connect(server.url, autocommit=True) as connection:
        made = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
        connection.execute(made)
    yield server.url_of(name)
    server.drop_database(name)


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> MlflowRegistry:
    """A registry with two versions of a bundle; making one takes seconds, and nobody here changes it."""
    folder = tmp_path_factory.mktemp("registry")
    registry = MlflowRegistry(f"sqlite:///{folder / 'mlflow.db'}")
    for content, alias in ((b"one", "champion"), (b"two", "candidate")):
        (folder / "digits.bundle").write_bytes(content)
        registry.register(folder / "digits.bundle", "digits", {"runtime": "ai-edge-litert"}, alias)
    return registry


@pytest.fixture
def objects(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "objects")


@pytest.fixture
def fleet(database_url: str, objects: Folder) -> Iterator[Fleet]:
    fleet = Fleet(database_url, objects)
    yield fleet
    fleet.close()


@pytest.fixture
def stores(database_url: str, objects: Folder, registry: MlflowRegistry) -> Stores:
    return Stores(Database(database_url, patience_s=3.0), objects, registry)


@pytest.fixture
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BrokerProcess]:
    """Mosquitto where there is one, else the embedded broker; a test can ask for one of them."""
    kind = getattr(request, "param", "auto")
    if kind == "mosquitto" and find_mosquitto() is None:
        pytest.skip("there is no mosquitto on this machine")
    with BrokerProcess(tmp_path / "broker", kind) as broker:
        yield broker


@pytest.fixture
def link(broker: BrokerProcess) -> Link:
    return hasty_link(broker.port)


def hasty_link(port: int) -> Link:
    return Link(
        broker=BrokerAddress(port=port),
        poll_s=0.2,
        quiet_s=0.1,
        patience_s=3.0,
        backoff_cap_s=0.2,
    )


@pytest.fixture
def api(stores: Stores, link: Link) -> Iterator[Api]:
    with Api(stores, link) as api:
        yield api


# ---- one API for all tests of a module: its broker is away, its tables are emptied for each test ----------------


@pytest.fixture(scope="module")
def module_objects(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return Folder(tmp_path_factory.mktemp("objects"))


@pytest.fixture(scope="module")
def offline_api(module_database_url: str, module_objects: Folder, registry: MlflowRegistry) -> Iterator[Api]:
    with Api(Stores(Database(module_database_url), module_objects, registry), hasty_link(1)) as api:
        yield api


@pytest.fixture
def emptied_database_url(module_database_url: str) -> str:
    with psycopg.connect(module_database_url, autocommit=True) as connection:
        connection.execute("TRUNCATE device, drift_event, sample, adaptation, label, label_ack, label_request")
    return module_database_url
