"""The retained messages of a device on the broker: read with a subscription, cleared with empty payloads."""

from __future__ import annotations

import secrets
import threading
import time
from types import TracebackType
from typing import Self

from broker import topics
from broker.connection import Connection, Delivery, Options

from ..errors import IngestError, StoreAway
from ..settings import IngestSettings
from .forget import Subject

PATIENCE_S = 10.0  # for the broker
QUIET_S = 0.25  # after a message of our own came back, and after the last retained one
RIGHTS = "use one with the rights of _admin"
ROUNDS = 20  # a broker may give only part of many at a time


class Retained:
    """What the broker keeps of the subject."""

    name = "broker"

    def __init__(self, settings: IngestSettings, subject: Subject) -> None:
        path = f"label/{subject.sample}" if subject.sample else "#"
        self.filter = topics.full(subject.device, path, settings.root)
        self._prefix = topics.full(subject.device, "", settings.root)
        # Nothing in MQTT says that there are no more retained messages; what is published later comes after them.
        self._marker = f"{self._prefix}forget/{secrets.token_hex(6)}"
        self._marked = threading.Event()
        self._held: set[str] = set()
        self._heard_at = 0.0
        self._granted: dict[str, int] = {}
        self._refused: set[int] = set()
        self._answered = threading.Event()
        options = Options(
            address=settings.broker_address(), client_id=f"forget-{secrets.token_hex(6)}", session_expiry_s=0
        )
        self._link = Connection(
            options, on_message=self._message, on_subscribed=self._subscribed, on_published=self._published
        )

    def look(self) -> dict[str, int]:
        """The retained topics, by their path. Raises StoreAway, and IngestError where this user may not read."""
        return {name.removeprefix(self._prefix): 1 for name in sorted(self._read())}

    def erase(self) -> None:
        """Clears them, and again what the broker gives only then."""
        for _ in range(ROUNDS):
            if not self._read():
                return
            for name in sorted(self._held):
                if self._link.publish(name, b"", 1, retain=True) is None:
                    raise StoreAway("broker", "the link broke")
            self._link.wait_confirmed(0, PATIENCE_S)
            if self._refused:
                raise IngestError(f"the broker does not let this user clear retained topics; {RIGHTS}")

    def _read(self) -> set[str]:
        if not self._link.wait_connected(PATIENCE_S):
            raise StoreAway("broker", self._link.state.reason, final=self._link.state.refused)
        self._link.unsubscribe([self.filter, self._marker])
        self._held.clear()
        self._answered.clear()
        self._marked.clear()
        self._link.subscribe([(self.filter, 1), (self._marker, 1)])
        if not self._answered.wait(PATIENCE_S):
            raise StoreAway("broker", "it does not answer a subscription")
        if any(code >= 0x80 for code in self._granted.values()):
            raise IngestError(f"the broker does not let this user read {self.filter}; {RIGHTS}")
        self._link.publish(self._marker, b"forget", 1)
        if not self._marked.wait(PATIENCE_S) or self._refused:
            raise IngestError(f"the broker does not pass on what this user writes; {RIGHTS}")
        self._heard_at = time.monotonic()
        while time.monotonic() - self._heard_at < QUIET_S:
            time.sleep(0.05)
        return set(self._held)

    def _message(self, topic: str, payload: bytes, delivery: Delivery) -> None:
        if topic == self._marker:
            self._marked.set()
        elif delivery.retain and payload:
            self._held.add(topic)
            self._heard_at = time.monotonic()

    def _subscribed(self, granted: dict[str, int]) -> None:
        self._granted = granted
        self._answered.set()

    def _published(self, _mid: int, code: int) -> None:
        if code >= 0x80:
            self._refused.add(code)
            self._marked.set()

    def __enter__(self) -> Self:
        self._link.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._link.stop()
