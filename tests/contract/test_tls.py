"""Over TLS only a broker that the authority vouches for is spoken to, and only devices it vouches for are let in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from broker.address import BrokerAddress
from broker.errors import SettingsError
from tests.contract.brokers import Mosquitto, Peer, peers
from tests.contract.certificates import Authority, Pair
from tests.support import wait_until


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def server(authority: Authority) -> Pair:
    return authority.issue("server", address="127.0.0.1")


def config(server: Pair, *more: str) -> str:
    lines = ["listener PORT 127.0.0.1", f"certfile {server.certificate}", f"keyfile {server.key}", *more]
    return "\n".join([*lines, "allow_anonymous true"])


@contextmanager
def attempt(broker: Mosquitto, **address: Any) -> Iterator[Peer]:
    """A peer that was started but perhaps never gets in."""
    made = BrokerAddress.of(broker.url.replace("mqtt:", "mqtts:"), **address)
    with peers(Peer("", "porch-1", filters=("t/#",), address=made)) as (peer,):
        peer.connection.start()
        yield peer


def test_speaks_to_a_broker_that_the_authority_vouches_for(
    tmp_path: Path, authority: Authority, server: Pair
) -> None:
    with (
        Mosquitto(tmp_path, config(server)) as broker,
        attempt(broker, ca_file=authority.file) as peer,
    ):
        wait_until(lambda: "t/#" in peer.granted)
        big = bytes(range(256)) * 3000  # many TLS records, some of which arrive together
        for _ in range(3):
            assert peer.publish("t/1", big) == 0
        wait_until(lambda: peer.payloads("t/1") == [big] * 3)
        peer.cut()
        wait_until(lambda: len(peer.ups) == 2)


def test_does_not_speak_to_a_broker_of_another_authority(tmp_path: Path, server: Pair) -> None:
    other = Authority(tmp_path, "other")
    with (
        Mosquitto(tmp_path / "broker", config(server)) as broker,
        attempt(broker, ca_file=other.file) as peer,
    ):
        wait_until(lambda: peer.connection.state.refused)
        assert "is not to be trusted" in peer.connection.state.reason
        assert peer.ups == []


@pytest.mark.parametrize(
    ("wrong", "said"), [({"address": "127.0.0.2"}, "IP address mismatch"), ({"expired": True}, "expired")]
)
def test_does_not_speak_to_a_broker_with_a_wrong_certificate(
    tmp_path: Path, authority: Authority, wrong: dict[str, Any], said: str
) -> None:
    pair = authority.issue("wrong", **{"address": "127.0.0.1", **wrong})
    with (
        Mosquitto(tmp_path, config(pair)) as broker,
        attempt(broker, ca_file=authority.file) as peer,
    ):
        wait_until(lambda: peer.connection.state.refused)
        assert said in peer.connection.state.reason


def test_a_certificate_of_its_own_lets_a_device_in(tmp_path: Path, authority: Authority, server: Pair) -> None:
    device = authority.issue("porch-1")
    demanding = config(
        server, f"cafile {authority.file}", "require_certificate true", "use_identity_as_username true"
    )
    with Mosquitto(tmp_path, demanding) as broker:
        with attempt(broker, ca_file=authority.file, cert_file=device.certificate, key_file=device.key) as peer:
            assert peer.connection.wait_connected(10)
        with attempt(broker, ca_file=authority.file) as peer:
            wait_until(lambda: peer.connection.state.session > 1)
            assert peer.ups == []


def test_a_broker_without_tls_is_a_reason_and_not_a_crash(tmp_path: Path, authority: Authority) -> None:
    plain = "listener PORT 127.0.0.1\nallow_anonymous true"
    with (
        Mosquitto(tmp_path, plain) as broker,
        attempt(broker, ca_file=authority.file) as peer,
    ):
        wait_until(lambda: peer.connection.state.session > 1)
        assert str(broker.port) in peer.connection.state.reason


def test_files_that_cannot_be_used_are_named(tmp_path: Path, authority: Authority, server: Pair) -> None:
    url = "mqtts://127.0.0.1"
    for wrong, named in (
        ({"ca_file": tmp_path / "nothing.crt"}, "nothing.crt"),
        ({"ca_file": server.key}, "server.key"),
        ({"cert_file": tmp_path / "nothing.crt"}, "nothing.crt"),
        ({"cert_file": server.certificate, "key_file": authority.file}, "server.crt"),
    ):
        with pytest.raises(SettingsError, match=f"{named} cannot be used"):
            BrokerAddress.of(url, **wrong).tls_context()


# ---- addresses ---------------------------------------------------------------------------------------------------


def test_an_address_is_read_from_a_url() -> None:
    plain = BrokerAddress.of("mqtt://broker.example")
    assert (plain.host, plain.port, plain.tls) == ("broker.example", 1883, False)
    secure = BrokerAddress.of("mqtts://porch-1:p%40ss@[::1]:9000/")
    assert (secure.host, secure.port, secure.tls) == ("::1", 9000, True)
    assert (secure.username, secure.password) == ("porch-1", "p@ss")
    assert BrokerAddress.of("mqtts://h").port == 8883
    assert BrokerAddress.of("mqtt://a:b@h", username="c", password="d").username == "c"


def test_an_address_never_shows_its_password() -> None:
    address = BrokerAddress.of("mqtts://porch-1:hush@[::1]:9000")
    assert str(address) == "mqtts://[::1]:9000"
    assert "hush" not in repr(address)


@pytest.mark.parametrize(
    "url", ["", "localhost", "http://h", "mqtt://", "mqtt://h:x", "mqtt://h:70000", "mqtt://h/path", "mqtt://h?x=1"]
)
def test_what_is_not_the_url_of_a_broker_is_refused(url: str) -> None:
    with pytest.raises(SettingsError):
        BrokerAddress.of(url)
