"""What a person wants of one device, over the broker: reads what is retained, publishes, hears the answers."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from . import codec, topics
from .address import BrokerAddress
from .connection import Connection, Delivery
from .errors import DecodeError, RefusedError, SendError, TinymlError, TopicError
from .messages import (
    Birth,
    CommandIssued,
    CommandReported,
    ConfigDesired,
    ConfigReported,
    IngestState,
    Message,
    ModelDesired,
    ModelReported,
    Status,
)
from .mqtt import Options

M = TypeVar("M", bound=Message)
# What is retained has arrived when something came and then nothing for so long; after the latter there is nothing.
QUIET_S, LONGEST_S = 0.3, 3.0
HEARD: tuple[type[Message], ...] = (
    *(Status, Birth, ConfigDesired, ConfigReported, ModelDesired, ModelReported),
    *(CommandIssued, CommandReported),
)
FINAL = frozenset({"done", "failed", "expired"})


@dataclass(slots=True)
class Known:
    """What the broker has of a device."""

    retained: dict[type[Message], Message] = field(default_factory=dict)
    commands: dict[str, CommandIssued] = field(default_factory=dict)
    reports: dict[str, list[CommandReported]] = field(default_factory=dict)


class Wishes:
    """A link for one device. Raises SendError where the broker cannot be reached or refuses."""

    def __init__(self, address: BrokerAddress, device: str, root: str, timeout_s: float = 10.0) -> None:
        self.device, self.root = topics.check_device(device), root
        self.known = Known()
        self.listened = False  # whether ingest takes what devices report
        self._changed = threading.Condition()
        self._granted: dict[str, int] = {}
        self._published: dict[int, int] = {}
        self._arrived = 0
        self._connection = Connection(
            Options(address=address, client_id=f"send-{secrets.token_hex(4)}"),
            on_message=self._heard,
            on_subscribed=self._subscribed,
            on_published=self._taken,
        )
        names = [topics.of_kind(kind).filter for kind in HEARD]
        self._filters = [*(f"{root}/{device}/{name}" for name in names), f"{root}/{topics.INGEST_STATE}"]
        self._connection.subscribe([(name, 1) for name in self._filters])
        self._connection.start()
        try:
            self._read(timeout_s)
        except TinymlError:
            self.close()
            raise

    def close(self) -> None:
        self._connection.stop()

    def __enter__(self) -> Wishes:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def retained(self, kind: type[M]) -> M:
        """What the topic of this kind holds; a message of nothing but defaults where it holds none."""
        with self._changed:
            found = self.known.retained.get(kind)
        return found if isinstance(found, kind) else kind()

    def has(self, kind: type[Message]) -> bool:
        return kind in self.known.retained

    def say(self, message: Message, timeout_s: float = 10.0) -> None:
        """Publishes what is retained for the device. Raises SendError."""
        self._publish(topics.path_of(message), codec.encode(message), timeout_s)

    def clear(self, path: str, timeout_s: float = 10.0) -> None:
        """Takes back what is retained on a path of the device. Raises SendError."""
        self._publish(path, b"", timeout_s)

    def wait(self, condition: Callable[[], object], timeout_s: float) -> bool:
        """Whether it became true within the time; looked at whenever something arrives."""
        with self._changed:
            return bool(self._changed.wait_for(condition, timeout_s))

    # ---- behind it ---------------------------------------------------------------------------------------------

    def _read(self, timeout_s: float) -> None:
        """Waits until what is retained has come."""
        if not self._connection.wait_connected(timeout_s):
            raise SendError(f"there is no link to the broker: {self._connection.state.reason}")
        if not self.wait(lambda: len(self._granted) == len(self._filters), timeout_s):
            raise SendError("the broker does not answer the subscriptions")
        if refused := sorted(name for name, code in self._granted.items() if code >= 0x80):
            raise RefusedError(f"the broker does not let this user read {', '.join(refused)}")
        end, before = time.monotonic() + LONGEST_S, 0
        while (not self._arrived or before != self._arrived) and time.monotonic() < end:
            before = self._arrived
            time.sleep(QUIET_S)

    def _publish(self, path: str, payload: bytes, timeout_s: float) -> None:
        topic = topics.full(self.device, path, self.root)
        mid = self._connection.publish(topic, payload, retain=True)
        if mid is None or not self.wait(lambda: mid in self._published, timeout_s):
            raise SendError(f"the broker did not take what was sent on {topic}")
        if self._published[mid] >= 0x80:
            raise RefusedError(f"the broker does not let this user write {topic}; on our Mosquitto only _api may")

    def _subscribed(self, granted: dict[str, int]) -> None:
        with self._changed:
            self._granted |= granted
            self._changed.notify_all()

    def _taken(self, mid: int, code: int) -> None:
        with self._changed:
            self._published[mid] = code
            self._changed.notify_all()

    def _heard(self, name: str, payload: bytes, _: Delivery) -> None:
        try:
            if name == self._filters[-1]:
                self.listened = bool(payload) and codec.decode_as(IngestState, payload).listening
                return
            address = topics.parse(name, self.root)
            message = codec.decode_as(address.topic.kinds, payload) if payload else None
        except (TopicError, DecodeError):
            return  # what somebody else has left there
        with self._changed:
            self._arrived += 1
            self._keep(address, message)
            self._changed.notify_all()

    def _keep(self, address: topics.Address, message: Message | None) -> None:
        command = address.names.get("command", "")
        if isinstance(message, CommandReported):
            self.known.reports.setdefault(command, []).append(message)
        elif isinstance(message, CommandIssued):
            self.known.commands[command] = message
        elif message is not None:
            self.known.retained[type(message)] = message
        elif command:
            self.known.commands.pop(command, None)
        else:
            for kind in address.topic.kinds:
                self.known.retained.pop(kind, None)
