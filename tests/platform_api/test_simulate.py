"""Simulated devices: what they say can be stored, and they treat their records as real ones do."""

from __future__ import annotations

import asyncio
import resource
from collections import Counter
from collections.abc import Iterable
from random import Random
from typing import Any

import pytest

from broker import topics
from broker.codec import decode_record, encode
from broker.errors import SettingsError
from broker.messages import (
    DriftCleared,
    DriftContinued,
    DriftDetected,
    IngestState,
    LabelAcknowledged,
    LabelAssigned,
    LabelRequested,
    SampleQuarantined,
    Stored,
)
from ingest.intake import Record, gather, read
from ingest.stores.batch import Batch
from platform_api import simulate
from platform_api.errors import SimulateError
from platform_api.simulate import fleet as fleets
from platform_api.simulate.accounting import compare
from platform_api.simulate.contents import Life, Pool
from platform_api.simulate.device import Device
from platform_api.simulate.fleet import Fleet
from platform_api.simulate.limits import make_room
from platform_api.simulate.report import broken, lines, report
from platform_api.simulate.settings import SimulateSettings
from platform_api.simulate.tally import Latencies, Tally

BOOT = "0a1b2c3d-000001"


class Wire:
    """In the place of a link: remembers what a device publishes, and takes at most `room` of it."""

    def __init__(self, room: int = 10_000) -> None:
        self.said: list[tuple[str, bytes]] = []
        self.subscribed: list[str] = []
        self.room = room

    def publish(self, topic: str, payload: bytes, qos: int = 1, retain: bool = False) -> int | None:
        if len(self.said) >= self.room:
            return None
        self.said.append((topic, payload))
        return len(self.said)

    def subscribe(self, filters: Iterable[tuple[str, int]]) -> int:
        self.subscribed = [name for name, _ in filters]
        return 1

    def ack(self, packet_ids: Any) -> None:
        """Nothing is waiting for it."""

    def sequence(self) -> list[int]:
        """Numbers of the spooled records that were published."""
        headers = [decode_record(payload)[0] for _, payload in self.said]
        return [header.seq for header in headers if header.seq]


class Packet:
    def __init__(self, topic: str, message: Any) -> None:
        self.topic, self.payload, self.packet_id = topic, encode(message), 1


class World:
    def __init__(self) -> None:
        self.samples: list[str] = []
        self.proved: list[str] = []

    def sample_stored(self, device: str, sample: str) -> None:
        self.samples.append(sample)

    def label_proved(self, device: str, sample: str) -> None:
        self.proved.append(sample)


def device(world: World | None = None, **more: Any) -> Device:
    chosen = SimulateSettings(**{"window": 10, "spool": 100, **more})
    life = Life(Pool(1, 2), Random(1), "b" * 64, 1.0)
    return Device("sim-00000", life, Random(2), "0a1b2c3d", chosen, Tally(), world or World())


def linked(made: Device, wire: Wire, worker: str = "w1", listening: bool = True) -> None:
    """The device has a link, and has heard who listens."""
    made.protocol = wire  # type: ignore[assignment]
    made.connected(None)  # type: ignore[arg-type]
    hear(made, f"tinyml/{topics.INGEST_STATE}", IngestState(listening=listening, worker=worker))


def hear(made: Device, topic: str, message: Any) -> None:
    made.arrived([Packet(topic, message)])  # type: ignore[list-item]


def test_ingest_takes_everything_a_life_says() -> None:
    life = Life(Pool(3, 4), Random(3), "b" * 64, 0.5)
    made = device(spool=5000)
    made.life = life
    for _ in range(3000):
        made.make()
    taken = [read(f"tinyml/{made.name}/{kept.record.path}", kept.record.data) for kept in made.spool.values()]
    records = [record for record in taken if isinstance(record, Record)]
    assert len(records) == 3000
    assert gather(records, Batch()) == []
    kinds = Counter(type(record.message).__name__ for record in records)
    assert len(kinds) == 9
    assert min(kinds.values()) > 20


def test_episodes_begin_before_they_go_on_and_samples_are_kept_before_anybody_is_asked() -> None:
    life = Life(Pool(1, 1), Random(7), "b" * 64, 0.0)
    episode, kept = "", set()
    for number in range(2000):
        said = life.next(BOOT, float(number))
        if isinstance(said, DriftDetected):
            assert not episode
            episode = said.episode
        elif isinstance(said, DriftContinued | SampleQuarantined | DriftCleared):
            assert said.episode == episode
        if isinstance(said, SampleQuarantined):
            kept.add(said.sample)
        elif isinstance(said, LabelRequested):
            assert said.sample in kept
        elif isinstance(said, DriftCleared):
            episode = ""


def test_numbers_have_no_gap_and_the_clock_says_whether_it_can_be_trusted() -> None:
    made = device(unsynced=1.0)
    for _ in range(20):
        made.make()
    headers = [decode_record(kept.record.data)[0] for kept in made.spool.values()]
    assert [header.seq for header in headers] == list(range(1, 21))
    assert {header.clock for header in headers} == {"unsynced"}
    assert max(header.wall_us for header in headers) < 1e15  # 1970, or not long after


def test_holds_back_while_nobody_listens() -> None:
    made, wire = device(unsynced=0.0), Wire()
    made.make()
    linked(made, wire, listening=False)
    assert wire.sequence() == []
    hear(made, f"tinyml/{topics.INGEST_STATE}", IngestState(listening=True, worker="w1"))
    assert wire.sequence() == [1]


def test_keeps_a_bounded_window_in_flight_and_every_record_until_it_is_stored() -> None:
    made, wire = device(), Wire()
    for _ in range(30):
        made.make()
    linked(made, wire)
    assert wire.sequence() == list(range(1, 11))
    made.confirmed([(mid, 0) for mid in range(1, 100)])
    made.send()
    assert len(wire.sequence()) == 10  # that the broker has it frees no place
    assert made.tally.delivered == 10
    hear(made, "tinyml/sim-00000/stored", Stored(boot=made.boot, ranges=((1, 4), (9, 9))))
    assert wire.sequence() == list(range(1, 16))
    assert len(made.spool) == 25
    assert made.tally.stored == 5


def test_sends_again_when_the_worker_changes_on_a_new_link_and_after_a_while() -> None:
    made, wire = device(), Wire()
    for _ in range(3):
        made.make()
    linked(made, wire)
    hear(made, f"tinyml/{topics.INGEST_STATE}", IngestState(listening=True, worker="w2"))
    assert wire.sequence() == [1, 2, 3, 1, 2, 3]
    made.look(1e9)
    assert wire.sequence()[6:] == [1, 2, 3]
    made.closed("the link broke", -1)
    again = Wire()
    linked(made, again, "w2")
    assert again.sequence() == [1, 2, 3]
    assert made.tally.again == 9


def test_a_new_boot_counts_anew_and_keeps_what_the_old_one_spooled() -> None:
    made, wire = device(), Wire()
    made.make()
    made.boot_anew()
    made.make()
    linked(made, wire)
    headers = [decode_record(payload)[0] for _, payload in wire.said]
    assert [(header.boot[-1], header.seq) for header in headers if header.seq] == [("1", 1), ("2", 1)]
    assert made.produced == {"0a1b2c3d-000001": 1, "0a1b2c3d-000002": 1}


def test_makes_no_more_when_the_spool_is_full() -> None:
    made = device(spool=5)
    assert [made.make() for _ in range(7)] == [True] * 5 + [False] * 2
    assert made.tally.skipped == 2
    assert made.produced[made.boot] == 5  # and no number is used up


def test_what_the_wire_has_no_room_for_is_sent_later() -> None:
    made, wire = device(), Wire(room=6)
    for _ in range(8):
        made.make()
    linked(made, wire)  # a status and a birth take two places
    assert wire.sequence() == [1, 2, 3, 4]
    wire.room = 100
    made.send()
    assert wire.sequence() == list(range(1, 9))


async def _labelled(made: Device, times: int) -> None:
    for _ in range(times):
        label = LabelAssigned(sample="s1", revision=3, verdict="is", label="kiwi")
        hear(made, "tinyml/sim-00000/label/s1", label)
        await asyncio.sleep(0.05)


def test_answers_a_label_once_and_says_duplicate_when_it_comes_again() -> None:
    world = World()
    made = device(world, answer_s=0.01)
    wire = Wire()
    linked(made, wire)
    asyncio.run(_labelled(made, 2))
    said = [decode_record(payload)[1] for _, payload in wire.said]
    answers = [message for message in said if isinstance(message, LabelAcknowledged)]
    assert [(answer.revision, answer.outcome) for answer in answers] == [(3, "applied"), (3, "duplicate")]
    hear(made, "tinyml/sim-00000/stored", Stored(boot=made.boot, ranges=((1, 100),)))
    assert world.proved == ["s1", "s1"]


def test_a_label_that_was_not_saved_before_a_power_cut_is_not_answered() -> None:
    made, wire = device(answer_s=0.05), Wire()
    linked(made, wire)

    async def cut() -> None:
        hear(made, "tinyml/sim-00000/label/s1", LabelAssigned(sample="s1", revision=1, verdict="is", label="kiwi"))
        made.boot_anew()
        await asyncio.sleep(0.1)

    asyncio.run(cut())
    assert made.tally.labels_answered == 0


def test_a_message_that_cannot_be_read_is_counted_and_harms_nothing() -> None:
    made = device()
    linked(made, Wire())
    packet = Packet("tinyml/sim-00000/stored", Stored())
    packet.payload = b"\xff\xff"
    made.arrived([packet])  # type: ignore[list-item]
    assert made.tally.odd == 1


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ({("d", "b"): (5, 5, 5)}, (0, 0, 0)),
        ({}, (5, 0, 0)),
        ({("d", "b"): (4, 4, 5)}, (1, 0, 0)),
        ({("d", "b"): (6, 5, 5)}, (0, 1, 0)),
        ({("d", "b"): (6, 6, 6)}, (0, 0, 1)),
        ({("d", "b"): (5, 5, 6)}, (1, 0, 1)),
        ({("d", "b"): (5, 5, 5), ("d", "b2"): (2, 2, 2)}, (0, 0, 2)),
    ],
)
def test_accounts_to_the_record(rows: dict[tuple[str, str], tuple[int, int, int]], expected: Any) -> None:
    counted = compare({("d", "b"): 5}, rows, None, 0)
    assert (counted.lost, counted.twice, counted.foreign) == expected


def test_the_report_names_every_promise_that_was_broken() -> None:
    fleet = Fleet(SimulateSettings(devices=2))
    fleet.tally.made, fleet.tally.stored = 10, 9
    fleet.tally.listened = True
    told = report(fleet, 1.0, 0.1, compare({("d", "b"): 5}, {("d", "b"): (6, 4, 5)}, None, 0), 0)
    assert len(broken(told)) == 3
    assert any("stored before" in sentence for sentence in broken(told))
    assert any("lost" in line for line in lines(told))
    assert broken(report(fleet, 1.0, 0.1, None, 0)) == ["1 records were not confirmed as stored"]
    fleet.tally.listened = False
    assert "no ingest worker" in broken(report(fleet, 1.0, 0.1, None, 0))[0]


def test_percentiles_are_in_milliseconds() -> None:
    latencies = Latencies()
    assert latencies.told() is None
    for number in range(1, 101):
        latencies.add(number / 1000)
    told = latencies.told()
    assert told is not None
    assert told["p50_ms"] == pytest.approx(50.5, abs=0.1)
    assert told["max_ms"] == pytest.approx(100)


def test_too_few_open_files_are_told_before_anything_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 1000))
    with pytest.raises(SimulateError, match="5000 devices need 5200 open files"):
        make_room(5000)


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--devices", "0"], "--devices is 0"),
        (["--storm-share", "2"], "--storm-share is a share"),
        (["--name", "Sim!"], "cannot begin the id of a device"),
        (["--backlog", "10"], "needs the hours"),
        (["--backlog", "5000", "--outage-h", "1"], "needs --spool 5000"),
        (["--stack", "--database", "postgresql:///x"], "--stack brings its own"),
    ],
)
def test_bad_input_gets_one_sentence(more: list[str], sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        simulate.main(more)


def test_says_so_when_no_device_can_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleets, "CONNECT_S", 0.3)
    chosen = SimulateSettings(devices=2, broker="mqtt://127.0.0.1:1", progress=0.0, duration=1.0)
    with pytest.raises(SimulateError, match="no device could connect: no link to"):
        asyncio.run(simulate.play(chosen))
