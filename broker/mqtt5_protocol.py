"""One MQTT 5 connection on asyncio that moves packets by the batch: thousands of connections, or one very busy one.

The packets are read and written by the `mqtt5` package. What one read of the socket brought is handed over as one
list, and whatever a turn of the event loop has to say goes out in one write. Packets of QoS 2 are not spoken.
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Protocol, cast

import mqtt5
from mqtt5 import (
    ConnAckPacket,
    ConnectPacket,
    DisconnectPacket,
    PingRespPacket,
    PubAckPacket,
    PublishPacket,
    QoS,
    SubAckPacket,
    SubscribePacket,
    TopicFilter,
    UnsubAckPacket,
    UnsubscribePacket,
)

from .errors import TooLargeError
from .mqtt import REFUSALS, UNSUPPORTED_VERSION

__all__ = ["ConnAckPacket", "ConnectPacket", "Mqtt5Protocol", "PublishPacket", "Session"]

PUBACK = 0x4002  # the first two bytes of a PUBACK without a reason: type, length
LAST_ID = 0xFFFF
MOST_WAITING = 50_000  # publishes that wait for the window, at most; there are only so many packet ids
ROOM = 16  # of a PUBLISH: header and lengths around topic and payload
NOT_MQTT_5 = "the broker sent what is not MQTT 5"
REFUSED_BY_3_1_1 = b"\x20\x02\x00\x01"  # how a broker of 3.1.1 says that it does not know this version
_QOS = (QoS.AT_MOST_ONCE, QoS.AT_LEAST_ONCE)
_PING = mqtt5.PingReqPacket().write()


class Session(Protocol):
    """Who uses the connection. Everything is called on the event loop, in the order of what came."""

    def connected(self, connack: ConnAckPacket) -> None:
        """The broker lets us in; from now on `publish` and `subscribe` work."""

    def arrived(self, packets: Sequence[PublishPacket]) -> None:
        """Messages, those of QoS 1 to be acknowledged with `ack` by their `packet_id`."""

    def confirmed(self, answers: Sequence[tuple[int, int]]) -> None:
        """(packet id, reason code) of publishes of QoS 1: 0 taken, 0x10 nobody subscribed, from 0x80 refused."""

    def granted(self, packet_id: int, codes: Sequence[int]) -> None:
        """The answer to a `subscribe`: a QoS a filter, or from 0x80 refused."""

    def closed(self, reason: str, code: int) -> None:
        """The end, once and last: a sentence, and the broker's reason code where it gave one, else -1."""


class Mqtt5Protocol(asyncio.Protocol):
    """Made for `loop.create_connection(lambda: Mqtt5Protocol(packet, session), host, port, ssl=...)`.

    Not safe for threads: everything is called on the event loop.
    """

    def __init__(
        self,
        connect: ConnectPacket,
        session: Session,
        *,
        max_inflight: int = 1000,
        max_packet_bytes: int = (1 << 20) + (64 << 10),
        answer_within_s: float = 5.0,
    ) -> None:
        self.connack: ConnAckPacket | None = None  # while the link is up
        self.inflight: set[int] = set()  # ids of publishes of QoS 1 the broker has not confirmed
        self.waiting: deque[tuple[int, bytes]] = deque()  # publishes that wait for the window or the network
        self._connect, self._session = connect, session
        self._window, self._largest = min(max_inflight, LAST_ID - MOST_WAITING), max_packet_bytes
        self._most_held = (connect.max_packet_size or max_packet_bytes) + ROOM
        self._answer_within_s = answer_within_s
        self._keepalive_s: float = connect.keep_alive
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._held = b""  # the beginning of a packet whose rest has not come
        self._saying: list[bytes] = []
        self._flushing = self._paused = self._over = False
        self._last_id = 0
        self._spoke_at = self._heard_at = 0.0
        self._why, self._code = "the link broke", -1
        self._timer: asyncio.TimerHandle | None = None

    # ---- what the session may call ---------------------------------------------------------------------------

    def publish(self, topic: str, payload: bytes, qos: int = 1, retain: bool = False) -> int | None:
        """The packet id (0 with QoS 0); sent as soon as the broker's window and the network let it.

        None when the link is not up or too many publishes wait already. Raises TooLargeError, and ValueError for
        what is no topic to publish on.
        """
        if self.connack is None or len(self.waiting) >= MOST_WAITING:
            return None
        size = len(payload) + len(topic.encode()) + ROOM
        if size > self._largest:
            raise TooLargeError(size, self._largest)
        mid = self._next_id() if qos else 0
        packet = PublishPacket(topic, payload, qos=_QOS[qos], retain=retain, packet_id=mid or None)
        self.waiting.append((mid, packet.write()))
        self._soon()
        return mid

    def ack(self, packet_ids: Sequence[int]) -> None:
        """Acknowledges messages of QoS 1."""
        words = [PUBACK] * (2 * len(packet_ids))
        words[1::2] = packet_ids
        self._say(struct.pack(f">{len(words)}H", *words))

    def subscribe(self, filters: Iterable[tuple[str, int]]) -> int:
        """Asks for each (filter, QoS); `granted` will name the packet id that this returns."""
        mid = self._next_id()
        asked = [TopicFilter(name, max_qos=_QOS[qos], retain_as_published=False) for name, qos in filters]
        self._say(SubscribePacket(mid, asked).write())
        return mid

    def unsubscribe(self, filters: Iterable[str]) -> None:
        """Asks for no more of these; what is in flight still comes."""
        self._say(UnsubscribePacket(self._next_id(), list(filters)).write())

    def pause_reading(self) -> None:
        """Takes nothing from the network until `resume_reading`."""
        if self._transport is not None and not self._over:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self._transport is not None and not self._over:
            self._heard_at = self._loop.time()  # we would not listen; the broker may have spoken
            self._transport.resume_reading()

    def disconnect(self) -> None:
        """Says goodbye, so that the broker sends no will; what waits for the window is not sent any more."""
        if self._transport is not None and not self._over:
            self._end("stopped")
            self._say(DisconnectPacket().write())
            self._flush()
            self._transport.close()

    def abort(self, reason: str, code: int = -1) -> None:
        """Breaks the link without a word: the broker sends the will."""
        if self._transport is not None and not self._over:
            self._end(reason, code)
            self._transport.abort()

    # ---- asyncio ---------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._spoke_at = self._heard_at = self._loop.time()
        transport.write(self._connect.write())
        self._timer = self._loop.call_later(self._answer_within_s, self.abort, "the broker does not answer")

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self.connack, self._transport = None, None
        self.waiting.clear()
        self.inflight.clear()
        self._session.closed(self._why, self._code)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._flush()

    def data_received(self, data: bytes) -> None:
        self._heard_at = self._loop.time()
        packets = self._read(self._held + data if self._held else data)
        messages = [packet for packet in packets if type(packet) is PublishPacket]
        if len(messages) == len(packets):
            if messages:
                self._session.arrived(messages)
            return
        for kind, some in groupby(packets, type):
            if kind is PublishPacket:
                self._session.arrived(cast("list[PublishPacket]", list(some)))
            elif kind is PubAckPacket:
                self._confirmed(cast("list[PubAckPacket]", list(some)))
            else:
                for packet in some:
                    self._control(packet)

    # ---- inside ----------------------------------------------------------------------------------------------

    def _read(self, data: bytes) -> list[mqtt5.Packet]:
        """The packets that are whole; keeps the rest. What cannot be one ends the link."""
        read, view, at, end = mqtt5.read, memoryview(data), 0, len(data)
        packets: list[mqtt5.Packet] = []
        try:
            while at < end:
                packet, size = read(view[at:])
                at += size
                packets.append(packet)
            self._held = b""
        except IndexError:
            self._held = data[at:]
            if _whole(self._held) or len(self._held) > self._most_held:
                self.abort(NOT_MQTT_5)
        except BaseException as error:
            # The package panics at some malformed packets, with a BaseException of its own.
            if not isinstance(error, ValueError) and type(error).__name__ != "PanicException":
                raise
            old = self.connack is None and data[at : at + 4] == REFUSED_BY_3_1_1
            self.abort(*((REFUSALS[UNSUPPORTED_VERSION], UNSUPPORTED_VERSION) if old else (NOT_MQTT_5,)))
        return packets

    def _confirmed(self, answers: list[PubAckPacket]) -> None:
        self.inflight.difference_update([answer.packet_id for answer in answers])
        if self.waiting:
            self._soon()
        self._session.confirmed([(answer.packet_id, int(answer.reason_code)) for answer in answers])

    def _control(self, packet: mqtt5.Packet) -> None:
        if isinstance(packet, ConnAckPacket):
            self._answered(packet)
        elif isinstance(packet, SubAckPacket):
            self._session.granted(packet.packet_id, [int(code) for code in packet.reason_codes])
        elif isinstance(packet, DisconnectPacket):
            detail = f" ({packet.reason_str})" if packet.reason_str else ""
            code = packet.reason_code
            self.abort(f"the broker ended the connection: {_words(code.name)}{detail}", int(code))
        elif not isinstance(packet, PingRespPacket | UnsubAckPacket):
            self.abort(f"the broker sent a {type(packet).__name__}, which does not belong here")

    def _answered(self, packet: ConnAckPacket) -> None:
        code = int(packet.reason_code)
        if code >= 0x80:
            self.abort(REFUSALS.get(code, f"the broker refuses for now: {_words(packet.reason_code.name)}"), code)
            return
        self.connack = packet
        self._window = min(self._window, packet.receive_max)
        self._largest = min(self._largest, packet.max_packet_size or self._largest)
        if packet.server_keep_alive is not None:
            self._keepalive_s = packet.server_keep_alive
        if self._timer is not None:
            self._timer.cancel()
        if self._keepalive_s:
            self._timer = self._loop.call_later(self._keepalive_s / 2, self._keep_alive)
        self._session.connected(packet)

    def _keep_alive(self) -> None:
        now = self._loop.time()
        listening = self._transport is not None and self._transport.is_reading()
        if listening and now - self._heard_at >= 1.5 * self._keepalive_s:
            self.abort(f"the broker has not answered for {self._keepalive_s:g} s")
            return
        if now - min(self._spoke_at, self._heard_at) > self._keepalive_s / 3:
            self._say(_PING)
        self._timer = self._loop.call_later(self._keepalive_s / 2, self._keep_alive)

    def _next_id(self) -> int:
        self._last_id = self._last_id % LAST_ID + 1
        while self._last_id in self.inflight:  # those that wait are the last MOST_WAITING given out
            self._last_id = self._last_id % LAST_ID + 1
        return self._last_id

    def _say(self, packet: bytes) -> None:
        self._saying.append(packet)
        self._soon()

    def _soon(self) -> None:
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """One write of all that may be said now; the rest waits for the window, or for a network that is full."""
        self._flushing = False
        if self._paused or self._transport is None or self._transport.is_closing():
            return
        while self.waiting and (not self.waiting[0][0] or len(self.inflight) < self._window):
            mid, packet = self.waiting.popleft()
            if mid:
                self.inflight.add(mid)
            self._saying.append(packet)
        if self._saying:
            self._spoke_at = self._loop.time()
            self._transport.write(b"".join(self._saying))
            self._saying.clear()

    def _end(self, reason: str, code: int = -1) -> None:
        self._why, self._code, self._over = reason, code, True
        self.waiting.clear()


def _words(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _whole(held: bytes) -> bool:
    """Whether these bytes hold as many as the packet's own length says (or can say no length at all)."""
    length = 0
    for index, byte in enumerate(held[1:5]):
        length |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return len(held) >= 2 + index + length
    return len(held) >= 5
