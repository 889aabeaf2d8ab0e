"""The connection keeps itself up, says why it is down, and never confirms a message of another session."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from broker.address import BrokerAddress
from broker.connection import Connection, Delivery, Options, Will
from broker.errors import SettingsError, TooLargeError
from broker.process import BrokerProcess, free_port
from tests.contract.brokers import Mosquitto, Peer, mosquitto_path, passwords, peers
from tests.support import wait_until

Connect = Callable[..., Peer]


@pytest.fixture(params=["mosquitto", "embedded"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BrokerProcess]:
    if request.param == "mosquitto":
        mosquitto_path()
    with BrokerProcess(tmp_path / "broker", request.param) as process:
        yield process


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[BrokerProcess]:
    mosquitto_path()
    with BrokerProcess(tmp_path / "mosquitto", "mosquitto") as process:
        yield process


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Makes connected peers and stops them after the test."""
    with ExitStack() as stack:

        def make(url: str, client_id: str, *filters: str, **options: object) -> Peer:
            peer = Peer(url, client_id, filters=filters, **options)
            stack.enter_context(peers(peer))
            return peer.start()

        yield make


def will(session: int) -> Will:
    return Will("will/device", b"session %d" % session)


# ---- up and down -------------------------------------------------------------------------------------------------


def test_speaks_the_newest_version_that_the_broker_speaks(broker: BrokerProcess, connect: Connect) -> None:
    state = connect(broker.url, "a").connection.state
    assert state.connected
    assert state.reason == ""
    assert (state.protocol, state.shared_subscriptions) == (
        ("5", True) if broker.kind == "mosquitto" else ("3.1.1", False)
    )


def test_remembers_that_a_broker_speaks_only_the_old_version(tmp_path: Path, connect: Connect) -> None:
    with BrokerProcess(tmp_path, "embedded") as broker:
        peer = connect(broker.url, "a")
        assert peer.connection.state.session == 2  # the first attempt was in MQTT 5
        peer.cut()
        wait_until(lambda: len(peer.ups) == 2)
        assert peer.ups[-1][0] == 3


def test_a_version_can_be_demanded(mosquitto: BrokerProcess, tmp_path: Path, connect: Connect) -> None:
    assert connect(mosquitto.url, "a", protocol="3.1.1").connection.state.protocol == "3.1.1"
    with BrokerProcess(tmp_path, "embedded") as old, peers(Peer(old.url, "b", protocol="5")) as (peer,):
        peer.connection.start()
        wait_until(lambda: peer.connection.state.refused)
        assert peer.connection.state.reason == "the broker does not speak this version of MQTT"
    with pytest.raises(SettingsError, match="'4'"):
        Options(address=BrokerAddress(), client_id="a", protocol="4")


def test_learns_that_a_broker_came_to_speak_the_new_version(tmp_path: Path, connect: Connect) -> None:
    mosquitto_path()
    with BrokerProcess(tmp_path / "old", "embedded") as old:
        peer = connect(old.url, "a")
        old.stop()
        silent = socket.create_server(("127.0.0.1", old.port))  # hangs up on the 3.1.1 attempt
        silent.settimeout(10)
        silent.accept()[0].close()
        silent.close()
        with BrokerProcess(tmp_path / "new", "mosquitto", port=old.port):
            wait_until(lambda: peer.connection.state.connected)
            assert peer.connection.state.protocol == "5"


def test_comes_back_and_subscribes_again_when_the_broker_was_killed(broker: BrokerProcess, connect: Connect) -> None:
    peer = connect(broker.url, "a", "t/#")
    first = peer.connection.state.session
    broker.kill()
    wait_until(lambda: peer.downs == ["the link broke"])
    wait_until(lambda: peer.connection.state.reason == f"nothing listens at {broker.url}")
    assert peer.connection.publish("t/1", b"lost") is None
    peer.granted.clear()
    broker.restart()
    wait_until(lambda: len(peer.ups) == 2)
    assert peer.ups[-1][0] > first
    wait_until(lambda: "t/#" in peer.granted)
    peer.publish("t/1", b"here again")
    wait_until(lambda: peer.payloads("t/1") == [b"here again"])


def test_notices_a_broker_that_hangs(mosquitto: BrokerProcess, connect: Connect) -> None:
    peer = connect(mosquitto.url, "a", keepalive_s=1, connect_timeout_s=0.3)
    assert mosquitto._process is not None
    os.kill(mosquitto._process.pid, signal.SIGSTOP)
    try:
        wait_until(lambda: peer.downs == ["the broker has not answered for 1 s"])
        wait_until(lambda: peer.connection.state.reason == f"{mosquitto.url} has not answered yet")
    finally:
        os.kill(mosquitto._process.pid, signal.SIGCONT)
    wait_until(lambda: peer.connection.state.connected)
    assert peer.connection.state.protocol == "5"


def test_gives_up_on_a_server_that_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(10)
        url = f"mqtt://127.0.0.1:{silent.getsockname()[1]}"
        with peers(Peer(url, "a", connect_timeout_s=0.1)) as (peer,):
            peer.connection.start()
            for _ in range(2):  # it tries again
                silent.accept()[0].close()
            assert not peer.connection.state.connected
            assert peer.ups == peer.downs == []


def test_stops_at_once_while_it_waits_for_the_next_attempt() -> None:
    peer = Peer(f"mqtt://127.0.0.1:{free_port()}", "a", backoff_base_s=50.0)
    with peers(peer):
        peer.connection.start()
        wait_until(lambda: "nothing listens" in peer.connection.state.reason)
    assert peer.connection.state.reason == "stopped"


def test_can_be_stopped_before_it_was_started() -> None:
    peer = Peer("mqtt://127.0.0.1:1", "a")
    peer.connection.stop()
    assert not peer.connection.state.connected


# ---- wills -------------------------------------------------------------------------------------------------------


def test_the_broker_tells_of_a_link_that_broke_and_of_which(broker: BrokerProcess, connect: Connect) -> None:
    watcher = connect(broker.url, "watcher", "will/#")
    peer = connect(broker.url, "device", will=will)
    sessions = []
    for count in (1, 2):
        wait_until(lambda count=count: len(peer.ups) == count)  # type: ignore[misc]
        sessions.append(peer.ups[-1][0])
        peer.cut()
        wait_until(lambda: watcher.payloads("will/device") == [b"session %d" % session for session in sessions])
    assert sessions[0] < sessions[1]


def test_the_will_stays_for_those_who_come_later(broker: BrokerProcess, connect: Connect) -> None:
    peer = connect(broker.url, "device", will=will)
    session = peer.ups[-1][0]
    peer.cut()
    wait_until(lambda: len(peer.ups) == 2)
    late = connect(broker.url, "late", "will/#")
    wait_until(lambda: late.payloads("will/device") == [b"session %d" % session])
    assert late.messages[0][2].retain


def test_no_will_after_a_goodbye(broker: BrokerProcess, connect: Connect) -> None:
    watcher = connect(broker.url, "watcher", "will/#", "said/#")
    with peers(Peer(broker.url, "device", will=will)) as (peer,):
        peer.start()
        assert peer.connection.publish("said/last", b"goodbye") is not None
    assert peer.downs == ["stopped"]
    wait_until(lambda: watcher.payloads("said/last") == [b"goodbye"])
    connect(broker.url, "someone").publish("said/after")
    wait_until(lambda: watcher.payloads("said/after"))
    assert watcher.payloads("will/device") == []


# ---- messages ----------------------------------------------------------------------------------------------------


def test_messages_go_and_come_with_any_bytes(broker: BrokerProcess, connect: Connect) -> None:
    peer = connect(broker.url, "a", "t/#")
    sent = [b"", b"\x00\xff" * 50_000, "Käse".encode()]
    for payload in sent:
        assert peer.publish("t/ä", payload) == 0
    wait_until(lambda: peer.payloads("t/ä") == sent)
    assert all(type(payload) is bytes for payload in peer.payloads("t/ä"))


def test_filters_can_be_added_later(broker: BrokerProcess, connect: Connect) -> None:
    peer = connect(broker.url, "a")
    peer.connection.subscribe([("later/+", 1)])
    wait_until(lambda: peer.granted == {"later/+": 1})
    peer.publish("later/1")
    wait_until(lambda: peer.payloads("later/1"))


def test_a_message_beyond_the_limit_is_refused_before_it_breaks_the_link(tmp_path: Path, connect: Connect) -> None:
    with Mosquitto(tmp_path, "listener PORT 127.0.0.1\nallow_anonymous true\nmax_packet_size 1000") as small:
        peer = connect(small.url, "a")
        with pytest.raises(TooLargeError, match="1000") as caught:
            peer.connection.publish("t", bytes(1000))
        assert caught.value.limit == 1000
        assert peer.publish("t", bytes(980)) in (0, 0x10)
        assert peer.downs == []


def test_the_broker_says_that_nobody_listens(mosquitto: BrokerProcess, connect: Connect) -> None:
    assert connect(mosquitto.url, "a").publish("nobody/here") == 0x10


def test_many_threads_publish_while_callbacks_publish_too(broker: BrokerProcess, connect: Connect) -> None:
    count, threads, confirmed = 100, 4, []

    def answer(topic: str, payload: bytes, delivery: Delivery) -> None:
        asker.ack(delivery)
        if topic == "ask":
            assert asker.publish("answer", payload) is not None

    asker = Connection(
        Options(address=BrokerAddress.of(broker.url), client_id="asker", manual_ack=True),
        on_message=answer,
        on_published=lambda mid, _: confirmed.append(mid),
    )
    asker.subscribe([("ask", 1), ("answer", 1)])
    hearer = connect(broker.url, "hearer", "answer")
    asker.start()
    assert asker.wait_connected(10)
    wait_until(lambda: asker.publish("ready", b"") is not None)

    def ask(number: int) -> None:
        for index in range(count):
            asker.publish("ask", b"%d-%d" % (number, index))

    workers = [threading.Thread(target=ask, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(20)
    wait_until(lambda: len(hearer.payloads("answer")) == count * threads, timeout=20)
    assert len(set(hearer.payloads("answer"))) == count * threads
    wait_until(lambda: len(confirmed) == 2 * count * threads + 1)
    asker.stop()


# ---- acknowledgements --------------------------------------------------------------------------------------------


def test_what_was_not_acknowledged_comes_again_and_what_was_does_not(
    mosquitto: BrokerProcess, connect: Connect
) -> None:
    sender = connect(mosquitto.url, "sender")
    taker = connect(mosquitto.url, "taker", "t/#", manual_ack=True, session_expiry_s=60)
    for payload in (b"one", b"two", b"three"):
        sender.publish("t/1", payload)
    wait_until(lambda: len(taker.messages) == 3)
    old = [delivery for _, _, delivery in taker.messages]
    assert taker.connection.ack(old[0])
    sender.publish("t/1", b"four")  # its arrival shows that the broker has read the acknowledgement
    wait_until(lambda: len(taker.messages) == 4)
    taker.messages.clear()
    taker.cut()
    wait_until(lambda: taker.ups[-1] == (2, True))
    wait_until(lambda: taker.payloads("t/1") == [b"two", b"three", b"four"])
    assert not any(taker.connection.ack(delivery) for delivery in old), "a session that is over was acknowledged in"
    assert all(taker.connection.ack(delivery) for _, _, delivery in taker.messages)


def test_acknowledges_after_the_broker_was_restarted_in_order(mosquitto: BrokerProcess, connect: Connect) -> None:
    sender = connect(mosquitto.url, "sender")
    taker = connect(mosquitto.url, "taker", "t/#", manual_ack=True, session_expiry_s=60)
    sender.publish("t/1", b"kept")
    wait_until(lambda: len(taker.messages) == 1)
    mosquitto.restart()
    wait_until(lambda: len(taker.messages) == 2)
    (_, _, old), (_, _, new) = taker.messages
    assert not taker.connection.ack(old)
    assert taker.connection.ack(new)
    wait_until(lambda: len(sender.ups) == 2)
    sender.publish("t/1", b"next")
    wait_until(lambda: taker.payloads("t/1")[2:] == [b"next"])
    taker.cut()
    wait_until(lambda: len(taker.ups) == 3)
    wait_until(lambda: taker.payloads("t/1")[3:] == [b"next"])  # the first one was settled


def test_no_more_messages_come_than_were_asked_for_until_some_are_acknowledged(
    mosquitto: BrokerProcess, connect: Connect
) -> None:
    taker = connect(mosquitto.url, "taker", "t/#", manual_ack=True, receive_maximum=3)
    sender = connect(mosquitto.url, "sender")
    for number in range(6):
        sender.publish("t/1", b"%d" % number)
    wait_until(lambda: len(taker.messages) == 3)
    sender.publish("t/1", b"6")  # another round trip, in which the others would have come
    assert len(taker.messages) == 3
    for _, _, delivery in taker.messages[:3]:
        assert taker.connection.ack(delivery)
    wait_until(lambda: len(taker.messages) >= 6)


def test_a_new_session_each_time_unless_it_is_to_be_kept(mosquitto: BrokerProcess, connect: Connect) -> None:
    forgotten, kept = connect(mosquitto.url, "a"), connect(mosquitto.url, "b", session_expiry_s=60)
    for peer in (forgotten, kept):
        peer.cut()
        wait_until(lambda peer=peer: len(peer.ups) == 2)  # type: ignore[misc]
    assert [present for _, present in forgotten.ups] == [False, False]
    assert [present for _, present in kept.ups] == [False, True]


# ---- refusals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["auto", "3.1.1"])
def test_a_wrong_password_is_a_state_that_passes_when_it_is_mended(tmp_path: Path, protocol: str) -> None:
    mosquitto_path()
    config = f"listener PORT 127.0.0.1\npassword_file {passwords(tmp_path, 'porch-1')}\n"
    with Mosquitto(tmp_path / "broker", config) as broker:
        address = BrokerAddress.of(broker.url, username="porch-1", password="a wrong one")
        with peers(Peer(broker.url, "porch-1", address=address, protocol=protocol)) as (peer,):
            peer.connection.start()
            wait_until(lambda: peer.connection.state.refused)
            assert peer.connection.state.reason in (
                "the broker does not know this user name and password",
                "the broker does not allow this client to connect",  # how Mosquitto says it in MQTT 5
            )
            assert peer.ups == peer.downs == []
            broker.config = "listener PORT 127.0.0.1\nallow_anonymous true\n"
            broker.restart()
            wait_until(lambda: peer.connection.state.connected)
            assert not peer.connection.state.refused


def test_the_right_password_lets_in(tmp_path: Path, connect: Connect) -> None:
    mosquitto_path()
    config = f"listener PORT 127.0.0.1\npassword_file {passwords(tmp_path, 'porch-1')}\n"
    with Mosquitto(tmp_path / "broker", config) as broker:
        url = broker.url.replace("//", "//porch-1:secret-porch-1@")
        assert connect(url, "porch-1").connection.state.connected


def test_the_reason_that_the_broker_gives_is_passed_on(tmp_path: Path, connect: Connect) -> None:
    with Mosquitto(tmp_path, "listener PORT 127.0.0.1\nallow_anonymous true\nmax_packet_size 1000") as small:
        peer = connect(small.url, "a")
        peer.connection._largest = 1 << 20  # as if the broker had not said
        peer.connection.publish("t", bytes(2000))
        wait_until(lambda: peer.downs == ["the broker ended the connection: Packet too large"])


def test_a_client_id_is_needed() -> None:
    with pytest.raises(SettingsError, match="client id"):
        Options(address=BrokerAddress(), client_id="")
