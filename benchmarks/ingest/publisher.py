"""Devices that cost next to nothing: ready-made packets over a few QoS 1 connections, and an ear for `stored`."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable, Sequence
from typing import TypeVar
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt
from mqtt5 import (
    ConnAckPacket,
    ConnectPacket,
    PubAckPacket,
    PublishPacket,
    QoS,
    SubAckPacket,
    SubscribePacket,
    TopicFilter,
    read,
)

from broker import topics
from broker.codec import decode_as
from broker.messages import IngestState, Stored

from .packets import MOST_IN_FLIGHT, Packets

CHUNK = 128 << 10  # bytes offered to the kernel at once
PATIENCE_S = 60.0
P = TypeVar("P")


class Link:
    """One connection: sends bytes of packets while fewer than the broker's receive maximum are unacknowledged."""

    def __init__(self, url: str, name: str) -> None:
        parts = urlsplit(url)
        self.sock = socket.create_connection((parts.hostname or "", parts.port or 1883), timeout=10)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.held = b""
        self.sock.sendall(ConnectPacket(name, clean_start=True, keep_alive=0).write())
        answer = self._wait(ConnAckPacket)
        self.window = min(answer.receive_max, MOST_IN_FLIGHT)
        self.bytes = memoryview(b"")
        self.sent_at = np.zeros(0)  # by packet, when it was given to the kernel
        self.count = self.length = self.sent_bytes = self.acked = self.allowed = 0

    def subscribe(self, filters: Sequence[str]) -> None:
        wanted = [TopicFilter(name, max_qos=QoS.AT_LEAST_ONCE) for name in filters]
        self.sock.sendall(SubscribePacket(1, wanted).write())
        self._wait(SubAckPacket)

    def load(self, data: npt.NDArray[np.uint8]) -> None:
        """What is to be sent next, a row a packet; nothing of before may be on its way."""
        self.bytes = memoryview(np.ascontiguousarray(data).reshape(-1).data)
        self.count, self.length = data.shape
        self.sent_bytes, self.acked, self.allowed = 0, 0, self.count
        self.sent_at = np.zeros(self.count)

    @property
    def done(self) -> bool:
        return self.acked == self.count

    def send(self) -> bool:
        """Sends what window and allowance let; True where the kernel would not take it all."""
        until = min(self.allowed, self.acked + self.window) * self.length
        while self.sent_bytes < until:
            before = self.sent_bytes // self.length
            try:
                self.sent_bytes += self.sock.send(self.bytes[self.sent_bytes : min(until, self.sent_bytes + CHUNK)])
            except BlockingIOError:
                return True
            self.sent_at[before : self.sent_bytes // self.length] = time.monotonic()
        return False

    def hear(self) -> list[PublishPacket]:
        """Reads what has come; counts acknowledgements and gives the publications."""
        try:
            data = self.held + self.sock.recv(1 << 18)
        except BlockingIOError:
            return []
        if len(data) == len(self.held):
            raise ConnectionError("the broker has closed the connection")
        count = len(data) // 4
        if data[: 4 * count : 4] == b"\x40" * count and data[1 : 4 * count : 4] == b"\x02" * count:
            self.acked += count  # the usual case: plain acknowledgements and nothing else
            self.held = data[4 * count :]
            return []
        return self._parse(data)

    def _parse(self, data: bytes) -> list[PublishPacket]:
        view, at = memoryview(data), 0
        found = []
        answers = []
        while at < len(data):
            try:
                packet, used = read(view[at:])
            except IndexError:  # the rest of it has not arrived
                break
            at += used
            if isinstance(packet, PubAckPacket):
                self.acked += 1
            elif isinstance(packet, PublishPacket):
                found.append(packet)
                if packet.packet_id is not None:
                    answers.append(PubAckPacket(packet.packet_id).write())
        self.held = data[at:]
        if answers:
            self.sock.setblocking(True)
            self.sock.sendall(b"".join(answers))
            self.sock.setblocking(False)
        return found

    def _wait(self, kind: type[P]) -> P:
        while True:
            try:
                packet, used = read(memoryview(self.held))
            except IndexError:
                self.held += self.sock.recv(1 << 16)
                continue
            self.held = self.held[used:]
            if isinstance(packet, kind):
                return packet


class Publisher:
    """Publishes, knows what was stored, and as a device does sends again what was not when the worker changes.

    One thread; everything happens inside `publish` and `until`.
    """

    def __init__(self, url: str, connections: int = 4) -> None:
        self.links = [Link(url, f"bench-{number}") for number in range(connections)]
        self.ear = Link(url, "bench-ear")
        self.listening, self.worker = False, ""
        self.stored = self.again = 0  # records of the present loads confirmed, each once; sent a second time
        self.heard = 0  # messages on `stored`
        self.loads: Sequence[Packets] = ()
        self.confirmed: list[npt.NDArray[np.bool_]] = []
        self.on_stored: Callable[[int, slice], None] = lambda load, records: None
        self._places: dict[tuple[str, str], int] = {}  # boot and device -> number of the load
        self._owing: set[int] = set()  # links that have to send again what is not confirmed
        self._select = selectors.DefaultSelector()
        self.ear.subscribe([f"{topics.ROOT}/+/stored", f"{topics.ROOT}/{topics.INGEST_STATE}"])
        for link in (*self.links, self.ear):
            link.sock.setblocking(False)
            self._select.register(link.sock, selectors.EVENT_READ, link)

    def publish(
        self,
        loads: Sequence[Packets],
        *,
        outstanding: int = 0,
        rate: float = 0.0,
        until_stored: bool = True,
        never: int = 0,
    ) -> float:
        """Sends one load a connection; seconds from the first byte until all but `never` are acknowledged, or stored.

        `outstanding` bounds what was sent and is not stored yet, as a device's window does; `rate` is messages a
        second. Raises TimeoutError.
        """
        total = sum(load.count for load in loads)
        self._take(loads)
        began = time.monotonic()
        deadline = began + PATIENCE_S + (total / rate if rate else 0)
        while self.stored < total - never if until_stored else not all(link.done for link in self.links):
            now = time.monotonic()
            if now > deadline:
                raise TimeoutError(f"{self.stored} of {total} messages were stored")
            if (outstanding or rate) and not self.again:
                self._allow(outstanding, rate * (now - began) if rate else total)
            self._step(0.0005 if rate else 0.05)
        return time.monotonic() - began

    def until(self, ready: Callable[[], bool], timeout_s: float = PATIENCE_S) -> float:
        """Listens until it is so; seconds that took. Raises TimeoutError."""
        began = time.monotonic()
        while not ready():
            if time.monotonic() - began > timeout_s:
                raise TimeoutError(f"{self.stored} records were stored, and that was not what was waited for")
            self._step(0.05)
        return time.monotonic() - began

    def close(self) -> None:
        self._select.close()
        for link in (*self.links, self.ear):
            link.sock.close()

    def _take(self, loads: Sequence[Packets]) -> None:
        self.loads, self.stored, self.again = loads, 0, 0
        self.confirmed = [np.zeros(load.count, np.bool_) for load in loads]
        self._places = {(load.boot, name): number for number, load in enumerate(loads) for name in load.devices}
        self._owing.clear()
        for link, load in zip(self.links, loads, strict=True):
            link.load(load.data)

    def _allow(self, outstanding: int, due: float) -> None:
        most = min(int(due), self.stored + outstanding) if outstanding else int(due)
        share, rest = divmod(most, len(self.links))
        for number, link in enumerate(self.links):
            link.allowed = min(share + (number < rest), link.count)

    def _step(self, timeout_s: float) -> None:
        blocked = False
        for number, link in enumerate(self.links):
            if number in self._owing and link.done:
                self._send_again(number, link)
            blocked = link.send() or blocked
        for key, _ in self._select.select(0.0005 if blocked else timeout_s):
            for packet in key.data.hear():
                self._heard(packet)

    def _send_again(self, number: int, link: Link) -> None:
        self._owing.discard(number)
        missing = self.loads[number].data[~self.confirmed[number]]
        self.again += len(missing)
        link.load(missing)

    def _heard(self, packet: PublishPacket) -> None:
        if packet.topic.endswith(topics.INGEST_STATE):
            state = decode_as(IngestState, packet.payload)
            if self.worker and state.worker != self.worker:
                self._owing.update(range(len(self.loads)))
            self.listening, self.worker = state.listening, state.worker
            return
        self.heard += 1
        stored = decode_as(Stored, packet.payload)
        device = packet.topic.split("/")[-2]
        number = self._places.get((stored.boot, device))
        if number is None:
            return  # of a load before this one
        for first, last in stored.ranges:
            records = self.loads[number].span(device, first, last)
            self.stored += int(np.count_nonzero(~self.confirmed[number][records]))
            self.confirmed[number][records] = True
            self.on_stored(number, records)
