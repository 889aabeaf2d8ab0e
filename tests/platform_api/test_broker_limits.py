"""Brokers that keep more than they send, or less than they acknowledge."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import paho.mqtt.client as mqtt
import psycopg
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from broker import codec
from broker.address import BrokerAddress
from broker.messages import LabelAssigned
from broker.process import BrokerProcess, find_mosquitto, free_port
from platform_api.broker_link import Link
from platform_api.stores import Stores
from tests.platform_api.conftest import hasty_link
from tests.platform_api.fleet import FEATURES, Fleet
from tests.platform_api.servers import Api, Onlooker
from tests.support import wait_until

pytestmark = [
    pytest.mark.mosquitto,
    pytest.mark.skipif(find_mosquitto() is None, reason="there is no mosquitto on this machine"),
]
DEVICES, EACH = 40, 60  # with such labels more than Mosquitto 2.0 sends for one subscription
BUNDLE = "b" * 6000


def published_before(port: int, database_url: str) -> None:
    """Every label is on the broker; every tenth was answered and cleared in the database meanwhile."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO label (device, sample, revision, verdict, label, by, features, bundle, state, published_at, "
            "  answered_at, cleared_at) "
            "SELECT 'pi-' || d, 's' || s, 1, 'is', 'pear', 'ada', %s, %s, "
            "  CASE WHEN s %% 10 = 0 THEN 'applied' ELSE 'published' END, now(), "
            "  CASE WHEN s %% 10 = 0 THEN now() END, CASE WHEN s %% 10 = 0 THEN now() END "
            "FROM generate_series(1, %s) d, generate_series(1, %s) s",
            [bytes(FEATURES), BUNDLE, DEVICES, EACH],
        )
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.max_inflight_messages = 500
    client.connect("127.0.0.1", port)
    client.loop_start()
    for sample in (f"s{number}" for number in range(1, EACH + 1)):
        label = LabelAssigned(
            sample=sample, revision=1, verdict="is", label="pear", by="ada", bundle=BUNDLE, values=FEATURES
        )
        payload = codec.encode(label)
        sent = [
            client.publish(f"tinyml/pi-{device}/label/{sample}", payload, 1, True) for device in range(1, DEVICES + 1)
        ]
        for message in sent:
            message.wait_for_publish(10)
    client.disconnect()
    client.loop_stop()


@pytest.mark.slow
@pytest.mark.parametrize("broker", ["mosquitto"], indirect=True)
def test_more_topics_than_the_broker_sends_at_once_are_all_compared(
    stores: Stores, link: Link, broker: BrokerProcess, database_url: str
) -> None:
    published_before(broker.port, database_url)
    tens = range(10, EACH + 1, 10)
    ghosts = {f"tinyml/pi-{device}/label/s{sample}" for device in range(1, DEVICES + 1) for sample in tens}
    with Onlooker(broker.port, retained=False) as onlooker, Api(stores, replace(link, quiet_s=0.05)):
        wait_until(lambda: {topic for topic, _ in onlooker.heard} == ghosts)
        assert {payload for _, payload in onlooker.heard} == {b""}, "and nothing was published twice"


@pytest.fixture
def strict_broker(tmp_path: Path) -> Iterator[Link]:
    """A broker that knows one user, who may read, and whose messages are acknowledged and dropped."""
    port = free_port()
    (tmp_path / "acl").write_text("user ada\ntopic read #\n")
    (tmp_path / "users").write_text("ada:secret\n")
    subprocess.run(["mosquitto_passwd", "-U", tmp_path / "users"], check=True)
    lines = [f"listener {port} 127.0.0.1", f"acl_file {tmp_path / 'acl'}", f"password_file {tmp_path / 'users'}"]
    # Started by root it would become another user, who cannot read this test's files.
    (tmp_path / "mosquitto.conf").write_text("\n".join([*lines, "user root"]))
    program = find_mosquitto()
    assert program
    process = subprocess.Popen([program, "-c", tmp_path / "mosquitto.conf"], stderr=subprocess.DEVNULL)
    address = BrokerAddress(port=port, username="ada", password="secret")
    yield replace(hasty_link(port), broker=address, patience_s=1.0)
    process.terminate()
    process.wait(10)


def test_a_broker_that_drops_what_it_acknowledged_is_noticed(
    stores: Stores, fleet: Fleet, strict_broker: Link
) -> None:
    fleet.quarantines("pi-1", "s1")
    with Api(stores, strict_broker) as api:
        api.label("pi-1", "s1")
        wait_until(lambda: "did not pass it on" in api.get("/health")["broker"]["why"])
        assert api.state("pi-1", "s1") == ["queued"]


def test_a_broker_that_does_not_know_the_api_is_named_in_its_health(stores: Stores, strict_broker: Link) -> None:
    stranger = replace(strict_broker, broker=replace(strict_broker.broker, password="guessed"))
    with Api(stores, stranger) as api:
        wait_until(lambda: "does not" in api.get("/health")["broker"]["why"])
        assert not api.get("/health")["broker"]["ok"]
        assert "guessed" not in api.client.get("/health").text
