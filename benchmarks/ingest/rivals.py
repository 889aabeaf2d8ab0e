"""What ours is measured beside, each as a process: `python -m benchmarks.ingest.rivals NAME BROKER DATABASE COUNT`.

naive       aiomqtt, which acknowledges on arrival, and one INSERT a message
bare-mqtt5  a subscriber with the fast codec that counts and acknowledges, and does nothing else
bare-paho   the same with paho, acknowledging by hand
copy        no broker at all: the rows are there, and binary COPY writes them, 2,000 a transaction

Prints `ready`, and `done T` with the monotonic time at which COUNT messages were handled.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import aiomqtt
import psycopg
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
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from broker.codec import decode_record
from ingest.consumers import drift
from ingest.stores.batch import KEY, Batch
from ingest.stores.events import connect

from . import packets

FILTER = "$share/rival/tinyml/+/drift"
RECEIVE_MAXIMUM = 8000
COPIED = 2000
REFUSED = 0x80
COLUMNS = ", ".join((*KEY, *drift.DRIFT_EVENT.columns))


def main(argv: Sequence[str] | None = None) -> int:
    name, broker, database, count = sys.argv[1:] if argv is None else argv
    {"naive": naive, "bare-mqtt5": bare_mqtt5, "bare-paho": bare_paho, "copy": copy}[name](
        broker, database, int(count)
    )
    return 0


def say(word: str) -> None:
    print(word, flush=True)


def say_done() -> None:
    say(f"done {time.monotonic()}")


def naive(broker: str, database: str, count: int) -> None:
    asyncio.run(_naive(broker, database, count))


async def _naive(broker: str, database: str, count: int) -> None:
    values = ", ".join(["%s"] * (len(KEY) + len(drift.DRIFT_EVENT.columns)))
    insert = f"INSERT INTO drift_event ({COLUMNS}) VALUES ({values}) ON CONFLICT DO NOTHING".encode()
    parts = urlsplit(broker)
    events = await psycopg.AsyncConnection.connect(database, autocommit=True)
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.ReceiveMaximum = RECEIVE_MAXIMUM
    client = aiomqtt.Client(
        parts.hostname or "",
        parts.port or 1883,
        identifier="rival-naive",
        protocol=aiomqtt.ProtocolVersion.V5,
        properties=properties,
        keepalive=60,
        max_queued_incoming_messages=0,
    )
    async with events, client:
        await client.subscribe(FILTER, qos=1)
        say("ready")
        async for message in client.messages:
            assert isinstance(message.payload, bytes)
            header, event = decode_record(message.payload)
            batch = Batch()
            drift.detected(header, event, batch)  # type: ignore[arg-type]
            await events.execute(insert, batch.rows[drift.DRIFT_EVENT][0])
            count -= 1
            if not count:
                say_done()
                return


def bare_mqtt5(broker: str, _database: str, count: int) -> None:
    asyncio.run(_bare_mqtt5(broker, count))


async def _bare_mqtt5(broker: str, count: int) -> None:
    parts = urlsplit(broker)
    done = asyncio.Event()
    await asyncio.get_running_loop().create_connection(
        lambda: _Counter(count, done), parts.hostname or "", parts.port or 1883
    )
    await done.wait()


class _Counter(asyncio.Protocol):
    """As little as a subscriber can do: take packets apart, acknowledge publications, count them."""

    def __init__(self, count: int, done: asyncio.Event) -> None:
        self.count, self.done, self.held = count, done, b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        hello = ConnectPacket("rival-mqtt5", clean_start=True, keep_alive=60, receive_max=RECEIVE_MAXIMUM)
        wanted = SubscribePacket(1, [TopicFilter(FILTER, max_qos=QoS.AT_LEAST_ONCE)])
        transport.write(hello.write() + wanted.write())

    def data_received(self, data: bytes) -> None:
        data = self.held + data
        view, at, answers = memoryview(data), 0, []
        while at < len(data):
            try:
                packet, used = read(view[at:])
            except IndexError:
                break
            at += used
            if isinstance(packet, PublishPacket) and packet.packet_id is not None:
                answers.append(PubAckPacket(packet.packet_id).write())
            elif isinstance(packet, SubAckPacket):
                say("ready")
            elif isinstance(packet, ConnAckPacket) and int(packet.reason_code) >= REFUSED:
                raise ConnectionRefusedError(packet.reason_str)
        self.held = data[at:]
        self.transport.write(b"".join(answers))
        if 0 < self.count <= len(answers):
            say_done()
            self.done.set()
        self.count -= len(answers)


def bare_paho(broker: str, _database: str, count: int) -> None:
    parts = urlsplit(broker)
    client = Client(CallbackAPIVersion.VERSION2, "rival-paho", protocol=MQTTProtocolVersion.MQTTv5, manual_ack=True)
    left = [count]

    def arrived(client: Client, _data: object, message: MQTTMessage) -> None:
        client.ack(message.mid, message.qos)
        left[0] -= 1
        if not left[0]:
            say_done()

    client.on_message = arrived
    client.on_subscribe = lambda *_: say("ready")
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.ReceiveMaximum = RECEIVE_MAXIMUM
    client.connect(parts.hostname or "", parts.port or 1883, properties=properties)
    client.subscribe(FILTER, qos=1)
    while left[0] > 0:
        client.loop(1.0)


def copy(_broker: str, database: str, count: int) -> None:
    _, payload = packets.drift("bench-00000", "copy0000-000001")
    header, event = decode_record(payload)
    batch = Batch()
    drift.detected(header, event, batch)  # type: ignore[arg-type]
    device, boot, _seq, *rest = batch.rows[drift.DRIFT_EVENT][0]
    rows = [(device, boot, seq, *rest) for seq in range(count)]
    with connect(database) as connection:
        types: dict[str, str] = dict(
            connection.execute(
                b"SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute "
                b"WHERE attrelid = 'drift_event'::regclass AND attnum > 0 AND NOT attisdropped"
            ).fetchall()
        )
        say("ready")
        began = time.monotonic()
        for at in range(0, count, COPIED):
            with (
                connection.transaction(),
                connection.cursor() as cursor,
                cursor.copy(f"COPY drift_event ({COLUMNS}) FROM STDIN (FORMAT BINARY)".encode()) as into,
            ):
                into.set_types([types[name] for name in COLUMNS.split(", ")])
                for row in rows[at : at + COPIED]:
                    into.write_row(row)
        say(f"done {time.monotonic() - began}")


if __name__ == "__main__":
    sys.exit(main())
