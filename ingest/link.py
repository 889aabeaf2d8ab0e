"""The worker's link to the broker: by the batch where the broker speaks MQTT 5, by `broker.connection` where not.

It promises what `Connection` promises. Messages come as lists, and acknowledgements and publishes can be given as
lists; so a worker pays for the change of threads once a batch and not once a message.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from broker.connection import Connection, Delivery, State
from broker.mqtt import Options

from .fast_link import Callbacks, FastLink, Incoming

__all__ = ["Callbacks", "Incoming", "Link"]
LOOK_S = 0.1  # how long to wait for one link before looking whether it is still the one


class Link:
    """Connects by itself and again after every end; falls back to MQTT 3.1.1 at a broker that speaks no other."""

    def __init__(self, options: Options, callbacks: Callbacks, *, rng: random.Random | None = None) -> None:
        self.options, self._callbacks = options, callbacks
        self._rng = rng or random.Random()  # noqa: S311  it only spreads attempts over time
        self._filters: dict[str, int] = {}
        self._lock = threading.Lock()  # one link takes the place of another while nobody uses or stops it
        self._stopped = False
        self._link: FastLink | SlowLink = (
            SlowLink(options, callbacks, self._rng)
            if options.protocol == "3.1.1"
            else FastLink(options, callbacks, self._rng, self._fall_back)
        )

    @property
    def state(self) -> State:
        return self._link.state

    def start(self) -> None:
        """Begins to connect, and returns at once."""
        self._link.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Waits a while for confirmations, then says goodbye, so that the broker sends no will."""
        with self._lock:
            self._stopped = True
        self._link.stop(timeout_s)

    def wait_connected(self, timeout_s: float) -> bool:
        """Whether the link is up, now or within the time."""
        until = time.monotonic() + timeout_s
        while not self._link.wait_connected(max(0.0, min(LOOK_S, until - time.monotonic()))):
            if time.monotonic() >= until:
                return False
        return True

    def wait_confirmed(self, at_most: int, timeout_s: float) -> bool:
        """Whether no more than so many publishes are unconfirmed (or the link is gone), now or within the time."""
        return self._link.wait_confirmed(at_most, timeout_s)

    def publish(self, topic: str, payload: bytes, qos: int = 1, retain: bool = False) -> int | None:
        """The mid that `on_published` will name, perhaps before this returns; None when there is no link.

        A mid means something until the next `on_down`. Raises TooLargeError for what the broker would hang up on.
        """
        return self._link.publish(topic, payload, qos, retain)

    def publish_many(self, said: Sequence[tuple[str, bytes]]) -> bool:
        """Publishes each (topic, payload) at QoS 1; False when there is no link. Raises TooLargeError."""
        return self._link.publish_many(said)

    def subscribe(self, filters: Iterable[tuple[str, int]]) -> None:
        """Subscribes to each (filter, QoS): now if there is a link, and again on every connection."""
        asked = list(filters)
        with self._lock:
            self._filters |= dict(asked)
            self._link.subscribe(asked)

    def unsubscribe(self, filters: Iterable[str]) -> None:
        """Asks for no more of these; what is in flight still comes."""
        names = list(filters)
        with self._lock:
            for name in names:
                self._filters.pop(name, None)
            self._link.unsubscribe(names)

    def ack_many(self, session: int, packet_ids: Sequence[int]) -> bool:
        """Acknowledges messages of QoS 1; False when their session is over and they will come again."""
        return self._link.ack_many(session, packet_ids)

    def pause_reading(self) -> bool:
        """Takes nothing from the network until `resume_reading`; False where the link cannot do that."""
        return self._link.pause_reading()

    def resume_reading(self) -> None:
        self._link.resume_reading()

    def _fall_back(self) -> None:
        with self._lock:
            if not self._stopped:
                before = self._link.state.session
                self._link = SlowLink(self.options, self._callbacks, self._rng, before)
                self._link.subscribe(self._filters.items())
                self._link.start()


class Came(NamedTuple):
    """A message that a `SlowLink` brought."""

    topic: str
    payload: bytes
    packet_id: int | None
    retain: bool


class SlowLink:
    """A `Connection` with the methods of `Link`: a message is a list of one."""

    def __init__(self, options: Options, callbacks: Callbacks, rng: random.Random, sessions: int = 0) -> None:
        self._on_messages = callbacks.on_messages
        self._connection = Connection(
            options,
            on_message=self._message,
            on_up=callbacks.on_up,
            on_down=callbacks.on_down,
            on_published=callbacks.on_published,
            on_subscribed=callbacks.on_subscribed,
            rng=rng,
            sessions=sessions,
        )
        self.start, self.stop = self._connection.start, self._connection.stop
        self.wait_connected, self.wait_confirmed = self._connection.wait_connected, self._connection.wait_confirmed
        self.publish = self._connection.publish
        self.subscribe, self.unsubscribe = self._connection.subscribe, self._connection.unsubscribe

    @property
    def state(self) -> State:
        return self._connection.state

    def publish_many(self, said: Sequence[tuple[str, bytes]]) -> bool:
        return all(self._connection.publish(topic, payload) is not None for topic, payload in said)

    def ack_many(self, session: int, packet_ids: Sequence[int]) -> bool:
        return all(self._connection.ack(Delivery(session, mid, 1, False)) for mid in packet_ids)

    def pause_reading(self) -> bool:
        return False

    def resume_reading(self) -> None:
        """It never paused."""

    def _message(self, topic: str, payload: bytes, delivery: Delivery) -> None:
        came = Came(topic, payload, delivery.mid if delivery.qos else None, delivery.retain)
        self._on_messages(delivery.session, [came])
