"""A link to a broker of MQTT 5 on an event loop of its own thread, made for many messages a second."""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import mqtt5

from broker.backoff import Backoff
from broker.connection import CALLBACK_FAILED, OnDown, OnPublished, OnSubscribed, OnUp, State
from broker.errors import TooLargeError
from broker.mqtt import REFUSALS, UNSUPPORTED_VERSION, Options, Will, no_link
from broker.mqtt5_protocol import ROOM, ConnAckPacket, ConnectPacket, Mqtt5Protocol, PublishPacket

log = logging.getLogger("tinyml.ingest")
SAID = 65_534  # the most that is said: 65,535 is the default, is left out, and Mosquitto puts its own number there
GOODBYE_S = 2.0  # how long a broker may take to hear that we leave


class Incoming(Protocol):
    """A message that came in."""

    @property
    def topic(self) -> str: ...
    @property
    def payload(self) -> bytes: ...
    @property
    def packet_id(self) -> int | None: ...  # None with QoS 0, where there is nothing to acknowledge
    @property
    def retain(self) -> bool: ...


def _ignore(*_: object) -> None:
    """The callback of a caller who did not ask for one."""


class Callbacks(NamedTuple):
    """Called one at a time, in order, on the link's own thread; they may call any method of the link but `stop`."""

    on_messages: Callable[[int, Sequence[Incoming]], None] = _ignore  # the session in which they came, and they
    on_up: OnUp = _ignore
    on_down: OnDown = _ignore
    on_published: OnPublished = _ignore
    on_subscribed: OnSubscribed = _ignore


class FastLink:
    """What `Link` promises, at brokers that speak MQTT 5; at one that does not it ends and calls `on_unsupported`.

    The methods are for any thread; the callbacks, and everything below the line, belong to the loop.
    """

    def __init__(
        self, options: Options, callbacks: Callbacks, rng: random.Random, on_unsupported: Callable[[], None]
    ) -> None:
        self.options, self._callbacks, self._on_unsupported = options, callbacks, on_unsupported
        self._backoff = Backoff(rng, options.backoff_base_s, options.backoff_cap_s, options.stable_s)
        self._tls = options.address.tls_context() if options.address.tls else None
        self._lock = threading.Condition()  # guards what follows; notified when the state or the count changes
        self._state = State()
        self._filters: dict[str, int] = {}
        self._unconfirmed = self._tickets = 0
        self._largest = options.max_packet_bytes
        self._loop: asyncio.AbstractEventLoop | None = None  # while it runs
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"mqtt {options.client_id}", daemon=True)
        # Of the loop alone:
        self._protocol: Mqtt5Protocol | None = None  # from the attempt to connect until it has ended
        self._news = (
            asyncio.Event()
        )  # something ended: the connection, our wish to have one, or a callback by failing
        self._asked: dict[int, list[str]] = {}
        self._under_way: dict[int, int] = {}  # packet id -> ticket
        self._answer = -1  # the reason code the last connection ended with
        self._failed = False

    @property
    def state(self) -> State:
        return self._state

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        deadline = time.monotonic() + timeout_s
        self.wait_confirmed(0, timeout_s / 2)
        self._stopping.set()
        self._soon(self._leave)
        if self._thread.ident is not None:
            self._thread.join(max(0.0, deadline - time.monotonic()))

    def wait_connected(self, timeout_s: float) -> bool:
        with self._lock:
            return self._lock.wait_for(lambda: self._state.connected, timeout_s)

    def wait_confirmed(self, at_most: int, timeout_s: float) -> bool:
        with self._lock:
            return self._lock.wait_for(lambda: self._unconfirmed <= at_most or not self._state.connected, timeout_s)

    def publish(self, topic: str, payload: bytes, qos: int = 1, retain: bool = False) -> int | None:
        return self._publish([(topic, payload)], qos, retain)

    def publish_many(self, said: Sequence[tuple[str, bytes]]) -> bool:
        return not said or self._publish(said, 1, False) is not None

    def subscribe(self, filters: Iterable[tuple[str, int]]) -> None:
        with self._lock:
            added = {name: qos for name, qos in filters if self._filters.get(name) != qos}
            self._filters |= added
            session = self._state.session if self._state.connected else None
        if added and session is not None:
            self._soon(self._ask, session, added)

    def unsubscribe(self, filters: Iterable[str]) -> None:
        names = list(filters)
        with self._lock:
            for name in names:
                self._filters.pop(name, None)
        self._soon(self._renounce, names)

    def ack_many(self, session: int, packet_ids: Sequence[int]) -> bool:
        if not self._state.connected or session != self._state.session:
            return False
        self._soon(self._acknowledge, session, packet_ids)
        return True

    def pause_reading(self) -> bool:
        self._soon(self._hold, True)
        return True

    def resume_reading(self) -> None:
        self._soon(self._hold, False)

    def _publish(self, said: Sequence[tuple[str, bytes]], qos: int, retain: bool) -> int | None:
        largest = max(len(payload) + len(topic.encode()) for topic, payload in said) + ROOM
        with self._lock:
            if not self._state.connected:
                return None
            if largest > self._largest:
                raise TooLargeError(largest, self._largest)
            self._unconfirmed += len(said)
            self._tickets += len(said)
            first = self._tickets - len(said) + 1
            session = self._state.session
        self._soon(self._send, session, first, said, qos, retain)
        return first

    def _soon(self, work: Callable[..., object], *arguments: Any) -> None:
        """Has the loop do this; at once where this is the loop."""
        if threading.get_ident() == self._thread.ident:
            work(*arguments)
            return
        with self._lock:  # the loop is not closed meanwhile
            if self._loop is not None:
                self._loop.call_soon_threadsafe(work, *arguments)

    # ---- the thread of the loop ------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            asyncio.run(self._live())
        finally:
            reason = "stopped" if self._stopping.is_set() or not self._failed else CALLBACK_FAILED
            self._change(connected=False, reason=reason)
        if self._unsupported and not self._stopping.is_set():
            self._on_unsupported()

    @property
    def _unsupported(self) -> bool:
        """Whether another version of the protocol is to be tried."""
        return self._answer == UNSUPPORTED_VERSION and self.options.protocol == "auto"

    async def _live(self) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._callback_failed)
        with self._lock:
            self._loop = loop
        try:
            while not self._stopping.is_set() and not self._failed:
                began = time.monotonic()
                await self._attempt(loop)
                if self._unsupported:
                    return
                held_s = time.monotonic() - began
                await self._wait(self._backoff.refused() if self._state.refused else self._backoff.pause(held_s))
        finally:
            with self._lock:
                self._loop = None

    async def _attempt(self, loop: asyncio.AbstractEventLoop) -> None:
        """Connects, and serves the link until it ends."""
        options = self.options
        self._answer = -1
        self._change(session=self._state.session + 1, protocol="", refused=False)
        connect = connect_packet(options, options.will(self._state.session) if options.will else None)
        made = Mqtt5Protocol(
            connect,
            self,
            max_inflight=options.max_inflight,
            max_packet_bytes=options.max_packet_bytes,
            answer_within_s=options.connect_timeout_s,
        )
        secrets: dict[str, Any] = {"ssl": self._tls}
        if self._tls is not None:
            secrets |= {"ssl_handshake_timeout": options.connect_timeout_s, "ssl_shutdown_timeout": GOODBYE_S}
        self._news.clear()
        self._protocol = made
        try:
            async with asyncio.timeout(options.connect_timeout_s):
                await loop.create_connection(lambda: made, options.address.host, options.address.port, **secrets)
        except OSError as error:
            self._protocol = None
            self._change(reason=no_link(options.address, error), refused=isinstance(error, ssl.CertificateError))
            return
        if self._protocol is not None and made.connack is None:
            self._change(reason=f"{options.address} has not answered yet")
        if self._stopping.is_set():
            made.disconnect()
        await self._news.wait()
        while self._protocol is not None:  # a callback failed: no goodbye, so that the broker sends the will
            made.abort(CALLBACK_FAILED)
            await asyncio.sleep(0)

    async def _wait(self, seconds: float) -> None:
        if not self._stopping.is_set() and not self._failed:
            self._news.clear()
            try:
                async with asyncio.timeout(seconds):
                    await self._news.wait()
            except TimeoutError:
                pass  # the next attempt

    def _leave(self) -> None:
        if self._protocol is not None:
            self._protocol.disconnect()
            asyncio.get_running_loop().call_later(GOODBYE_S, self._protocol.abort, "stopped")
        else:
            self._news.set()

    def _callback_failed(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        log.critical("%s", context.get("message", "a callback failed"), exc_info=context.get("exception"))
        self._failed = True
        self._news.set()

    # ---- what the protocol says (`mqtt5_protocol.Session`) -----------------------------------------------------

    def connected(self, connack: ConnAckPacket) -> None:
        session = self._state.session
        with self._lock:
            self._largest = min(self.options.max_packet_bytes, connack.max_packet_size or 1 << 28)
            self._unconfirmed = 0
            shared = connack.shared_subscription_available
            self._change(connected=True, protocol="5", reason="", shared_subscriptions=shared)
            filters = dict(self._filters)
        self._asked.clear()
        self._under_way.clear()
        self._ask(session, filters)
        self._callbacks.on_up(session, connack.session_present)

    def arrived(self, packets: Sequence[PublishPacket]) -> None:
        self._callbacks.on_messages(self._state.session, packets)

    def confirmed(self, answers: Sequence[tuple[int, int]]) -> None:
        self._count(-len(answers))
        for mid, code in answers:
            self._callbacks.on_published(self._under_way.pop(mid, 0), code)

    def granted(self, packet_id: int, codes: Sequence[int]) -> None:
        self._callbacks.on_subscribed(dict(zip(self._asked.pop(packet_id, []), codes, strict=False)))

    def closed(self, reason: str, code: int) -> None:
        self._protocol, self._answer = None, code
        self._news.set()
        was_up = self._state.connected
        with self._lock:
            self._unconfirmed = 0
            reason = "stopped" if self._stopping.is_set() else reason
            refused = not was_up and code in REFUSALS and not self._unsupported
            self._change(connected=False, shared_subscriptions=False, reason=reason, refused=refused)
        if was_up:
            self._callbacks.on_down(reason)

    # ---- what the methods ask of the loop ----------------------------------------------------------------------

    def _ask(self, session: int, filters: dict[str, int]) -> None:
        if filters and self._protocol is not None and session == self._state.session:
            self._asked[self._protocol.subscribe(filters.items())] = list(filters)

    def _renounce(self, names: list[str]) -> None:
        if self._protocol is not None and self._protocol.connack is not None:
            self._protocol.unsubscribe(names)

    def _acknowledge(self, session: int, packet_ids: Sequence[int]) -> None:
        if self._protocol is not None and session == self._state.session:
            self._protocol.ack(packet_ids)

    def _hold(self, hold: bool) -> None:
        if self._protocol is not None:
            (self._protocol.pause_reading if hold else self._protocol.resume_reading)()

    def _send(self, session: int, first: int, said: Sequence[tuple[str, bytes]], qos: int, retain: bool) -> None:
        if self._protocol is None or session != self._state.session:
            return  # the link ended meanwhile, and the count began anew
        for ticket, (topic, payload) in enumerate(said, first):
            mid = self._protocol.publish(topic, payload, qos, retain)
            if mid:
                self._under_way[mid] = ticket
                continue
            self._count(-1)  # at QoS 0 nothing is confirmed; None: there is no room for it, and it is lost
            if mid == 0:
                self._callbacks.on_published(ticket, 0)

    def _count(self, more: int) -> None:
        with self._lock:
            self._unconfirmed = max(0, self._unconfirmed + more)
            self._lock.notify_all()

    def _change(self, **changes: Any) -> None:
        with self._lock:
            self._state = replace(self._state, **changes)
            self._lock.notify_all()


def connect_packet(options: Options, will: Will | None) -> ConnectPacket:
    """The CONNECT that these options ask for."""
    address = options.address
    said = mqtt5.Will(will.topic, payload=will.payload, qos=mqtt5.QoS(will.qos), retain=will.retain) if will else None
    return ConnectPacket(
        options.client_id,
        username=address.username or None,
        password=address.password.encode() if address.username and address.password else None,
        clean_start=options.session_expiry_s == 0,
        will=said,
        keep_alive=options.keepalive_s,
        session_expiry_interval=options.session_expiry_s,
        receive_max=min(options.receive_maximum, SAID) or 65_535,
        max_packet_size=options.max_packet_bytes,
    )
