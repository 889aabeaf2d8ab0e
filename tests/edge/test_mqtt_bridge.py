"""The bridge brings everything up that the spool holds, forgets only what is stored, and brings labels down."""

from __future__ import annotations

import random
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from broker import codec, topics
from broker.embedded import BrokerProcess, find_mosquitto
from broker.messages import (
    BLOB_CHUNK,
    Birth,
    BlobChunk,
    DriftDetected,
    Header,
    IngestState,
    LabelAssigned,
    LogRecord,
    Message,
    Predictions,
    Status,
    Stored,
    Tick,
)
from edge_actors.in_flight import InFlight
from edge_actors.link_budget import LinkBudget, QuietHours
from edge_actors.mqtt_bridge import KEPT_LABELS, MqttBridge
from edge_actors.ports.spool import Spool
from edge_actors.runtime.door import Door, Doors
from tests.edge.server import Server, options, store_never
from tests.support import wait_until

roots = count(1)  # every test has topics of its own, so that all can share a broker


@pytest.fixture(scope="module", params=["mosquitto", "embedded"])
def broker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    if request.param == "mosquitto" and find_mosquitto() is None:
        pytest.skip("there is no mosquitto on this machine")
    with BrokerProcess(tmp_path_factory.mktemp(request.param), request.param) as process:
        yield process


class Scene:
    """A spool, doors, a server and as many bridges as a test starts, one after the other."""

    def __init__(self, broker: BrokerProcess, directory: Path, ends: ExitStack) -> None:
        self.broker, self.ends = broker, ends
        self.root = f"t{next(roots)}"
        directory.mkdir(exist_ok=True)
        self.spool = Spool(directory, group_s=0.001)
        ends.callback(self.spool.close)
        self.doors = Doors({LabelAssigned: Door(room=2)})
        self.server = Server(broker, self.root)
        ends.callback(self.server.connection.stop)

    def bridge(self, **changes: Any) -> MqttBridge:
        given = options(self.broker, "dev1")
        bridge = MqttBridge(
            replace(given, **changes.pop("options", {})),
            device="dev1",
            birth=Birth(bundle="b1", mode="validated"),
            spool=self.spool,
            doors=self.doors,
            tick=lambda: Tick(at=12.5, wall_us=77, clock="synced"),
            root=self.root,
            **changes,
        )
        bridge.start()
        self.ends.callback(bridge.stop)
        return bridge

    def put(self, *messages: Message) -> None:
        for message in messages:
            seq = self.spool.next_seq
            data = codec.encode(message, Header(device="dev1", boot=self.spool.boot, seq=seq))
            self.spool.append(seq, topics.rank_of(message), topics.path_of(message), data)
        assert self.spool.flush()


@pytest.fixture
def scene(broker: BrokerProcess, tmp_path: Path) -> Iterator[Scene]:
    with ExitStack() as ends:
        yield Scene(broker, tmp_path, ends)


# ---- up --------------------------------------------------------------------------------------------------------


def test_says_who_it_is_on_every_connection_with_times_and_session(scene: Scene) -> None:
    bridge = scene.bridge()
    wait_until(lambda: len(scene.server.heard) >= 2)
    session = bridge.connection.state.session
    (status_topic, status_header, status), (birth_topic, birth_header, birth) = scene.server.heard
    assert (status_topic, birth_topic) == ("dev1/status", "dev1/birth")
    assert status == Status(state="online", session=session)
    assert birth == Birth(bundle="b1", mode="validated", session=session)
    assert status_header == birth_header
    assert status_header == Header(
        device="dev1", boot=scene.spool.boot, wall_us=77, mono_us=12_500_000, clock="synced"
    )


def test_sends_nothing_until_somebody_listens(scene: Scene) -> None:
    scene.put(DriftDetected())
    scene.bridge()
    wait_until(lambda: len(scene.server.heard) == 2)
    scene.server.say(IngestState(listening=False, worker="w1"))
    scene.server.label(LabelAssigned(sample="s-1", revision=1))
    wait_until(lambda: scene.doors.take(0.0))  # what was said before has been heard by now
    assert scene.server.seqs() == []
    scene.server.listen()
    wait_until(lambda: scene.spool.stats().records == 0)
    assert scene.server.seqs() == [1]


def test_a_record_leaves_the_spool_only_when_it_is_stored(scene: Scene) -> None:
    scene.server.answer = store_never
    scene.put(LogRecord(), DriftDetected(), DriftDetected())
    bridge = scene.bridge()
    scene.server.listen()
    wait_until(lambda: len(scene.server.seqs()) == 3)
    assert scene.server.seqs() == [2, 3, 1], "what matters most goes first"
    assert scene.spool.stats().records == 3
    scene.server.store(scene.spool.boot, 1, 3)
    wait_until(lambda: scene.spool.stats().records == 1)
    assert [record.seq for record in scene.spool.next(9, 1 << 20)] == [2]
    metrics = bridge.metrics()
    assert (metrics["uplink_published"], metrics["uplink_confirmed"], metrics["uplink_in_flight"]) == (3, 2, 1)
    assert metrics["uplink_drift_bytes"] > metrics["uplink_log_bytes"] > 0


def test_what_is_appended_later_goes_out_without_a_new_connection(scene: Scene) -> None:
    scene.bridge()
    scene.server.listen()
    for _ in range(3):
        scene.put(DriftDetected())
        wait_until(lambda: scene.spool.stats().records == 0)
    assert scene.server.seqs() == [1, 2, 3]


def test_sends_again_what_was_not_confirmed_in_time(scene: Scene) -> None:
    def store_the_third_time(server: Server, header: Header) -> None:
        if server.seqs().count(header.seq) >= 3:
            server.store(header.boot, header.seq)

    scene.server.answer = store_the_third_time
    scene.put(DriftDetected(), DriftDetected())
    bridge = scene.bridge(in_flight=InFlight(first_s=0.05, longest_s=0.1))
    scene.server.listen()
    wait_until(lambda: scene.spool.stats().records == 0)
    assert sorted(scene.server.seqs()) == [1, 1, 1, 2, 2, 2]
    assert bridge.metrics()["uplink_resent"] == 4


def test_sends_again_at_once_when_the_worker_is_another(scene: Scene) -> None:
    scene.server.answer = store_never
    scene.put(DriftDetected())
    scene.bridge()
    scene.server.listen("w1")
    wait_until(lambda: scene.server.seqs() == [1])
    scene.server.listen("w2")
    wait_until(lambda: scene.server.seqs() == [1, 1])


def test_has_no_more_on_its_way_than_the_window_holds(scene: Scene) -> None:
    scene.server.answer = store_never
    scene.put(*[LogRecord(text="x" * 1000) for _ in range(40)])
    window = InFlight(records=10, max_bytes=8_000)
    bridge = scene.bridge(in_flight=window)
    scene.server.listen()
    wait_until(lambda: len(scene.server.seqs()) == 7)
    scene.server.store(scene.spool.boot, 1, 2, 3)
    wait_until(lambda: len(scene.server.seqs()) == 10)
    assert window.bytes <= 8_000
    assert bridge.metrics()["uplink_in_flight"] == 7


def test_a_record_that_is_larger_than_the_window_goes_alone(scene: Scene) -> None:
    scene.put(LogRecord(text="small"), LogRecord(text="x" * 20_000), LogRecord(text="small"))
    scene.bridge(in_flight=InFlight(max_bytes=4_000))
    scene.server.listen()
    wait_until(lambda: scene.spool.stats().records == 0)
    assert scene.server.seqs() == [1, 2, 3]


def test_a_record_that_the_broker_cannot_take_stays_and_holds_nobody_up(scene: Scene) -> None:
    scene.put(LogRecord(text="x" * 20_000), LogRecord(text="small"))
    bridge = scene.bridge(options={"max_packet_bytes": 4_000})
    scene.server.listen()
    wait_until(lambda: scene.spool.stats().records == 1)
    assert scene.server.seqs() == [2]
    assert bridge.faults() == {"record_too_large"}


def test_what_is_over_the_budget_of_the_link_waits_and_what_is_vital_does_not(scene: Scene) -> None:
    scene.put(*[LogRecord(text="x" * 1000) for _ in range(10)], DriftDetected(), Predictions(), DriftDetected())
    bridge = scene.bridge(budget=LinkBudget({"telemetry": 5_000}))
    scene.server.listen()
    wait_until(lambda: scene.spool.stats().records == 6)
    assert scene.server.seqs() == [11, 13, 1, 2, 3, 4, 12], "and the oldest of what waits goes first"
    assert not bridge.drain(60.0), "what is held back is not waited for"
    assert bridge.metrics()["link_hour_telemetry_kb"] <= 5.0
    assert bridge.metrics()["link_ranks_waiting"] == 1
    scene.put(DriftDetected(), LogRecord(text="small"))
    wait_until(lambda: scene.server.seqs()[-1] == 14)
    wait_until(lambda: scene.spool.stats().records == 7)


def test_what_waited_for_the_budget_goes_an_hour_later_and_nothing_is_lost(scene: Scene) -> None:
    now = 0.0
    scene.put(*[LogRecord(text="x" * 1000) for _ in range(10)])
    bridge = scene.bridge(budget=LinkBudget({"telemetry": 5_000}, monotonic=lambda: now))
    scene.server.listen()
    wait_until(lambda: scene.spool.stats().records == 6)
    for hours, left in ((1, 2), (2, 0)):
        now = hours * 3700.0
        bridge.wake()
        wait_until(lambda left=left: scene.spool.stats().records == left)  # type: ignore[misc]
    assert scene.server.seqs() == list(range(1, 11))


def test_in_quiet_hours_only_what_is_vital_is_sent(scene: Scene) -> None:
    scene.put(LogRecord(), DriftDetected())
    quiet = QuietHours.of("00:00-01:00 UTC")  # the scene's clock says 00:00
    bridge = scene.bridge(budget=LinkBudget(quiet=quiet))
    scene.server.listen()
    wait_until(lambda: scene.spool.stats().records == 1)
    assert scene.server.seqs() == [2]
    assert bridge.metrics()["link_quiet"] == 1
    assert not bridge.drain(60.0)


def test_in_quiet_hours_nothing_is_sent_where_people_want_that(scene: Scene) -> None:
    scene.put(LogRecord(), DriftDetected())
    bridge = scene.bridge(budget=LinkBudget(quiet=QuietHours.of("23:00-01:00 UTC"), quiet_sends="nothing"))
    scene.server.listen()
    wait_until(lambda: bridge.budget.holding and bridge.metrics()["link_up_s"])
    assert not bridge.drain(60.0)
    assert scene.server.seqs() == []
    assert scene.spool.stats().records == 2


class Pile:
    """Chunks of something large, as many as a test wants."""

    def __init__(self, chunks: int, size: int = BLOB_CHUNK) -> None:
        self.left, self.size = list(range(chunks)), size

    def next(self) -> BlobChunk | None:
        return BlobChunk(sha256="ab" * 32, index=self.left.pop(0), data=bytes(self.size)) if self.left else None

    def unsent(self, chunk: BlobChunk) -> None:
        self.left.insert(0, chunk.index)


def chunks(scene: Scene) -> list[int]:
    return [message.index for _, _, message in list(scene.server.heard) if isinstance(message, BlobChunk)]


def test_chunks_go_a_few_at_a_time_and_after_the_records(scene: Scene) -> None:
    scene.put(*[LogRecord(text="x" * 100) for _ in range(30)])
    bridge = scene.bridge(bulk=Pile(12))
    scene.server.listen()
    wait_until(lambda: chunks(scene) == list(range(12)))
    kinds = [type(message) for _, _, message in scene.server.heard]
    assert kinds.index(BlobChunk) > max(number for number, kind in enumerate(kinds) if kind is LogRecord)
    assert bridge.metrics()["uplink_chunks"] == 12
    assert all(header.seq == 0 for _, header, message in scene.server.heard if isinstance(message, BlobChunk))


def test_chunks_wait_while_the_window_of_the_records_is_full_and_while_nobody_listens(scene: Scene) -> None:
    scene.server.answer = store_never
    scene.put(*[LogRecord() for _ in range(8)])
    pile = Pile(3)
    scene.bridge(in_flight=InFlight(records=5), bulk=pile)
    wait_until(scene.server.statuses)
    scene.server.listen()
    wait_until(lambda: len(scene.server.seqs()) == 5)
    assert chunks(scene) == []
    scene.server.store(scene.spool.boot, *range(1, 9))
    wait_until(lambda: chunks(scene) == [0, 1, 2])


def test_chunks_use_the_budget_of_pictures(scene: Scene) -> None:
    now = 60.0
    pile = Pile(3, size=4_000)
    bridge = scene.bridge(budget=LinkBudget({"picture": 5_000}, monotonic=lambda: now), bulk=pile)
    scene.server.listen()
    # The budget holds the second one back: so the first has been counted, at the time before the clock goes on.
    wait_until(lambda: chunks(scene) == [0] and bridge.budget.holding and pile.left == [1, 2])
    now += 3660.0
    wait_until(lambda: chunks(scene) == [0, 1])


def test_chunks_wait_in_quiet_hours(scene: Scene) -> None:
    pile = Pile(1)
    bridge = scene.bridge(budget=LinkBudget(quiet=QuietHours.of("23:00-01:00 UTC")), bulk=pile)
    scene.server.listen()
    wait_until(lambda: bridge.budget.holding and bridge.metrics()["link_up_s"])
    assert (chunks(scene), pile.left) == ([], [0])


def test_a_new_fault_is_in_the_retained_status_at_once(scene: Scene) -> None:
    bridge = scene.bridge()
    wait_until(lambda: len(scene.server.statuses()) == 1)
    bridge.tell_faults({"disk_full", "camera_stalled"})
    bridge.tell_faults({"camera_stalled", "disk_full"})
    bridge.tell_faults(())
    wait_until(lambda: len(scene.server.statuses()) >= 3)
    assert [status.faults for status in scene.server.statuses()] == [(), ("camera_stalled", "disk_full"), ()]


def test_says_goodbye_when_it_is_stopped(scene: Scene) -> None:
    bridge = scene.bridge()
    wait_until(scene.server.statuses)
    bridge.stop("asked to")
    wait_until(lambda: len(scene.server.statuses()) >= 2)
    online, stopped = scene.server.statuses()
    assert stopped == Status(state="stopped", session=online.session, reason="asked to")


def test_drains_when_somebody_is_there_and_does_not_wait_for_nobody(scene: Scene) -> None:
    bridge = scene.bridge()
    assert bridge.drain(60.0), "there is nothing to wait for"
    scene.put(DriftDetected())
    assert not bridge.drain(60.0), "nobody listens"
    scene.server.listen()
    wait_until(lambda: bridge.drain(60.0))
    assert scene.spool.stats().records == 0


# ---- down ------------------------------------------------------------------------------------------------------


def taken(scene: Scene, count: int) -> list[tuple[str, int]]:
    """Waits for so many labels at the door."""
    labels: list[tuple[str, int]] = []
    while len(labels) < count and isinstance(label := scene.doors.take(10.0), LabelAssigned):
        labels.append((label.sample, label.revision))
    return labels


def test_a_label_that_the_door_refuses_is_kept_in_its_latest_revision_and_tried_again(scene: Scene) -> None:
    bridge = scene.bridge()
    for number in range(5):
        scene.server.label(LabelAssigned(sample=f"s-{number}", revision=1))
    wait_until(lambda: bridge.metrics()["labels_waiting"] == 3)
    scene.server.label(LabelAssigned(sample="s-4", revision=3))
    scene.server.label(LabelAssigned(sample="s-4", revision=2))
    scene.server.label(LabelAssigned(sample="s-9", revision=1))
    wait_until(lambda: bridge.metrics()["labels_waiting"] == 4)
    assert taken(scene, 6) == [("s-0", 1), ("s-1", 1), ("s-2", 1), ("s-3", 1), ("s-4", 3), ("s-9", 1)]
    assert scene.doors.turned_away()["LabelAssigned"] > 0


def test_keeps_a_bounded_number_of_labels(scene: Scene) -> None:
    bridge = scene.bridge()
    for number in range(KEPT_LABELS + 10):
        scene.server.label(LabelAssigned(sample=f"s-{number}", revision=1))
    wait_until(lambda: bridge.metrics().get("labels_dropped", 0) >= 8)
    assert bridge.metrics()["labels_waiting"] <= KEPT_LABELS


def test_a_label_that_waits_at_the_broker_comes_with_the_connection(scene: Scene) -> None:
    scene.server.label(LabelAssigned(sample="s-1", revision=4, verdict="is", label="cat"))
    scene.bridge()
    assert taken(scene, 1) == [("s-1", 4)]


def test_ignores_labels_under_a_wrong_topic_empty_ones_and_what_is_no_label(scene: Scene) -> None:
    bridge = scene.bridge()
    wait_until(lambda: scene.server.heard)
    send = scene.server.connection.publish
    scene.server.label(LabelAssigned(sample="s-1", revision=1), topic_sample="s-2")
    send(f"{scene.root}/dev1/label/s-3", b"")
    send(f"{scene.root}/dev1/label/s-4", b"not CBOR")
    send(f"{scene.root}/dev1/label/s-5", codec.encode(Stored()))
    send(f"{scene.root}/dev1/stored", codec.encode(LabelAssigned(sample="stored")))
    send(f"{scene.root}/{topics.INGEST_STATE}", b"\x00")
    scene.server.label(LabelAssigned(sample="s-6", revision=1))
    assert taken(scene, 1) == [("s-6", 1)]
    assert bridge.metrics()["down_undecodable"] == 5


def test_a_monitored_device_reports_and_takes_no_labels(scene: Scene) -> None:
    scene.bridge(mode="monitor")
    scene.put(DriftDetected())
    scene.server.label(LabelAssigned(sample="s-1", revision=1))
    scene.server.listen()
    wait_until(lambda: scene.spool.stats().records == 0)
    assert scene.doors.take(0.0) is None


# ---- brokers that go away --------------------------------------------------------------------------------------


@pytest.fixture(params=["mosquitto", "embedded"])
def own_broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BrokerProcess]:
    if request.param == "mosquitto" and find_mosquitto() is None:
        pytest.skip("there is no mosquitto on this machine")
    with BrokerProcess(tmp_path / "broker", request.param) as process:
        yield process


@pytest.mark.parametrize("own_broker", ["mosquitto"], indirect=True)
def test_a_new_connection_says_who_it_is_and_sends_again_at_once(own_broker: BrokerProcess, tmp_path: Path) -> None:
    with ExitStack() as ends:
        scene = Scene(own_broker, tmp_path / "state", ends)
        scene.server.answer = store_never
        scene.put(DriftDetected())
        bridge = scene.bridge()
        scene.server.listen()
        wait_until(lambda: scene.server.seqs() == [1])
        own_broker.kill()
        wait_until(lambda: bridge.metrics()["link_up_s"] == 0)
        scene.put(DriftDetected())  # nobody notices inside the device
        own_broker.start()
        wait_until(lambda: sorted(scene.server.seqs()) == [1, 1, 2])
        sessions = [status.session for status in scene.server.statuses() if status.state == "online"]
        assert sessions[0] < sessions[-1]


@pytest.mark.parametrize("seed", [1])
def test_every_record_arrives_and_is_forgotten_only_when_stored_whatever_the_broker_and_the_server_do(
    own_broker: BrokerProcess, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    lock = threading.Lock()
    late: list[Header] = []

    def answer(server: Server, header: Header) -> None:
        """Confirms now, later in any order, twice, or never."""
        with lock:
            late.append(header)
            if chance.random() < 0.3:
                late.pop()
            if chance.random() < 0.4:
                chance.shuffle(late)
                for kept in late[:20]:
                    server.store(kept.boot, kept.seq)
                if chance.random() < 0.8:
                    del late[:20]

    with ExitStack() as ends:
        scene = Scene(own_broker, tmp_path / "state", ends)
        scene.server.answer = answer
        scene.bridge(in_flight=InFlight(records=20, first_s=0.05, longest_s=0.2))
        scene.server.listen()
        total = 200
        for number in range(1, total + 1):
            scene.put(DriftDetected() if number % 2 else LogRecord())
            if number in (70, 140):
                own_broker.kill()
                own_broker.start()
            if number % 60 == 0:
                scene.server.listen(f"w{number}")
            waiting = {(record.boot, record.seq) for record in scene.spool.next(total, 1 << 30)}
            gone = {(scene.spool.boot, seq) for seq in range(1, number + 1)} - waiting
            assert gone <= scene.server.stored, "forgotten without being stored"
        wait_until(lambda: scene.spool.stats().records == 0, timeout=30)
        assert set(scene.server.seqs()) == set(range(1, total + 1))


def test_a_broker_that_refuses_is_a_named_state(tmp_path: Path) -> None:
    if find_mosquitto() is None:
        pytest.skip("there is no mosquitto on this machine")
    (tmp_path / "broker").mkdir()
    broker = BrokerProcess(tmp_path / "broker", "mosquitto")
    with ExitStack() as ends:
        spool = Spool(tmp_path)
        ends.callback(spool.close)
        ends.callback(broker.stop)
        broker.start()
        broker.stop()
        config = tmp_path / "broker" / "mosquitto.conf"
        config.write_text(config.read_text().replace("allow_anonymous true", "allow_anonymous false"))
        assert broker.mosquitto is not None
        strict = subprocess.Popen([str(broker.mosquitto), "-c", str(config)], stderr=subprocess.DEVNULL)
        ends.callback(strict.wait, 10)
        ends.callback(strict.terminate)
        bridge = MqttBridge(
            options(broker, "dev1"),
            device="dev1",
            birth=Birth(),
            spool=spool,
            doors=Doors({LabelAssigned: Door(room=2)}),
            tick=Tick,
        )
        bridge.start()
        ends.callback(bridge.stop)
        wait_until(lambda: bridge.faults() == {"broker_refuses"})
        assert bridge.metrics()["link_up_s"] == 0
