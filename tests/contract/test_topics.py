"""Every message has one topic, and the topic leads back to it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker import topics
from broker.errors import TopicError
from broker.messages import (
    KINDS,
    CommandIssued,
    CommandReported,
    Frame,
    IngestState,
    LabelAssigned,
    Message,
    SampleQuarantined,
    Status,
)
from broker.topics import TOPICS, Rank
from tests.contract.golden import sample

LEAVING = [kind for topic in TOPICS for kind in topic.kinds]
devices = st.from_regex(topics.DEVICE, fullmatch=True)
samples = st.from_regex(topics.SAMPLE, fullmatch=True)
roots = st.sampled_from(["tinyml", "site-a", "plant/line-2"])


@pytest.mark.parametrize("kind", LEAVING, ids=[kind.__name__ for kind in LEAVING])
def test_a_path_leads_back_to_its_topic(kind: type[Message]) -> None:
    message = sample(kind)
    address = topics.parse(topics.full("porch-1", topics.path_of(message)))
    assert (address.device, address.path) == ("porch-1", topics.path_of(message))
    assert kind in address.topic.kinds
    assert address.names == {name: str(getattr(message, name)) for name in topics.PLACE.findall(address.topic.path)}
    address.check(message)


@given(devices, samples, roots)
def test_any_device_and_sample_under_any_root(device: str, sample_id: str, root: str) -> None:
    for message in (
        SampleQuarantined(sample=sample_id),
        LabelAssigned(sample=sample_id),
        CommandIssued(command=sample_id),
        CommandReported(command=sample_id),
        Status(),
    ):
        address = topics.parse(topics.full(device, topics.path_of(message), root), root)
        assert address.device == device
        assert type(message) in address.topic.kinds


@given(st.text(max_size=80))
def test_any_other_text_is_refused_or_leads_back(name: str) -> None:
    for text in (name, f"tinyml/{name}", f"tinyml/porch-1/{name}"):
        try:
            address = topics.parse(text)
        except TopicError:
            continue
        assert topics.full(address.device, address.path) == text


@pytest.mark.parametrize(
    "name",
    [
        "tinyml",
        "tinyml/",
        "tinyml/porch-1",
        "tinyml/porch-1/",
        "tinyml/porch-1/drift/",
        "tinyml/porch-1/drift/x",
        "tinyml/porch-1/sample",
        "tinyml/porch-1/sample/",
        "tinyml/porch-1/sample/a/b",
        "tinyml/porch-1/sample/A",
        "tinyml/porch-1/nothing",
        "tinyml/porch-1/config",
        "tinyml/porch-1/config/desired/x",
        "tinyml/porch-1/config/wanted",
        "tinyml/porch-1/command",
        "tinyml/porch-1/command/C1",
        "tinyml/porch-1/command/c1/",
        "tinyml/porch-1/command/c1/answer",
        "tinyml/porch-1/command//result",
        "tinyml/_ingest/state",
        "tinyml/Porch/drift",
        "tinyml/-a/drift",
        "tinyml/" + "a" * 64 + "/drift",
        "tinyml/porch-1\n/drift",
        "other/porch-1/drift",
        "tinymlx/porch-1/drift",
        "/tinyml/porch-1/drift",
    ],
)
def test_what_is_not_in_the_table_is_refused(name: str) -> None:
    with pytest.raises(TopicError):
        topics.parse(name)


def test_what_stays_inside_has_no_topic() -> None:
    with pytest.raises(TopicError, match="Frame never leaves the device"):
        topics.path_of(Frame())
    with pytest.raises(TopicError, match="is not a sample id"):
        topics.path_of(SampleQuarantined(sample="../../etc"))
    with pytest.raises(TopicError, match="is not a device id"):
        topics.full("_ingest", "state")


def test_every_kind_has_one_topic_at_most() -> None:
    assert len(LEAVING) == len(set(LEAVING))
    assert IngestState not in LEAVING
    assert set(LEAVING) < set(KINDS.values())


def test_filters_name_every_topic_once() -> None:
    down = topics.filters("down", device="porch-1")
    assert down[:2] == ["tinyml/porch-1/stored", "tinyml/porch-1/label/+"]
    up = topics.filters("up")
    assert len(up) + len(down) == len(TOPICS)
    assert sorted(up) == sorted(topics.filters("up", retained=True) + topics.filters("up", retained=False))
    assert "site/+/sample/+" in topics.filters("up", root="site")


def test_each_mode_takes_what_the_one_before_takes_and_more() -> None:
    taken = [topics.filters("down", device="a", mode=mode) for mode in topics.MODES]
    assert taken[0] == []
    assert taken[1] == ["tinyml/a/stored"]
    assert taken[2] == ["tinyml/a/stored", "tinyml/a/label/+"]
    assert set(taken[3]) - set(taken[2]) == {
        "tinyml/a/config/desired",
        "tinyml/a/model/desired",
        "tinyml/a/command/+",
        "tinyml/a/blob-wanted/+",
    }


def test_a_message_that_speaks_of_another_than_its_topic_is_noticed() -> None:
    address = topics.parse("tinyml/porch-1/command/c1/result")
    with pytest.raises(TopicError, match="the topic says command 'c1', the message another"):
        address.check(CommandReported(command="c2"))


def test_what_is_spooled_goes_up_and_is_not_retained() -> None:
    for topic in TOPICS:
        if topic.rank is not None:
            assert topic.way == "up"
            assert not topic.retained


def test_a_sample_with_a_picture_gives_way_before_one_without() -> None:
    assert topics.rank_of(SampleQuarantined(picture=b"...")) == Rank.PICTURE < topics.rank_of(SampleQuarantined())
    with pytest.raises(TopicError, match="Status is not spooled"):
        topics.rank_of(Status())
