"""What was let in gives the same records again, byte for byte, from any segment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker import codec
from broker.journal import Checkpoint, Opening, read, segments
from broker.messages import (
    Features,
    LabelAssigned,
    LogRecord,
    Message,
    Predictions,
    SnapshotSaved,
    Tick,
    Vitals,
)
from edge_actors.errors import ReplayError, RestartBudgetSpentError
from edge_actors.ports.snapshots import Snapshot
from edge_actors.runtime.device import Device, Identity
from edge_actors.runtime.door import Doors
from edge_actors.runtime.recording import Outputs
from edge_actors.runtime.replay import NoDisk, replay
from edge_actors.runtime.seat import Factory
from tests.edge.runtime.scripted import DOORS, ROUTES, Rig, Teller, actors, again, frame

WRONG = ["half", "deep", "nan", "undeclared", "spoil", "unsendable", "chatter"]
MESSAGES: list[st.SearchStrategy[Message]] = [
    st.builds(frame, st.just("fine"), size=st.integers(0, 400)),
    st.builds(frame, st.sampled_from(["fine", *WRONG])),
    st.builds(Tick, wall_us=st.integers(0, 1 << 60)),
    st.builds(LabelAssigned, sample=st.sampled_from("abc"), label=st.sampled_from(["cat", "dog"])),
    st.builds(SnapshotSaved, snapshot=st.sampled_from(["s3", "s6"]), error=st.sampled_from(["", "disk full"])),
    st.builds(Vitals, metrics=st.dictionaries(st.text("ab"), st.floats(), max_size=2)),
]


@st.composite
def streams(draw: st.DrawFn) -> list[Message]:
    """Messages of every kind, most of them in the order of their time."""
    at, messages = 0.0, []
    for _ in range(draw(st.integers(1, 80))):
        at += draw(st.floats(-5, 25))
        messages.append(replace(draw(st.one_of(MESSAGES)), at=max(at, 0.0)))  # type: ignore[type-var]
    return messages


def played(directory: Path, messages: list[Message], **options: Any) -> Rig:
    """A device that was recorded while it got these messages, or until it left the process."""
    rig = Rig(directory, **options)
    assert rig.recording is not None
    try:
        rig.admit(*messages)
    except RestartBudgetSpentError:
        pass
    finally:
        rig.recording.close()
    return rig


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(streams(), st.sampled_from([4_000, 1 << 20]))
def test_any_messages_with_any_failures_give_the_same_bytes_again(messages: list[Message], max_bytes: int) -> None:
    with TemporaryDirectory() as name:
        rig = played(Path(name), messages, max_bytes=max_bytes)
        for segment in segments(Path(name)):
            out = BytesIO()
            report = replay(read(segment), again, out)
            assert report.difference is None, str(report.difference)
            records = list(codec.read_sequence(out.getvalue()))
            assert report.records == len(records)
            for record in records:
                assert record == rig.sent.records[codec.decode_record(record)[0].seq - 1]
            if max_bytes == 1 << 20:
                assert records == rig.sent.records
                assert report.messages == rig.device.applied


def stream(count: int) -> Iterator[Message]:
    for number in range(count):
        at = float(number)
        yield LabelAssigned(sample=f"s-{number}", label="cat") if number % 10 == 7 else frame(at=at)
        if number % 4 == 3:
            yield Tick(at=at)
        if number % 30 == 11:
            yield frame("deep", at=at)


def test_every_segment_plays_alone_and_all_of_them_one_after_the_other(tmp_path: Path) -> None:
    rig = played(tmp_path, list(stream(200)), max_bytes=6_000)
    parts = [replay(read(segment), again) for segment in segments(tmp_path)]
    whole = replay(read(tmp_path), again)
    assert len(parts) > 2
    assert whole.difference is None
    assert whole.messages == sum(part.messages for part in parts)
    assert whole.records == sum(part.records for part in parts)
    assert whole.records < len(rig.sent.records), "the ring has forgotten the first of them"


def test_says_how_much_was_played(tmp_path: Path) -> None:
    played(tmp_path, [*stream(1300)], max_bytes=1 << 22)
    report = replay(read(tmp_path), again)
    report.seconds = 3.14
    records = f"{report.records:,}"
    assert str(report) == f"replayed {report.messages:,} messages in 3.1 s: {records} records, the same bytes"
    assert report.messages > 1300


def test_goes_on_from_a_snapshot_and_records_that(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    states = {"counter": {"seen": 41, "spoiled": None}, "teller": {"total": 7.25, "labels": ["owl"]}}
    rig.device.start_from(Snapshot(at=100.0, bundle="b" * 64, applied=5, states=states))
    rig.admit(frame(at=3.0), frame("deep", at=4.0), frame(at=5.0))
    assert rig.recording is not None
    rig.recording.close()
    assert rig.sent.of(Predictions)[0] == Predictions(at=100.0, seconds=7.25 + 6, frames=2, labels=("owl", "fine"))
    assert replay(read(tmp_path), again).difference is None


class Nervous(Teller):
    """What a change in the code can do to what it says of one frame."""

    def receive(self, message: Any) -> Iterator[Predictions | LogRecord]:
        if isinstance(message, Features) and message.frame == "here":
            yield from self.differently(message)
        else:
            yield from super().receive(message)

    def differently(self, message: Features) -> Iterator[Predictions | LogRecord]:
        for said in super().receive(message):
            assert isinstance(said, Predictions)
            yield Predictions(at=said.at, seconds=said.seconds, frames=0, labels=said.labels)


class Talkative(Nervous):
    def differently(self, message: Features) -> Iterator[Predictions | LogRecord]:
        yield from super().receive(message)
        yield LogRecord(at=message.at, text="and another thing")


class Silent(Nervous):
    def differently(self, message: Features) -> Iterator[Predictions | LogRecord]:
        yield from ()


class Startled(Teller):
    def receive(self, message: Any) -> Iterator[Predictions | LogRecord]:
        yield from super().receive(message)
        if isinstance(message, Tick) and message.wall_us == 1:
            yield LogRecord(at=message.at, text="a tick!")


def with_teller(teller: Factory) -> Any:
    def make(opening: Opening, outputs: Outputs) -> Device:
        identity = Identity(device=opening.device, boot=opening.boot)
        crew = actors(outputs) | {"teller": teller}
        return Device(crew, Doors(DOORS), ROUTES, snapshots=NoDisk(), identity=identity)

    return make


@pytest.mark.parametrize(
    ("teller", "message", "sentence"),
    [
        (Nervous, 12, "(Frame at 50.000 s): as many as were recorded, but other bytes"),
        (Talkative, 12, "(Frame at 50.000 s): 12 since the segment began, and 11 were recorded"),
        (Silent, 12, "(Frame at 50.000 s): 10 since the segment began, and 11 were recorded"),
        (Startled, 6, "(Tick at 5.500 s): it led to none when it was recorded"),
    ],
)
def test_names_the_message_at_which_the_records_first_differ(
    tmp_path: Path, teller: Factory, message: int, sentence: str
) -> None:
    messages: list[Message] = [frame(at=float(number)) for number in range(10)]
    messages.insert(5, Tick(at=5.5, wall_us=1))
    played(tmp_path, [*messages, frame("here", at=50.0), frame("after", at=60.0)])
    report = replay(read(tmp_path), with_teller(teller))
    assert report.difference is not None
    assert report.difference.message == message
    assert str(report.difference) == f"the records first differ at message {message} {sentence}"
    assert str(report).endswith(str(report.difference))


def test_a_recording_that_ends_in_a_failure_too_many_plays_to_its_end(tmp_path: Path) -> None:
    messages: list[Message] = [frame("half", at=float(number)) for number in range(10)]
    rig = played(tmp_path, messages)
    assert rig.device.applied == 6
    report = replay(read(tmp_path), again)
    assert (report.difference, report.messages, report.records) == (None, 6, 12)


def test_a_segment_knows_the_restarts_of_those_before_it(tmp_path: Path) -> None:
    messages: list[Message] = [frame("half", at=1.0) for _ in range(5)]
    messages += [frame(at=2.0) for _ in range(100)]
    rig = played(tmp_path, [*messages, frame("half", at=3.0), frame(at=4.0)], max_bytes=4_000)
    assert rig.device.applied == 106, "the sixth failure was one too many"
    last = segments(tmp_path)[-1]
    assert sum(isinstance(item, bytes) for item in read(last)) < 50
    devices: list[Device] = []

    def make(opening: Opening, outputs: Outputs) -> Device:
        devices.append(again(opening, outputs))
        return devices[-1]

    assert replay(read(last), make).difference is None
    with pytest.raises(RestartBudgetSpentError):
        devices[-1].admit(frame("half", at=5.0))


def test_a_recording_that_pauses_to_spare_the_disk_writes_nothing_meanwhile_and_plays_before_and_after(
    tmp_path: Path,
) -> None:
    rig = Rig(tmp_path)
    assert rig.recording is not None
    rig.admit(*stream(20))
    rig.recording.sparing = True
    rig.admit(frame())
    written = rig.recording.written_bytes
    rig.admit(*stream(20))
    assert rig.recording.written_bytes == written > 0
    rig.recording.sparing = False
    rig.admit(*stream(20))
    rig.recording.close()
    assert len(segments(tmp_path)) == 2
    assert replay(read(tmp_path), again).difference is None


def test_a_power_cut_at_any_byte_leaves_something_that_plays(tmp_path: Path) -> None:
    played(tmp_path, [frame(), frame("half"), Tick(at=3.0), frame()])
    (segment,) = segments(tmp_path)
    whole = segment.read_bytes()
    for cut in range(len(whole)):
        segment.write_bytes(whole[:cut])
        if any(isinstance(item, bytes) for item in read(segment)):
            assert replay(read(segment), again).difference is None


def test_what_was_recorded_until_a_tick_is_there_when_the_process_is_killed(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.admit(frame(), frame("half"), Tick(at=3.0), frame(), frame())
    items = list(read(tmp_path))  # as if it was killed here
    assert rig.recording is not None
    rig.recording.close()
    report = replay(items, again)
    assert report.difference is None
    assert report.messages == 3


def test_what_was_not_recorded_to_the_end_of_a_message_is_not_called_a_difference(tmp_path: Path) -> None:
    played(tmp_path, [frame(), frame()])
    items = list(read(tmp_path))
    while isinstance(items[-1], Checkpoint):
        items.pop()
    assert replay(items, again).difference is None


def test_an_empty_journal_is_not_the_same_bytes() -> None:
    with pytest.raises(ReplayError, match="holds no message"):
        replay([Opening()], again)
    with pytest.raises(ReplayError, match="does not begin with an opening"):
        replay([codec.encode(Tick())], again)
