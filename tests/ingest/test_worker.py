"""A worker acknowledges what is stored and nothing else, whatever happens around it."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from broker.address import BrokerAddress
from broker.codec import encode
from broker.connection import Options
from broker.embedded import BrokerProcess, find_mosquitto
from broker.messages import Birth, IngestState, LabelAcknowledged, LogRecord, SampleQuarantined, Status, Stored
from broker.process import free_port
from ingest.embedded import EmbeddedPostgres
from ingest.filing import Filing
from ingest.stores.batch import Batch
from ingest.stores.events import PostgresEvents, connect
from ingest.stores.migrate import migrate
from ingest.stores.objects import Folder
from ingest.worker import Worker
from tests.ingest.conftest import StartWorker
from tests.ingest.harness import INGEST_STATE, Fleet, Running
from tests.postgres import HASTY
from tests.records import BOOT, DEVICE, EVERY_KIND, drift, header, sent
from tests.support import wait_until

ME = (DEVICE, BOOT)
# What has to hold on a broker that speaks MQTT 5 and on one that only speaks 3.1.1 and loses messages.
on_either_broker = pytest.mark.parametrize("broker", ["mosquitto", "embedded"], indirect=True)


def counts(eyes: psycopg.Connection) -> dict[str, tuple[int, int]]:
    """Device -> records, and distinct sequence numbers of all its boots."""
    query = "SELECT device, sum(records)::int, sum(numbers)::int FROM v_record_count GROUP BY device"
    return {device: (records, numbers) for device, records, numbers in eyes.execute(query).fetchall()}


@pytest.mark.usefixtures("worker")
class TestStoring:
    @on_either_broker
    def test_stores_every_kind_and_says_so(self, fleet: Fleet, eyes: psycopg.Connection) -> None:
        fleet.send(*(sent(message, seq) for seq, message in enumerate(EVERY_KIND, 1)))
        wait_until(lambda: fleet.stored[ME] == set(range(1, len(EVERY_KIND) + 1)))
        assert counts(eyes) == {DEVICE: (len(EVERY_KIND), len(EVERY_KIND))}
        assert fleet.dead == []

    def test_what_is_sent_twice_is_confirmed_twice_and_stored_once(
        self, fleet: Fleet, eyes: psycopg.Connection
    ) -> None:
        for number in (1, 2):
            fleet.send(sent(drift(), 1))
            wait_until(lambda number=number: len(fleet.answers) == number)  # type: ignore[misc]
        assert fleet.answers == [Stored(boot=BOOT, ranges=((1, 1),))] * 2
        assert counts(eyes) == {DEVICE: (1, 1)}

    def test_confirms_exactly_what_was_sent_by_device_and_boot(self, fleet: Fleet, eyes: psycopg.Connection) -> None:
        wanted = {
            ("lamp-1", BOOT): {1, 2, 3, 5, 9},
            ("lamp-1", "0a1b2c3d-000002"): {1, 7},
            ("lamp-2", BOOT): {4},
        }
        fleet.send(*(sent(drift(), seq, *who) for who, numbers in wanted.items() for seq in numbers))
        wait_until(lambda: dict(fleet.stored) == wanted)
        assert counts(eyes) == {"lamp-1": (7, 7), "lamp-2": (1, 1)}

    def test_keeps_pictures_under_their_digest(self, fleet: Fleet, eyes: psycopg.Connection, tmp_path: Path) -> None:
        fleet.send(sent(EVERY_KIND[5]))
        wait_until(lambda: fleet.stored[ME])
        ((digest,),) = eyes.execute("SELECT picture_digest FROM v_sample").fetchall()
        assert Folder(tmp_path / "objects").get(f"pictures/{digest[:2]}/{digest}") == b"\xff\xd8picture"

    def test_marks_a_label_applied_when_its_acknowledgement_is_stored(
        self, fleet: Fleet, eyes: psycopg.Connection
    ) -> None:
        eyes.execute(
            "INSERT INTO label (device, sample, revision, verdict, label, by, features, bundle, state)"
            " VALUES (%s, 's1', 1, 'is', 'kiwi', 'ada', '', '', 'published')",
            [DEVICE],
        )
        fleet.send(sent(LabelAcknowledged(sample="s1", revision=1, outcome="applied")))
        wait_until(lambda: fleet.stored[ME])
        assert eyes.execute("SELECT state FROM v_label").fetchall() == [("applied",)]

    @on_either_broker
    def test_knows_presence_from_status_and_birth(self, fleet: Fleet, eyes: psycopg.Connection) -> None:
        fleet.send(sent(Birth(session=1, bundle="b1"), 0), sent(Status(state="online", session=1), 0), retain=True)
        wait_until(lambda: eyes.execute("SELECT FROM v_device WHERE state = 'online' AND bundle = 'b1'").fetchall())
        assert fleet.answers == []  # nobody waits to hear that a status is stored

    def test_a_cleared_status_is_no_dead_letter(self, fleet: Fleet, eyes: psycopg.Connection) -> None:
        fleet.send((f"tinyml/{DEVICE}/status", b""), sent(drift()))
        wait_until(lambda: fleet.stored[ME])
        assert eyes.execute("SELECT FROM v_dead_letter").fetchall() == []


@pytest.mark.usefixtures("worker")
class TestPoison:
    @on_either_broker
    def test_costs_only_itself(self, fleet: Fleet, eyes: psycopg.Connection) -> None:
        good = [sent(drift(number), number) for number in range(1, 101)]
        poison = sent(LogRecord(text="a\0b"), 101)  # decodes, and the database cannot hold it
        fleet.send(*good[:60], (f"tinyml/{DEVICE}/drift", b"\xff\xff garbage"), poison, *good[60:])
        wait_until(lambda: fleet.stored[ME] == set(range(1, 102)))
        wait_until(lambda: len(fleet.dead) == 2)
        assert counts(eyes) == {DEVICE: (101, 101)}
        kept = eyes.execute("SELECT reason, payload FROM v_dead_letter").fetchall()
        assert sorted(len(payload) for _, payload in kept) == sorted([len(b"\xff\xff garbage"), len(poison[1])])

    def test_that_only_the_database_sees_costs_only_itself_whatever_table_it_is_for(
        self, fleet: Fleet, eyes: psycopg.Connection
    ) -> None:
        chance = random.Random(1)
        long = "".join(chance.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=8000))
        messages = [drift(number) if number % 2 else LogRecord(text="fine") for number in range(1, 201)]
        messages[50] = replace(drift(), episode=long)  # longer than an entry of an index may be
        messages[70] = replace(drift(), episode=long, frame="another")
        messages[99] = LogRecord(text="a\0b")
        fleet.send(*(sent(message, seq) for seq, message in enumerate(messages, 1)))
        wait_until(lambda: fleet.stored[ME] == set(range(1, 201)), 20)
        wait_until(lambda: len(fleet.dead) == 3)
        assert counts(eyes) == {DEVICE: (200, 200)}
        seqs = eyes.execute("SELECT seq FROM ingest_dead_letter ORDER BY seq").fetchall()
        assert seqs == [(51,), (71,), (100,)]
        assert sum("index row" in reason for reason in fleet.dead_reasons()) == 2
        assert fleet.listening()  # the database was never taken for away

    @pytest.mark.parametrize(
        ("message", "reason", "answered"),
        [
            (("tinyml/lamp-1/drift", encode(drift(), header(7, "lamp-2"))), "the header says device 'lamp-2'", False),
            (("tinyml/lamp-1/log", encode(drift(), header(7))), "DriftDetected does not belong on log", True),
            (("tinyml/lamp-1/drift", encode(drift())), "needs a header", False),
            (("tinyml/lamp-1/drift", encode(drift(), header(0))), "sequence number 0", False),
            (("tinyml/lamp-1/drift", encode(drift(), header(7, boot="no boot"))), "is not a boot id", False),
            (("tinyml/lamp-1/drift", encode(drift(), header(7, version=9))), "schema version 9", True),
            (("tinyml/lamp-1/drift", encode(drift(), header(7, wall_us=1 << 60))), "years 1 to 9999", True),
            (
                ("tinyml/lamp-1/sample/s1", encode(SampleQuarantined(sample="s2"), header(7))),
                "topic says sample",
                True,
            ),
            (
                ("tinyml/lamp-1/sample/S!", encode(SampleQuarantined(), header(7))),
                "not a topic of the contract",
                False,
            ),
            (("tinyml/Lamp/drift", encode(drift(), header(7, "Lamp"))), "is not a device id", False),
            (("tinyml/lamp-1/drift", b""), "not CBOR", False),
        ],
    )
    def test_reads_why_it_is_not_taken(
        self, fleet: Fleet, eyes: psycopg.Connection, message: tuple[str, bytes], reason: str, answered: bool
    ) -> None:
        fleet.send(message, sent(drift(), 1))
        wait_until(lambda: fleet.dead and 1 in fleet.stored[ME])
        assert reason in fleet.dead[0][1].reason
        assert (7 in fleet.stored[ME]) == answered  # else the device would send it for ever
        assert eyes.execute("SELECT payload FROM v_dead_letter").fetchall() == [(message[1],)]

    def test_sent_again_is_the_same_dead_letter(self, fleet: Fleet, eyes: psycopg.Connection) -> None:
        for number in (1, 2, 3):
            fleet.send((f"tinyml/{DEVICE}/drift", b"garbage"))
            wait_until(lambda number=number: len(fleet.dead) == number)  # type: ignore[misc]
        assert eyes.execute("SELECT times FROM v_dead_letter").fetchall() == [(3,)]


class TestAcknowledging:
    def test_acknowledges_nothing_before_the_commit(
        self, fleet: Fleet, start_worker: StartWorker, database_url: str, eyes: psycopg.Connection
    ) -> None:
        running = start_worker(receive_maximum=5)
        with psycopg.connect(database_url) as stall:
            stall.execute("LOCK TABLE drift_event IN SHARE MODE")
            fleet.send(*(sent(drift(), seq) for seq in range(1, 21)))
            waiting = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%drift_event%'"
            wait_until(lambda: eyes.execute(waiting).fetchall())
            in_hand = 5 - len(running.worker.inbox)
            assert 1 <= in_hand <= 5  # the broker gives no more than five before it hears of one
            assert fleet.answers == []
        wait_until(lambda: fleet.stored[ME] == set(range(1, 21)))
        assert counts(eyes) == {DEVICE: (20, 20)}

    def test_a_worker_that_dies_before_the_commit_leaves_the_records_to_the_next(
        self, fleet: Fleet, start_worker: StartWorker, database_url: str, eyes: psycopg.Connection
    ) -> None:
        first = start_worker()
        with psycopg.connect(database_url) as stall:
            stall.execute("LOCK TABLE drift_event IN SHARE MODE")
            fleet.send(sent(drift(), 1))
            wait_until(lambda: eyes.execute("SELECT FROM pg_locks WHERE NOT granted").fetchall())
            first.worker.stop()
            eyes.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE NOT granted")
            first.wait()
        assert fleet.answers == []
        start_worker()
        fleet.send(sent(drift(), 1))  # as a device does that heard of a new worker
        wait_until(lambda: fleet.stored[ME] == {1})
        assert counts(eyes) == {DEVICE: (1, 1)}

    def test_stores_what_it_has_in_hand_before_it_leaves(
        self, fleet: Fleet, start_worker: StartWorker, database_url: str, eyes: psycopg.Connection
    ) -> None:
        running = start_worker()
        with psycopg.connect(database_url) as stall:
            stall.execute("LOCK TABLE drift_event IN SHARE MODE")
            fleet.send(sent(drift(), 1))
            wait_until(lambda: eyes.execute("SELECT FROM pg_locks WHERE NOT granted").fetchall())
            fleet.send(*(sent(drift(), seq) for seq in range(2, 51)))
            wait_until(lambda: len(running.worker.inbox) == 49)
            running.worker.stop()
        assert running.wait() == 0
        assert fleet.stored[ME] == set(range(1, 51))
        assert counts(eyes) == {DEVICE: (50, 50)}
        wait_until(lambda: fleet.states[-1].reason == "the worker was stopped")
        assert "stores what it has in hand" in fleet.states[-2].reason

    @pytest.mark.mosquitto
    @pytest.mark.parametrize("broker", ["shipped"], indirect=True)
    def test_holds_no_more_than_its_room_however_much_the_broker_sends(
        self, fleet: Fleet, start_worker: StartWorker, database_url: str, eyes: psycopg.Connection
    ) -> None:
        running = start_worker(receive_maximum=65_535, room=20, batch=10)
        with psycopg.connect(database_url) as stall:
            stall.execute("LOCK TABLE drift_event IN SHARE MODE")
            most = 0
            for first in range(1, 3001, 300):
                fleet.send(*(sent(drift(), seq) for seq in range(first, first + 300)))
                wait_until(lambda: running.worker.inbox.full)
                most = max(most, len(running.worker.inbox))
            assert most < 20 + 2000  # what one read of the socket can bring
        wait_until(lambda: len(fleet.stored[ME]) == 3000, 20)  # and nobody sent anything again
        assert counts(eyes) == {DEVICE: (3000, 3000)}

    def test_two_workers_share_the_work_and_store_everything_once(
        self, fleet: Fleet, start_worker: StartWorker, eyes: psycopg.Connection
    ) -> None:
        start_worker()
        start_worker()
        fleet.send(*(sent(drift(), seq, f"lamp-{seq % 7}") for seq in range(1, 401)))
        wait_until(lambda: sum(map(len, fleet.stored.values())) == 400)
        assert sum(records for records, _ in counts(eyes).values()) == 400


class TestDatabaseAway:
    @pytest.fixture
    def server(self, tmp_path: Path) -> Iterator[EmbeddedPostgres]:
        server = EmbeddedPostgres(tmp_path / "postgres", HASTY)
        with server, connect(server.url) as connection:
            migrate(connection)
            connection.close()
            yield server
        server.remove()

    @on_either_broker
    def test_resumes_with_nothing_lost_and_nothing_twice(
        self, fleet: Fleet, start_worker: StartWorker, server: EmbeddedPostgres
    ) -> None:
        start_worker(database=server.url)
        with suppress(psycopg.OperationalError), psycopg.connect(server.url) as stall:
            stall.execute("LOCK TABLE drift_event IN SHARE MODE")  # so that the kill comes in the middle of a batch
            fleet.send(*(sent(drift(), seq) for seq in range(1, 101)))
            with psycopg.connect(server.url, autocommit=True) as eyes:
                wait_until(lambda: eyes.execute("SELECT FROM pg_locks WHERE NOT granted").fetchall())
            server.kill()
        wait_until(lambda: not fleet.listening())
        assert "database is away" in fleet.states[-1].reason
        fleet.send(*(sent(drift(), seq) for seq in range(101, 151)))  # what was under way already
        server.start()
        wait_until(lambda: fleet.stored[ME] == set(range(1, 151)))
        wait_until(fleet.listening)
        with psycopg.connect(server.url, autocommit=True) as eyes:
            assert counts(eyes) == {DEVICE: (150, 150)}

    def test_can_be_stopped_while_it_waits(
        self, fleet: Fleet, start_worker: StartWorker, server: EmbeddedPostgres
    ) -> None:
        running = start_worker(database=server.url)
        server.kill()
        fleet.send(sent(drift()))
        wait_until(lambda: not fleet.listening())
        assert running.stop() == 0
        assert fleet.answers == []


class TestTellingDevices:
    def test_says_that_it_listens_and_when_it_leaves(self, fleet: Fleet, start_worker: StartWorker) -> None:
        running = start_worker()
        assert fleet.listening()
        running.stop()
        wait_until(lambda: not fleet.listening())
        assert fleet.states[-1].reason == "the worker was stopped"

    @on_either_broker
    def test_corrects_the_will_of_another_worker(self, fleet: Fleet, worker: Running) -> None:
        fleet.send((INGEST_STATE, encode(IngestState(listening=False, worker="another"))), retain=True)
        wait_until(lambda: [state.listening for state in fleet.states[-2:]] == [False, True])
        assert fleet.states[-1].worker == worker.worker.beacon.worker

    @on_either_broker
    def test_comes_back_under_a_new_name_when_the_broker_was_killed(
        self, broker: BrokerProcess, fleet: Fleet, worker: Running, eyes: psycopg.Connection
    ) -> None:
        before = worker.worker.beacon.worker
        broker.kill()
        broker.start()
        wait_until(lambda: fleet.listening() and fleet.states[-1].worker != before)
        fleet.send(sent(drift()))
        wait_until(lambda: fleet.stored[ME] == {1})
        assert counts(eyes) == {DEVICE: (1, 1)}

    def test_acknowledgements_of_a_link_that_is_gone_do_no_harm(
        self,
        broker: BrokerProcess,
        fleet: Fleet,
        worker: Running,
        database_url: str,
        eyes: psycopg.Connection,
    ) -> None:
        with psycopg.connect(database_url) as stall:
            stall.execute("LOCK TABLE drift_event IN SHARE MODE")
            fleet.send(*(sent(drift(), seq) for seq in range(1, 11)))
            wait_until(lambda: eyes.execute("SELECT FROM pg_locks WHERE NOT granted").fetchall())
            before = worker.worker.beacon.worker
            broker.kill()
            broker.start()
            wait_until(lambda: worker.worker.beacon.worker != before)
        wait_until(lambda: counts(eyes).get(DEVICE, (0, 0))[0] >= 1)
        wait_until(fleet.listening)
        fleet.send(*(sent(drift(), seq) for seq in range(1, 11)))
        wait_until(lambda: fleet.stored[ME] == set(range(1, 11)))
        assert counts(eyes) == {DEVICE: (10, 10)}

    @on_either_broker
    def test_reads_the_states_that_were_retained_before_it_came(
        self, fleet: Fleet, start_worker: StartWorker, eyes: psycopg.Connection
    ) -> None:
        fleet.send(sent(Status(state="sleeping", session=2), 0), retain=True)
        start_worker()
        wait_until(lambda: eyes.execute("SELECT FROM v_device WHERE state = 'sleeping'").fetchall())


class TestLeaving:
    def test_a_failure_nobody_thought_of_ends_with_a_reason_and_a_status(
        self, broker: BrokerProcess, fleet: Fleet, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Broken(PostgresEvents):
            def store(self, batch: Batch) -> int:
                raise RuntimeError("a bug")

        options = Options(address=BrokerAddress.of(broker.url), client_id="broken")
        with Running(Worker(Filing(Broken(""), Folder(tmp_path)), options)) as running:
            wait_until(fleet.listening)
            fleet.send(sent(drift()))
            assert running.wait() == 1
        wait_until(lambda: fleet.states[-1].reason == "the worker failed: RuntimeError")
        assert "the worker cannot go on" in caplog.text
        assert fleet.answers == []

    @pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
    def test_does_not_live_on_deaf_when_the_thread_that_listens_has_failed(
        self, fleet: Fleet, worker: Running, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object, **__: object) -> bool:
            raise RuntimeError("a bug")

        monkeypatch.setattr(worker.worker.inbox, "put", fail)
        fleet.send(sent(drift()))
        assert worker.wait() == 1
        assert "the link to the broker ended" in caplog.text

    @pytest.mark.mosquitto
    def test_a_broker_that_does_not_let_it_speak_ends_with_a_sentence(
        self, strict_broker: BrokerAddress, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        options = Options(address=strict_broker, client_id="ingest-1")
        with Running(Worker(Filing(PostgresEvents(""), Folder(tmp_path)), options)) as running:
            assert running.wait() == 1
        assert "the broker does not allow this worker to publish" in caplog.text

    @pytest.fixture
    def strict_broker(self, tmp_path: Path) -> Iterator[BrokerAddress]:
        """A Mosquitto that lets everybody read and nobody write."""
        program = find_mosquitto()
        if program is None:
            pytest.skip("there is no mosquitto on this machine")
        address = BrokerAddress(port=free_port())
        access = tmp_path / "acl"
        access.write_text("topic read #\n")
        user = "user root\n" if os.geteuid() == 0 else ""  # or it could not read a test's directory
        config = tmp_path / "strict.conf"
        config.write_text(f"listener {address.port} 127.0.0.1\nallow_anonymous true\nacl_file {access}\n{user}")
        process = subprocess.Popen([program, "-c", config], stderr=subprocess.DEVNULL)
        yield address
        process.terminate()
        process.wait(10)
