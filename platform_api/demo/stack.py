"""The server side on this machine alone: broker, database, objects, registry, a worker, upkeep, the API."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import httpx

from broker.embedded import BrokerProcess
from ingest.embedded import EmbeddedPostgres, Postgres

from ..errors import DemoError
from .process import Process, tinyml

REGISTER_S = 120.0  # MLflow makes its tables the first time


class Stack:
    """Real parts on loopback and free ports, each its own process; `stop` ends every one by its id."""

    def __init__(self, directory: Path, *, broker: str = "auto", database: Postgres | None = None) -> None:
        self.directory = directory
        (directory / "logs").mkdir(parents=True, exist_ok=True)
        self.broker = BrokerProcess(directory / "broker", kind=broker)
        self.database = database or EmbeddedPostgres(directory / "postgres")
        self.objects = directory / "objects"
        self.registry = f"sqlite:///{directory / 'registry.db'}"
        self.worker = Process("ingest worker", [], self.log("ingest"))
        self.upkeep = Process("upkeep", [], self.log("upkeep"))
        self.api = Process("platform API", [], self.log("api"))
        self.registrar = Process("registration", [], self.log("registry"))
        self.api_url = ""

    def log(self, name: str) -> Path:
        return self.directory / "logs" / f"{name}.log"

    def start(self) -> None:
        self.database.start()
        self.broker.start()
        self.start_worker()
        self.start_upkeep()
        self.start_api()

    def start_worker(self) -> None:
        self.worker.argv = tinyml("ingest", "run", *self._stores())
        self.worker.start()
        self.worker.wait_for("listening")

    def start_upkeep(self) -> None:
        self.upkeep.argv = tinyml("ingest", "maintain", "--watch", *self._stores())
        self.upkeep.start()
        self.upkeep.wait_for("watching over")

    def start_api(self) -> None:
        port = self.api_url.rpartition(":")[2] or "0"  # the same one again after a restart
        self.api.argv = tinyml("api", "run", "--port", port, "--backoff-cap-s", "5", *self._stores())
        self.api.start()
        self.api_url = self.api.wait_for(r"listening on (http://\S+)")[1]

    def register(self, bundles: Sequence[Path]) -> None:
        """Puts bundles into the model registry, each as a model of its own name; takes a few seconds each."""
        for bundle in bundles:
            self.registrar.argv = tinyml("ingest", "register", str(bundle), "--registry", self.registry)
            self.registrar.argv += ["--alias", "champion"]
            self.registrar.start()
            if self.registrar.wait(REGISTER_S) != 0:
                raise DemoError(f"{bundle.name} was not registered; the log is {self.registrar.log}")

    def registered(self) -> list[str]:
        """The models whose bundle is the champion, as the API tells."""
        found = httpx.get(f"{self.api_url}/models", timeout=REGISTER_S).raise_for_status().json()
        return [model["model"] for model in found["items"] if "champion" in model["aliases"]]

    def _stores(self) -> list[str]:
        return [
            *("--broker", self.broker.url),
            *("--database", self.database.url),
            *("--objects", str(self.objects)),
            *("--registry", self.registry),
        ]

    def stop(self) -> None:
        self.registrar.stop()
        self.api.stop()
        self.upkeep.stop()
        self.worker.stop()
        self.broker.stop()
        self.database.stop()

    def remove(self) -> None:
        """Stops everything and deletes what the database keeps, which may be outside the stack's directory."""
        self.stop()
        self.database.remove()
