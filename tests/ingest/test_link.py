"""Both kinds of link keep themselves up, say why they are down, and confirm nothing of another session."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from broker.address import BrokerAddress
from broker.connection import CALLBACK_FAILED
from broker.errors import TooLargeError
from broker.mqtt import Options, Will
from broker.process import BrokerProcess, free_port
from ingest.fast_link import Callbacks, FastLink, Incoming
from ingest.link import Link, SlowLink
from tests.contract.brokers import Mosquitto, mosquitto_path, passwords
from tests.contract.certificates import Authority
from tests.support import wait_until


class Peer:
    """A link that remembers all it was told."""

    def __init__(self, url: str, client_id: str, *, filters: tuple[str, ...] = (), **options: Any) -> None:
        address = options.pop("address", None) or BrokerAddress.of(url)
        chosen = {"backoff_base_s": 0.02, "backoff_cap_s": 0.1, "manual_ack": True, **options}
        self.messages: list[tuple[int, Incoming]] = []
        self.ups: list[tuple[int, bool]] = []
        self.downs: list[str] = []
        self.confirmed: dict[int, int] = {}
        self.granted: dict[str, int] = {}
        callbacks = Callbacks(
            on_messages=self._came,
            on_up=lambda *up: self.ups.append(up),
            on_down=self.downs.append,
            on_published=self.confirmed.__setitem__,
            on_subscribed=self.granted.update,
        )
        self.link = Link(Options(address=address, client_id=client_id, **chosen), callbacks)
        self.link.subscribe([(name, 1) for name in filters])
        self.filters = filters

    def _came(self, session: int, messages: Sequence[Incoming]) -> None:
        self.messages += [(session, message) for message in messages]

    def start(self) -> Peer:
        self.link.start()
        assert self.link.wait_connected(10), self.link.state
        wait_until(lambda: self.ups and all(name in self.granted for name in self.filters))
        return self

    def publish(self, topic: str, payload: bytes = b"x", **more: Any) -> int:
        mid = self.link.publish(topic, payload, **more)
        assert mid is not None
        wait_until(lambda: mid in self.confirmed)
        return self.confirmed.pop(mid)

    def payloads(self, topic: str) -> list[bytes]:
        return [message.payload for _, message in self.messages if message.topic == topic]

    def ack(self, *came: tuple[int, Incoming]) -> list[bool]:
        return [self.link.ack_many(session, [message.packet_id or 0]) for session, message in came]

    def cut(self) -> None:
        """Breaks the link as a dead network does: without a word to the broker."""
        before, inner = len(self.downs), self.link._link
        if isinstance(inner, FastLink):
            inner._soon(lambda: inner._protocol and inner._protocol.abort("the link broke"))
        else:
            sock: Any = inner._connection._client.socket()
            sock.shutdown(2)
        wait_until(lambda: len(self.downs) > before)


Connect = Callable[..., Peer]
# MQTT 5 by the batch; the same methods over paho; and a broker that makes the first fall back to the second.
KINDS = {"fast": ("mosquitto", "auto"), "slow": ("mosquitto", "3.1.1"), "fallen back": ("embedded", "auto")}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def broker(kind: str, tmp_path: Path) -> Iterator[BrokerProcess]:
    if KINDS[kind][0] == "mosquitto":
        mosquitto_path()
    with BrokerProcess(tmp_path / "broker", KINDS[kind][0]) as process:
        yield process


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[BrokerProcess]:
    mosquitto_path()
    with BrokerProcess(tmp_path / "mosquitto", "mosquitto") as process:
        yield process


@pytest.fixture
def connect(request: pytest.FixtureRequest) -> Iterator[Connect]:
    """Makes connected peers, of the kind the test is run for, and stops them after the test."""
    protocol = KINDS[request.getfixturevalue("kind")][1] if "kind" in request.fixturenames else "auto"
    with ExitStack() as stack:

        def make(url: str, client_id: str, *filters: str, **options: Any) -> Peer:
            peer = Peer(url, client_id, filters=filters, **{"protocol": protocol, **options})
            stack.callback(peer.link.stop)
            return peer.start()

        yield make


def test_takes_the_faster_way_where_the_broker_lets_it(kind: str, broker: BrokerProcess, connect: Connect) -> None:
    peer = connect(broker.url, "a")
    state = peer.link.state
    assert state.connected
    assert (state.reason, state.protocol) == ("", "5" if kind == "fast" else "3.1.1")
    assert state.shared_subscriptions == (kind == "fast")
    assert type(peer.link._link) is (FastLink if kind == "fast" else SlowLink)


def test_comes_back_and_subscribes_again_when_the_broker_was_killed(broker: BrokerProcess, connect: Connect) -> None:
    peer = connect(broker.url, "a", "t/#")
    first = peer.link.state.session
    broker.kill()
    wait_until(lambda: peer.downs == ["the link broke"])
    wait_until(lambda: peer.link.state.reason == f"nothing listens at {broker.url}")
    assert peer.link.publish("t/1", b"lost") is None
    assert not peer.link.publish_many([("t/1", b"lost")])
    peer.granted.clear()
    broker.restart()
    wait_until(lambda: len(peer.ups) == 2)
    assert peer.ups[-1][0] > first
    wait_until(lambda: "t/#" in peer.granted)
    peer.publish("t/1", b"here again")
    wait_until(lambda: peer.payloads("t/1") == [b"here again"])


def test_messages_go_and_come_with_any_bytes(broker: BrokerProcess, connect: Connect) -> None:
    peer = connect(broker.url, "a", "t/#")
    sent = [b"", b"\x00\xff" * 50_000, "Käse".encode(), b"more", b"at once"]
    for payload in sent[:3]:
        assert peer.publish("t/ä", payload) == 0
    assert peer.link.publish_many([("t/ä", payload) for payload in sent[3:]])
    wait_until(lambda: peer.payloads("t/ä") == sent)
    assert peer.link.wait_confirmed(0, 10)
    assert all(peer.ack(*peer.messages))


def test_a_filter_can_be_given_up(broker: BrokerProcess, connect: Connect) -> None:
    peer = connect(broker.url, "a", "one/+", "two/+")
    peer.link.unsubscribe(["one/+"])
    peer.publish("one/1")
    peer.publish("two/1")
    wait_until(lambda: peer.payloads("two/1"))
    assert peer.payloads("one/1") == []
    peer.cut()
    wait_until(lambda: len(peer.ups) == 2)
    peer.publish("one/1")
    assert peer.payloads("one/1") == []


def test_no_will_after_a_goodbye_and_one_for_each_link_that_broke(broker: BrokerProcess, connect: Connect) -> None:
    watcher = connect(broker.url, "watcher", "will/#", "said/#")
    peer = Peer(broker.url, "device", will=lambda session: Will("will/device", b"%d" % session))
    peer.start()
    session = peer.ups[-1][0]
    peer.cut()
    wait_until(lambda: watcher.payloads("will/device") == [b"%d" % session])
    wait_until(lambda: len(peer.ups) == 2)
    assert peer.link.publish("said/last", b"goodbye") is not None
    peer.link.stop()
    assert peer.downs[-1] == peer.link.state.reason == "stopped"
    wait_until(lambda: watcher.payloads("said/last") == [b"goodbye"])
    assert watcher.payloads("will/device") == [b"%d" % session]


def test_what_was_not_acknowledged_comes_again_and_what_was_does_not(
    mosquitto: BrokerProcess, connect: Connect
) -> None:
    sender = connect(mosquitto.url, "sender")
    taker = connect(mosquitto.url, "taker", "t/#", session_expiry_s=60)
    for payload in (b"one", b"two", b"three"):
        sender.publish("t/1", payload)
    wait_until(lambda: len(taker.messages) == 3)
    old = list(taker.messages)
    assert taker.ack(old[0]) == [True]
    sender.publish("t/1", b"four")  # its arrival shows that the broker has read the acknowledgement
    wait_until(lambda: len(taker.messages) == 4)
    taker.messages.clear()
    taker.cut()
    wait_until(lambda: taker.ups[-1] == (2, True))
    wait_until(lambda: taker.payloads("t/1") == [b"two", b"three", b"four"])
    assert not any(taker.ack(*old)), "a session that is over was acknowledged in"
    assert all(taker.ack(*taker.messages))


def test_no_more_messages_come_than_were_asked_for(mosquitto: BrokerProcess, connect: Connect) -> None:
    taker = connect(mosquitto.url, "taker", "t/#", receive_maximum=3)
    sender = connect(mosquitto.url, "sender")
    for number in range(6):
        sender.publish("t/1", b"%d" % number)
    wait_until(lambda: len(taker.messages) == 3)
    sender.publish("t/1", b"6")  # another round trip, in which the others would have come
    assert len(taker.messages) == 3
    assert taker.link.ack_many(1, [message.packet_id or 0 for _, message in taker.messages])
    wait_until(lambda: len(taker.messages) >= 6)


def test_takes_nothing_from_the_network_while_it_pauses(mosquitto: BrokerProcess, connect: Connect) -> None:
    taker, sender = connect(mosquitto.url, "taker", "t/#"), connect(mosquitto.url, "sender")
    assert taker.link.pause_reading()
    for number in range(10):
        sender.publish("t/1", b"%d" % number)
    assert taker.messages == []
    taker.link.resume_reading()
    wait_until(lambda: len(taker.messages) == 10)
    assert taker.downs == []


def test_notices_a_broker_that_hangs(mosquitto: BrokerProcess, connect: Connect) -> None:
    peer = connect(mosquitto.url, "a", keepalive_s=1, connect_timeout_s=0.3)
    assert mosquitto._process is not None
    os.kill(mosquitto._process.pid, signal.SIGSTOP)
    try:
        wait_until(lambda: peer.downs == ["the broker has not answered for 1 s"])
        wait_until(lambda: "not answer" in peer.link.state.reason)
    finally:
        os.kill(mosquitto._process.pid, signal.SIGCONT)
    wait_until(lambda: peer.link.state.connected)
    assert peer.link.state.protocol == "5"


def test_stays_up_while_nothing_is_said(mosquitto: BrokerProcess, connect: Connect) -> None:
    quiet, other = connect(mosquitto.url, "quiet", "t", keepalive_s=1), connect(mosquitto.url, "other")
    threading.Event().wait(2.2)  # twice the time after which the broker would cut it off, were it not for pings
    other.publish("t")
    wait_until(lambda: quiet.payloads("t"))
    assert quiet.downs == []


def test_stops_at_once_while_it_waits_for_the_next_attempt(kind: str) -> None:
    port = free_port()
    peer = Peer(f"mqtt://127.0.0.1:{port}", "a", protocol=KINDS[kind][1], backoff_base_s=50.0)
    peer.link.start()
    wait_until(lambda: "nothing listens" in peer.link.state.reason)
    peer.link.stop()
    assert peer.link.state.reason == "stopped"


def test_can_be_stopped_before_it_was_started() -> None:
    peer = Peer("mqtt://127.0.0.1:1", "a")
    peer.link.stop()
    assert not peer.link.state.connected


def test_a_message_beyond_the_limit_is_refused_before_it_breaks_the_link(tmp_path: Path, connect: Connect) -> None:
    with Mosquitto(tmp_path, "listener PORT 127.0.0.1\nallow_anonymous true\nmax_packet_size 1000") as small:
        peer = connect(small.url, "a")
        with pytest.raises(TooLargeError, match="1000"):
            peer.link.publish("t", bytes(1000))
        assert peer.publish("t", bytes(980)) in (0, 0x10)
        assert peer.downs == []


def test_credentials_let_in_and_wrong_ones_are_a_state_that_passes(tmp_path: Path) -> None:
    config = f"listener PORT 127.0.0.1\npassword_file {passwords(tmp_path, 'porch-1')}\n"
    with Mosquitto(tmp_path / "broker", config) as broker:
        right = Peer(broker.url.replace("//", "//porch-1:secret-porch-1@"), "porch-1").start()
        right.link.stop()
        address = BrokerAddress.of(broker.url, username="porch-1", password="a wrong one")
        wrong = Peer(broker.url, "porch-1", address=address)
        wrong.link.start()
        wait_until(lambda: wrong.link.state.refused)
        assert wrong.link.state.reason == "the broker does not allow this client to connect"
        assert wrong.ups == wrong.downs == []
        broker.config = "listener PORT 127.0.0.1\nallow_anonymous true\n"
        broker.restart()
        wait_until(lambda: wrong.link.state.connected)
        wrong.link.stop()


def test_tls_is_spoken_and_a_foreign_authority_not_trusted(tmp_path: Path) -> None:
    own, foreign = Authority(tmp_path, "own"), Authority(tmp_path, "foreign")
    pair = own.issue("server", address="127.0.0.1")
    files = f"certfile {pair.certificate}\nkeyfile {pair.key}\n"
    config = f"listener PORT 127.0.0.1\nallow_anonymous true\n{files}"
    with Mosquitto(tmp_path / "broker", config) as broker:
        url = broker.url.replace("mqtt:", "mqtts:")
        trusting = Peer(url, "a", filters=("t",), address=BrokerAddress.of(url, ca_file=own.file)).start()
        trusting.publish("t", bytes(100_000))
        wait_until(lambda: trusting.payloads("t") == [bytes(100_000)])
        trusting.link.stop()
        wary = Peer(url, "b", address=BrokerAddress.of(url, ca_file=foreign.file))
        wary.link.start()
        wait_until(lambda: wary.link.state.refused)
        assert "is not to be trusted" in wary.link.state.reason
        wary.link.stop()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_ends_when_a_callback_fails(kind: str, broker: BrokerProcess, caplog: pytest.LogCaptureFixture) -> None:
    def fail(_session: int, _messages: Sequence[Incoming]) -> None:
        raise RuntimeError("a bug")

    options = Options(address=BrokerAddress.of(broker.url), client_id="a", protocol=KINDS[kind][1])
    granted = threading.Event()
    link = Link(options, Callbacks(on_messages=fail, on_subscribed=lambda _: granted.set()))
    link.subscribe([("t", 1)])
    link.start()
    assert granted.wait(10)
    with caplog.at_level(logging.CRITICAL):
        link.publish("t", b"")
        wait_until(lambda: link.state.reason == CALLBACK_FAILED)
    link.stop()


def test_gives_up_on_a_server_that_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(10)
        peer = Peer(f"mqtt://127.0.0.1:{silent.getsockname()[1]}", "a", connect_timeout_s=0.1)
        peer.link.start()
        for _ in range(2):  # it tries again
            silent.accept()[0].close()
        assert not peer.link.state.connected
        assert peer.ups == peer.downs == []
        peer.link.stop()
