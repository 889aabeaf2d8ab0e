"""The configuration we ship holds: each device stays in its own topics, and nobody takes another's place."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import broker
from broker import cli, wishes
from broker.connection import Options
from broker.process import free_port
from broker.topics import PLACE, TOPICS
from ingest.errors import IngestError
from ingest.keeping.forget import Subject
from ingest.keeping.retained import Retained
from ingest.settings import IngestSettings
from tests.contract.brokers import Mosquitto, Peer, mosquitto_path, passwords, peers
from tests.support import wait_until

SHIPPED = Path(broker.__file__).parent / "mosquitto"
NOT_ALLOWED = 0x87
UP, DOWN = (
    [f"tinyml/porch-1/{PLACE.sub('a1', topic.path)}" for topic in TOPICS if topic.way == way]
    for way in ("up", "down")
)


@pytest.fixture(scope="module")
def ports() -> dict[str, int]:
    return {"1883": free_port(), "1884": free_port()}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, ports: dict[str, int]) -> Iterator[Mosquitto]:
    """The shipped configuration with other paths and ports, and nothing else changed."""
    mosquitto_path()
    directory = tmp_path_factory.mktemp("shipped")
    users = passwords(directory, "porch-1", "porch-2", "_ingest", "_api", "_admin", "_viewer")
    text = (SHIPPED / "mosquitto.conf").read_text()
    text = text.replace("/mosquitto/config/passwords", str(users)).replace("/mosquitto/data/", f"{directory}/")
    text = text.replace("/mosquitto/config/acl.conf", str(SHIPPED / "acl.conf"))
    for shipped, free in ports.items():
        text = text.replace(f"listener {shipped} ", f"listener {free} ")
    with Mosquitto(directory, text, port=ports["1883"]) as process:
        yield process


@pytest.fixture
def watcher(server: Mosquitto, ports: dict[str, int]) -> Iterator[Peer]:
    with peers(as_user("_viewer", ports["1884"], "tinyml/#")) as (peer,):
        yield peer.start()


def as_user(user: str, port: int, *filters: str, client_id: str = "") -> Peer:
    url = f"mqtt://{user}:secret-{user}@127.0.0.1:{port}"
    return Peer(url, client_id or f"{user}-1", filters=filters)


def test_a_device_says_what_devices_say_and_nothing_else(
    server: Mosquitto, ports: dict[str, int], watcher: Peer
) -> None:
    with peers(as_user("porch-1", ports["1883"])) as (device,):
        device.start()
        for topic in UP:
            assert device.publish(topic) == 0
        forbidden = [*DOWN, *(name.replace("porch-1", "porch-2") for name in UP)]
        forbidden += ["tinyml/_ingest/state", "tinyml/_dead/porch-1", "tinyml/porch-1/anything", "elsewhere"]
        for topic in forbidden:
            assert device.publish(topic) == NOT_ALLOWED, topic
    wait_until(lambda: [name for name, _, _ in watcher.messages if name in UP] == UP)
    assert not [name for name, _, _ in watcher.messages if name in forbidden]


def test_a_device_hears_what_is_meant_for_it_and_nothing_else(server: Mosquitto, ports: dict[str, int]) -> None:
    everything = ("tinyml/#", "#")
    with peers(
        as_user("porch-1", ports["1883"], *everything),
        as_user("porch-2", ports["1883"]),
        as_user("_ingest", ports["1884"]),
        as_user("_api", ports["1884"]),
    ) as (device, other, ingest, api):
        for peer in (device, other, ingest, api):
            peer.start()
        device.messages.clear()
        other.publish("tinyml/porch-2/drift")
        assert ingest.publish("tinyml/porch-2/stored") in (0, 0x10)
        assert ingest.publish("tinyml/_dead/porch-1") in (0, 0x10)
        assert ingest.publish("tinyml/porch-1/stored") == 0
        assert api.publish("tinyml/porch-1/label/a1") == 0
        assert ingest.publish("tinyml/_ingest/state") == 0
        wait_until(lambda: device.payloads("tinyml/_ingest/state"))
        names = {name for name, _, _ in device.messages}
        assert names == {"tinyml/porch-1/stored", "tinyml/porch-1/label/a1", "tinyml/_ingest/state"}


def test_the_servers_say_only_what_is_theirs(server: Mosquitto, ports: dict[str, int]) -> None:
    with peers(
        as_user("_ingest", ports["1884"], "$share/ingest/tinyml/+/drift"),
        as_user("_api", ports["1884"], "tinyml/+/label/+"),
        as_user("_viewer", ports["1884"]),
        as_user("porch-1", ports["1883"]),
    ) as (ingest, api, viewer, device):
        for peer in (ingest, api, viewer, device):
            peer.start()
        assert ingest.publish("tinyml/porch-1/label/a1") == NOT_ALLOWED
        assert api.publish("tinyml/porch-1/stored") == NOT_ALLOWED
        for topic in (*UP, *DOWN, "tinyml/_ingest/state"):
            assert viewer.publish(topic) == NOT_ALLOWED
        assert device.publish("tinyml/porch-1/drift") == 0
        assert api.publish("tinyml/porch-1/label/a1") == 0
        wait_until(lambda: ingest.payloads("tinyml/porch-1/drift") and api.payloads("tinyml/porch-1/label/a1"))


def test_a_device_cannot_take_the_place_of_anybody_by_client_id(server: Mosquitto, ports: dict[str, int]) -> None:
    with peers(
        as_user("_ingest", ports["1884"], client_id="ingest-1"),
        as_user("porch-1", ports["1883"]),
        as_user("porch-2", ports["1883"], client_id="ingest-1"),
    ) as (ingest, first, thief):
        for peer in (ingest, first, thief):
            peer.start()
        assert thief.publish("tinyml/porch-2/drift") in (0, 0x10)
        assert ingest.publish("tinyml/_ingest/state") in (0, 0x10)
        assert ingest.downs == first.downs == []


def test_who_is_not_known_does_not_come_in(server: Mosquitto, ports: dict[str, int]) -> None:
    nobody = Peer(f"mqtt://127.0.0.1:{ports['1883']}", "porch-1")
    liar = Peer(f"mqtt://porch-1:guess@127.0.0.1:{ports['1883']}", "porch-1")
    with peers(nobody, liar):
        for peer in (nobody, liar):
            peer.connection.start()
            wait_until(lambda peer=peer: peer.connection.state.refused)  # type: ignore[misc]
            assert peer.ups == []


def test_our_connections_know_the_limits_of_the_broker(server: Mosquitto, ports: dict[str, int]) -> None:
    with peers(as_user("porch-1", ports["1883"])) as (device,):
        assert device.start().connection._largest == Options.__dataclass_fields__["max_packet_bytes"].default


def test_only_the_admin_erases_what_is_retained(server: Mosquitto, ports: dict[str, int]) -> None:
    def retained(user: str) -> Retained:
        url = f"mqtt://{user}:secret-{user}@127.0.0.1:{ports['1884']}"
        return Retained(IngestSettings(broker=url), Subject("porch-4"))

    with peers(as_user("_api", ports["1884"])) as (api,):
        api.start()
        api.connection.publish("tinyml/porch-4/label/s1", b"something", 1, True)
        assert api.connection.wait_confirmed(0, 10)
    for user in ("_viewer", "_ingest"):
        with retained(user) as theirs, pytest.raises(IngestError, match="use one with the rights of _admin"):
            theirs.erase()
    with retained("_admin") as admins:
        assert admins.look() == {"label/s1": 1}
        admins.erase()
        assert admins.look() == {}


def test_nothing_listens_beyond_this_machine_unless_told_to() -> None:
    listeners = re.findall(r"^listener (.*)$", (SHIPPED / "mosquitto.conf").read_text(), re.MULTILINE)
    assert listeners
    assert all(line.endswith(" 127.0.0.1") for line in listeners)


def test_only_the_platform_may_send_what_people_want(
    server: Mosquitto, ports: dict[str, int], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wishes, "LONGEST_S", 0.3)

    def send(user: str) -> int:
        url = f"mqtt://{user}:secret-{user}@127.0.0.1:{ports['1884']}"
        return cli.main(["send", "--broker", url, "porch-3", "config", "report_s=30", "--wait", "0"])

    assert send("_api") == 0
    assert send("_viewer") == 2
    assert "the broker does not let this user write tinyml/porch-3/config/desired" in capsys.readouterr().err
