"""A job, and what it may use."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import psycopg

from broker.connection import Connection
from broker.mqtt import Options

from ..errors import IngestError, StoreAway
from ..settings import IngestSettings
from ..stores.events import connect, explained
from ..stores.models import MlflowRegistry
from ..stores.objects import open_objects
from ..stores.ports import ObjectStore

PATIENCE_S = 10.0  # for the broker


class Site:
    """The stores and the broker, each connected when a job first asks for it."""

    def __init__(self, settings: IngestSettings) -> None:
        self.settings = settings
        self._database: psycopg.Connection | None = None
        self._broker: Connection | None = None

    @property
    def database(self) -> psycopg.Connection:
        """A connection in autocommit; a new one when the last one broke. Raises StoreAway."""
        if self._database is None or self._database.closed:
            try:
                self._database = connect(self.settings.database, "tinyml-maintain")
            except psycopg.Error as error:
                raise explained(error) from error
        return self._database

    @cached_property
    def objects(self) -> ObjectStore:
        return open_objects(self.settings.objects)

    @cached_property
    def registry(self) -> MlflowRegistry:
        return MlflowRegistry(self.settings.registry)

    @property
    def broker(self) -> Connection:
        """A connection that is up. Raises StoreAway while the broker does not answer."""
        if self._broker is None:
            client_id = f"maintain-{secrets.token_hex(6)}"
            options = Options(address=self.settings.broker_address(), client_id=client_id, session_expiry_s=0)
            self._broker = Connection(options)
            self._broker.start()
        if not self._broker.wait_connected(PATIENCE_S):
            raise StoreAway("broker", self._broker.state.reason, final=self._broker.state.refused)
        return self._broker

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Publishes with QoS 1. Raises StoreAway while the broker does not answer."""
        if self.broker.publish(topic, payload, 1, retain) is None:
            raise StoreAway("broker", "the link broke")

    def close(self) -> None:
        """Gives everything back, after what was published is confirmed."""
        if self._broker is not None:
            self._broker.stop()
        if self._database is not None:
            self._database.close()


@dataclass(frozen=True, slots=True)
class Job:
    """`run` does a bounded piece of work and says in a sentence what it did, "" for nothing.

    It may be interrupted anywhere and run on another machine next time; no two run at once. Raises IngestError or
    psycopg.Error; it runs again when it is due.
    """

    name: str
    what: str
    every_s: float
    run: Callable[[Site], str]


def trouble(error: psycopg.Error | IngestError) -> IngestError:
    """Either as a sentence of ours."""
    return explained(error) if isinstance(error, psycopg.Error) else error
