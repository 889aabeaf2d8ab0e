"""The event store keeps its promises on every PostgreSQL there is."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from threading import Thread
from typing import Any

import psycopg
import pytest

from broker.messages import Birth, Float32Array, LabelAcknowledged, LogRecord, Message, Status
from ingest.embedded import Postgres
from ingest.errors import IngestError, Poison, RecordRefused, StoreAway
from ingest.stores.batch import Batch, Letter, wall_time
from ingest.stores.events import PostgresEvents, connect
from ingest.wiring import CONSUMERS
from tests.postgres import PostgresContainer, emptied_database, fresh_database
from tests.records import BOOT, DEVICE, EVERY_KIND, NOON_US, drift, header


def batch_of(*messages: Message, first: int = 1, device: str = DEVICE, boot: str = BOOT) -> Batch:
    """The messages as consecutive records."""
    batch = Batch()
    for seq, message in enumerate(messages, first):
        CONSUMERS[type(message)](header(seq, device, boot), message, batch)
        batch.heard.add(device)
    return batch


class Database:
    """A store and a second connection that looks at what it did."""

    def __init__(self, url: str) -> None:
        self.url, self.store = url, PostgresEvents(url)
        self.eyes = psycopg.connect(url, autocommit=True, options="-c timezone=UTC")

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        return self.eyes.execute(query.encode(), values).fetchall()

    def row(self, query: str, *values: object) -> tuple[Any, ...]:
        (row,) = self.rows(query, *values)
        return row

    def count(self) -> tuple[int, int, int]:
        """Records, distinct sequence numbers, and the last one of the device under test."""
        return self.row("SELECT records, numbers, last_seq FROM v_record_count WHERE device = %s", DEVICE)  # type: ignore[return-value]

    def add_label(self, revision: int = 1, state: str = "published", sample: str = "s1") -> None:
        self.eyes.execute(
            "INSERT INTO label (device, sample, revision, verdict, label, by, features, bundle, state)"
            " VALUES (%s, %s, %s, 'is', 'kiwi', 'ada', '', '', %s)",
            [DEVICE, sample, revision, state],
        )

    def close(self) -> None:
        self.store.close()
        self.eyes.close()


class EventStoreContract:
    """What callers of an event store may rely on."""

    @pytest.fixture
    def database(self, server: Postgres) -> Iterator[Database]:
        database = Database(emptied_database(server))
        yield database
        database.close()

    def test_stores_every_kind_once_however_often_it_is_told(self, database: Database) -> None:
        batch = batch_of(*EVERY_KIND)
        assert database.store.store(batch) == len(EVERY_KIND)
        assert database.store.store(batch) == 0
        assert database.count() == (len(EVERY_KIND),) * 3

    def test_what_a_person_brings_makes_no_device_look_alive(self, database: Database) -> None:
        brought = batch_of(drift())
        brought.live = False
        brought.statuses.append((header(0), Status(state="online", session=1)))
        database.store.store(brought)
        seen = "SELECT state, extract(epoch FROM heard_at) FROM device WHERE device = %s"
        assert database.row(seen, DEVICE) == ("online", 0)
        live = batch_of(drift(), first=2)
        database.store.store(live)
        ((_, heard),) = database.rows(seen, DEVICE)
        assert heard > 0
        database.eyes.execute("UPDATE device SET heard_at = heard_at - interval '1 day'")
        brought.births.append((header(0), Birth(session=1)))
        brought.statuses.append((header(0), Status(state="sleeping", session=2)))
        database.store.store(brought)
        state, then = database.row(seen, DEVICE)
        assert (state, heard - then) == ("sleeping", 86400)

    def test_does_not_wait_for_ever_for_a_lock_that_somebody_holds(self, database: Database) -> None:
        impatient = PostgresEvents(database.url, lock_patience_s=0.1)
        with psycopg.connect(database.url) as holder:
            holder.execute("LOCK TABLE drift_event IN SHARE MODE")
            with pytest.raises(StoreAway, match="lock timeout"):
                impatient.store(batch_of(drift()))
        assert impatient.store(batch_of(drift())) == 1
        impatient.close()

    def test_a_deadlock_is_no_outage(self, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        write, failures = (
            PostgresEvents._write,
            [psycopg.errors.DeadlockDetected(), psycopg.errors.DeadlockDetected()],
        )

        def lose_twice(self: PostgresEvents, connection: psycopg.Connection, batch: Batch) -> int:
            if failures:
                raise failures.pop()
            return write(self, connection, batch)

        monkeypatch.setattr(PostgresEvents, "_write", lose_twice)
        assert database.store.store(batch_of(drift())) == 1
        failures += [psycopg.errors.DeadlockDetected()] * 3
        with pytest.raises(StoreAway):
            database.store.store(batch_of(drift()))

    def test_stores_a_record_once_within_one_batch(self, database: Database) -> None:
        batch = batch_of(drift())
        for rows in batch.rows.values():
            rows.extend(rows * 2)
        database.store.store(batch)
        assert database.count() == (1, 1, 1)

    def test_stores_records_that_come_out_of_order_and_in_pieces(self, database: Database) -> None:
        for first in (7, 1, 4, 1):
            database.store.store(batch_of(drift(1), drift(2), drift(3), first=first))
        assert database.count() == (9, 9, 9)

    def test_keeps_time_exactly_as_the_device_said(self, database: Database) -> None:
        database.store.store(batch_of(drift(42)))
        at, op_s, clock = database.row("SELECT at, op_s, clock FROM drift_event")
        exact = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=NOON_US + 1)
        assert (at, op_s, clock) == (exact, 42.0, "synced")

    def test_keeps_what_a_sample_carries(self, database: Database) -> None:
        database.store.store(batch_of(*EVERY_KIND))
        predicted, features, neighbours, distances = database.row(
            "SELECT predicted, features, neighbours, distances FROM v_sample_pending WHERE sample = 's1'"
        )
        assert (predicted, neighbours, distances) == ("pear", ["pear", "kiwi"], [0.5, 0.75])
        assert Float32Array(features).numbers() == [1.0, 2.0]

    def test_shows_telemetry_a_reading_a_row(self, database: Database) -> None:
        database.store.store(batch_of(*EVERY_KIND))
        readings = database.rows("SELECT name, value FROM v_telemetry ORDER BY at, name")
        assert readings == [("fps", 9.0), ("rss_mb", 50.0), ("rss_mb", 51.0)]  # and no NaN

    def test_shows_an_episode_in_one_row_whatever_came_first(self, database: Database) -> None:
        begin, goes_on, end = EVERY_KIND[:3]
        database.store.store(batch_of(end, first=3))
        database.store.store(batch_of(begin, goes_on, EVERY_KIND[5]))
        ended, peak, events, samples = database.row(
            "SELECT ended, peak_statistic, events, samples FROM v_drift_episode WHERE episode = 'e1'"
        )
        assert (ended, peak, events, samples) == (True, 11.0, 3, 1)

    def test_refuses_a_record_the_database_cannot_hold_and_stores_nothing_of_the_batch(
        self, database: Database
    ) -> None:
        with pytest.raises(RecordRefused, match="0x00"):
            database.store.store(batch_of(drift(), LogRecord(text="\0")))
        assert database.rows("SELECT FROM v_record_count") == []
        database.store.store(batch_of(drift()))
        assert database.count() == (1, 1, 1)

    def test_refuses_what_breaks_a_rule_of_the_schema(self, database: Database) -> None:
        batch = Batch(letters=[Letter(device=DEVICE, digest="d", topic="t", kind="", reason="r", payload=b"")])
        batch.letters.append(Letter(device=None, digest="d", topic="t", kind="", reason="r", payload=b""))  # type: ignore[arg-type]
        with pytest.raises(RecordRefused):
            database.store.store(batch)
        assert database.rows("SELECT FROM ingest_dead_letter") == []

    @pytest.mark.parametrize(
        ("outcome", "reason", "state"),
        [("applied", "", "applied"), ("duplicate", "", "applied"), ("rejected", "no features", "rejected")],
    )
    def test_proves_a_label_with_the_acknowledgement(
        self, database: Database, outcome: str, reason: str, state: str
    ) -> None:
        database.add_label()
        said = LabelAcknowledged(sample="s1", revision=1, outcome=outcome, reason=reason)
        database.store.store(batch_of(said))
        label = database.row("SELECT state, reason, answered_at IS NOT NULL FROM label")
        assert label == (state, reason, True)

    def test_leaves_labels_alone_that_were_not_meant(self, database: Database) -> None:
        database.add_label(1, "superseded")
        database.add_label(2)
        database.store.store(batch_of(LabelAcknowledged(sample="s1", revision=1, outcome="applied")))
        states = database.rows("SELECT revision, state FROM label ORDER BY revision")
        assert states == [(1, "superseded"), (2, "published")]

    def test_keeps_the_first_answer_to_a_label(self, database: Database) -> None:
        database.add_label()
        database.store.store(batch_of(LabelAcknowledged(sample="s1", revision=1, outcome="applied")))
        database.store.store(batch_of(LabelAcknowledged(sample="s1", revision=1, outcome="rejected"), first=2))
        assert database.row("SELECT state FROM label") == ("applied",)

    def test_does_not_answer_a_label_when_the_batch_fails(self, database: Database) -> None:
        database.add_label()
        answer = LabelAcknowledged(sample="s1", revision=1, outcome="applied")
        with pytest.raises(RecordRefused):
            database.store.store(batch_of(answer, LogRecord(text="\0")))
        assert database.row("SELECT state FROM label") == ("published",)

    def test_calls_out_answers_when_they_are_committed(self, database: Database) -> None:
        database.eyes.execute("LISTEN tinyml_labelack")
        database.store.store(batch_of(LabelAcknowledged(sample="s1", revision=1, outcome="applied")))
        (called,) = database.eyes.notifies(timeout=5, stop_after=1)
        assert '"sample" : "s1"' in called.payload

    def test_buries_a_letter_once_and_counts_it(self, database: Database) -> None:
        letter = Letter(device=DEVICE, digest="d", topic="t", kind="", reason="r", payload=b"x", boot=BOOT, seq=5)
        database.store.store(Batch(letters=[letter]))
        database.store.store(Batch(letters=[letter]))
        assert database.row("SELECT times, payload FROM v_dead_letter") == (2, b"x")
        assert database.count() == (1, 1, 5)

    def test_knows_a_device_from_its_birth_and_status(self, database: Database) -> None:
        birth = Birth(session=1, versions={"tinyml": "1"}, actors=("knn",), bundle="b1", report_s=5.0)
        database.store.store(batch_of(birth, Status(state="online", session=1, faults=("disk_full",))))
        known = database.row("SELECT state, faults, versions, actors, bundle, report_s, silent FROM v_device")
        assert known == ("online", ["disk_full"], {"tinyml": "1"}, ["knn"], "b1", 5.0, False)

    def test_shows_devices_that_drift(self, database: Database) -> None:
        database.store.store(batch_of(*EVERY_KIND[:2]))
        assert database.row("SELECT in_drift, episode FROM v_device") == (True, "e1")
        database.store.store(batch_of(EVERY_KIND[2], first=3))
        assert database.row("SELECT in_drift, episode FROM v_device") == (False, None)

    def test_comes_back_after_the_server_ended_its_session(self, database: Database) -> None:
        database.store.store(batch_of(drift(1)))
        database.eyes.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'tinyml-ingest' AND datname = current_database()"
        )
        with pytest.raises(StoreAway, match="database is away"):
            database.store.store(batch_of(drift(2), first=2))
        database.store.store(batch_of(drift(2), first=2))
        assert database.count() == (2, 2, 2)

    def test_counts_messages_and_bytes_of_devices_by_kind(self, database: Database) -> None:
        for size in (300, 200):
            batch = batch_of(drift())
            batch.count(DEVICE, "DriftDetected", size)
            database.store.store(batch)
        database.store.close()
        assert database.rows("SELECT device, kind, messages, bytes FROM v_traffic") == [
            (DEVICE, "DriftDetected", 2, 500)
        ]
        assert database.row("SELECT messages, bytes FROM v_traffic_day") == (2, 500)

    def test_writes_traffic_with_a_batch_when_it_is_time_and_adds_it_up(self, database: Database) -> None:
        database.store.traffic.every_s = 0.0
        for seq in (1, 2, 3):
            batch = batch_of(drift(), first=seq)
            batch.count(DEVICE, "DriftDetected", 100)
            database.store.store(batch)
        assert database.row("SELECT messages, bytes FROM v_traffic") == (2, 200)  # the last one comes with the next

    def test_writes_no_traffic_of_a_device_that_was_forgotten_since(self, database: Database) -> None:
        batch = batch_of(drift())
        batch.count(DEVICE, "DriftDetected", 100)
        database.store.store(batch)
        database.eyes.execute("DELETE FROM device")
        database.store.close()
        assert database.rows("SELECT FROM traffic") == []

    def test_counts_no_traffic_of_a_batch_that_failed(self, database: Database) -> None:
        batch = batch_of(drift(), LogRecord(text="\0"))
        batch.count(DEVICE, "LogRecord", 100)
        with pytest.raises(RecordRefused):
            database.store.store(batch)
        assert not database.store.traffic

    def test_two_workers_with_the_same_records_store_them_once(self, database: Database) -> None:
        other = PostgresEvents(database.url)
        with psycopg.connect(database.url) as slow:  # holds a lock that makes the first store wait
            slow.execute("LOCK TABLE drift_event IN SHARE MODE")
            batches = (batch_of(*map(drift, range(50))), batch_of(*map(drift, range(25)), first=26))
            threads = [
                Thread(target=store.store, args=(batch,))
                for store, batch in zip((database.store, other), batches, strict=True)
            ]
            for thread in threads:
                thread.start()
            slow.commit()
            for thread in threads:
                thread.join(10)
        other.close()
        assert database.count() == (50, 50, 50)


class TestEmbedded(EventStoreContract):
    @pytest.fixture
    def server(self, embedded_server: Postgres) -> Postgres:
        return embedded_server

    def test_says_what_the_server_can_do(self, database: Database) -> None:
        assert database.store.level() == "plain"


@pytest.mark.timescale
class TestTimescale(EventStoreContract):
    @pytest.fixture
    def server(self, timescale_server: Postgres) -> Postgres:
        return timescale_server

    def test_says_what_the_server_can_do(self, database: Database) -> None:
        assert database.store.level() in ("timescale-apache", "timescale-community")

    def test_keeps_what_flows_steadily_in_hypertables(self, database: Database) -> None:
        names = database.rows("SELECT hypertable_name FROM timescaledb_information.hypertables ORDER BY 1")
        assert [name for (name,) in names] == ["drift_event", "log", "prediction", "reading", "snapshot", "telemetry"]


@pytest.mark.container
class TestTimescaleImage(EventStoreContract):
    """The image that compose.yaml runs."""

    @pytest.fixture
    def server(self, timescale_container: PostgresContainer) -> PostgresContainer:
        return timescale_container

    def test_says_what_the_server_can_do(self, database: Database) -> None:
        assert database.store.level() in ("timescale-apache", "timescale-community")


def test_says_in_a_sentence_that_the_database_is_away() -> None:
    store = PostgresEvents("postgresql://127.0.0.1:1/tinyml")
    with pytest.raises(StoreAway, match=r"the database is away: .*Connection refused") as caught:
        store.ping()
    assert not caught.value.final


def test_tells_a_database_that_refuses_from_one_that_is_away(embedded_server: Postgres) -> None:
    store = PostgresEvents(embedded_server.url_of("nowhere"))
    with pytest.raises(StoreAway, match=r'the database refuses: .*"nowhere" does not exist') as caught:
        store.ping()
    assert caught.value.final


def test_says_in_a_sentence_that_the_url_is_none() -> None:
    with pytest.raises(IngestError, match="the database cannot be used: "):
        PostgresEvents("nonsense").ping()


def test_says_in_a_sentence_that_the_database_is_not_migrated(embedded_server: Postgres) -> None:
    for url in fresh_database(embedded_server, migrated=False):
        store = PostgresEvents(url)
        with pytest.raises(IngestError, match=r"the database cannot be used: .*does not exist"):
            store.store(batch_of(drift()))


@pytest.mark.parametrize("numbers", [[], [1.5], [0.1, -2.0, float("inf"), 3e38]])
def test_arrays_reach_the_database_as_they_travelled(embedded_server: Postgres, numbers: list[float]) -> None:
    travelled = Float32Array.of(numbers)
    with connect(embedded_server.url) as connection, connection.cursor(binary=True) as cursor:
        cursor.execute("SELECT %b::real[]", [travelled])
        (back,) = cursor.fetchone() or ([],)
    assert back == travelled.numbers()


@pytest.mark.parametrize("wall_us", [1 << 62, -(1 << 62)])
def test_refuses_times_that_are_none(wall_us: int) -> None:
    with pytest.raises(Poison, match="years 1 to 9999"):
        wall_time(header(wall_us=wall_us))
