"""Packets by the batch: everything comes once and in order, and what the broker refuses is a sentence."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import mqtt5
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import TooLargeError
from broker.mqtt5_protocol import ConnAckPacket, ConnectPacket, Mqtt5Protocol, PublishPacket
from broker.process import BrokerProcess
from tests.contract.brokers import Mosquitto, mosquitto_path


class Heard:
    """A session that remembers what it was told, in order."""

    def __init__(self) -> None:
        self.connack: ConnAckPacket | None = None
        self.packets: list[PublishPacket] = []
        self.answers: list[tuple[int, int]] = []
        self.grants: list[tuple[int, list[int]]] = []
        self.end: tuple[str, int] | None = None
        self.changed = asyncio.Event()

    def connected(self, connack: ConnAckPacket) -> None:
        self.connack = connack
        self.changed.set()

    def arrived(self, packets: Sequence[PublishPacket]) -> None:
        self.packets += packets
        self.changed.set()

    def confirmed(self, answers: Sequence[tuple[int, int]]) -> None:
        self.answers += answers
        self.changed.set()

    def granted(self, packet_id: int, codes: Sequence[int]) -> None:
        self.grants.append((packet_id, list(codes)))
        self.changed.set()

    def closed(self, reason: str, code: int) -> None:
        self.end = reason, code
        self.changed.set()

    async def until(self, predicate) -> None:  # type: ignore[no-untyped-def]
        async with asyncio.timeout(10):
            while not predicate():
                self.changed.clear()
                await self.changed.wait()


async def open_link(port: int, name: str = "a", **options: object) -> tuple[Mqtt5Protocol, Heard]:
    heard = Heard()
    packet = ConnectPacket(name, clean_start=True, keep_alive=10, receive_max=100)
    made = Mqtt5Protocol(packet, heard, **options)  # type: ignore[arg-type]
    await asyncio.get_running_loop().create_connection(lambda: made, "127.0.0.1", port)
    return made, heard


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    mosquitto_path()
    with BrokerProcess(tmp_path_factory.mktemp("mosquitto"), "mosquitto") as process:
        yield process


def test_hundreds_of_messages_come_once_and_in_order_through_a_window_of_twenty(broker: BrokerProcess) -> None:
    async def play() -> None:
        sender, sent = await open_link(broker.port, "sender", max_inflight=20)
        taker, taken = await open_link(broker.port, "taker")
        await sent.until(lambda: sent.connack)
        await taken.until(lambda: taken.connack)
        taker.subscribe([("t/+", 1)])
        await taken.until(lambda: taken.grants)
        assert taken.grants[0][1] == [1]
        mids = [sender.publish("t/1", b"%d" % number) for number in range(500)]
        assert len(set(mids)) == 500
        acknowledged = 0
        while acknowledged < 500:  # the receive maximum is 100, so nothing comes without acknowledgements
            await taken.until(lambda seen=acknowledged: len(taken.packets) > seen)  # type: ignore[misc]
            taker.ack([packet.packet_id for packet in taken.packets[acknowledged:]])  # type: ignore[misc]
            acknowledged = len(taken.packets)
            assert len(sender.inflight) <= 20
        assert [packet.payload for packet in taken.packets] == [b"%d" % number for number in range(500)]
        await sent.until(lambda: len(sent.answers) == 500)
        assert [mid for mid, _ in sent.answers] == mids
        assert {code for _, code in sent.answers} == {0}
        for link, heard in ((sender, sent), (taker, taken)):
            link.disconnect()
            await heard.until(lambda heard=heard: heard.end)  # type: ignore[misc]
            assert heard.end == ("stopped", -1)

    asyncio.run(play())


def test_reading_can_pause_and_go_on(broker: BrokerProcess) -> None:
    async def play() -> None:
        link, heard = await open_link(broker.port)
        await heard.until(lambda: heard.connack)
        link.subscribe([("t", 1)])
        await heard.until(lambda: heard.grants)
        link.pause_reading()
        assert link.publish("t", b"later")
        other, said = await open_link(broker.port, "b")
        await said.until(lambda: said.connack)
        other.publish("t", b"x")
        await said.until(lambda: said.answers)
        assert heard.packets == []
        link.resume_reading()
        await heard.until(lambda: len(heard.packets) == 2)
        other.disconnect()
        link.disconnect()
        await heard.until(lambda: heard.end)

    asyncio.run(play())


def test_nothing_is_published_before_the_link_is_up_nor_beyond_the_limit_of_the_broker(tmp_path: Path) -> None:
    async def play(port: int) -> None:
        link, heard = await open_link(port)
        assert link.publish("t", b"") is None
        await heard.until(lambda: heard.connack)
        with pytest.raises(TooLargeError, match="1000"):
            link.publish("t", bytes(1000))
        with pytest.raises(ValueError, match="topic"):
            link.publish("t/+", b"")
        assert link.publish("t", b"", qos=0) == 0
        link.disconnect()
        await heard.until(lambda: heard.end)

    with Mosquitto(tmp_path, "listener PORT 127.0.0.1\nallow_anonymous true\nmax_packet_size 1000") as small:
        asyncio.run(play(small.port))


def test_a_refusal_is_a_sentence(tmp_path: Path) -> None:
    async def ended(port: int) -> tuple[str, int] | None:
        _, heard = await open_link(port)
        await heard.until(lambda: heard.end)
        return heard.end

    with Mosquitto(tmp_path / "m", "listener PORT 127.0.0.1\nallow_anonymous false") as strict:
        assert asyncio.run(ended(strict.port)) == ("the broker does not allow this client to connect", 0x87)
    with BrokerProcess(tmp_path / "old", "embedded") as old:
        assert asyncio.run(ended(old.port)) == ("the broker does not speak this version of MQTT", 0x84)


# ---- bytes as no broker should send them -------------------------------------------------------------------------


class Wire(asyncio.Transport):
    """A network that keeps what was written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def is_closing(self) -> bool:
        return self.aborted

    def is_reading(self) -> bool:
        return True

    def abort(self) -> None:
        self.aborted = True

    close = abort


def played(chunks: Sequence[bytes]) -> tuple[Heard, Wire]:
    """What a link heard that was given these bytes after it was let in."""

    async def play() -> tuple[Heard, Wire]:
        heard, wire = Heard(), Wire()
        link = Mqtt5Protocol(ConnectPacket("a", max_packet_size=5000), heard)
        link.connection_made(wire)
        link.data_received(ConnAckPacket().write())
        for chunk in chunks:
            if not wire.aborted:
                link.data_received(chunk)
        link.connection_lost(None)
        return heard, wire

    return asyncio.run(play())


@given(st.lists(st.binary(max_size=300), max_size=20), st.data())
def test_packets_are_found_wherever_the_network_cuts_them(payloads: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(
        PublishPacket("t", payload, qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=number).write()
        + mqtt5.PubAckPacket(number).write()
        for number, payload in enumerate(payloads, 1)
    )
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    heard, wire = played([stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True) if a < b])
    assert [packet.payload for packet in heard.packets] == payloads
    assert [mid for mid, _ in heard.answers] == list(range(1, len(payloads) + 1))
    assert not wire.aborted


@pytest.mark.parametrize(
    "nonsense",
    [
        b"\xff\x01\x00",
        b"\x30\xff\xff\xff\xff\xff",
        b"\x32\x07\x00\x50ab\x00\x01\x00",
        b"\x32\x07\x00\x01\xff\x00\x01\x00x",  # a topic that is not UTF-8
        b"\x30\xff\xff\xff\x7f" + bytes(6000),  # says 256 MiB where 5000 bytes were allowed
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_what_is_not_mqtt_ends_the_link_with_a_sentence(nonsense: bytes) -> None:
    good = PublishPacket("t", b"before").write()
    heard, wire = played([good + nonsense])
    assert [packet.payload for packet in heard.packets] == [b"before"]
    assert wire.aborted
    assert heard.end == ("the broker sent what is not MQTT 5", -1)


@given(st.binary(max_size=200))
def test_no_bytes_at_all_make_it_fail(noise: bytes) -> None:
    heard, _ = played([noise])
    assert heard.end is not None


def test_a_broker_that_pauses_the_network_is_waited_for() -> None:
    async def play() -> None:
        heard, wire = Heard(), Wire()
        link = Mqtt5Protocol(ConnectPacket("a"), heard)
        link.connection_made(wire)
        link.data_received(ConnAckPacket().write())
        link.pause_writing()
        assert link.publish("t", b"held") == 1
        link.ack([7])
        await asyncio.sleep(0)
        assert len(wire.written) == 1  # the CONNECT
        link.resume_writing()
        assert len(wire.written) == 2
        assert b"held" in wire.written[1]
        assert b"\x40\x02\x00\x07" in wire.written[1]

    asyncio.run(play())
