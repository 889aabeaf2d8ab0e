"""Labels on their way: queued, published retained, proved applied, cleared, whatever is switched off meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest

from broker import codec
from broker.messages import LabelAssigned
from broker.process import BrokerProcess
from platform_api.broker_link import Link
from platform_api.stores import Stores
from tests.platform_api.fleet import FEATURES, Fleet
from tests.platform_api.servers import Api, Onlooker, retained
from tests.support import wait_until

BOTH_BROKERS = pytest.mark.parametrize("broker", ["mosquitto", "embedded"], indirect=True)
TOPIC = "tinyml/pi-1/label/s1"


@pytest.fixture
def device(broker: BrokerProcess) -> Iterator[Onlooker]:
    with Onlooker(broker.port) as onlooker:
        yield onlooker


def label(sample: str, revision: int = 1, text: str = "pear") -> LabelAssigned:
    return LabelAssigned(
        sample=sample, revision=revision, verdict="is", label=text, by="ada", bundle="b1", values=FEATURES
    )


def wait_published(api: Api, device: str, sample: str) -> None:
    wait_until(lambda: api.current(device, sample)["state"] == "published")


@BOTH_BROKERS
def test_a_label_goes_out_retained_is_proved_applied_and_cleared(
    api: Api, fleet: Fleet, broker: BrokerProcess, device: Onlooker
) -> None:
    fleet.quarantines("pi-1", "s1")
    answer = api.label("pi-1", "s1", "is", "pear")
    assert (answer.status_code, answer.json()["revision"], answer.json()["state"]) == (201, 1, "queued")
    wait_published(api, "pi-1", "s1")
    assert retained(broker.port) == {TOPIC: label("s1")}
    fleet.acknowledges("pi-1", "s1", 1)
    wait_until(lambda: api.current("pi-1", "s1")["cleared_at"])
    assert api.state("pi-1", "s1") == ["applied"]
    wait_until(lambda: not device.holds())
    assert [payload for _, payload in device.heard] == [codec.encode(label("s1")), b""]


def test_a_rejected_label_says_why_and_is_cleared_too(api: Api, fleet: Fleet, device: Onlooker) -> None:
    fleet.quarantines("pi-1", "s1")
    api.label("pi-1", "s1")
    wait_published(api, "pi-1", "s1")
    fleet.acknowledges("pi-1", "s1", 1, "rejected", "another bundle runs here")
    wait_until(lambda: api.current("pi-1", "s1")["cleared_at"])
    assert (api.current("pi-1", "s1")["state"], api.current("pi-1", "s1")["reason"]) == (
        "rejected",
        "another bundle runs here",
    )
    wait_until(lambda: not device.holds())


def test_a_newer_revision_overwrites_the_older_and_only_its_answer_clears_the_topic(
    api: Api, fleet: Fleet, device: Onlooker
) -> None:
    fleet.quarantines("pi-1", "s1")
    api.label("pi-1", "s1", "is", "pear")
    wait_published(api, "pi-1", "s1")
    assert api.label("pi-1", "s1", "is", "plum").json()["revision"] == 2
    wait_published(api, "pi-1", "s1")
    assert api.state("pi-1", "s1") == ["published", "superseded"]
    fleet.acknowledges("pi-1", "s1", 1)  # the device had applied the first before it heard of the second
    fleet.quarantines("pi-1", "s2")
    api.label("pi-1", "s2")
    wait_published(api, "pi-1", "s2")  # by now the answer was heard of
    assert device.labels()[TOPIC] == label("s1", 2, "plum")
    assert api.state("pi-1", "s1") == ["published", "superseded"]
    fleet.acknowledges("pi-1", "s1", 2)
    wait_until(lambda: TOPIC not in device.holds())
    assert api.state("pi-1", "s1") == ["applied", "superseded"]


def test_a_label_is_taken_back_by_a_new_revision(api: Api, fleet: Fleet, device: Onlooker) -> None:
    fleet.quarantines("pi-1", "s1")
    api.label("pi-1", "s1")
    wait_published(api, "pi-1", "s1")
    fleet.acknowledges("pi-1", "s1", 1)
    wait_until(lambda: not device.holds())
    assert api.label("pi-1", "s1", "retract").status_code == 201
    wait_until(lambda: TOPIC in device.holds())
    assert (device.labels()[TOPIC].verdict, device.labels()[TOPIC].revision) == ("retract", 2)


def test_an_answer_that_came_while_the_api_was_off_clears_the_topic(
    stores: Stores, link: Link, fleet: Fleet, device: Onlooker
) -> None:
    fleet.quarantines("pi-1", "s1", "s2")
    with Api(stores, link) as api:
        for sample in ("s1", "s2"):
            api.label("pi-1", sample)
            wait_published(api, "pi-1", sample)
    fleet.acknowledges("pi-1", "s1", 1)
    with Api(stores, link) as api:
        wait_until(lambda: api.current("pi-1", "s1")["cleared_at"])
        assert list(device.holds()) == ["tinyml/pi-1/label/s2"]
    assert len(device.heard) == 3, "two labels and one clearing"


def test_at_most_so_many_labels_of_a_device_are_on_the_broker(
    stores: Stores, link: Link, fleet: Fleet, device: Onlooker
) -> None:
    names = [f"s{number}" for number in range(1, 6)]
    fleet.quarantines("pi-1", *names)
    fleet.quarantines("pi-2", "s1")
    with Api(stores, replace(link, outstanding=2)) as api:
        for name in names:
            api.label("pi-1", name)
        api.label("pi-2", "s1")
        wait_published(api, "pi-2", "s1")
        assert sorted(device.holds()) == [TOPIC, "tinyml/pi-1/label/s2", "tinyml/pi-2/label/s1"]
        api.label("pi-1", "s2", "is", "plum")  # its topic is in use anyway
        wait_published(api, "pi-1", "s2")
        for name, revision in zip(names, (1, 2, 1, 1, 1), strict=True):
            wait_published(api, "pi-1", name)
            assert len([topic for topic in device.holds() if "pi-1" in topic]) <= 2
            fleet.acknowledges("pi-1", name, revision)
        wait_until(lambda: sorted(device.holds()) == ["tinyml/pi-2/label/s1"])


@BOTH_BROKERS
def test_after_the_broker_forgot_everything_the_labels_are_back(
    api: Api, fleet: Fleet, broker: BrokerProcess
) -> None:
    fleet.quarantines("pi-1", "s1", "s2")
    api.label("pi-1", "s1")
    api.label("pi-1", "s2")
    wait_published(api, "pi-1", "s1")
    wait_published(api, "pi-1", "s2")
    broker.kill()
    fleet.acknowledges("pi-1", "s2", 1)
    wait_until(lambda: not api.get("/health")["broker"]["ok"])
    broker.start()
    with Onlooker(broker.port) as device:
        wait_until(lambda: device.labels() == {TOPIC: label("s1")})
        wait_until(lambda: api.current("pi-1", "s2")["cleared_at"])
    assert retained(broker.port) == {TOPIC: label("s1")}


def test_labels_wait_while_the_broker_is_away(
    stores: Stores, link: Link, fleet: Fleet, broker: BrokerProcess
) -> None:
    fleet.quarantines("pi-1", "s1")
    broker.stop()
    with Api(stores, link) as api:
        assert api.label("pi-1", "s1").status_code == 201
        wait_until(lambda: "refused" in api.get("/health")["broker"]["why"].lower())
        assert api.state("pi-1", "s1") == ["queued"]
        broker.start()
        wait_published(api, "pi-1", "s1")
        assert api.get("/health")["broker"] == {"ok": True, "why": ""}
    assert retained(broker.port) == {TOPIC: label("s1")}


@BOTH_BROKERS
def test_ghosts_are_cleared_and_what_is_no_label_of_ours_is_left(
    stores: Stores, link: Link, fleet: Fleet, broker: BrokerProcess, device: Onlooker
) -> None:
    fleet.quarantines("pi-1", "s1")
    device.publish(TOPIC, codec.encode(label("s1", 7)))  # the database was restored, the broker was not
    device.publish("tinyml/pi-9/label/never-heard-of", codec.encode(label("never-heard-of")))
    device.publish("tinyml/pi-1/label/foreign", b"\xa1not of this contract")
    device.publish("tinyml/pi-1/label/other", codec.encode(label("s1")))  # a label of another sample
    device.publish("tinyml/pi-1/stored", b"a topic of somebody else")
    with Api(stores, link) as api:
        left = {"tinyml/pi-1/label/foreign", "tinyml/pi-1/label/other"}
        wait_until(lambda: set(device.holds()) == left)
        device.publish(TOPIC, codec.encode(label("s1", 3)))  # also while the publisher runs
        wait_until(lambda: device.heard[-1] == (TOPIC, b""))
        api.label("pi-1", "s1")
        wait_published(api, "pi-1", "s1")
        device.publish(TOPIC, b"")  # somebody wipes it
        wait_until(lambda: TOPIC in device.holds())
        assert left < set(device.holds())


@BOTH_BROKERS
def test_looking_at_the_broker_again_and_again_publishes_nothing_twice(
    stores: Stores, link: Link, fleet: Fleet, device: Onlooker
) -> None:
    fleet.quarantines("pi-1", "s1", "s2", "s3", "s4")
    with Api(stores, replace(link, audit_s=0.01, poll_s=0.01)) as api:
        for sample in ("s1", "s2", "s3", "s4"):
            api.label("pi-1", sample)
            wait_published(api, "pi-1", sample)
    assert sorted(topic for topic, _ in device.heard) == [f"tinyml/pi-1/label/s{n}" for n in range(1, 5)]


def test_one_process_publishes_and_another_takes_over(
    stores: Stores, link: Link, fleet: Fleet, broker: BrokerProcess, device: Onlooker
) -> None:
    fleet.quarantines("pi-1", "s1", "s2")
    with Api(stores, link) as first:
        wait_until(lambda: first.get("/health")["broker"] == {"ok": True, "why": ""})
        second_stores = replace(stores, database=type(stores.database)(stores.database.url))
        with Api(second_stores, link) as second:
            wait_until(lambda: "another process" in second.get("/health")["broker"]["why"])
            assert second.get("/health")["broker"]["ok"]
            second.label("pi-1", "s1")
            wait_published(second, "pi-1", "s1")
            assert "another process" in second.get("/health")["broker"]["why"]
            first.__exit__()
            second.label("pi-1", "s2")
            wait_published(second, "pi-1", "s2")
    assert len(device.heard) == 2, "each label was published once"


def test_everything_goes_on_after_the_database_cut_all_connections(
    api: Api, fleet: Fleet, database_url: str, device: Onlooker
) -> None:
    fleet.quarantines("pi-1", "s1", "s2")
    api.label("pi-1", "s1")
    wait_published(api, "pi-1", "s1")
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
            "AND pid <> pg_backend_pid() AND application_name LIKE 'tinyml%'"
        )
    wait_until(lambda: api.client.get("/health").json()["database"]["ok"])
    wait_until(lambda: api.label("pi-1", "s2").status_code == 201)
    wait_published(api, "pi-1", "s2")
    assert set(device.holds()) == {TOPIC, "tinyml/pi-1/label/s2"}


def test_a_row_that_cannot_be_sent_does_not_hold_up_the_others(
    api: Api, fleet: Fleet, database_url: str, device: Onlooker
) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO label (device, sample, revision, verdict, by, features, bundle) "
            "VALUES ('pi-1', 'no/sample', 1, 'is', 'sql', '', '')"
        )
    fleet.quarantines("pi-1", "s1")
    api.label("pi-1", "s1")
    wait_published(api, "pi-1", "s1")
    (refused,) = api.get("/labels", state="rejected")["items"]
    assert refused["sample"] == "no/sample"
    assert "not a sample id" in refused["reason"]
    assert list(device.holds()) == [TOPIC]
