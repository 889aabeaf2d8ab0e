"""The beacon speaks when there is news, and nobody else may say that nobody listens."""

from __future__ import annotations

import pytest

from broker.codec import decode_as, encode
from broker.messages import IngestState
from ingest.beacon import Beacon


class Heard(list[IngestState]):
    def __call__(self, topic: str, payload: bytes, qos: int, retain: bool) -> None:
        assert (topic, qos, retain) == ("tinyml/_ingest/state", 1, True)
        self.append(decode_as(IngestState, payload))


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def beacon(heard: Heard) -> Beacon:
    beacon = Beacon()
    beacon.publish = heard
    beacon.up()
    return beacon


def test_listens_from_the_moment_its_subscriptions_stand(heard: Heard, beacon: Beacon) -> None:
    assert heard == [IngestState(listening=True, worker=beacon.worker)]


def test_says_nothing_twice(heard: Heard, beacon: Beacon) -> None:
    beacon.listen()
    beacon.pause("the database is away")
    beacon.pause("the database is away")
    beacon.listen()
    assert [state.listening for state in heard] == [True, False, True]
    assert heard[1].reason == "the database is away"


def test_keeps_its_name_over_a_pause_and_takes_a_new_one_when_messages_were_lost(
    heard: Heard, beacon: Beacon
) -> None:
    beacon.pause("")
    beacon.listen()
    beacon.lost()
    beacon.up()
    names = [state.worker for state in heard]
    assert names[0] == names[1] == names[2]
    assert len({names[2], names[3], names[4]}) == 3


def test_says_nothing_into_a_link_that_is_gone_and_the_latest_when_it_is_back(heard: Heard, beacon: Beacon) -> None:
    beacon.down()
    beacon.pause("the database is away")
    assert len(heard) == 1
    beacon.up()
    assert (heard[-1].listening, heard[-1].reason) == (False, "the database is away")


@pytest.mark.parametrize(
    "said", [encode(IngestState(listening=False, worker="another")), b"", b"\xff", encode(IngestState())]
)
def test_contradicts_whoever_says_that_nobody_listens(heard: Heard, beacon: Beacon, said: bytes) -> None:
    beacon.heard(said)
    assert heard == [IngestState(listening=True, worker=beacon.worker)] * 2


def test_does_not_contradict_another_worker_that_listens(heard: Heard, beacon: Beacon) -> None:
    beacon.heard(encode(IngestState(listening=True, worker="another")))
    assert len(heard) == 1


def test_does_not_contradict_anybody_while_it_pauses(heard: Heard, beacon: Beacon) -> None:
    beacon.pause("the database is away")
    beacon.heard(encode(heard[-1]))
    assert len(heard) == 2


def test_its_will_says_that_nobody_listens(beacon: Beacon) -> None:
    will = beacon.will(1)
    assert (will.topic, will.retain, will.qos) == (beacon.topic, True, 1)
    assert not decode_as(IngestState, will.payload).listening
