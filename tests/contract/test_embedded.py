"""The embedded broker and the broker process start, end and come back within bounds."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from broker.embedded import EmbeddedBroker
from broker.errors import BrokerProcessError, ListenError, MissingExtraError
from broker.process import BrokerProcess, find_mosquitto
from tests.contract.brokers import Mosquitto, Peer, mosquitto_path, peers
from tests.support import wait_until

CONNECT_5 = b"\x10\x10\x00\x04MQTT\x05\x02\x00\x0a\x00\x00\x03abc"


def test_listens_on_a_free_port_and_ends_without_a_trace() -> None:
    with EmbeddedBroker() as broker, peers(Peer(broker.url, "a", filters=("t/#",))) as (peer,):
        peer.start()
        peer.publish("t/1", b"through")
        wait_until(lambda: peer.payloads("t/1") == [b"through"])
        broker.stop()
        wait_until(lambda: peer.downs)
    assert "embedded broker" not in {thread.name for thread in threading.enumerate()}
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", broker.port), timeout=5)


def test_a_port_that_is_taken_is_one_sentence() -> None:
    with EmbeddedBroker() as broker, pytest.raises(ListenError, match=f"cannot listen on 127.0.0.1:{broker.port}"):
        EmbeddedBroker(broker.port).start()


def test_a_missing_package_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "amqtt.broker", None)
    monkeypatch.delitem(sys.modules, "broker.amqtt_broker", raising=False)
    with pytest.raises(MissingExtraError, match=r"tinymlops\[server\]"):
        EmbeddedBroker().start()


def test_an_mqtt_5_client_is_refused_in_order_whatever_it_says() -> None:
    with EmbeddedBroker() as broker, socket.create_connection(("127.0.0.1", broker.port), timeout=10) as client:
        client.sendall(CONNECT_5)
        assert client.recv(10) == b"\x20\x02\x00\x01"
        assert client.recv(10) == b""


@pytest.mark.parametrize(
    "data",
    [b"GET / HTTP/1.1\r\n\r\n", b"\x10\xff\xff\xff\xff\x01", b"\x10\xff\xff\xff\x7f", b"\x10\x00", b"\x00" * 20],
)
def test_whoever_does_not_speak_mqtt_is_shown_out(data: bytes) -> None:
    with EmbeddedBroker() as broker:
        with socket.create_connection(("127.0.0.1", broker.port), timeout=10) as client:
            client.sendall(data)
            with suppress(ConnectionResetError):
                assert client.recv(10) == b""
        with peers(Peer(broker.url, "a")) as (peer,):
            peer.start()


def test_what_is_retained_goes_only_to_those_who_subscribed() -> None:
    with (
        EmbeddedBroker() as broker,
        peers(Peer(broker.url, "a", filters=("a/#",)), Peer(broker.url, "b", filters=("b/#",))) as (first, second),
    ):
        first.start().publish("a/1", b"for a", retain=True)
        first.publish("b/1", b"for b", retain=True)
        second.start()
        wait_until(lambda: second.payloads("b/1"))
        second.cut()
        wait_until(lambda: len(second.ups) == 2)
        wait_until(lambda: len(second.payloads("b/1")) == 2)
        assert second.payloads("a/1") == []


def test_an_empty_payload_removes_what_was_retained() -> None:
    with EmbeddedBroker() as broker, peers(Peer(broker.url, "a"), Peer(broker.url, "b", filters=("#",))) as (a, b):
        a.start().publish("t/old", b"x", retain=True)
        a.publish("t/old", b"", retain=True)
        a.publish("t/new", b"x", retain=True)
        b.start()
        wait_until(lambda: b.payloads("t/new"))
        assert b.payloads("t/old") == []


# ---- as a process ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_says_where_it_listens_and_ends_cleanly(number: signal.Signals) -> None:
    command = [sys.executable, "-W", "error", "-m", "broker.cli", "broker", "run", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        assert said.startswith("listening on mqtt://127.0.0.1:")
        with peers(Peer(said.split()[-1], "a")) as (peer,):
            peer.start()
            process.send_signal(number)
            out, errors = process.communicate(timeout=20)
    assert (out, errors, process.returncode) == ("", "", 0)


@pytest.mark.parametrize("kind", ["mosquitto", "embedded"])
def test_comes_back_on_the_same_port_after_a_kill(kind: str, tmp_path: Path) -> None:
    if kind == "mosquitto":
        mosquitto_path()
    with BrokerProcess(tmp_path, kind) as broker:
        url = broker.url
        broker.kill()
        assert not broker.running
        broker.start()
        assert broker.running
        broker.restart()
        assert broker.url == url
        assert broker.kind == kind
        with peers(Peer(url, "a")) as (peer,):
            peer.start()
    assert not broker.running


def test_mosquitto_keeps_what_is_retained_over_a_restart_in_order(tmp_path: Path) -> None:
    mosquitto_path()
    with BrokerProcess(tmp_path, "mosquitto") as broker, peers(Peer(broker.url, "a")) as (peer,):
        peer.start().publish("t/1", b"kept", retain=True)
        broker.restart()
        with peers(Peer(broker.url, "b", filters=("t/#",))) as (late,):
            late.start()
            wait_until(lambda: late.payloads("t/1") == [b"kept"])


def test_a_broker_that_does_not_start_says_what_it_said_last(tmp_path: Path) -> None:
    with pytest.raises(BrokerProcessError, match=r"mosquitto\.conf:2"):
        Mosquitto(tmp_path, "listener PORT 127.0.0.1\nnonsense true").start()


def test_the_port_of_somebody_else_is_not_taken_for_ours(tmp_path: Path) -> None:
    with EmbeddedBroker() as other, pytest.raises(BrokerProcessError, match="somebody else listens"):
        BrokerProcess(tmp_path, "embedded", port=other.port).start()


def test_takes_mosquitto_where_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "mosquitto"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("TINYML_MOSQUITTO", str(program))
    assert find_mosquitto() == program
    assert BrokerProcess(tmp_path).kind == "mosquitto"
    monkeypatch.setenv("TINYML_MOSQUITTO", str(tmp_path / "nothing"))
    assert find_mosquitto() is None
    assert BrokerProcess(tmp_path).kind == "embedded"
    with pytest.raises(BrokerProcessError, match="no mosquitto"):
        BrokerProcess(tmp_path, "mosquitto")
    monkeypatch.delenv("TINYML_MOSQUITTO")
    monkeypatch.setenv("PATH", str(tmp_path) + os.pathsep + os.environ["PATH"])
    assert find_mosquitto() == program
