"""A worker between a real broker and a real database, and somebody who sends and listens like a fleet does."""

from __future__ import annotations

import threading
from collections import defaultdict
from types import TracebackType
from typing import Self

from broker.address import BrokerAddress
from broker.codec import decode_as
from broker.connection import Connection, Delivery, Options
from broker.messages import DeadLetter, IngestState, Stored
from ingest.worker import Worker
from tests.support import wait_until

INGEST_STATE = "tinyml/_ingest/state"


class Fleet:
    """Devices as the worker sees them: it publishes for all of them and hears what ingest says."""

    def __init__(self, url: str) -> None:
        self.stored: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
        self.answers: list[Stored] = []
        self.states: list[IngestState] = []
        self.dead: list[tuple[str, DeadLetter]] = []
        self.confirmed: dict[int, int] = {}
        self._subscribed = threading.Event()
        self._connection = Connection(
            Options(address=BrokerAddress.of(url), client_id="fleet", max_inflight=1000, backoff_cap_s=0.5),
            on_message=self._heard,
            on_published=self.confirmed.__setitem__,
            on_subscribed=lambda _: self._subscribed.set(),
        )
        self._connection.subscribe([(name, 1) for name in ("tinyml/+/stored", INGEST_STATE, "tinyml/_dead/+")])

    def send(self, *messages: tuple[str, bytes], retain: bool = False) -> None:
        for topic, payload in messages:
            assert self._connection.publish(topic, payload, 1, retain) is not None, "the fleet has no link"

    def listening(self) -> bool:
        return bool(self.states) and self.states[-1].listening

    def dead_reasons(self) -> list[str]:
        return [letter.reason for _, letter in self.dead]

    def _heard(self, topic: str, payload: bytes, _: Delivery) -> None:
        if topic == INGEST_STATE:
            self.states.append(decode_as(IngestState, payload))
        elif topic.startswith("tinyml/_dead/"):
            self.dead.append((topic.rpartition("/")[2], decode_as(DeadLetter, payload)))
        else:
            said = decode_as(Stored, payload)
            self.answers.append(said)
            for first, last in said.ranges:
                self.stored[topic.split("/")[1], said.boot].update(range(first, last + 1))

    def __enter__(self) -> Self:
        self._connection.start()
        wait_until(self._subscribed.is_set)
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.stop()


class Running:
    """A worker at work in a thread of the test."""

    def __init__(self, worker: Worker) -> None:
        self.worker, self.status = worker, None
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        self.status = self.worker.run()

    def stop(self) -> int | None:
        self.worker.stop()
        return self.wait()

    def wait(self) -> int | None:
        self._thread.join(20)
        assert not self._thread.is_alive(), "the worker did not stop"
        return self.status

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.stop()
