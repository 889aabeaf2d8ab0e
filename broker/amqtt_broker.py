"""What the embedded broker makes of amqtt; imported when a broker starts, since amqtt is slow to load."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from amqtt.adapters import StreamReaderAdapter, StreamWriterAdapter
from amqtt.broker import Broker

from .errors import ListenError

CONNECT_BYTES = 64 << 10  # a CONNECT holds an id, credentials and a will
CONNECT_WAIT_S = 10.0
REFUSE_VERSION = b"\x20\x02\x00\x01"  # CONNACK: unacceptable protocol version
CONFIG = {
    "listeners": {"default": {"type": "external"}},  # we listen ourselves, see `_serve`
    "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
}


@asynccontextmanager
async def listening(bind: str, port: int) -> AsyncIterator[int]:
    """A broker that listens while the context is open; gives the port. Raises ListenError."""
    for name in ("amqtt", "transitions"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # they report every broken link with a traceback
    broker = _Broker(CONFIG)
    await broker.start()
    clients: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(_serve(broker, reader, writer))
        clients[task] = writer
        task.add_done_callback(clients.pop)

    try:
        try:
            server = await asyncio.start_server(accept, bind, port, reuse_address=True)
        except OSError as error:
            raise ListenError(f"cannot listen on {bind}:{port}: {error.strerror}") from None
        yield server.sockets[0].getsockname()[1]
        await _close(server)
    finally:
        await broker.shutdown()
        await _show_out(clients)


async def _close(server: asyncio.Server) -> None:
    """Stops listening; asyncio would leave the socket of one who was let in at the last moment open for ever."""
    for sock in server.sockets:
        asyncio.get_running_loop().remove_reader(sock.fileno())
    for _ in range(3):
        await asyncio.sleep(0)  # whoever was let in gets as far as `accept`
    server.close()


async def _show_out(clients: dict[asyncio.Task[None], asyncio.StreamWriter]) -> None:
    """Ends what is left of the connections, and waits until they are closed."""
    tasks, writers = list(clients), list(clients.values())
    for task, writer in zip(tasks, writers, strict=True):
        task.cancel()
        writer.transport.abort()
    await asyncio.gather(*tasks, *(writer.wait_closed() for writer in writers), return_exceptions=True)


class _Broker(Broker):  # type: ignore[misc]  # amqtt comes without types that mypy could follow
    async def _publish_retained_messages_for_subscription(self, subscription: tuple[str, int], session: Any) -> None:
        """Only to its holder; amqtt would give every client that connects what anybody subscribed to."""
        if any(holder is session for holder, _ in self._subscriptions.get(subscription[0], ())):
            await super()._publish_retained_messages_for_subscription(subscription, session)


async def _serve(broker: _Broker, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One client, if it speaks MQTT 3.1.1; amqtt would take the properties of an MQTT 5 CONNECT for a client id."""
    try:
        first = await asyncio.wait_for(_first_packet(reader), CONNECT_WAIT_S)
        if first is None:
            writer.write(REFUSE_VERSION)
            await writer.drain()
        else:
            await broker.external_connected(_Replay(first, reader), StreamWriterAdapter(writer), "default")
    except (OSError, EOFError, TimeoutError, ValueError) as error:
        logging.getLogger(__name__).debug("a client was dropped: %s", error)
    finally:
        writer.close()


async def _first_packet(reader: asyncio.StreamReader) -> bytes | None:
    """The CONNECT of a client that speaks MQTT 3.1.1; None of one that speaks another version."""
    packet = await reader.readexactly(2)
    size, shift = packet[1] & 127, 7
    while packet[-1] >= 128:
        packet += await reader.readexactly(1)
        size |= (packet[-1] & 127) << shift
        shift += 7
        if shift > 28:
            raise ValueError("not the length of a packet")
    if packet[0] != 0x10 or not 10 <= size <= CONNECT_BYTES:
        raise ValueError("not a CONNECT")
    body = await reader.readexactly(size)
    return packet + body if body[:7] == b"\x00\x04MQTT\x04" else None


class _Replay(StreamReaderAdapter):  # type: ignore[misc]
    """A stream of which the first bytes were read already."""

    def __init__(self, first: bytes, stream: asyncio.StreamReader) -> None:
        super().__init__(stream)
        self._first = first

    async def read(self, n: int = -1) -> bytes:
        if not self._first:
            return bytes(await super().read(n))
        taken, self._first = self._first[:n], self._first[n:]
        return taken
