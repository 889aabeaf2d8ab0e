"""Records leave with a number without gaps, with the right times, at the right rank."""

from __future__ import annotations

import pytest

from broker import codec
from broker.errors import EncodeError, TopicError
from broker.messages import (
    DriftDetected,
    Header,
    LogRecord,
    Message,
    Predictions,
    SampleQuarantined,
    Tick,
)
from broker.topics import Rank
from edge_actors.errors import RecordTooLargeError
from edge_actors.uplink import Uplink
from edge_actors.wiring import ROUTES

BOOT = "0badcafe-000007"


class Sent:
    """An outbox that remembers."""

    def __init__(self) -> None:
        self.boot = BOOT
        self.records: list[tuple[int, Rank, str, bytes]] = []

    @property
    def next_seq(self) -> int:
        return len(self.records) + 1

    def append(self, seq: int, rank: Rank, path: str, record: bytes) -> None:
        self.records.append((seq, rank, path, record))

    def opened(self) -> list[tuple[Header, Message]]:
        return [codec.decode_record(record) for *_, record in self.records]


def test_numbers_records_from_one_without_a_gap_also_when_it_is_built_anew() -> None:
    sent = Sent()
    for message in (DriftDetected(), LogRecord()):
        Uplink("dev1", sent).receive(message)
    assert [header.seq for header, _ in sent.opened()] == [1, 2]
    assert {(header.device, header.boot) for header, _ in sent.opened()} == {("dev1", BOOT)}


def test_wall_time_is_the_ticks_wall_time_moved_to_the_message_time() -> None:
    sent = Sent()
    uplink = Uplink("dev1", sent)
    uplink.receive(LogRecord(at=4.0))
    uplink.receive(Tick(at=10.0, wall_us=1_700_000_000_000_000, clock="synced"))
    uplink.receive(LogRecord(at=10.25))
    uplink.receive(LogRecord(at=9.5))
    before, after, late = (header for header, _ in sent.opened())
    assert (before.clock, before.mono_us) == ("unsynced", 4_000_000)
    assert (after.clock, after.mono_us, after.wall_us) == ("synced", 10_250_000, 1_700_000_000_250_000)
    assert late.wall_us == 1_699_999_999_500_000


def test_the_topic_and_the_rank_come_from_the_contract() -> None:
    sent = Sent()
    uplink = Uplink("dev1", sent)
    for message in (
        Predictions(),
        LogRecord(),
        SampleQuarantined(sample="s-1"),
        SampleQuarantined(sample="s-2", picture=b"jpeg"),
        DriftDetected(),
    ):
        uplink.receive(message)
    assert [(rank, path) for _, rank, path, _ in sent.records] == [
        (Rank.PREDICTION, "prediction"),
        (Rank.TELEMETRY, "log"),
        (Rank.SAMPLE, "sample/s-1"),
        (Rank.PICTURE, "sample/s-2"),
        (Rank.VITAL, "drift"),
    ]


def test_what_cannot_leave_uses_up_no_number() -> None:
    sent = Sent()
    uplink = Uplink("dev1", sent)
    with pytest.raises(EncodeError):
        uplink.receive(LogRecord(text=object()))  # type: ignore[arg-type]
    with pytest.raises(TopicError):
        uplink.receive(SampleQuarantined(sample="not/an id"))
    with pytest.raises(RecordTooLargeError, match=r"a LogRecord of 10\d{5} bytes is larger than"):
        uplink.receive(LogRecord(text="x" * (1 << 20)))
    uplink.receive(LogRecord())
    assert [seq for seq, *_ in sent.records] == [1]


def test_refuses_a_device_name_that_cannot_be_a_topic() -> None:
    with pytest.raises(TopicError, match="is not a device id"):
        Uplink("Not A Device", Sent())


def test_receives_exactly_what_the_wiring_sends_to_it() -> None:
    inbox, outbox = Uplink.mail()
    assert inbox == {kind for kind, actors in ROUTES.items() if "uplink" in actors}
    assert outbox == frozenset()


def test_goes_on_with_the_time_it_had_but_not_after_a_restart() -> None:
    sent = Sent()
    uplink = Uplink("dev1", sent)
    uplink.receive(Tick(at=10.0, wall_us=5_000_000, clock="synced"))
    rebuilt = Uplink("dev1", sent)
    rebuilt.restore(uplink.state())
    rebuilt.receive(LogRecord(at=11.0))
    rebuilt.restarted()
    rebuilt.receive(LogRecord(at=12.0))
    (rebuilt_header, _), (restarted_header, _) = sent.opened()
    assert (rebuilt_header.wall_us, rebuilt_header.clock) == (6_000_000, "synced")
    assert restarted_header.clock == "unsynced"
