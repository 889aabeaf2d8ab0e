"""One way to connect to the broker, for the device's bridge and the ingest workers.

MQTT 5 where the broker speaks it, 3.1.1 otherwise. The connection looks after itself: it comes back with a growing,
jittered pause, subscribes again, and says in `state` why it is down. It keeps no messages: what was published and
not confirmed when a link broke is the caller's to send again (done means stored, and only the caller knows).
"""

from __future__ import annotations

import random
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from .address import BrokerAddress
from .backoff import Backoff
from .errors import TooLargeError
from .mqtt import (
    MQTT_5,
    MQTT_311,
    REFUSALS,
    UNSUPPORTED_VERSION,
    VERSIONS,
    Network,
    Options,
    Will,
    link_ended,
    new_client,
    no_link,
    number,
    open_link,
)

__all__ = ["BrokerAddress", "Connection", "Delivery", "Options", "State", "Will"]

CALLBACK_FAILED = "a callback failed"  # the reason of a connection whose thread has ended because of one
FROM_HERE_REFUSED = 0x80  # reason codes from this one on are refusals


@dataclass(frozen=True, slots=True)
class State:
    """How the link is. `reason` is one sentence for a person, empty while connected."""

    connected: bool = False
    session: int = 0  # counts the attempts, so that a will that comes late names an older one
    protocol: str = ""  # "5" | "3.1.1" once connected
    reason: str = "not connected yet"
    refused: bool = False  # a person has to mend something; the connection goes on trying, rarely
    shared_subscriptions: bool = False


class Delivery(NamedTuple):
    """What `Connection.ack` needs to know of a message that came in."""

    session: int
    mid: int
    qos: int
    retain: bool


OnUp = Callable[[int, bool], None]  # session, whether the broker still had our session
OnDown = Callable[[str], None]  # reason
OnMessage = Callable[[str, bytes, Delivery], None]
OnPublished = Callable[[int, int], None]  # mid, reason code: 0 taken, 0x10 nobody subscribed, from 0x80 refused
OnSubscribed = Callable[[dict[str, int]], None]  # filter -> granted QoS, or from 0x80 refused


def _ignore(*_: object) -> None:
    """The callback of a caller who did not ask for one."""


class Connection:
    """A link to the broker that restores itself.

    Callbacks come one at a time, in order, on the connection's own thread, and may call any method but `stop`.
    """

    def __init__(
        self,
        options: Options,
        *,
        on_message: OnMessage = _ignore,
        on_up: OnUp = _ignore,
        on_down: OnDown = _ignore,
        on_published: OnPublished = _ignore,
        on_subscribed: OnSubscribed = _ignore,
        rng: random.Random | None = None,
        sessions: int = 0,
    ) -> None:
        """`sessions` is how many there were before the first one of this connection."""
        self.options = options
        self._on_message, self._on_up, self._on_down = on_message, on_up, on_down
        self._on_published, self._on_subscribed = on_published, on_subscribed
        rng = rng or random.Random()  # noqa: S311  it only spreads attempts over time
        self._backoff = Backoff(rng, options.backoff_base_s, options.backoff_cap_s, options.stable_s)
        self._tls = options.address.tls_context() if options.address.tls else None
        self._lock = threading.Condition()  # guards what follows; notified when the state or the count changes
        self._state = State(session=sessions)
        self._filters: dict[str, int] = {}
        self._asked: dict[int, list[str]] = {}  # mid of a SUBSCRIBE -> its filters
        self._unconfirmed = 0
        self._largest = options.max_packet_bytes  # what the broker takes
        self._window = options.max_inflight
        self._answer: int | None = None  # the broker's reason code to the last CONNECT
        # paho calls back while it holds locks of its own, so what it says waits here until it has let go of them.
        self._news: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._network = Network()
        self._client = self._new_client(VERSIONS[options.protocol])
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"mqtt {options.client_id}", daemon=True)

    @property
    def state(self) -> State:
        return self._state

    def start(self) -> None:
        """Begins to connect, and returns at once."""
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Waits a while for confirmations, then says goodbye, so that the broker sends no will."""
        deadline = time.monotonic() + timeout_s
        self.wait_confirmed(0, timeout_s / 2)
        self._stopping.set()
        self._client.disconnect()
        if self._thread.ident is not None:
            self._thread.join(max(0.0, deadline - time.monotonic()))

    def wait_connected(self, timeout_s: float) -> bool:
        """Whether the link is up, now or within the time."""
        with self._lock:
            return self._lock.wait_for(lambda: self._state.connected, timeout_s)

    def wait_confirmed(self, at_most: int, timeout_s: float) -> bool:
        """Whether no more than so many publishes are unconfirmed (or the link is gone), now or within the time."""
        with self._lock:
            return self._lock.wait_for(lambda: self._unconfirmed <= at_most or not self._state.connected, timeout_s)

    def publish(self, topic: str, payload: bytes, qos: int = 1, retain: bool = False) -> int | None:
        """The mid that `on_published` will name, perhaps before this returns; None when there is no link.

        A mid means something until the next `on_down`. Raises TooLargeError for what the broker would hang up on.
        """
        size = len(payload) + len(topic.encode()) + 16  # room for the header and the lengths
        with self._lock:
            if not self._state.connected:
                return None
            if size > self._largest:
                raise TooLargeError(size, self._largest)
            self._unconfirmed += 1
        sent = self._client.publish(topic, payload, qos, retain)
        if sent.rc == MQTTErrorCode.MQTT_ERR_SUCCESS:
            return sent.mid
        self._confirmed()
        return None

    def subscribe(self, filters: Iterable[tuple[str, int]]) -> None:
        """Subscribes to each (filter, QoS): now if there is a link, and again on every connection."""
        with self._lock:
            added = {name: qos for name, qos in filters if self._filters.get(name) != qos}
            self._filters |= added
            if self._state.connected:
                self._ask(added)

    def unsubscribe(self, filters: Iterable[str]) -> None:
        """Asks for no more of these; what is in flight still comes."""
        with self._lock:
            named = [name for name in filters if self._filters.pop(name, None) is not None]
            if named and self._state.connected:
                self._client.unsubscribe(named)

    def ack(self, delivery: Delivery) -> bool:
        """Acknowledges a message, with `manual_ack`; False when its session is over and it will come again."""
        with self._lock:
            if not self._state.connected or delivery.session != self._state.session:
                return False
            return self._client.ack(delivery.mid, delivery.qos) == MQTTErrorCode.MQTT_ERR_SUCCESS

    # ---- the thread of the connection ------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            with self._network:
                while not self._stopping.is_set():
                    began = time.monotonic()
                    self._serve()
                    if not self._change_version():
                        self._pause(time.monotonic() - began)
        finally:
            if left := self._client.socket():  # a callback failed: no goodbye, so that the broker sends the will
                left.close()
            self._change(connected=False, reason="stopped" if self._stopping.is_set() else CALLBACK_FAILED)

    def _pause(self, held_s: float) -> None:
        self._stopping.wait(self._backoff.refused() if self._state.refused else self._backoff.pause(held_s))

    def _serve(self) -> None:
        """Connects, and serves the link until it ends."""
        options, client = self.options, self._client
        client.drop_out_messages()
        self._answer = None
        self._change(session=self._state.session + 1, protocol="", refused=False)
        try:
            open_link(client, options, options.will(self._state.session) if options.will else None)
        except OSError as error:
            self._change(reason=no_link(options.address, error), refused=isinstance(error, ssl.CertificateError))
            return
        self._change(reason=f"{options.address} has not answered yet")
        give_up_at = time.monotonic() + options.connect_timeout_s
        while self._network.step(client, 1.0 if self._state.connected else 0.05):
            self._tell()
            if self._stopping.is_set() or not (self._state.connected or time.monotonic() < give_up_at):
                client.disconnect()
        self._down("the link broke")
        self._tell()

    def _change_version(self) -> bool:
        """Turns to another version of the protocol where the broker refused this one; True to try it at once."""
        client, window = self._client, self._window
        version = client.protocol
        if self.options.protocol == "auto":
            if version == MQTT_5 and self._answer == UNSUPPORTED_VERSION:
                version = MQTT_311
            elif version == MQTT_311 and self._answer is None:
                version = MQTT_5  # paho keeps a broker's refusal of 3.1.1 to itself; perhaps the broker learned more
        if version != client.protocol or window < client.max_inflight_messages:
            self._client = self._new_client(version)
        return version == MQTT_311 != client.protocol

    def _tell(self) -> None:
        while self._news:
            callback, arguments = self._news.popleft()
            callback(*arguments)

    def _change(self, **changes: Any) -> None:
        with self._lock:
            self._state = replace(self._state, **changes)
            self._lock.notify_all()

    def _confirmed(self) -> None:
        with self._lock:
            self._unconfirmed -= 1
            if self._unconfirmed <= 0:
                self._lock.notify_all()

    def _ask(self, filters: dict[str, int]) -> None:
        if filters:
            result, mid = self._client.subscribe(list(filters.items()))
            if result == MQTTErrorCode.MQTT_ERR_SUCCESS and mid is not None:
                self._asked[mid] = list(filters)

    def _down(self, reason: str) -> None:
        with self._lock:
            if self._state.connected:
                reason = "stopped" if self._stopping.is_set() else reason
                self._change(connected=False, shared_subscriptions=False, reason=reason)
                self._news.append((self._on_down, (reason,)))

    # ---- paho's callbacks, on the same thread, inside `step` ---------------------------------------------------

    def _new_client(self, version: MQTTProtocolVersion) -> Client:
        client = new_client(self.options, version, self._window, self._tls, self._network.wake)
        client.on_connect, client.on_disconnect = self._connack, self._disconnected
        client.on_message, client.on_publish, client.on_subscribe = self._message, self._puback, self._suback
        return client

    def _connack(
        self, client: Client, _: Any, flags: ConnectFlags, code: ReasonCode, properties: Properties | None
    ) -> None:
        self._answer = code.value
        if code.value >= FROM_HERE_REFUSED:
            reason = REFUSALS.get(code.value, f"the broker refuses for now: {code}")
            self._change(reason=reason, refused=code.value in REFUSALS)
            return
        five = client.protocol == MQTT_5
        with self._lock:
            self._largest = min(self.options.max_packet_bytes, number(properties, "MaximumPacketSize", 1 << 28))
            self._window = min(self.options.max_inflight, number(properties, "ReceiveMaximum", 1 << 16))
            self._unconfirmed = 0
            self._asked.clear()
            self._change(
                connected=True,
                protocol="5" if five else "3.1.1",
                reason="",
                shared_subscriptions=five and bool(number(properties, "SharedSubscriptionAvailable", 1)),
            )
            self._ask(self._filters)
        self._news.append((self._on_up, (self._state.session, flags.session_present)))

    def _disconnected(
        self, _: Client, __: Any, flags: DisconnectFlags, code: ReasonCode, properties: Properties | None
    ) -> None:
        self._down(link_ended(flags, code, properties, self.options.keepalive_s))

    def _message(self, _: Client, __: Any, message: MQTTMessage) -> None:
        delivery = Delivery(self._state.session, message.mid, message.qos, message.retain)
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = ""  # in nobody's table of topics, so it goes where poison goes
        self._news.append((self._on_message, (topic, bytes(message.payload), delivery)))

    def _puback(self, _: Client, __: Any, mid: int, code: ReasonCode, ___: Properties | None) -> None:
        self._confirmed()
        self._news.append((self._on_published, (mid, code.value)))

    def _suback(self, _: Client, __: Any, mid: int, codes: list[ReasonCode], ___: Properties | None) -> None:
        with self._lock:
            filters = self._asked.pop(mid, [])
        granted = {name: code.value for name, code in zip(filters, codes, strict=False)}
        self._news.append((self._on_subscribed, (granted,)))
