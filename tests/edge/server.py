"""Stands where ingest does: hears all devices, and confirms what the test wants confirmed."""

from __future__ import annotations

from collections.abc import Callable

from broker import codec, topics
from broker.address import BrokerAddress
from broker.connection import Connection, Delivery
from broker.embedded import BrokerProcess
from broker.messages import Header, IngestState, LabelAssigned, Message, Status, Stored
from broker.mqtt import Options

Answer = Callable[["Server", Header], None]


def options(broker: BrokerProcess, client_id: str) -> Options:
    # Short pauses: a test restarts its broker.
    return Options(
        address=BrokerAddress.of(broker.url),
        client_id=client_id,
        backoff_base_s=0.02,
        backoff_cap_s=0.1,
        stable_s=0.0,
    )


def store_at_once(server: Server, header: Header) -> None:
    server.store(header.boot, header.seq)


def store_never(server: Server, header: Header) -> None:
    pass


class Server:
    def __init__(self, broker: BrokerProcess, root: str, answer: Answer = store_at_once) -> None:
        self.root, self.answer = root, answer
        self.heard: list[tuple[str, Header, Message]] = []
        self.stored: set[tuple[str, int]] = set()
        self.connection = Connection(
            options(broker, f"server-{root}"), on_message=self._on_message, on_up=lambda *_: self._up()
        )
        self.connection.subscribe([(name, 1) for name in topics.filters("up", root=root)])
        self.state: IngestState | None = None
        self.connection.start()
        assert self.connection.wait_connected(10)

    def _up(self) -> None:
        if self.state is not None:
            self.say(self.state)

    def _on_message(self, topic: str, payload: bytes, _: Delivery) -> None:
        header, message = codec.decode_record(payload)
        self.heard.append((topic.partition("/")[2], header, message))
        if header.seq:
            self.answer(self, header)

    def store(self, boot: str, *seqs: int) -> None:
        self.stored |= {(boot, seq) for seq in seqs}
        ranges = tuple((seq, seq) for seq in seqs)
        self.connection.publish(f"{self.root}/dev1/stored", codec.encode(Stored(boot=boot, ranges=ranges)))

    def say(self, state: IngestState) -> None:
        self.state = state
        self.connection.publish(f"{self.root}/{topics.INGEST_STATE}", codec.encode(state), retain=True)

    def listen(self, worker: str = "w1") -> None:
        self.say(IngestState(listening=True, worker=worker))

    def label(self, label: LabelAssigned, topic_sample: str = "") -> None:
        topic = f"{self.root}/dev1/label/{topic_sample or label.sample}"
        self.connection.publish(topic, codec.encode(label), retain=True)

    def seqs(self) -> list[int]:
        return [header.seq for _, header, _ in list(self.heard) if header.seq]

    def statuses(self) -> list[Status]:
        return [message for _, _, message in list(self.heard) if isinstance(message, Status)]
